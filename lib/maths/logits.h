/* logits: what rows of logits say of the next token, and how two rows differ. Sums run in double; n at least 1. */
/* SPDX-License-Identifier: MIT */
#ifndef LOGITS_H
#define LOGITS_H

#include <stddef.h>
#include <stdint.h>

/* log sum_i exp(a_i): -log softmax(a)_t = logits_lse(a) - a_t, in nats. NaN when a holds one. */
double logits_lse(const float *a, size_t n);

/* KL(softmax a || softmax b) = sum_i p_i (log p_i - log q_i), in nats; the two logits_lse() besides, which cost nothing
 * here. Exactly 0 for equal rows, never negative, and good to 1e-5 of its value however near the rows are, since what is
 * summed are the terms p_i (exp(u_i) - 1 - u_i), all of one sign, u_i = b_i - a_i less its mean under p. */
double logits_kl(const float *a, const float *b, size_t n, double *lse_a, double *lse_b);

/* The index of the largest, the first among equals. */
size_t logits_top(const float *a, size_t n);

/* The k largest of sign (b_i - a_i) that are above 0, falling, equal ones by index: into idx and val (the change itself,
 * with its own sign), room for k each. scratch: room for n of both. Returns how many. */
size_t logits_changes(const float *a, const float *b, size_t n, int sign, size_t k, uint32_t *idx, float *val,
                      uint32_t *scratch_idx, float *scratch_val);
/* The k (at most n) most likely of softmax(a), falling, equal ones by index: into idx, their probabilities into p. scratch as
 * above. Returns how many. */
size_t logits_likely(const float *a, size_t n, size_t k, uint32_t *idx, float *p, uint32_t *scratch_idx, float *scratch_val);

#endif
