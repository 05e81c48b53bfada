/* random: normalized Gaussian rows that encode and decode, without biases: what a dictionary finds that knows nothing.
 * Nothing is fitted. */
/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "fit/components.h"
#include "fit/preset.h"
#include "maths/vec.h"

#include <string.h>

static void init(struct fit *f)
{
    size_t d = f->o.d_model, m = f->o.d_sae;
    float *row = f->param[SAE_W_DEC].p;
    for (size_t i = 0; i < m * d; i++)
        row[i] = (float)rng_normal(&f->rng);
    for (size_t i = 0; i < m; i++)
        vec_normalize(row + i * d, d, 1e-30f);
    memcpy(f->param[SAE_W_ENC].p, row, m * d * sizeof *row);
}

static const struct preset usual = { .kind = "random", .ratio = 4, .batch = 1024 };

const struct kind kind_random = {
    .name = "random",
    .about = "random directions, not fitted: the floor of every comparison",
    .saves = WHOLE_TENSORS,
    .learns = WHOLE_TENSORS,
    .accepts = USES_K,
    .defaults = &usual,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .init = init,
    .step = components_step,
    .finish = components_finish,
};
