/* SPDX-License-Identifier: MIT */
#include "model/directlogit.h"
#include "ground/mem.h"
#include "maths/blas.h"
#include "model/lm_inside.h"

#include <stdlib.h>
#include <string.h>

int directlogit_check(const struct lm_hook *hook)
{
    switch (hook->site) {
    case SITE_EMBED:
    case SITE_POS_EMBED:
    case SITE_RESID_PRE:
    case SITE_RESID_MID:
    case SITE_RESID_POST:
    case SITE_ATTN_OUT:
    case SITE_MLP_OUT:
    case SITE_Z:
    case SITE_POST:
    case SITE_LN_FINAL:
        return 0;
    default:
        return err_data("no straight path from %s to the logits: it is neither part of the residual stream nor mapped into "
                        "it by one matrix", hook->name);
    }
}

/* What the hook's rows add to the residual stream: r (n, d). */
static void into_residual(const struct lm *m, const struct lm_hook *hook, const float *v, size_t n, float *r)
{
    size_t d = m->c.d_model;
    if (hook->site != SITE_Z && hook->site != SITE_POST) {
        memcpy(r, v, n * d * sizeof *r);
        return;
    }
    const float *w = lm_load(m, (size_t)hook->layer, hook->site == SITE_Z ? LM_ATTN_W : LM_DOWN_W);
    if (m->family->in_out)
        blas_nn(n, d, hook->width, v, hook->width, w, d, 0, r, d);
    else
        blas_nt(n, d, hook->width, v, hook->width, w, hook->width, 0, r, d);
}

static void less_mean(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(x[i] - sum / (double)n);
}

void directlogit(const struct lm *m, const struct lm_hook *hook, const float *v, size_t n, float *out)
{
    size_t d = m->c.d_model;
    float *r = mem_align(n, d * sizeof *r);
    const float *gain = lm_load(m, 0, LM_NORM_W), *unembed = lm_load(m, 0, m->c.tied ? LM_EMBED : LM_HEAD);
    into_residual(m, hook, v, n, r);
    for (size_t i = 0; i < n; i++) {
        if (hook->site != SITE_LN_FINAL)
            less_mean(r + i * d, d);
        for (size_t j = 0; j < d; j++)
            r[i * d + j] *= gain[j];
    }
    blas_nt(n, m->c.n_vocab, d, r, d, unembed, d, 0, out, m->c.n_vocab);
    for (size_t i = 0; i < n; i++)
        less_mean(out + i * m->c.n_vocab, m->c.n_vocab);
    free(r);
}
