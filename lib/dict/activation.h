/* activation: from products with encoder rows to the features that fire, as the candidates and select hooks of kind.h do it
 * for activations that several kinds share. */
/* SPDX-License-Identifier: MIT */
#ifndef ACTIVATION_H
#define ACTIVATION_H

#include "dict/sae.h"

#include <stddef.h>
#include <stdint.h>

/* The hooks of f = relu(pi), which several kinds share. */
size_t activation_candidates_relu(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val);
size_t activation_select_relu(const struct sae *s, uint32_t *idx, float *val, size_t n);

/* Those of f = the k = s->k largest of relu(pi), 0 elsewhere (the smaller index wins a tie); k = 0: all of them. */
size_t activation_candidates_topk(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val);
size_t activation_select_topk(const struct sae *s, uint32_t *idx, float *val, size_t n);

/* Those of f = pi 1[pi > threshold], relu(pi) where a threshold is below 0. */
size_t activation_candidates_threshold(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val);
size_t activation_select_threshold(const struct sae *s, uint32_t *idx, float *val, size_t n);

#endif
