/* random: normalised Gaussian rows that encode and decode, without biases: what a dictionary finds that knows nothing.
 * Nothing is fitted. */
/* SPDX-License-Identifier: MIT */
#include "kinds/activation.h"
#include "kinds/recipe.h"
#include "kinds/whole.h"
#include "maths/vec.h"

#include <string.h>

static void init(struct fit *f)
{
    size_t d = f->o.d_model, m = f->o.d_sae;
    float *row = f->param[SAE_W_DEC].p;
    for (size_t i = 0; i < m * d; i++)
        row[i] = (float)rng_normal(&f->rng);
    for (size_t i = 0; i < m; i++)
        vec_normalise(row + i * d, d, 1e-30f);
    memcpy(f->param[SAE_W_ENC].p, row, m * d * sizeof *row);
}

static const struct recipe usual = { .kind = "random", .ratio = 4, .batch = 1024 };

const struct kind kind_random = {
    .name = "random",
    .about = "random directions, not fitted: the floor of every comparison",
    .saves = WHOLE_TENSORS,
    .learns = WHOLE_TENSORS,
    .uses = USES_K,
    .usual = &usual,
    .screen = kind_screen_topk,
    .settle = kind_settle_topk,
    .init = init,
    .step = whole_step,
    .finish = whole_finish,
};
