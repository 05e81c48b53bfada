/* inner_layers: fitting encoders of several layers (see deep_encoder.h); nothing is done where the encoder has one. */
/* SPDX-License-Identifier: MIT */
#ifndef INNER_LAYERS_H
#define INNER_LAYERS_H

#include "fit/fit.h"

/* Random W_l that keep the size of rows. What comes out of act is far from 0 on the mean, alike everywhere: rows e_i
 * without a mean do not see it, or half of the features would be silent for ever. */
void inner_layers_init(struct fit *f);
/* What the last layer sees (n, d_model): h, or f->x. */
const float *inner_layers_forward(struct fit *f);
/* From dL/dh (n, d_model), which is overwritten with dL/dx: the gradients of all W_l and b_l into inner_layers_gradient(). */
void inner_layers_backward(struct fit *f, float *towards);
float *inner_layers_gradient(const struct fit *f, enum sae_tensor t);

#endif
