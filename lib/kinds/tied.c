/* tied: f = relu(M x + b), x_hat = f M with one matrix M of unit rows m_i = w_i / |w_i|; w is what is learned, without
 * constraint, the norm being part of the function. No b_dec. [Cunningham 2023, eq. 1-4] */
/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "fit/penalty.h"
#include "fit/preset.h"
#include "fit/unit_rows.h"
#include "maths/vec.h"

#include <math.h>
#include <string.h>

#define LEAST_NORM 1e-8

static double norm(const struct fit *f, size_t i)
{
    size_t d = f->o.d_model;
    const float *w = f->param[SAE_W_ENC].p + i * d;
    double size = sqrt(vec_dot_wide(w, w, d));
    return size > LEAST_NORM ? size : LEAST_NORM;
}

/* Xavier-uniform: +- sqrt(6 / (d_sae + d_model)). */
static void init(struct fit *f)
{
    size_t items = f->o.d_sae * f->o.d_model;
    double bound = sqrt(6.0 / (double)(f->o.d_sae + f->o.d_model));
    for (size_t i = 0; i < items; i++)
        f->param[SAE_W_ENC].p[i] = (float)(bound * (2 * rng_uniform(&f->rng) - 1));
}

static void constrain(struct fit *f, size_t i)
{
    size_t d = f->o.d_model;
    memcpy(f->unit + i * d, f->param[SAE_W_ENC].p + i * d, d * sizeof *f->unit);
    vec_scale(f->unit + i * d, (float)(1 / norm(f, i)), d);
}

/* dw = (I - m m^T)(dE + dD) / |w|. */
static void gradient(const struct fit *f, size_t i, float *const g[SAE_TENSORS])
{
    size_t d = f->o.d_model;
    vec_add(g[SAE_W_ENC], g[SAE_W_DEC], d);
    unit_rows_project(g[SAE_W_ENC], f->unit + i * d, d);
    vec_scale(g[SAE_W_ENC], (float)(1 / norm(f, i)), d);
}

static void step(struct fit *f)
{
    penalty_begin(f);
    step_encode(f, step_fires_relu);
    step_rows(f, penalty_row_l1);
    step_update(f, gradient);
    penalty_end(f, &f->f);
}

static void finish(const struct fit *f, struct sae *out)
{
    size_t items = f->o.d_sae * f->o.d_model;
    memcpy(out->w_enc, f->unit, items * sizeof *out->w_enc);
    memcpy(out->w_dec, f->unit, items * sizeof *out->w_dec);
}

/* Measured on a million rows of a residual stream: some 50 features a row, few dead. */
static const struct preset usual = {
    .kind = "tied", .ratio = 4, .l1 = 1, .rms = true, .batch = 256, .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 1e-8,
};

const struct kind kind_tied = {
    .name = "tied",
    .about = "one matrix of unit rows to encode and decode, bias on the encoder alone",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC),
    .accepts = USES_ADAM | USES_L1 | USES_P | USES_ORTHO | USES_RECON | USES_CLIP | USES_RESAMPLE | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .candidates = activation_candidates_relu,
    .select = activation_select_relu,
    .init = init,
    .constrain = constrain,
    .step = step,
    .finish = finish,
    .resample_enc_norm = 1,        /* the norm is not what is used */
};
