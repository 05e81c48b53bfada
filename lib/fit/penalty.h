/* penalty: S(f) of the loss: sum f_i, or with decoder norms and a power that falls during the fit
 *
 *   S = sum_i (f_i n_i)^p,   n_i = |d_i| where norm_weighted, else 1
 *
 * p goes from p_start to p_end in ten equal jumps between the shares p_from and p_to of all steps. At a jump lambda is
 * multiplied by mean S_old / mean S_new over the last ten batches, so that the penalty itself does not jump.
 * [Bricken 2024 (norms); Karvonen 2024 (p-annealing)] */
/* SPDX-License-Identifier: MIT */
#ifndef PENALTY_H
#define PENALTY_H

#include "fit/step.h"

/* First thing in a step: the norms, p, and lambda in f->l1 as the jumps left it. */
void penalty_begin(struct fit *f);

/* One row's k pairs: g += lambda dS/df. Returns lambda S. */
double penalty_row(const struct fit *f, const uint32_t *idx, const float *val, size_t k, float *g);

/* The row hook of f = relu(pi) with this penalty. */
double penalty_row_l1(struct fit *f, size_t row);

/* The decoder gradient g (d_model) of feature i, whose penalized pairs are those of c: the penalty's part is added
 * where norms are free, and what lies along d_i taken out where they are not. */
void penalty_decoder(const struct fit *f, const struct codes *c, const struct codes_by_feature *by_feature, size_t i, float *g);

/* Last thing in a step: what the next jump must know of this batch. */
void penalty_end(struct fit *f, const struct codes *c);

/* After the parameters of feature i have moved: the unit norm of d_i, where it is not free. */
void penalty_constrain(struct fit *f, size_t i);

/* Fold free norms into a finished dictionary: d_i / n_i, e_i n_i and biases n_i have the same x_hat. */
void penalty_fold(const struct fit *f, struct sae *out);

#endif
