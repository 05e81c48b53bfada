/* rng: xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64; its whole state is 32 bytes and can be saved. */
/* SPDX-License-Identifier: MIT */
#ifndef RNG_H
#define RNG_H

#include <stdint.h>

struct rng {
    uint64_t s[4];
};

/* Independent streams of one seed: the same seed with another `stream` shares nothing with it. */
void rng_seed(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_bits(struct rng *r);
double rng_uniform(struct rng *r);                    /* [0,1), 53 bits */
double rng_normal(struct rng *r);                     /* N(0,1), Box-Muller without a kept half */
uint64_t rng_below(struct rng *r, uint64_t n);        /* 0..n-1 without bias; n > 0 */

#endif
