/* inner: encoders of several layers. Layers before the last are as wide as the rows, so that the last one, W_enc, has
 * the shape it always has; the decoder stays one layer of unit rows:
 *
 *   h_0 = x - b_dec      h_l = act(W_l h_{l-1} + b_l), l = 1 ... layers - 1      pi = E h + b_enc
 *
 * In a file W_l and b_l are W_enc_l [d_model, d_model], which stands on its side like W_enc, and b_enc_l. */
/* SPDX-License-Identifier: MIT */
#ifndef INNER_H
#define INNER_H

#include "kinds/fit.h"

extern const char *const inner_names[];         /* as enum fit_inner has them */

/* Layers before the last. */
size_t inner_layers(const struct sae *s);
/* h of one row x (d_model), in place, each product by vec_dot; spare (d_model). */
void inner_encode(const struct sae *s, float *x, float *spare);
/* Bring the scale of --normalize into the first layer and out of the last: act is not the same at every size. */
void inner_fold_scale(struct sae *s, double scale);
/* W_1 (x - b_dec) + b_1 = W_1 x + (b_1 - W_1 b_dec). */
void inner_fold_b_dec(struct sae *s);

/* ---- while fitting; nothing is done where the encoder has one layer ---- */

/* Random W_l that keep the size of rows. What comes out of act is far from 0 on the mean, alike everywhere: rows e_i
 * without a mean do not see it, or half of the features would be silent for ever. */
void inner_init(struct fit *f);
/* What the last layer sees (n, d_model): h, or f->x. */
const float *inner_forward(struct fit *f);
/* From dL/dh (n, d_model), which is overwritten with dL/dx: the gradients of all W_l and b_l into inner_gradient(). */
void inner_backward(struct fit *f, float *towards);
float *inner_gradient(const struct fit *f, enum sae_tensor t);

#endif
