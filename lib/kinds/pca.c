/* pca: the directions of largest variance about the mean, as pairs of features (components.h); with k, the k largest scores
 * of a row.
 *
 *   every batch --> count, mean, outer products (double) --eigenvectors--> rows +-v_j, b_dec = mean
 *
 * The eigenvectors that batches are measured with are those of the first buffer, and then of all rows so far each time
 * their number has doubled; held-out rows are measured with those of all rows so far, which the finished dictionary
 * has. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "dict/activation.h"
#include "fit/components.h"
#include "fit/preset.h"
#include "fit/state.h"
#include "maths/linalg.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>

/* Moments of f->x, which is s x less b_dec: near 0, so that nothing cancels. */
static struct moments moments_of(struct fit *f)
{
    size_t d = f->o.d_model;
    return (struct moments){ d, fit_state_add(f, "count", 1), fit_state_add(f, "mean", d),
                             fit_state_add(f, "outer", d * d) };
}

/* Rows at the time of the last eigenvectors. */
static double *last_count(struct fit *f)
{
    return fit_state_add(f, "last", 1);
}

static int basis(const struct moments *m, size_t features, float *enc, float *dec)
{
    size_t d = m->d;
    double *vector = mem_alloc(d * d, sizeof *vector), *value = mem_alloc(d, sizeof *value);
    linalg_moments_covariance(m, vector);
    int bad = linalg_eigen(vector, d, value);
    for (size_t j = 0; !bad && 2 * j < features; j++)
        components_pair(enc, dec, d, j, vector + j * d, vector + j * d);
    free(vector);
    free(value);
    return bad;
}

static int begin(struct fit *f, const float *x, size_t n)
{
    size_t d = f->o.d_model;
    if (!components_of(f, d, "there are no more directions than dimensions"))
        return -1;
    double count = 0, *mean = mem_zero(d, sizeof *mean), *outer = mem_zero(d * d, sizeof *outer);
    struct moments m = { d, &count, mean, outer };
    linalg_moments_add(&m, x, n);
    components_center(f, mean);
    int bad = basis(&m, f->o.d_sae, f->param[SAE_W_ENC].p, f->param[SAE_W_DEC].p);
    moments_of(f);
    *last_count(f) = (double)n;
    free(mean);
    free(outer);
    return bad;
}

/* Take the eigenvectors anew, and move b_dec to the mean so far, and with it what was counted from it. */
static int renew(struct fit *f)
{
    size_t d = f->o.d_model;
    struct moments m = moments_of(f);
    float *b = f->param[SAE_B_DEC].p;
    for (size_t j = 0; j < d; j++) {
        float before = b[j];
        b[j] += (float)m.mean[j];
        float moved = b[j] - before;
        m.mean[j] -= moved;
        for (size_t r = 0; r < f->n; r++)
            f->x[r * d + j] -= moved;
    }
    *last_count(f) = *m.count;
    return basis(&m, f->o.d_sae, f->param[SAE_W_ENC].p, f->param[SAE_W_DEC].p);
}

/* The eigenvectors of all rows so far, for measuring: what is fitted stays as it is. */
struct measure {
    double count;
    float *enc, *dec, *moved;       /* b_dec as it would be, less b_dec */
};

static struct measure *measure_of(struct fit *f)
{
    struct moments m = moments_of(f);
    struct measure *own = f->priv;
    if (!own) {
        own = f->priv = mem_zero(1, sizeof *own);
        own->enc = mem_align(f->o.d_sae * m.d, sizeof *own->enc);
        own->dec = mem_align(f->o.d_sae * m.d, sizeof *own->dec);
        own->moved = mem_align(m.d, sizeof *own->moved);
    }
    if (own->count == *m.count)
        return own;
    own->count = *m.count;
    for (size_t j = 0; j < m.d; j++)
        own->moved[j] = (float)m.mean[j];
    return basis(&m, f->o.d_sae, own->enc, own->dec) ? NULL : own;
}

static void release(struct fit *f)
{
    struct measure *own = f->priv;
    if (!own)
        return;
    free(own->enc);
    free(own->dec);
    free(own->moved);
    free(own);
}

static void step(struct fit *f)
{
    struct moments m = moments_of(f);
    struct measure *own = NULL;
    if (f->mode == FIT_UPDATE && vec_first_nonfinite(f->x, f->n * m.d) < 0) {
        linalg_moments_add(&m, f->x, f->n);
        if (*m.count >= 2 * *last_count(f) && renew(f))
            f->x[0] = NAN;              /* too large to square: the loss will say so */
    }
    if (f->mode == FIT_MEASURE && *m.count > 0 && (own = measure_of(f))) {
        f->enc = own->enc;
        f->dec = own->dec;
        for (size_t r = 0; r < f->n; r++)
            vec_sub(f->x + r * m.d, f->x + r * m.d, own->moved, m.d);
    }
    components_step(f);
    f->enc = f->param[SAE_W_ENC].p;
    f->dec = f->param[SAE_W_DEC].p;
}

/* Of all rows. */
static void finish(const struct fit *f, struct sae *out)
{
    const struct fit_state *state = f->state;
    struct moments m = { f->o.d_model, state[0].p, state[1].p, state[2].p };
    components_finish(f, out);
    if (*m.count == 0)
        return;
    for (size_t j = 0; j < m.d; j++)
        out->b_dec[j] += (float)m.mean[j];
    if (basis(&m, out->d_sae, out->w_enc, out->w_dec))
        out->w_dec[0] = NAN;
}

static const struct preset usual = { .kind = "pca", .ratio = 2, .batch = 1024, .center = FIT_CENTER_MEAN,
                                     .apply_b_dec = true };

const struct kind kind_pca = {
    .name = "pca",
    .about = "principal components of all rows, each as two features",
    .saves = WHOLE_TENSORS,
    .learns = WHOLE_TENSORS,
    .accepts = USES_K,
    .defaults = &usual,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .begin = begin,
    .release = release,
    .step = step,
    .finish = finish,
};
