/* cosine: all cosines between two sets of directions, and the law they follow when the directions are random.
 *
 * Every cosine is vec_dot of two unit rows: exact to f32 rounding, symmetric to the bit, the same for any tiling. */
/* SPDX-License-Identifier: MIT */
#ifndef COSINE_H
#define COSINE_H

#include "maths/largest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cosine_stats {
    double sum, sum_sq;             /* over all pairs counted */
    uint64_t pairs;
    struct largest *nearest;           /* (na) the k largest of each row, best first; order is the row of b */
    float *best_b;                  /* (nb) largest cosine of each row of b with any of a */
};

/* Cosines of rows a (na,d) and b (nb,d), all of unit length. `same`: b is a, and a row is not compared with itself (its
 * best_b is then its nearest too).
 * Memory: na*k heap entries and an array of nb a thread. Runs on the pool. cosine_free() the result. */
void cosine_all(const float *a, size_t na, const float *b, size_t nb, size_t d, bool same, size_t k,
                struct cosine_stats *out);
void cosine_free(struct cosine_stats *s, size_t na);

/* Largest sum of cosines over one-to-one pairs (the assignment problem), by shortest augmenting paths [Jonker and Volgenant
 * 1987]. cost in memory: 4*na*nb bytes; in time about na*na*nb. partner (na): row of b, or SIZE_MAX where nb < na leaves it
 * alone. Returns the mean cosine of the min(na,nb) pairs. */
double cosine_match(const float *a, size_t na, const float *b, size_t nb, size_t d, size_t *partner);

/* The k-th largest of n independent cosines between random unit vectors in d >= 2 dimensions: density of one cosine
 * proportional to (1-t^2)^((d-3)/2). mean, sd and the quantiles q[i] -> at[i]. */
struct cosine_law {
    double mean, sd;
};
struct cosine_law cosine_law(size_t d, size_t n, size_t k, const double *q, double *at, size_t quantiles);
/* No n > d unit vectors have a smaller largest |cosine| [Welch 1974]; 0 for n <= d. */
double cosine_welch(size_t d, size_t n);

#endif
