/* rica: the objective of reconstruction ICA, by itself. */
/* SPDX-License-Identifier: MIT */
#ifndef RICA_H
#define RICA_H

#include <stddef.h>

/* mean over the n rows z (n, q) of mu |W^T W z - z|^2 + lambda sum_j log cosh(<w_j, z>), W (k, q).
 * s (n, k) gets W z, r (n, q) W^T s - z, grad (k, q) unless NULL the gradient in W; row (n) unless NULL each row's part.
 *   grad = 1/n sum [2 mu (s r^T + (W r) z^T) + lambda tanh(s) z^T]                              [Le 2011] */
double rica_loss(const double *w, size_t k, size_t q, const double *z, size_t n, double mu, double lambda, double *s,
                 double *r, double *grad, double *row);

#endif
