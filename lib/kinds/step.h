/* step: the pieces a kind's step hook is put together from. Only the encoder product is dense; the rest touches the
 * features that fire, and no (d_sae, d_model) gradient is ever held:
 *
 *   x --step_encode--> pairs (row, feature, f) --step_rows--> r = x_hat - x, g = dL/dpi --step_update--> by feature:
 *       dD_i = 2/B sum f r, dE_i = 1/B sum g x, db_i = 1/B sum g  --the kind's gradient--> Adam --its constrain-->
 *   and last b_dec: 1/B [2 sum r - E^T sum g], E as it was.
 *
 * Work is cut into fixed blocks of rows, then of features; sums over rows run in row order. */
/* SPDX-License-Identifier: MIT */
#ifndef STEP_H
#define STEP_H

#include "kinds/fit.h"

/* Which features of one row fire: dot (d_sae) = E x; list them ascending with their values. Returns how many. */
typedef size_t (*step_fires)(const struct fit *f, const float *dot, uint32_t *idx, float *val);
/* Fill f->f from f->x. */
void step_encode(struct fit *f, step_fires fires);

/* For one row: its residual, by step_residual(), and g for each of its pairs. Returns the penalty, lambda S(f). */
typedef double (*step_row)(struct fit *f, size_t row);
/* Do so for all rows; f->error and f->loss follow. */
void step_rows(struct fit *f, step_row fn);
/* f->r of the row = f W_dec + b_dec - s x. */
void step_residual(struct fit *f, size_t row);

/* The gradient of feature i's parameters: g[SAE_W_DEC], g[SAE_W_ENC], g[SAE_B_ENC] hold dD_i, dE_i, db_i; every row
 * of a tensor the kind learns is to hold the gradient of that parameter on return. Rows of other tensors come as
 * zeros. */
typedef void (*step_gradient)(const struct fit *f, size_t i, float *const g[SAE_TENSORS]);
/* Hand all gradients on, as f->mode says: nothing, to f->gradient, or to Adam. */
void step_update(struct fit *f, step_gradient fn);

/* g -= <g, u> u: what is left of g in the plane that touches the unit sphere at u (d). */
void step_project(float *g, const float *u, size_t d);

/* The hooks of f = relu(pi) with S(f) = sum f, which several kinds share. */
size_t step_fires_relu(const struct fit *f, const float *dot, uint32_t *idx, float *val);
double step_row_l1(struct fit *f, size_t row);

#endif
