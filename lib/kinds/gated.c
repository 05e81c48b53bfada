/* gated: which features fire and how strongly are two functions of one product [Rajamanoharan 2024, eq. 5-8]:
 *
 *   pi_gate = W (x - b_dec) + b_gate       pi_mag = e^r_mag W (x - b_dec) + b_mag
 *   f = 1[pi_gate > 0] relu(pi_mag)        x_hat = f D + b_dec
 *   L = |x_hat - x|^2 + lambda S(relu(pi_gate)) + |relu(pi_gate) D + b_dec - x|^2,  D and b_dec frozen in the last term
 *
 * The step from pi_gate to f has no gradient; the last term is what teaches the gate. Frozen: neither D nor b_dec, as
 * what is added to the decoded, learn from it; b_dec inside pi does.
 * The second list holds the open gates, with relu(pi_gate); f->f those of them that fire. */
/* SPDX-License-Identifier: MIT */
#include "fit/penalty.h"
#include "fit/preset.h"
#include "maths/vec.h"

#include <math.h>
#include <string.h>

static size_t screen(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val)
{
    return sparse_above(dot, s->b_gate, slack, s->enc_norm, s->d_sae, idx, val);
}

static size_t settle(const struct sae *s, uint32_t *idx, float *val, size_t n)
{
    size_t kept = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t i = idx[j];
        float gate = val[j] + s->b_gate[i], mag = expf(s->r_mag[i]) * val[j] + s->b_mag[i];
        idx[kept] = i;
        val[kept] = mag;
        kept += !(gate <= 0) && !(mag <= 0);        /* NaN is kept: it must not pass for silence */
    }
    return kept;
}

static size_t opens(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    return sparse_above(dot, f->param[SAE_B_GATE].p, 0, NULL, f->o.d_sae, idx, val);
}

static size_t fires(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    size_t n = opens(f, dot, idx, val), kept = 0;
    for (size_t j = 0; j < n; j++) {
        uint32_t i = idx[j];
        float mag = expf(f->param[SAE_R_MAG].p[i]) * dot[i] + f->param[SAE_B_MAG].p[i];
        idx[kept] = i;
        val[kept] = mag;
        kept += !(mag <= 0);
    }
    return kept;
}

/* f->g: dL/dpi_mag of what fires. Of the open gates, extra: dL/dpi_gate, and g: what W learns from, e^r_mag dL/dpi_mag
 * with it. */
static double row_loss(struct fit *f, size_t row)
{
    struct step_list *open = step_second(f);
    size_t d = f->o.d_model, from = open->c.ptr[row], end = open->c.ptr[row + 1];
    float *r = open->r + row * d;
    step_row_plain(f, row);
    step_decode(f, &open->c, row, step_base(f), r);
    vec_sub(r, r, f->x + row * d, d);
    step_back(f, &open->c, row, r, 2 * step_recon(f), open->g);
    double penalty = penalty_row(f, open->c.idx + from, open->c.val + from, end - from, open->g + from);
    memcpy(open->extra + from, open->g + from, (end - from) * sizeof *open->g);
    for (size_t p = f->f.ptr[row], q = from; p < f->f.ptr[row + 1]; p++) {
        while (open->c.idx[q] != f->f.idx[p])
            q++;
        open->g[q] += expf(f->param[SAE_R_MAG].p[f->f.idx[p]]) * f->g[p];
    }
    return penalty + step_recon(f) * vec_dot_wide(r, r, d);
}

static void gradient(const struct fit *f, size_t i, float *const g[SAE_TENSORS])
{
    const struct step_list *open = step_second(f);
    const struct codes_by_feature *by = &f->by_feature;
    double scale = 0, bias = f->param[SAE_B_MAG].p[i];
    for (size_t j = by->start[i]; j < by->start[i + 1]; j++)
        scale += f->g[by->at[j]] * (f->f.val[by->at[j]] - bias);
    g[SAE_B_GATE][0] = (float)step_sum(f, &open->by_feature, i, open->extra);
    g[SAE_B_MAG][0] = (float)step_sum(f, by, i, f->g);
    g[SAE_R_MAG][0] = (float)(scale / (double)f->n);
    penalty_decoder(f, &open->c, &open->by_feature, i, g[SAE_W_DEC]);
}

static void step(struct fit *f)
{
    penalty_begin(f);
    struct step_list *open = step_encode_two(f, fires, opens);
    step_rows(f, row_loss);
    struct step_term term[2] = { step_term_first(f), step_term_second(f, false) };
    term[0].g = NULL;
    step_update_terms(f, term, 2, gradient);
    penalty_end(f, &open->c);
}

/* Without momentum one large gradient moves everything: cut off, the same FVU takes a third fewer features. */
static const struct preset usual = {
    .kind = "gated", .ratio = 8, .l1 = 1.8, .rms = true, .batch = 256, .lr = 2e-3, .beta1 = 0, .beta2 = 0.999,
    .eps = 1e-8, .decay = 0.3, .l1_warmup_share = 0.1, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .clip = 1,
};

const struct kind kind_gated = {
    .name = "gated",
    .about = "one product decides what fires, and scaled how strongly: no shrinkage",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC) | SAE_HAS(SAE_B_GATE) | SAE_HAS(SAE_B_MAG) |
             SAE_HAS(SAE_R_MAG),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC) | SAE_HAS(SAE_B_GATE) |
              SAE_HAS(SAE_B_MAG) | SAE_HAS(SAE_R_MAG),
    .accepts = USES_ADAM | USES_LAYERS | USES_L1 | USES_CENTER | USES_NORM_WEIGHT | USES_P | USES_ORTHO | USES_RECON |
            USES_CLIP | USES_TIED_INIT | USES_DEC_NORM | USES_RESAMPLE | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .candidates = screen,
    .select = settle,
    .init = step_init_rows,
    .constrain = penalty_constrain,
    .step = step,
    .finish = penalty_fold,
};
