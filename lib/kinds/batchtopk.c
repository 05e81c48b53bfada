/* batchtopk: of a batch of B rows the k B largest relu(pi) fire, so that a row may have more than k or fewer; the
 * finished dictionary has one threshold instead (batch_threshold.h). Unit decoder rows, no penalty. [Bussmann 2024] */
/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "fit/batch_threshold.h"
#include "fit/preset.h"
#include "fit/unit_rows.h"

static void step(struct fit *f)
{
    struct step_term term[2];
    batch_threshold_encode(f);
    step_rows(f, step_row_plain);
    term[0] = step_term_first(f);
    step_update_terms(f, term, auxk_add(f, term, 1), unit_rows_gradient);
    batch_threshold_end(f);
}

static const struct preset usual = {
    .kind = "batchtopk", .ratio = 8, .rms = true, .batch = 256, .lr = 3e-3, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 6.25e-10, .decay = 0.3, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .k = 32, .aux_k = 256,
    .aux_weight = 1.0 / 32, .dead_window = 10000,
};

const struct kind kind_batchtopk = {
    .name = "batchtopk",
    .about = "K features a row on average: the strongest of each batch, one threshold at the end",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC) | SAE_HAS(SAE_THRESHOLD),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .accepts = USES_ADAM | USES_LAYERS | USES_CENTER | USES_K | USES_AUX | USES_ORTHO | USES_RECON | USES_CLIP |
            USES_TIED_INIT | USES_RESAMPLE | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .candidates = activation_candidates_threshold,
    .select = activation_select_threshold,
    .init = step_init_rows,
    .constrain = unit_rows_constrain,
    .step = step,
    .finish = batch_threshold_finish,
    .resample_enc_norm = 1,        /* a smaller row never wins */
};
