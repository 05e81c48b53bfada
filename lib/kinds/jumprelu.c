/* jumprelu: f = pi 1[pi > theta], one threshold theta = e^eta a feature, and S the number of features that fire
 * [Rajamanoharan 2024b, eq. 8-12]:
 *
 *   L = |x_hat - x|^2 + lambda sum_i 1[pi_i > theta_i],     or with a target    lambda (L0 / target - 1)^2, L0 a mean
 *
 * The thresholds learn by straight-through estimates with a window of width eps about them, K(u) = 1[|u| < 1/2]:
 *
 *   df/dtheta := -(theta / eps) K((pi - theta) / eps)        d1[pi > theta]/dtheta := -(1 / eps) K((pi - theta) / eps)
 *
 * and pi learns from f alone, df/dpi = 1[pi > theta]. The window is on pi, not on f: its lower half is features that do
 * not fire, and needs their <d_i, r> as well. The second list is the window; eta is held in the place of the
 * threshold. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "dict/activation.h"
#include "dict/deep_encoder.h"
#include "fit/penalty.h"
#include "fit/preset.h"
#include "fit/unit_rows.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>

/* What follows from the parameters: theta, and b - theta. */
struct own {
    float *theta, *shift;
};

static size_t fires(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    const struct own *own = f->priv;
    size_t n = sparse_above(dot, own->shift, 0, NULL, f->o.d_sae, idx, val);
    for (size_t j = 0; j < n; j++)
        val[j] += own->theta[idx[j]];
    return n;
}

static size_t in_window(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    const struct own *own = f->priv;
    float half = (float)(f->o.bandwidth / 2);
    size_t n = 0;
    for (size_t i = 0; i < f->o.d_sae; i++) {
        float away = dot[i] + own->shift[i];
        idx[n] = (uint32_t)i;
        val[n] = away;
        n += fabsf(away) < half;
    }
    return n;
}

/* dL / d(the mean number that fire), besides the loss itself of each row. */
static double count_loss(const struct fit *f, size_t row, double *slope)
{
    if (f->o.target_l0 > 0) {
        double over = (double)f->f.ptr[f->n] / (double)f->n / f->o.target_l0 - 1;
        *slope = 2 * f->l1 * over / f->o.target_l0;
        return f->l1 * over * over;
    }
    *slope = f->l1;
    return f->l1 * (double)(f->f.ptr[row + 1] - f->f.ptr[row]);
}

/* Of the window, extra: d(row's L) / dtheta. */
static double row_loss(struct fit *f, size_t row)
{
    struct step_list *window = step_second(f);
    const struct own *own = f->priv;
    double slope, loss = count_loss(f, row, &slope);
    step_row_plain(f, row);
    step_back(f, &window->c, row, f->r + row * f->o.d_model, 2 * step_recon(f), window->g);
    for (size_t p = window->c.ptr[row]; p < window->c.ptr[row + 1]; p++)
        window->extra[p] = (float)(-(own->theta[window->c.idx[p]] * window->g[p] + slope) / f->o.bandwidth);
    return loss;
}

static void gradient(const struct fit *f, size_t i, float *const g[SAE_TENSORS])
{
    const struct step_list *window = step_second(f);
    const struct own *own = f->priv;
    g[SAE_THRESHOLD][0] = own->theta[i] * (float)step_sum(f, &window->by_feature, i, window->extra);
    unit_rows_gradient(f, i, g);
}

static void step(struct fit *f)
{
    step_encode_two(f, fires, in_window);
    step_rows(f, row_loss);
    struct step_term term[2] = { step_term_first(f), step_term_second(f, false) };
    term[1].g = NULL;
    step_update_terms(f, term, 2, gradient);
}

static void init(struct fit *f)
{
    step_init_rows(f);
    for (size_t i = 0; i < f->o.d_sae; i++)
        f->param[SAE_THRESHOLD].p[i] = (float)log(f->o.theta0);
}

static void constrain(struct fit *f, size_t i)
{
    struct own *own = f->priv;
    unit_rows_constrain(f, i);
    if (!own) {
        f->priv = own = mem_zero(1, sizeof *own);
        own->theta = mem_zero(f->o.d_sae, sizeof(float));
        own->shift = mem_zero(f->o.d_sae, sizeof(float));
    }
    own->theta[i] = expf(f->param[SAE_THRESHOLD].p[i]);
    own->shift[i] = f->param[SAE_B_ENC].p[i] - own->theta[i];
}

static void release(struct fit *f)
{
    struct own *own = f->priv;
    if (own) {
        free(own->theta);
        free(own->shift);
    }
    free(own);
}

/* E (x - b_dec) + b_enc = E x + (b_enc - E b_dec). */
static void finish(const struct fit *f, struct sae *out)
{
    const struct own *own = f->priv;
    size_t d = f->o.d_model;
    for (size_t i = 0; i < f->o.d_sae; i++) {
        out->threshold[i] = own->theta[i];
        if (f->o.apply_b_dec && !out->w_inner[0])
            out->b_enc[i] = (float)(out->b_enc[i] - vec_dot_wide(out->w_enc + i * d, out->b_dec, d));
    }
    if (f->o.apply_b_dec && out->w_inner[0])
        deep_encoder_fold_b_dec(out);
    out->apply_b_dec_to_input = false;
}

static void adopt(struct fit *f, const struct sae *s, size_t i)
{
    if (s->threshold)
        f->param[SAE_THRESHOLD].p[i] = (float)log(fmax(s->threshold[i] * f->scale, 1e-9));
}

/* Thresholds rise slowly, being exponentials: they begin near where they end. */
static const struct preset usual = {
    .kind = "jumprelu", .ratio = 8, .l1 = 0.4, .rms = true, .batch = 256, .lr = 4e-3, .beta1 = 0, .beta2 = 0.999,
    .eps = 1e-8, .decay = 0.3, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .theta0 = 1, .bandwidth = 0.3,
};

const struct kind kind_jumprelu = {
    .name = "jumprelu",
    .about = "learned thresholds below which features are silent; the penalty counts those that fire",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC) | SAE_HAS(SAE_THRESHOLD),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC) |
              SAE_HAS(SAE_THRESHOLD),
    .accepts = USES_ADAM | USES_LAYERS | USES_L1 | USES_CENTER | USES_THETA | USES_ORTHO | USES_RECON | USES_CLIP |
            USES_TIED_INIT | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .candidates = activation_candidates_threshold,
    .select = activation_select_threshold,
    .release = release,
    .init = init,
    .constrain = constrain,
    .step = step,
    .finish = finish,
    .warm_start = adopt,
};
