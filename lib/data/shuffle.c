/* SPDX-License-Identifier: MIT */
#include "data/shuffle.h"
#include "ground/mem.h"
#include "ground/rng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { AHEAD = 256, STREAM = 0x5bfull };       /* rows asked of the source at a time; which random numbers are ours */

struct shuffle {
    size_t room, d, n;          /* rows there may be, width, rows there are */
    struct rng rng;
    shuffle_source source;
    void *arg;
    bool ended;
    float *row;                 /* (n,d) */
    size_t cap;
    float *ahead;               /* rows of the source not yet placed: ahead[at..have) */
    size_t at, have;
};

struct shuffle *shuffle_new(size_t rows, size_t d, uint64_t seed, shuffle_source source, void *arg)
{
    struct shuffle *s = mem_zero(1, sizeof *s);
    s->room = rows ? rows : 1;
    s->d = d;
    s->source = source;
    s->arg = arg;
    s->ahead = mem_alloc(AHEAD * d, sizeof *s->ahead);
    rng_seed(&s->rng, seed, STREAM);
    return s;
}

void shuffle_free(struct shuffle *s)
{
    if (!s)
        return;
    free(s->row);
    free(s->ahead);
    free(s);
}

/* The next row of the source to `to`: 1, 0 at the end, -1. */
static int next_row(struct shuffle *s, float *to)
{
    if (s->at == s->have && !s->ended) {
        ssize_t got = s->source(s->arg, s->ahead, AHEAD);
        if (got < 0)
            return -1;
        s->ended = got == 0;
        s->at = 0;
        s->have = (size_t)got;
    }
    if (s->at == s->have)
        return 0;
    memcpy(to, s->ahead + s->at++ * s->d, s->d * sizeof *to);
    return 1;
}

int shuffle_fill(struct shuffle *s)
{
    while (s->n < s->room) {
        s->row = mem_grow(s->row, &s->cap, (s->n + 1) * s->d, sizeof *s->row);
        int got = next_row(s, s->row + s->n * s->d);
        if (got <= 0)
            return got;
        s->n++;
    }
    return 0;
}

const float *shuffle_rows(const struct shuffle *s, size_t *n)
{
    *n = s->n;
    return s->row;
}

ssize_t shuffle_take(struct shuffle *s, float *out, size_t n)
{
    size_t given = 0;
    if (shuffle_fill(s))
        return -1;
    for (; given < n && s->n; given++) {
        float *chosen = s->row + rng_below(&s->rng, s->n) * s->d;
        memcpy(out + given * s->d, chosen, s->d * sizeof *out);
        int got = next_row(s, chosen);
        if (got < 0)
            return -1;
        if (!got && chosen != s->row + --s->n * s->d)
            memcpy(chosen, s->row + s->n * s->d, s->d * sizeof *out);
    }
    return (ssize_t)given;
}
