/* Every sum runs over its pairs in their order, each item of the row by itself, so neither the width of the lanes nor
 * the strip a row is cut into can be seen in the result. */
/* SPDX-License-Identifier: MIT */
#include "maths/sparse.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/clones.h"
#include "maths/vec.h"

#include <stdlib.h>
#include <string.h>

enum { STRIP = 8 };     /* registers of 16 items that sum a strip of the row at a time */

typedef float lanes __attribute__((vector_size(64)));

#define LOAD(v, p) __builtin_memcpy(&(v), (p), sizeof(v))
#define STORE(p, v) __builtin_memcpy((p), &(v), sizeof(v))

/* ---- building ---- */

/* Room for `rows` more rows and `pairs` more pairs. */
static void reserve(struct codes *c, size_t rows, size_t pairs)
{
    size_t held = c->n ? c->ptr[c->n] : 0;
    if (pairs > UINT32_MAX - held || rows >= UINT32_MAX - c->n)
        mem_limit("more codes at once than can be counted in 32 bits");
    c->ptr = mem_grow(c->ptr, &c->ptr_cap, c->n + rows + 1, sizeof *c->ptr);
    c->idx = mem_grow(c->idx, &c->idx_cap, held + pairs, sizeof *c->idx);
    c->val = mem_grow(c->val, &c->val_cap, held + pairs, sizeof *c->val);
}

void codes_reset(struct codes *c, size_t m)
{
    c->n = 0;
    c->m = m;
    reserve(c, 0, 0);
    c->ptr[0] = 0;
}

void codes_push(struct codes *c, const uint32_t *idx, const float *val, size_t k)
{
    reserve(c, 1, k);
    uint32_t end = c->ptr[c->n];
    if (k) {
        memcpy(c->idx + end, idx, k * sizeof *idx);
        memcpy(c->val + end, val, k * sizeof *val);
    }
    c->ptr[++c->n] = end + (uint32_t)k;
}

void codes_append(struct codes *c, const struct codes *more)
{
    size_t pairs = more->n ? more->ptr[more->n] : 0;
    reserve(c, more->n, pairs);
    uint32_t end = c->ptr[c->n];
    if (pairs) {
        memcpy(c->idx + end, more->idx, pairs * sizeof *c->idx);
        memcpy(c->val + end, more->val, pairs * sizeof *c->val);
    }
    for (size_t r = 1; r <= more->n; r++)
        c->ptr[c->n + r] = end + more->ptr[r];
    c->n += more->n;
}

void codes_free(struct codes *c)
{
    free(c->ptr);
    free(c->idx);
    free(c->val);
    memset(c, 0, sizeof *c);
}

/* ---- finding ---- */

enum { FLAGS = 512 };

/* hit[i] = 1 where a[i] + b[i] > -slack * size[i], or is NaN. */
CLONES static void mark(const float *restrict a, const float *restrict b, float slack, const float *restrict size,
                        size_t n, uint8_t *restrict hit)
{
    if (size)
        for (size_t i = 0; i < n; i++)
            hit[i] = !(a[i] + b[i] <= -slack * size[i]);
    else
        for (size_t i = 0; i < n; i++)
            hit[i] = !(a[i] + b[i] <= 0);
}

size_t sparse_above(const float *a, const float *b, float slack, const float *size, size_t m, uint32_t *idx, float *val)
{
    uint8_t hit[FLAGS];
    size_t n = 0;
    for (size_t from = 0; from < m; from += FLAGS) {
        size_t len = m - from < FLAGS ? m - from : FLAGS;
        mark(a + from, b + from, slack, size ? size + from : NULL, len, hit);
        memset(hit + len, 0, -len % 8);
        for (size_t i = 0; i < len; i += 8) {
            uint64_t eight;
            memcpy(&eight, hit + i, sizeof eight);
            if (!eight)                             /* most are: one in thirty fires */
                continue;
            for (size_t j = i; j < i + 8 && j < len; j++) {
                idx[n] = (uint32_t)(from + j);
                n += hit[j];
            }
        }
    }
    for (size_t j = 0; j < n; j++)
        val[j] = a[idx[j]] + b[idx[j]];
    return n;
}

/* ---- sums of rows ---- */

CLONES void sparse_sum(const uint32_t *idx, const float *val, size_t k, const float *w, const float *base, size_t d,
                       float *out)
{
    size_t i = 0;
    for (; i + 16 * STRIP <= d; i += 16 * STRIP) {
        lanes acc[STRIP] = { { 0 } }, x;
        for (size_t s = 0; base && s < STRIP; s++)
            LOAD(acc[s], base + i + 16 * s);
        for (size_t j = 0; j < k; j++) {
            const float *row = w + idx[j] * d + i;
            for (size_t s = 0; s < STRIP; s++) {
                LOAD(x, row + 16 * s);
                acc[s] += val[j] * x;
            }
        }
        for (size_t s = 0; s < STRIP; s++)
            STORE(out + i + 16 * s, acc[s]);
    }
    for (; i + 16 <= d; i += 16) {
        lanes acc = { 0 }, x;
        if (base)
            LOAD(acc, base + i);
        for (size_t j = 0; j < k; j++) {
            LOAD(x, w + idx[j] * d + i);
            acc += val[j] * x;
        }
        STORE(out + i, acc);
    }
    for (; i < d; i++) {
        float acc = base ? base[i] : 0;
        for (size_t j = 0; j < k; j++)
            acc += val[j] * w[idx[j] * d + i];
        out[i] = acc;
    }
}

void sparse_dots(const uint32_t *idx, size_t k, const float *w, const float *x, size_t d, float *out)
{
    for (size_t j = 0; j < k; j++)
        out[j] = vec_dot(w + idx[j] * d, x, d);
}

/* ---- all rows ---- */

enum { DECODE_ROWS = 64 };

struct decode {
    const struct codes *c;
    const float *w, *b;
    size_t d;
    float *x_hat;
};

static void decode_piece(void *arg, size_t piece, int worker)
{
    const struct decode *t = arg;
    const struct codes *c = t->c;
    (void)worker;
    for (size_t r = piece * DECODE_ROWS; r < c->n && r < (piece + 1) * DECODE_ROWS; r++)
        sparse_sum(c->idx + c->ptr[r], c->val + c->ptr[r], c->ptr[r + 1] - c->ptr[r], t->w, t->b, t->d,
                   t->x_hat + r * t->d);
}

void codes_decode(const struct codes *c, const float *w, const float *b, size_t d, float *x_hat)
{
    struct decode t = { c, w, b, d, x_hat };
    par_for((c->n + DECODE_ROWS - 1) / DECODE_ROWS, decode_piece, &t);
}

/* ---- columns ---- */

void codes_columns(const struct codes *c, struct codes_by_feature *out)
{
    size_t m = c->m, pairs = c->n ? c->ptr[c->n] : 0;
    out->start = mem_grow(out->start, &out->start_cap, m + 1, sizeof *out->start);
    out->row = mem_grow(out->row, &out->row_cap, pairs, sizeof *out->row);
    out->at = mem_grow(out->at, &out->at_cap, pairs, sizeof *out->at);
    uint32_t *start = out->start;
    memset(start, 0, (m + 1) * sizeof *start);
    for (size_t p = 0; p < pairs; p++)
        start[c->idx[p] + 1]++;
    for (size_t i = 0; i < m; i++)
        start[i + 1] += start[i];
    for (size_t r = 0; r < c->n; r++)
        for (uint32_t p = c->ptr[r]; p < c->ptr[r + 1]; p++) {
            uint32_t to = start[c->idx[p]]++;       /* start[i] ends as the start of i + 1: put right below */
            out->row[to] = (uint32_t)r;
            out->at[to] = p;
        }
    memmove(start + 1, start, m * sizeof *start);
    start[0] = 0;
}

void columns_free(struct codes_by_feature *k)
{
    free(k->start);
    free(k->row);
    free(k->at);
    memset(k, 0, sizeof *k);
}
