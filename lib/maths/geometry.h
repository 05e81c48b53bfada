/* geometry: what the rows of a dictionary alone say: lengths, how near they lie to single neurons, how they share the
 * space, what the encoder's rows hold beside their own direction.
 *
 * Products of whole matrices are sgemm over fixed blocks of rows, added up in double. */
/* SPDX-License-Identifier: MIT */
#ifndef GEOMETRY_H
#define GEOMETRY_H

#include <stddef.h>

/* Of feature i, with decoder row d_i and encoder row e_i; a zero row gives zeros. What needs an encoder is NaN without
 * one. */
struct direction {
    double dec_norm, enc_norm;      /* |d_i|, |e_i| */
    double align;                   /* <e_i, d_i> */
    double peak;                    /* max_j |d_ij| / |d_i|: 1 for a neuron */
    size_t peak_at;                 /* its j */
    double participation;           /* (sum_j |d_ij|)^2 / sum_j d_ij^2: 1 for a neuron, d when all are equal */
    double capacity;                /* <d_i,d_i>^2 / sum_j <d_i,d_j>^2 [Scherlis 2022, eq. 3] */
    double denoise;                 /* |n_i| / |e_i|, n_i = e_i - <e_i,d_i> d_i / |d_i|^2 */
    double overlap;                 /* the cosine of n_i with another d_j that is largest in size; NaN when n_i is 0 up */
    size_t overlap_with;            /* to rounding (denoise below 1e-6); that j */
};

struct geometry {
    size_t m, d;
    struct direction *each;         /* (m) */
    float *unit_gram;               /* (d,d) sum_i u_i u_i^T, u_i = d_i / |d_i| */
    float *pass;                    /* (d,d) sum_i d_i e_i^T - I: what the dictionary without its nonlinearity and */
                                    /* biases makes of x, less x; with d_i for e_i when there is no encoder */
    double capacity;                /* sum over the features; at most d */
    double frame_potential;         /* sum over all i, j of cos(d_i, d_j)^2; at least m^2 / d */
    double tied_distance;           /* |D^T D - I|_F */
    double pass_distance;           /* |pass|_F; the same for a tied dictionary */
};

/* Of dec (m,d) and enc (m,d) or NULL. Runs on the pool. geometry_free() it. The overlaps take the time of encoding m rows. */
struct geometry geometry_of(const float *dec, const float *enc, size_t m, size_t d);
void geometry_free(struct geometry *g);

#endif
