/* deep_encoder: encoders of several layers. Layers before the last are as wide as the rows, so that the last one, W_enc,
 * has the shape it always has; the decoder stays one layer of unit rows:
 *
 *   h_0 = x - b_dec      h_l = act(W_l h_{l-1} + b_l), l = 1 ... layers - 1      pi = E h + b_enc
 *
 * In a file W_l and b_l are W_enc_l [d_model, d_model], which stands on its side like W_enc, and b_enc_l. */
/* SPDX-License-Identifier: MIT */
#ifndef DEEP_ENCODER_H
#define DEEP_ENCODER_H

#include "dict/sae.h"

/* Activations of layers before the last; their names, in the same order, end with NULL. */
enum fit_inner { FIT_INNER_RELU, FIT_INNER_GELU, FIT_INNER_SOFTPLUS };
extern const char *const deep_encoder_names[];

/* One of them, at z. */
float deep_encoder_activate(int inner, float z);

/* Layers before the last. */
size_t deep_encoder_layers(const struct sae *s);
/* h of one row x (d_model), in place, each product by vec_dot; spare (d_model). */
void deep_encoder_encode(const struct sae *s, float *x, float *spare);
/* Bring the scale of --normalize into the first layer and out of the last: act is not the same at every size. */
void deep_encoder_fold_scale(struct sae *s, double scale);
/* W_1 (x - b_dec) + b_1 = W_1 x + (b_1 - W_1 b_dec). */
void deep_encoder_fold_b_dec(struct sae *s);

#endif
