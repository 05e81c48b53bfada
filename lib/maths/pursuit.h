/* pursuit: the codes of at most K features that a dictionary allows, found one feature at a time: the one whose cosine
 * with what is left of the row is largest joins, then the values of all that have joined are those of the least squares
 * with no value below 0. [Pati 1993, orthogonal matching pursuit; Lawson and Hanson 1974, chapter 23] */
/* SPDX-License-Identifier: MIT */
#ifndef PURSUIT_H
#define PURSUIT_H

#include "maths/lasso.h"

/* Codes of n rows x (n, d), the base b (d, NULL for zero) taken off first, into out (reset), k features a row or fewer
 * when no other one could help. Every row is computed by itself. Runs on the pool. */
void pursuit_codes(const struct lasso_atoms *a, size_t k, const float *x, size_t n, const float *b, struct codes *out);

#endif
