/* rica: components whose log cosh is small under a price on what W^T W loses, as pairs of features (components.h); there may
 * be more of them than dimensions. Fitted in double by Adam, on rows whitened as the first buffer has it:
 *
 *   z = white (s x - b_dec);  W (k, q) goes down mu |W^T W z - z|^2 + lambda sum log cosh(W z), mu being `recon`
 *   d_j = row j of W C^1/2,   e_j = row j of W C^-1/2                                           [Le 2011]
 *
 * For whitened rows the first term is mu |W^T W - I|^2 on average. */
/* SPDX-License-Identifier: MIT */
#include "kinds/rica.h"
#include "base/mem.h"
#include "dict/activation.h"
#include "fit/components.h"
#include "fit/fit_internal.h"
#include "fit/preset.h"
#include "fit/state.h"
#include "fit/step.h"
#include "maths/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double log_cosh(double s)
{
    double size = fabs(s);
    return size + log1p(exp(-2 * size)) - 0.69314718055994530942;
}

double rica_loss(const double *w, size_t k, size_t q, const double *z, size_t n, double mu, double lambda, double *s,
                 double *r, double *grad, double *row)
{
    double loss = 0;
    linalg_multiply(false, true, n, k, q, 1, z, w, 0, s);
    memcpy(r, z, n * q * sizeof *r);
    linalg_multiply(false, false, n, q, k, 1, s, w, -1, r);
    for (size_t i = 0; i < n; i++) {
        double here = 0;
        for (size_t j = 0; j < q; j++)
            here += mu * r[i * q + j] * r[i * q + j];
        for (size_t j = 0; j < k; j++)
            here += lambda * log_cosh(s[i * k + j]);
        if (row)
            row[i] = here;
        loss += here / (double)n;
    }
    if (!grad)
        return loss;
    double *back = mem_alloc(n * k, sizeof *back), share = 1 / (double)n;
    linalg_multiply(false, true, n, k, q, 2 * mu, r, w, 0, back);
    for (size_t i = 0; i < n * k; i++)
        back[i] += lambda * tanh(s[i]);
    linalg_multiply(true, false, k, q, n, share, back, z, 0, grad);
    linalg_multiply(true, false, k, q, n, 2 * mu * share, s, r, 1, grad);
    free(back);
    return loss;
}

/* ---- fitting ---- */

/* What the fit keeps, as it lies in its states. */
struct parts {
    size_t d, k, q;
    double *white, *color;     /* (q, d) to whitened rows: z = white (s x - b_dec); and back: z color */
    double *w, *m, *v;          /* (k, q) W and its moments */
};

static struct parts parts_of(struct fit *f)
{
    size_t d = f->o.d_model, k = f->o.d_sae / 2, q = (size_t)*fit_state_add(f, "rank", 1);
    struct parts p = { .d = d, .k = k, .q = q };
    p.white = fit_state_add(f, "white", q * d);
    p.color = fit_state_add(f, "colour", q * d);
    p.w = fit_state_add(f, "w", k * q);
    p.m = fit_state_add(f, "m", k * q);
    p.v = fit_state_add(f, "v", k * q);
    return p;
}

static int begin(struct fit *f, const float *x, size_t n)
{
    struct components_spectrum s;
    size_t k = components_of(f, SIZE_MAX, "");
    if (!k || components_spectrum(x, n, f->o.d_model, &s))
        return -1;
    components_center(f, s.mean);
    *fit_state_add(f, "rank", 1) = (double)s.rank;
    struct parts p = parts_of(f);
    components_spectrum_scaled(&s, p.q, -1, p.white);
    components_spectrum_scaled(&s, p.q, 1, p.color);
    for (size_t i = 0; i < k * p.q; i++)
        p.w[i] = rng_normal(&f->rng) / sqrt((double)p.q);
    components_spectrum_free(&s);
    return 0;
}

static void adam(struct fit *f, const struct parts *p, const double *g)
{
    const struct fit_options *o = &f->o;
    double t = (double)(f->step + 1), rate = fit_rate(f, f->step) / (1 - pow(o->beta1, t));
    double spread = 1 / sqrt(1 - pow(o->beta2, t));
    for (size_t i = 0; i < p->k * p->q; i++) {
        p->m[i] = o->beta1 * p->m[i] + (1 - o->beta1) * g[i];
        p->v[i] = o->beta2 * p->v[i] + (1 - o->beta2) * g[i] * g[i];
        p->w[i] -= rate * p->m[i] / (sqrt(p->v[i]) * spread + o->eps);
    }
}

/* The pairs, errors and losses of the batch, from s (n, k), r (n, q) in whitened units and the loss of each row. */
static void report(struct fit *f, const struct parts *p, const double *s, const double *r, const double *row)
{
    double *lost = mem_alloc(f->n * p->d, sizeof *lost);
    uint32_t *idx = mem_alloc(p->k, sizeof *idx);
    float *val = mem_alloc(p->k, sizeof *val);
    linalg_multiply(false, false, f->n, p->d, p->q, 1, r, p->color, 0, lost);
    codes_reset(&f->f, f->o.d_sae);
    for (size_t i = 0; i < f->n; i++) {
        size_t fire = 0;
        for (size_t j = 0; j < p->k; j++) {
            idx[fire] = (uint32_t)(2 * j + (s[i * p->k + j] < 0));
            val[fire] = (float)fabs(s[i * p->k + j]);
            fire += s[i * p->k + j] != 0;
        }
        codes_push(&f->f, idx, val, fire);
        f->error[i] = 0;
        for (size_t j = 0; j < p->d; j++)
            f->error[i] += lost[i * p->d + j] * lost[i * p->d + j];
        f->loss[i] = row[i];
    }
    free(lost);
    free(idx);
    free(val);
}

static void step(struct fit *f)
{
    struct parts p = parts_of(f);
    size_t n = f->n;
    double *x = mem_alloc(n * p.d, sizeof *x), *z = mem_alloc(n * p.q, sizeof *z), *s = mem_alloc(n * p.k, sizeof *s);
    double *r = mem_alloc(n * p.q, sizeof *r), *row = mem_alloc(n, sizeof *row);
    double *grad = f->mode == FIT_UPDATE ? mem_alloc(p.k * p.q, sizeof *grad) : NULL;
    for (size_t i = 0; i < n * p.d; i++)
        x[i] = f->x[i];
    linalg_multiply(false, true, n, p.q, p.d, 1, x, p.white, 0, z);
    f->batch_loss = rica_loss(p.w, p.k, p.q, z, n, f->o.recon, f->l1, s, r, grad, row);
    report(f, &p, s, r, row);
    if (grad && fit_is_sound(f))
        adam(f, &p, grad);
    free(x);
    free(z);
    free(s);
    free(r);
    free(row);
    free(grad);
}

static void finish(const struct fit *f, struct sae *out)
{
    const struct fit_state *at = f->state;
    size_t d = f->o.d_model, k = f->o.d_sae / 2, q = (size_t)at[0].p[0];
    double *e = mem_alloc(k * d, sizeof *e), *dir = mem_alloc(k * d, sizeof *dir);
    linalg_multiply(false, false, k, d, q, 1, at[3].p, at[1].p, 0, e);
    linalg_multiply(false, false, k, d, q, 1, at[3].p, at[2].p, 0, dir);
    for (size_t j = 0; j < k; j++)
        components_pair(out->w_enc, out->w_dec, d, j, e + j * d, dir + j * d);
    free(e);
    free(dir);
    components_finish(f, out);
}

static const struct preset usual = { .kind = "rica", .ratio = 4, .l1 = 1, .batch = 256, .lr = 1e-2, .beta1 = 0.9,
                                     .beta2 = 0.999, .eps = 1e-8, .decay = 0, .center = FIT_CENTER_MEAN,
                                     .apply_b_dec = true };

const struct kind kind_rica = {
    .name = "rica",
    .about = "reconstruction ICA: more components than dimensions are allowed, each is two features",
    .saves = WHOLE_TENSORS,
    .learns = SAE_HAS(SAE_B_DEC),
    .accepts = USES_ADAM | USES_L1 | USES_RECON,
    .defaults = &usual,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .begin = begin,
    .step = step,
    .finish = finish,
};
