/* measure: what is said of codes and reconstructions over many rows, given a batch at a time.
 *
 * Everything is a sum over rows, kept in double: over fixed blocks of rows that are added in order, or by feature over
 * its rows in order, so neither the batches beyond the blocks nor the threads can be seen in it. Moments of x are taken
 * about the first row, so that a large mean costs no digits. */
/* SPDX-License-Identifier: MIT */
#ifndef MEASURE_H
#define MEASURE_H

#include "maths/sparse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is measured; all borrowed, d_i the rows of the decoder. With d 0 codes are all there is: no x, no dictionary. */
struct measure_of {
    size_t d, m;
    const float *dec, *b_dec;       /* (m,d), (d); as the next two NULL when d is 0 */
    const float *unit_gram, *pass;  /* (d,d) as in geometry.h */
    bool neurons;                   /* correlate features with neurons: m * d doubles of memory */
    const uint32_t *truth;          /* (m) the true feature that is held to be i, or NULL */
    size_t truths;                  /* how many true features there are */
};

/* Powers of one feature's value, summed over all rows. */
struct measure_feature {
    uint64_t count, last;           /* rows in which it is not 0; the last of them, counted from 1, 0: none */
    double sum[4];                  /* of f, f^2, f^3, f^4 */
    double product;                 /* of f times the code of its true feature */
    float max;
};

enum measure_sum {
    MEASURE_X2, MEASURE_HAT2, MEASURE_X_HAT, MEASURE_R2,    /* |x|^2, |x_hat|^2, <x, x_hat>, |x_hat - x|^2 */
    MEASURE_L0, MEASURE_L1, MEASURE_POWER,                  /* features that fire, sum |f|, sum f^2 |d|^2 */
    MEASURE_FULL, MEASURE_COS, MEASURE_RATIO, MEASURE_PASS, /* rows that are not 0; over these cos(x, x_hat), */
    MEASURE_READ, MEASURE_READ2,                            /* |x_hat| / |x|, |pass x| / |x|; readings and their squares */
    MEASURE_SUMS
};

struct measure {
    struct measure_of of;
    uint64_t rows;
    double sum[MEASURE_SUMS];
    double *norm, *total;           /* (m) |d_i|; (d) sum of d_i / |d_i| */
    double *first;                  /* (d) the first row */
    double *moment[3], *residual;   /* (d) sums of x - first, its square and cube; of x_hat - x */
    double *cross;                  /* (m,d) sum of f_i (x - first), or NULL */
    struct measure_feature *feature, *truth;    /* (m), (truths) */
    struct codes_by_feature by_feature, by_truth;
};

/* Sums at zero; never NULL. measure_free() releases them. */
struct measure *measure_new(const struct measure_of *of);
void measure_free(struct measure *t);
/* Count f->n rows x, x_hat (n,d; NULL when d is 0) with their codes f, and the true codes (NULL when of.truth is). Runs on
 * the pool. */
void measure_add(struct measure *t, const float *x, const float *x_hat, const struct codes *f, const struct codes *truth);

/* The numbers of all rows; means over no rows are NaN, as with d 0 is all but l0 and l1. */
struct measure_report {
    double l0, l1;
    double mse, nmse, fvu;          /* sum |r|^2 over n d; over sum |x|^2; over sum |x - mean x|^2 */
    double explained;               /* 1 - sum |r - mean r|^2 / sum |x - mean x|^2 [dictionary_learning] */
    double cosine, ratio;           /* means over the rows that are not 0 */
    double gamma;                   /* sum |x_hat|^2 / sum <x, x_hat>: 1 where nothing shrinks */
    double pass;                    /* mean of |pass x| / |x| */
    double skew, skew_pooled;       /* third moment about the mean over sd^3: mean over the d components; of all numbers */
    double power;                   /* mean of sum_i f_i^2 |d_i|^2 */
    double interference;            /* variance, over rows and features, of z_i = <u_i, x - b_dec - f_i d_i> */
};
struct measure_report measure_report(const struct measure *t);

/* Skew E f^3 / Var^1.5 and kurtosis E f^4 / Var^2 of feature i, over all rows, numerators about zero; 0 when constant. */
double measure_skew(const struct measure *t, size_t i);
double measure_kurtosis(const struct measure *t, size_t i);
/* The largest correlation in size, with its sign, of f_i and any component of x, and which; 0 when f_i is constant. */
double measure_neuron(const struct measure *t, size_t i, size_t *neuron);
/* The slope of f_i on the code a of its true feature: least squares, cov(f,a) / var(a); and through the origin,
 * E fa / E a^2. NaN when a is constant, 0. */
double measure_slope(const struct measure *t, size_t i, bool origin);

#endif
