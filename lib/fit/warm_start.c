/* SPDX-License-Identifier: MIT */
#include "fit/warm_start.h"
#include "fit/step.h"
#include "maths/vec.h"

#include <math.h>
#include <string.h>

static void set_row(struct fit *f, enum sae_tensor t, size_t i, const float *row, double size)
{
    size_t d = f->o.d_model;
    if (!f->param[t].p)
        return;
    memcpy(f->param[t].p + i * d, row, d * sizeof *row);
    vec_scale(f->param[t].p + i * d, (float)size, d);
}

void warm_start_rows(struct fit *f, const float *rows, size_t n)
{
    size_t d = f->o.d_model;
    double size = step_dec_norm(f);
    for (size_t i = 0; i < n; i++) {
        const float *row = rows + i * d;
        double norm = sqrt(vec_dot_wide(row, row, d));
        if (!(norm > 0))
            continue;
        set_row(f, SAE_W_DEC, i, row, size / norm);
        if (f->o.tied_init || !f->param[SAE_W_DEC].p)
            set_row(f, SAE_W_ENC, i, row, size / norm);
    }
    fit_constrain(f);
}

/* The numbers of feature i that are not rows. One with b_enc alone is a gated one whose biases are the same. */
static void adopt_numbers(struct fit *f, struct sae *s, size_t i)
{
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const float *from = *sae_tensor(s, t);
        if (!from && (t == SAE_B_GATE || t == SAE_B_MAG))
            from = s->b_enc;
        if (from && f->param[t].p && sae_tensors[t].per_feature && !sae_tensors[t].per_input)
            f->param[t].p[i] = from[i] * (sae_tensors[t].scales ? (float)f->scale : 1);
    }
}

/* pi is of x - b_dec on one side and of x on the other: move <e_i, b_dec> between the biases. */
static void move_b_dec(struct fit *f, const struct sae *s, size_t i)
{
    size_t d = f->o.d_model;
    double shift = vec_dot_wide(s->w_enc + i * d, s->b_dec, d) * f->scale;
    double sign = f->o.apply_b_dec ? 1 : -1;
    const float *r = f->param[SAE_R_MAG].p;
    if (f->param[SAE_B_ENC].p)
        f->param[SAE_B_ENC].p[i] += (float)(sign * shift);
    if (f->param[SAE_B_GATE].p)
        f->param[SAE_B_GATE].p[i] += (float)(sign * shift);
    if (f->param[SAE_B_MAG].p)
        f->param[SAE_B_MAG].p[i] += (float)(sign * shift * (r ? exp((double)r[i]) : 1));
}

void warm_start_sae(struct fit *f, const struct sae *s)
{
    size_t d = f->o.d_model;
    bool untied = f->param[SAE_W_DEC].p && s->w_enc;
    for (size_t i = 0; i < s->d_sae; i++) {
        set_row(f, SAE_W_DEC, i, s->w_dec + i * d, 1);
        set_row(f, SAE_W_ENC, i, (untied ? s->w_enc : s->w_dec) + i * d, 1);
        adopt_numbers(f, (struct sae *)(uintptr_t)s, i);
        if (s->w_enc && s->b_dec && s->apply_b_dec_to_input != f->o.apply_b_dec)
            move_b_dec(f, s, i);
        if (f->o.kind->warm_start)
            f->o.kind->warm_start(f, s, i);
    }
    if (f->param[SAE_B_DEC].p && s->b_dec) {
        memcpy(f->param[SAE_B_DEC].p, s->b_dec, d * sizeof *s->b_dec);
        vec_scale(f->param[SAE_B_DEC].p, (float)f->scale, d);
    }
    fit_constrain(f);
}
