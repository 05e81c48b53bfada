/* SPDX-License-Identifier: MIT */
#include "data/shuffle.h"
#include "base/mem.h"
#include "base/rng.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Rows asked of the source at a time, and their bytes at most; which random numbers are ours. */
enum { AHEAD = 256, AHEAD_BYTES = 1 << 20, STREAM = 0x5bfull };

struct shuffle {
    size_t room, d, n;          /* rows there may be, width, rows there are */
    struct rng rng;
    shuffle_source source;
    void *arg;
    bool ended;
    float *row;                 /* (n,d), of cap */
    size_t cap;
    float *ahead;               /* rows of the source not yet placed: ahead[at..have) */
    size_t at, have, aheads;
};

struct shuffle *shuffle_new(size_t rows, size_t d, uint64_t seed, shuffle_source source, void *arg)
{
    struct shuffle *s = mem_zero(1, sizeof *s);
    s->room = rows ? rows : 1;
    s->d = d;
    s->source = source;
    s->arg = arg;
    s->aheads = AHEAD_BYTES / (d * sizeof *s->ahead);
    s->aheads = s->aheads < 1 ? 1 : s->aheads > AHEAD ? AHEAD : s->aheads;
    s->ahead = mem_alloc(s->aheads * d, sizeof *s->ahead);
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

/* Room for one more row: twice as many at a time, never more than the buffer may have. */
static int grow(struct shuffle *s)
{
    if (s->n < s->cap)
        return 0;
    size_t rows = s->cap ? 2 * s->cap : AHEAD;
    rows = rows < s->room ? rows : s->room;
    float *more = realloc(s->row, rows * s->d * sizeof *more);
    if (!more)
        return err_sys("no memory for a shuffle buffer of %zu rows: give --buffer a smaller number than %zu", rows,
                       s->room);
    s->row = more;
    s->cap = rows;
    return 0;
}

/* The next row of the source to `to`: 1, 0 at the end, -1. */
static int next_row(struct shuffle *s, float *to)
{
    if (s->at == s->have && !s->ended) {
        ssize_t got = s->source(s->arg, s->ahead, s->aheads);
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
        if (grow(s))
            return -1;
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
