/* SPDX-License-Identifier: MIT */
#include "dict/deep_encoder.h"
#include "maths/vec.h"

#include <math.h>
#include <string.h>

const char *const deep_encoder_names[] = { "relu", "gelu", "softplus", NULL };

float deep_encoder_activate(int inner, float z)
{
    switch (inner) {
    case FIT_INNER_GELU:
        return (float)(0.5 * z * (1 + erf(z * sqrt(0.5))));
    case FIT_INNER_SOFTPLUS:
        return (float)(fmax(z, 0) + log1p(exp(-fabs(z))));
    default:
        return z < 0 ? 0 : z;
    }
}

size_t deep_encoder_layers(const struct sae *s)
{
    size_t layers = 0;
    while (layers < SAE_INNER && s->w_inner[layers])
        layers++;
    return layers;
}

void deep_encoder_encode(const struct sae *s, float *x, float *spare)
{
    size_t d = s->d_model;
    for (size_t l = 0; l < deep_encoder_layers(s); l++) {
        for (size_t i = 0; i < d; i++)
            spare[i] = deep_encoder_activate(s->inner, vec_dot(s->w_inner[l] + i * d, x, d) + s->b_inner[l][i]);
        memcpy(x, spare, d * sizeof *x);
    }
}

void deep_encoder_fold_scale(struct sae *s, double scale)
{
    vec_scale(s->w_inner[0], (float)scale, s->d_model * s->d_model);
    vec_scale(s->w_enc, (float)(1 / scale), s->d_sae * s->d_model);
}

void deep_encoder_fold_b_dec(struct sae *s)
{
    size_t d = s->d_model;
    for (size_t i = 0; i < d; i++)
        s->b_inner[0][i] = (float)(s->b_inner[0][i] - vec_dot_wide(s->w_inner[0] + i * d, s->b_dec, d));
}
