/* relu: f = relu(E (x - b_dec) + b_enc), x_hat = f W_dec + b_dec; E free, unit decoder rows kept so by projecting their
 * gradient before Adam and renormalizing after it [Bricken 2023, Sparse Autoencoder]; or free ones, whose norm the
 * penalty weighs [Bricken 2024]. */
/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "fit/penalty.h"
#include "fit/preset.h"

static void gradient(const struct fit *f, size_t i, float *const g[SAE_TENSORS])
{
    penalty_decoder(f, &f->f, &f->by_feature, i, g[SAE_W_DEC]);
}

static void step(struct fit *f)
{
    penalty_begin(f);
    step_encode(f, step_fires_relu);
    step_rows(f, penalty_row_l1);
    step_update(f, gradient);
    penalty_end(f, &f->f);
}

/* Free decoder rows that begin small: a feature that explains nothing pays nothing. */
static const struct preset usual = {
    .kind = "relu", .ratio = 8, .l1 = 1.5, .rms = true, .batch = 256, .lr = 2e-3, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 1e-8, .decay = 0.3, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .norm_weighted = true, .dec_norm = 0.1,
};

const struct kind kind_relu = {
    .name = "relu",
    .about = "untied: free encoder rows, unit decoder rows, both biases",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .accepts = USES_ADAM | USES_LAYERS | USES_L1 | USES_CENTER | USES_NORM_WEIGHT | USES_P | USES_ORTHO | USES_RECON |
            USES_CLIP | USES_TIED_INIT | USES_DEC_NORM | USES_RESAMPLE | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .candidates = activation_candidates_relu,
    .select = activation_select_relu,
    .init = step_init_rows,
    .constrain = penalty_constrain,
    .step = step,
    .finish = penalty_fold,
};
