/* linalg: dense matrices in double, row-major without gaps, for what looks at the data as a whole: covariances, their
 * eigenvectors, whitening. Products run on the pool in fixed pieces; the number of threads cannot be seen in them. */
/* SPDX-License-Identifier: MIT */
#ifndef LINALG_H
#define LINALG_H

#include <stdbool.h>
#include <stddef.h>

/* C (m,n) = alpha op(A) op(B) + beta C, op(A) being (m,k) and op(B) (k,n); A is stored (k,m) with ta, B (n,k) with tb.
 * Any of m, n, k may be 0. */
void linalg_multiply(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a, const double *b,
                     double beta, double *c);

/* The symmetric a (n,n) becomes its eigenvectors, one a row, those of the largest eigenvalue first; value (n) gets the
 * eigenvalues. The largest component of each vector is positive. Returns 0, or -1 and a sentence when a holds a value
 * that is not finite. */
int linalg_eigen(double *a, size_t n, double *value);

/* out (n,n) = V^T diag(value^power) V, rows of V and values as from linalg_eigen(). Eigenvalues at or below
 * `least` times the largest count as none: they stay out. Returns how many were taken. */
size_t linalg_power(const double *vector, const double *value, size_t n, double power, double least, double *out);
/* How many eigenvalues are above `least` times the largest. */
size_t linalg_rank(const double *value, size_t n, double least);

/* W (k,n) becomes (W W^T)^-1/2 W, whose rows are orthonormal. k at most n, rows independent. Returns 0, or -1 and a
 * sentence. [Hyvarinen 1999, symmetric decorrelation] */
int linalg_decorrelate(double *w, size_t k, size_t n);

/* The mean of rows and the sum of their outer products about it, joined batch by batch. [Chan, Golub and LeVeque 1983,
 * eq. 2.1] The arrays are the caller's, zero at first. */
struct moments {
    size_t d;
    double *count;      /* (1) rows so far */
    double *mean;       /* (d) */
    double *outer;      /* (d,d) sum of (x - mean)(x - mean)^T */
};
void linalg_moments_add(struct moments *m, const float *x, size_t n);
/* out (d,d) = outer / count, the covariance of the rows as a population; zero for no rows. */
void linalg_moments_covariance(const struct moments *m, double *out);

#endif
