/* topk: f = the k largest of relu(pi), the rest is silent; no penalty. Unit decoder rows. [Gao 2024, eq. 3] */
/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "fit/auxk.h"
#include "fit/preset.h"
#include "fit/unit_rows.h"
#include "maths/largest.h"

static size_t fires(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    size_t n = step_fires_relu(f, dot, idx, val);
    return n > f->o.k ? largest_pairs(idx, val, n, f->o.k) : n;
}

static void step(struct fit *f)
{
    struct step_term term[2];
    auxk_encode(f, fires);
    step_rows(f, step_row_plain);
    term[0] = step_term_first(f);
    step_update_terms(f, term, auxk_add(f, term, 1), unit_rows_gradient);
}

static void finish(const struct fit *f, struct sae *out)
{
    out->k = f->o.k;
}

/* Measured, as all recipes of kinds here are, on a residual stream, a layer of neurons and toy data: see Quality in the
 * manual page of sae-fit. Features that have not fired for some tens of batches are put to work. */
const struct preset recipe_good = {
    .name = "good", .about = "the kind that is best on the whole, topk, as it is by default",
    .kind = "topk", .ratio = 8, .rms = true, .batch = 256, .lr = 3e-3, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 6.25e-10, .decay = 0.3, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .k = 32, .aux_k = 256,
    .aux_weight = 1.0 / 32, .dead_window = 10000,
};

const struct kind kind_topk = {
    .name = "topk",
    .about = "the K strongest features of each row, no penalty",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .accepts = USES_ADAM | USES_LAYERS | USES_CENTER | USES_K | USES_AUX | USES_ORTHO | USES_RECON | USES_CLIP |
            USES_TIED_INIT | USES_RESAMPLE | USES_INIT | USES_SCALE,
    .defaults = &recipe_good,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .init = step_init_rows,
    .constrain = unit_rows_constrain,
    .step = step,
    .finish = finish,
    .resample_enc_norm = 1,        /* a smaller row never wins */
};
