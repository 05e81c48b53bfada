/* fista: a dictionary without an encoder: the codes of a row are those that minimize its loss [maths/lasso.h], the
 * dictionary goes down the gradient at these codes. Unit rows, kept so as relu keeps them. [Olshausen and Field 1997] */
/* SPDX-License-Identifier: MIT */
#include "fit/preset.h"
#include "fit/step.h"
#include "fit/unit_rows.h"
#include "maths/lasso.h"

static void init(struct fit *f)
{
    size_t d = f->o.d_model;
    float *row = f->param[SAE_W_DEC].p;
    for (size_t i = 0; i < f->o.d_sae * d; i++)
        row[i] = (float)rng_normal(&f->rng);
}

/* At codes that minimize the row's loss, what the loss changes through them is 0. */
static double row_hook(struct fit *f, size_t row)
{
    double sum = 0;
    step_residual(f, row);
    for (uint32_t p = f->f.ptr[row]; p < f->f.ptr[row + 1]; p++)
        sum += f->f.val[p];
    return f->l1 * sum;
}

static void step(struct fit *f)
{
    size_t m = f->o.d_sae, d = f->o.d_model, iterations = f->o.inner_iterations ? f->o.inner_iterations : 50;
    const float *base = f->o.apply_b_dec ? NULL : f->param[SAE_B_DEC].p;
    struct fista how = { .lambda = f->l1, .iterations = iterations, .tol = 1e-3 };
    struct lasso_atoms atoms = lasso_atoms_new(f->dec, m, d, (double)f->n * (double)iterations);
    f->enc = f->dec;                    /* read, but nothing is learned from it */
    lasso_codes(&atoms, &how, f->x, f->n, base, NULL, &f->f);
    lasso_atoms_free(&atoms);
    step_rows(f, row_hook);
    struct step_term term = step_term_first(f);
    term.g = NULL;
    step_update_terms(f, &term, 1, unit_rows_gradient);
}

static const struct preset usual = {
    .kind = "fista", .ratio = 4, .l1 = 1.5, .rms = true, .batch = 256, .lr = 5e-3, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 1e-8, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .inner_iterations = 50,
};

const struct kind kind_fista = {
    .name = "fista",
    .about = "sparse coding: no encoder, every row's codes are searched for",
    .saves = SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .learns = SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .accepts = USES_ADAM | USES_L1 | USES_CENTER | USES_ITERATIONS | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .init = init,
    .constrain = unit_rows_constrain,
    .step = step,
};
