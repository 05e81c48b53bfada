/* identity: the neurons themselves, each as two features for its two signs; x_hat is x, bit for bit. Nothing is
 * fitted. */
/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "fit/components.h"
#include "fit/preset.h"

#include <string.h>

static int begin(struct fit *f, const float *x, size_t n)
{
    (void)x;
    (void)n;
    if (f->o.d_sae == 2 * f->o.d_model)
        return 0;
    return err_usage("--kind identity: d_sae is %zu, not %zu: each of %zu dimensions is two features", f->o.d_sae,
                     2 * f->o.d_model, f->o.d_model);
}

static void init(struct fit *f)
{
    size_t d = f->o.d_model;
    float *row = f->param[SAE_W_DEC].p;
    for (size_t j = 0; j < d; j++) {
        row[2 * j * d + j] = 1;
        row[(2 * j + 1) * d + j] = -1;
    }
    memcpy(f->param[SAE_W_ENC].p, row, 2 * d * d * sizeof *row);
}

static const struct preset usual = { .kind = "identity", .ratio = 2, .batch = 1024 };

const struct kind kind_identity = {
    .name = "identity",
    .about = "the dimensions of the rows, each as two features; not fitted",
    .saves = WHOLE_TENSORS,
    .learns = WHOLE_TENSORS,
    .accepts = USES_K,
    .defaults = &usual,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .begin = begin,
    .init = init,
    .step = components_step,
    .finish = components_finish,
};
