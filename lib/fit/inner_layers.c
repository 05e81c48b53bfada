/* SPDX-License-Identifier: MIT */
#include "fit/inner_layers.h"
#include "base/mem.h"
#include "base/par.h"
#include "dict/deep_encoder.h"
#include "fit/fit_internal.h"
#include "maths/blas.h"
#include "maths/vec.h"

#include <math.h>
#include <string.h>

enum { ROWS = 128, BLOCK = 64 };

static float act_slope(int inner, float z)
{
    switch (inner) {
    case FIT_INNER_GELU:
        return (float)(0.5 * (1 + erf(z * sqrt(0.5))) + z * exp(-0.5 * z * z) * 0.3989422804014327);
    case FIT_INNER_SOFTPLUS:
        return (float)(1 / (1 + exp(-(double)z)));
    default:
        return z > 0;
    }
}

static size_t layers_of(const struct fit *f)
{
    return f->o.enc_layers > 1 ? f->o.enc_layers - 1 : 0;
}

static float *weights(const struct fit *f, size_t l)
{
    return f->param[SAE_W_INNER + 2 * l].p;
}

void inner_layers_init(struct fit *f)
{
    size_t d = f->o.d_model;
    for (size_t l = 0; l < layers_of(f); l++)
        for (size_t i = 0; i < d * d; i++)
            weights(f, l)[i] = (float)(rng_normal(&f->rng) * sqrt(2 / (double)d));
    for (size_t i = 0; layers_of(f) && i < f->o.d_sae; i++) {
        float *e = f->param[SAE_W_ENC].p + i * d;
        double mean = 0;
        for (size_t j = 0; j < d; j++)
            mean += e[j] / (double)d;
        for (size_t j = 0; j < d; j++)
            e[j] -= (float)mean;
    }
}

/* Of layer l: z before its activation, h behind it; (n, d_model) each. */
static float *before(const struct fit *f, size_t l)
{
    return f->work->inner + 2 * l * f->n * f->o.d_model;
}

static float *behind(const struct fit *f, size_t l)
{
    return before(f, l) + f->n * f->o.d_model;
}

static void forward_piece(void *arg, size_t piece, int worker)
{
    struct fit *f = arg;
    size_t d = f->o.d_model, from = piece * ROWS, rows = f->n - from < ROWS ? f->n - from : ROWS;
    const float *in = f->x + from * d;
    (void)worker;
    for (size_t l = 0; l < layers_of(f); l++) {
        float *z = before(f, l) + from * d, *h = behind(f, l) + from * d;
        blas_nt(rows, d, d, in, d, weights(f, l), d, 0, z, d);
        for (size_t r = 0; r < rows; r++)
            vec_add(z + r * d, f->param[SAE_B_INNER + 2 * l].p, d);
        for (size_t i = 0; i < rows * d; i++)
            h[i] = deep_encoder_activate(f->o.inner, z[i]);
        in = h;
    }
}

const float *inner_layers_forward(struct fit *f)
{
    size_t layers = layers_of(f);
    if (!layers)
        return f->x;
    f->work->inner = mem_grow(f->work->inner, &f->work->inner_cap, 2 * layers * f->n * f->o.d_model, sizeof(float));
    par_for((f->n + ROWS - 1) / ROWS, forward_piece, f);
    return behind(f, layers - 1);
}

struct backward {
    struct fit *f;
    size_t l;
    float *towards;             /* (n, d) dL/dh, then dL/dz; then of the layer before */
};

float *inner_layers_gradient(const struct fit *f, enum sae_tensor t)
{
    size_t d = f->o.d_model, l = (t - SAE_W_INNER) / 2;
    return f->work->inner_g + l * d * (d + 1) + (t == SAE_W_INNER + 2 * l ? 0 : d * d);
}

static void slope_piece(void *arg, size_t piece, int worker)
{
    const struct backward *b = arg;
    size_t d = b->f->o.d_model, end = (piece + 1) * ROWS < b->f->n ? (piece + 1) * ROWS : b->f->n;
    const float *z = before(b->f, b->l);
    (void)worker;
    for (size_t i = piece * ROWS * d; i < end * d; i++)
        b->towards[i] *= act_slope(b->f->o.inner, z[i]);
}

/* Rows of W_l: 1/B sum of dL/dz h^T over all rows of the batch. */
static void weight_piece(void *arg, size_t piece, int worker)
{
    const struct backward *b = arg;
    struct fit *f = b->f;
    size_t d = f->o.d_model, from = piece * BLOCK, n = d - from < BLOCK ? d - from : BLOCK;
    const float *in = b->l ? behind(f, b->l - 1) : f->x;
    float *g = inner_layers_gradient(f, SAE_W_INNER + 2 * b->l) + from * d;
    float *bias = inner_layers_gradient(f, SAE_B_INNER + 2 * b->l);
    (void)worker;
    blas_tn(n, d, f->n, b->towards + from, d, in, d, 0, g, d);
    vec_scale(g, 1 / (float)f->n, n * d);
    for (size_t i = from; i < from + n; i++) {
        double sum = 0;
        for (size_t r = 0; r < f->n; r++)
            sum += b->towards[r * d + i];
        bias[i] = (float)(sum / (double)f->n);
    }
}

static void input_piece(void *arg, size_t piece, int worker)
{
    const struct backward *b = arg;
    struct fit *f = b->f;
    size_t d = f->o.d_model, from = piece * ROWS, rows = f->n - from < ROWS ? f->n - from : ROWS;
    float *z = before(f, b->l) + from * d;          /* not needed any more: room for the result */
    (void)worker;
    blas_nn(rows, d, d, b->towards + from * d, d, weights(f, b->l), d, 0, z, d);
    memcpy(b->towards + from * d, z, rows * d * sizeof *z);
}

void inner_layers_backward(struct fit *f, float *towards)
{
    size_t d = f->o.d_model, pieces = (f->n + ROWS - 1) / ROWS, layers = layers_of(f);
    f->work->inner_g = mem_grow(f->work->inner_g, &f->work->inner_g_cap, layers * d * (d + 1), sizeof(float));
    for (size_t l = layers; l-- > 0;) {
        struct backward b = { f, l, towards };
        par_for(pieces, slope_piece, &b);
        par_for((d + BLOCK - 1) / BLOCK, weight_piece, &b);
        par_for(pieces, input_piece, &b);
    }
}
