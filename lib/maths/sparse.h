/* sparse: codes, rows of (feature, value) pairs over m features; and what is computed from them.
 *
 *   row r holds idx[ptr[r]..ptr[r+1]) (strictly increasing) and val at the same places */
/* SPDX-License-Identifier: MIT */
#ifndef SPARSE_H
#define SPARSE_H

#include <stddef.h>
#include <stdint.h>

struct codes {
    size_t n, m;                    /* rows, features */
    uint32_t *ptr;                  /* n+1, from 0 */
    uint32_t *idx;
    float *val;
    size_t ptr_cap, idx_cap, val_cap;
};

/* Begin n = 0 rows over m features, keeping the arrays. A zeroed struct is a valid empty one. */
void codes_reset(struct codes *c, size_t m);
/* Append one row of k pairs. */
void codes_push(struct codes *c, const uint32_t *idx, const float *val, size_t k);
/* Append all rows of another. */
void codes_append(struct codes *c, const struct codes *more);
void codes_free(struct codes *c);

/* List the i with a[i] + b[i] > -slack * size[i] (NaN is listed too, so that it cannot hide): idx gets i, val gets
 * a[i] + b[i]. size may be NULL when slack is 0. Room for m entries in idx and val. Returns how many. */
size_t sparse_above(const float *a, const float *b, float slack, const float *size, size_t m, uint32_t *idx,
                    float *val);

/* out (d) = base + sum_j val_j W[idx_j], one pair after another. W (m,d); base (d), NULL for zero. out may be base. */
void sparse_sum(const uint32_t *idx, const float *val, size_t k, const float *w, const float *base, size_t d,
                float *out);
/* out_j = <W[idx_j], x>: each exactly vec_dot. W (m,d), x (d), out (k). */
void sparse_dots(const uint32_t *idx, size_t k, const float *w, const float *x, size_t d, float *out);
/* x_hat (n,d) = c W + b for every row, on the pool. b (d) or NULL for zero. [x_hat = f W_dec + b_dec] */
void codes_decode(const struct codes *c, const float *w, const float *b, size_t d, float *x_hat);

/* The transpose: for feature i, rows row[start[i]..start[i+1]) ascending with the position at[] of each pair in
 * idx/val. A counting sort. A zeroed struct is valid; reused between calls. */
struct codes_by_feature {
    uint32_t *start, *row, *at;     /* m+1, nnz, nnz */
    size_t start_cap, row_cap, at_cap;
};
void codes_columns(const struct codes *c, struct codes_by_feature *out);
void columns_free(struct codes_by_feature *k);

#endif
