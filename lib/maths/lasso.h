/* lasso: the codes that a dictionary allows, rather than those an encoder guesses:
 *
 *   min over f of |x - b - D^T f|^2 + lambda sum |f|      f >= 0, or of either sign      [Beck and Teboulle 2009]
 *   z' = shrink(y - 2 (D (D^T y + b - x)) / L, lambda / L);  t' = (1 + sqrt(1 + 4 t^2)) / 2;
 *   y' = z' + (t - 1) / t' (z' - z),                         L at least 2 sigma_max(D)^2;
 *   t begins anew at 1 when <y - z', z' - z> > 0, the momentum pointing uphill    [O'Donoghue and Candes 2015]
 *
 * Once the same few features fire for ten steps, the linear equations for their values are tried.
 * y is sparse after the first steps, so a step costs 2 k m flops with D D^T at hand and 2 k d + 2 d m without. */
/* SPDX-License-Identifier: MIT */
#ifndef LASSO_H
#define LASSO_H

#include "maths/sparse.h"

#include <stdbool.h>
#include <stddef.h>

/* A dictionary made ready for sparse coding. */
struct lasso_atoms {
    const float *w;         /* (m, d) rows d_i, the caller's */
    size_t m, d;
    float *gram;            /* (m, m) D D^T, or NULL */
    float *norm;            /* (m) |d_i| */
    double bound;           /* no less than sigma_max(D)^2 */
};

/* `work`: rows times iterations there will be; D D^T is made when that repays its cost and it is of bearable size. */
struct lasso_atoms lasso_atoms_new(const float *w, size_t m, size_t d, double work);
void lasso_atoms_free(struct lasso_atoms *a);

struct fista {
    double lambda;          /* at least 0 */
    bool is_signed;
    size_t iterations;      /* at most so many */
    double tol;             /* stop when what is left of the optimality conditions is at most tol lambda; see below */
};

/* Codes of n rows x (n, d), the base b (d, NULL for zero) taken off first, into out (reset). start: codes to begin
 * from, or NULL; a row's result is never worse than what it began with. Returns how many rows did not come within tol.
 * Every row is computed by itself: neither batch nor threads can be seen in its codes. Runs on the pool.
 *
 * What is left of the conditions is the largest |2 <d_i, r> + lambda| where f_i > 0 and -(2 <d_i, r> + lambda) where
 * f_i = 0 and that is positive, r = D^T f + b - x; for lambda = 0 tol is relative to the largest |2 <d_i, x - b>|. */
size_t lasso_codes(const struct lasso_atoms *a, const struct fista *how, const float *x, size_t n, const float *b,
                   const struct codes *start, struct codes *out);

/* For tests and reports, in double: the objective of one row's codes, and what is left of its conditions. */
double lasso_objective(const struct lasso_atoms *a, const struct fista *how, const float *x, const float *b,
                       const uint32_t *idx, const float *val, size_t k);
double lasso_residual(const struct lasso_atoms *a, const struct fista *how, const float *x, const float *b,
                      const uint32_t *idx, const float *val, size_t k);

#endif
