/* SPDX-License-Identifier: MIT */
#include "fit/fit.h"
#include "base/mem.h"
#include "base/par.h"
#include "dict/deep_encoder.h"
#include "fit/fit_internal.h"
#include "fit/state.h"
#include "maths/vec.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LOAD_ROWS = 128, MEDIAN_ROWS = 32768, STREAM = 0xf17 };

/* ---- life ---- */

static void make_params(struct fit *f)
{
    const struct fit_options *o = &f->o;
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        struct fit_param *p = &f->param[t];
        p->rows = sae_tensor_rows(t, o->d_sae);
        p->width = sae_tensor_width(t, o->d_model);
        bool inner = sae_tensors[t].inner && t < SAE_W_INNER + 2 * (o->enc_layers - !!o->enc_layers);
        if ((!(o->kind->learns & SAE_HAS(t)) && !inner) || (t == SAE_B_DEC && o->center == FIT_CENTER_NONE))
            continue;
        p->p = mem_align(p->rows * p->width, sizeof(float));
        memset(p->p, 0, p->rows * p->width * sizeof(float));
        p->m = mem_zero(p->rows * p->width, sizeof(float));
        p->v = mem_zero(p->rows * p->width, sizeof(float));
    }
    if (!f->param[SAE_W_DEC].p)
        f->unit = mem_align(o->d_sae * o->d_model, sizeof(float));
    f->enc = f->unit ? f->unit : f->param[SAE_W_ENC].p;
    f->dec = f->unit ? f->unit : f->param[SAE_W_DEC].p;
}

static struct fit_work *work_new(const struct fit_options *o)
{
    struct fit_work *w = mem_zero(1, sizeof *w);
    w->workers = (size_t)par_threads();
    w->scratch = mem_zero(w->workers, sizeof *w->scratch);
    for (size_t i = 0; i < w->workers; i++) {
        struct fit_scratch *s = &w->scratch[i];
        s->idx = mem_align(o->d_sae, sizeof *s->idx);
        s->val = mem_align(o->d_sae, sizeof *s->val);
        for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
            s->g[t] = mem_align(sae_tensors[t].square ? 1 : sae_tensor_width(t, o->d_model), sizeof(float));
    }
    return w;
}

/* What step.c and the penalties made. */
static void free_lists(struct fit_work *w)
{
    for (size_t i = 0; i < w->pieces; i++) {
        codes_free(&w->piece[i].fires);
        codes_free(&w->piece[i].others);
    }
    codes_free(&w->second.c);
    columns_free(&w->second.by_feature);
    free(w->second.g);
    free(w->second.extra);
    free(w->second.r);
    free(w->piece);
    free(w->dead);
    free(w->norm);
    free(w->alike);
    free(w->inner);
    free(w->inner_g);
    free(w->towards);
    free(w->square);
    free(w->sum_r);
    free(w->back);
}

static void work_free(struct fit_work *w)
{
    for (size_t i = 0; i < w->workers; i++) {
        struct fit_scratch *s = &w->scratch[i];
        free(s->dot);
        free(s->idx);
        free(s->val);
        free(s->list);
        for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
            free(s->g[t]);
    }
    free_lists(w);
    free(w->scratch);
    free(w);
}

struct fit *fit_new(const struct fit_options *o)
{
    struct fit *f = mem_zero(1, sizeof *f);
    f->o = *o;
    f->scale = 1;
    f->tally = fit_tally_new(o->d_model, o->d_sae);
    f->work = work_new(o);
    make_params(f);
    f->o.apply_b_dec = o->apply_b_dec && f->param[SAE_B_DEC].p;
    rng_seed(&f->rng, o->seed, STREAM);
    return f;
}

void fit_free(struct fit *f)
{
    if (!f)
        return;
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        free(f->param[t].p);
        free(f->param[t].m);
        free(f->param[t].v);
    }
    if (f->o.kind->release)
        f->o.kind->release(f);
    for (size_t i = 0; i < FIT_STATES; i++)
        free(f->state[i].p);
    fit_tally_free(&f->tally);
    work_free(f->work);
    codes_free(&f->f);
    columns_free(&f->by_feature);
    free(f->unit);
    free(f->x);
    free(f->r);
    free(f->error);
    free(f->loss);
    free(f->g);
    free(f);
}

/* Orthonormalize vectors w (n,d), n <= d. [Gram-Schmidt, twice over] */
static void orthonormalize(double *w, size_t n, size_t d)
{
    for (size_t i = 0; i < n; i++) {
        double *a = w + i * d, square = 0;
        for (int round = 0; round < 2; round++)
            for (size_t k = 0; k < i; k++) {
                const double *b = w + k * d;
                double along = 0;
                for (size_t j = 0; j < d; j++)
                    along += a[j] * b[j];
                for (size_t j = 0; j < d; j++)
                    a[j] -= along * b[j];
            }
        for (size_t j = 0; j < d; j++)
            square += a[j] * a[j];
        for (size_t j = 0; j < d; j++)
            a[j] /= sqrt(square);
    }
}

/* The shorter side of rows (n,d) made orthonormal. */
static void make_orthogonal(float *rows, size_t n, size_t d)
{
    double *w = mem_alloc(n * d, sizeof *w);
    bool wide = n <= d;
    for (size_t i = 0; i < n; i++)              /* vectors contiguous: rows, or columns */
        for (size_t j = 0; j < d; j++)
            w[wide ? i * d + j : j * n + i] = rows[i * d + j];
    orthonormalize(w, wide ? n : d, wide ? d : n);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            rows[i * d + j] = (float)w[wide ? i * d + j : j * n + i];
    free(w);
}

/* What init drew, made orthogonal and scaled back to the norm it had. */
static void begin_orthogonal(struct fit *f)
{
    size_t m = f->o.d_sae, d = f->o.d_model;
    float *dec = f->param[SAE_W_DEC].p, *enc = f->param[SAE_W_ENC].p;
    double norm = sqrt(vec_dot_wide(dec, dec, d));
    make_orthogonal(dec, m, d);
    for (size_t i = 0; i < m; i++) {
        vec_normalize(dec + i * d, d, 1e-8f);
        vec_scale(dec + i * d, (float)norm, d);
    }
    if (enc && f->o.tied_init)
        memcpy(enc, dec, m * d * sizeof *dec);
}

/* The kind's own look at the first rows, times s. */
static int begin_kind(struct fit *f, const float *x, size_t n)
{
    size_t items = n * f->o.d_model;
    if (!f->o.kind->begin)
        return 0;
    float *scaled = mem_align(items, sizeof *scaled);
    memcpy(scaled, x, items * sizeof *scaled);
    if (f->scale != 1)
        vec_scale(scaled, (float)f->scale, items);
    int bad = f->o.kind->begin(f, scaled, n);
    free(scaled);
    return bad;
}

/* The mean of all rows; the geometric median, which takes many passes, of MEDIAN_ROWS of them at most, evenly taken. */
static void center_rows(const struct fit *f, const float *x, size_t n, float *out)
{
    size_t d = f->o.d_model, every = (n + MEDIAN_ROWS - 1) / MEDIAN_ROWS, rows = (n + every - 1) / every;
    if (f->o.center == FIT_CENTER_MEAN) {
        stats_mean(x, n, d, out);
        return;
    }
    float *some = mem_align(rows * d, sizeof *some);
    for (size_t i = 0; i < rows; i++)
        memcpy(some + i * d, x + i * every * d, d * sizeof *some);
    stats_geometric_median(some, rows, d, out);
    free(some);
}

int fit_begin(struct fit *f, const float *x, size_t n)
{
    size_t d = f->o.d_model;
    float *b_dec = f->param[SAE_B_DEC].p;
    if (f->o.rms) {
        struct spread s = stats_new(d);
        stats_add(&s, x, n, 1);
        if (s.square > 0)
            f->scale = sqrt((double)d * (double)n / s.square);
        stats_free(&s);
    }
    if (b_dec && f->o.center != FIT_CENTER_ZERO) {
        center_rows(f, x, n, b_dec);
        vec_scale(b_dec, (float)f->scale, d);
    }
    if (begin_kind(f, x, n))
        return -1;
    if (f->o.kind->init)
        f->o.kind->init(f);
    if (f->o.orthogonal && f->param[SAE_W_DEC].p)
        begin_orthogonal(f);
    fit_constrain(f);
    return 0;
}

void fit_constrain(struct fit *f)
{
    for (size_t i = 0; f->o.kind->constrain && i < f->o.d_sae; i++)
        f->o.kind->constrain(f, i);
}

/* ---- a batch ---- */

struct load {
    struct fit *f;
    const float *x;
};

static void load_piece(void *arg, size_t piece, int worker)
{
    const struct load *l = arg;
    struct fit *f = l->f;
    size_t d = f->o.d_model;
    (void)worker;
    for (size_t r = piece * LOAD_ROWS; r < f->n && r < (piece + 1) * LOAD_ROWS; r++) {
        float *x = f->x + r * d;
        memcpy(x, l->x + r * d, d * sizeof *x);
        if (f->scale != 1)
            vec_scale(x, (float)f->scale, d);
        if (f->o.apply_b_dec)
            vec_sub(x, x, f->param[SAE_B_DEC].p, d);
    }
}

/* Count the batch just worked on. */
static void count_batch(const struct fit *f, struct fit_tally *t)
{
    for (size_t row = 0; row < f->n; row++) {
        t->loss += f->loss[row];
        t->error += f->error[row];
        for (uint32_t p = f->f.ptr[row]; p < f->f.ptr[row + 1]; p++)
            t->last[f->f.idx[p]] = t->seen + row + 1;
    }
    t->active += f->f.ptr[f->n];
    t->rows += f->n;
    t->seen += f->n;
}

/* Take in the rows x and run the kind's step over them. */
static void run(struct fit *f, enum fit_mode mode, const float *x, size_t n, struct fit_tally *t)
{
    struct load l = { f, x };
    size_t d = f->o.d_model;
    if (n > f->cap) {
        free(f->x);
        free(f->r);
        free(f->error);
        free(f->loss);
        f->cap = n;
        f->x = mem_align(n * d, sizeof *f->x);
        f->r = mem_align(n * d, sizeof *f->r);
        f->error = mem_alloc(n, sizeof *f->error);
        f->loss = mem_alloc(n, sizeof *f->loss);
    }
    f->mode = mode;
    f->n = n;
    f->l1 = f->o.l1;
    if (mode == FIT_UPDATE)
        f->l1 *= optim_schedule_factor(f->step, f->o.l1_warmup, 0, 0);
    double before = t->spread.square;
    stats_add(&t->spread, x, n, f->scale);
    f->batch_square = (t->spread.square - before) / (double)n;
    par_for((n + LOAD_ROWS - 1) / LOAD_ROWS, load_piece, &l);
    f->o.kind->step(f);
    count_batch(f, t);
}

static uint64_t watch_length(const struct fit *f)
{
    return f->o.resample_every / 2 ? f->o.resample_every / 2 : 1;
}

/* The watch for the next event of resampling (resample.h) begins where it is time. */
static void watch_dead(struct fit *f)
{
    uint64_t every = f->o.resample_every;
    if (every && f->step % every == (every - watch_length(f)) % every)
        f->dead_since = f->tally.seen;
}

int fit_step(struct fit *f, const float *x, size_t n)
{
    run(f, FIT_UPDATE, x, n, &f->tally);
    if (!fit_is_sound(f)) {
        if (vec_first_nonfinite(x, n * f->o.d_model) >= 0)
            return err_data("a row holds a value that is not finite");
        return err_data("the fit diverges: loss %.3g at step %" PRIu64 " (%.3g at the first): lower --lr, or --l1",
                        f->batch_loss, f->step, f->first_loss);
    }
    if (!f->step)
        f->first_loss = f->batch_loss;
    f->step++;
    watch_dead(f);
    return 0;
}

void fit_measure(struct fit *f, const float *x, size_t n, struct fit_tally *t)
{
    run(f, FIT_MEASURE, x, n, t);
}

double fit_gradient(struct fit *f, const float *x, size_t n, float *const gradient[SAE_TENSORS])
{
    struct fit_tally t = fit_tally_new(f->o.d_model, f->o.d_sae);
    memcpy(f->gradient, gradient, sizeof f->gradient);
    run(f, FIT_GRADIENT, x, n, &t);
    fit_tally_free(&t);
    return f->batch_loss;
}

/* ---- the result ---- */

/* Undo the scale: relu(E (s x - b) + b_e) / s = relu(E (x - b / s) + b_e / s). */
static void fold_scale(struct sae *s, double scale)
{
    s->activation_scale = scale;
    if (s->w_inner[0])
        deep_encoder_fold_scale(s, scale);
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
        if (*sae_tensor(s, t) && sae_tensors[t].scales && scale != 1)
            vec_scale(*sae_tensor(s, t), (float)(1 / scale),
                      sae_tensor_rows(t, s->d_sae) * sae_tensor_width(t, s->d_model));
}

static int diverged(enum sae_tensor t)
{
    return err_data("the fit diverged: %s is not finite: lower --lr", sae_tensors[t].name);
}

int fit_check(const struct fit *f)
{
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
        if (f->param[t].p && vec_first_nonfinite(f->param[t].p, f->param[t].rows * f->param[t].width) >= 0)
            return diverged(t);
    return 0;
}

struct sae *fit_export(const struct fit *f)
{
    struct sae *s = sae_new(f->o.kind, f->o.d_model, f->o.d_sae);
    s->apply_b_dec_to_input = f->o.apply_b_dec;
    s->l1 = f->o.l1;
    s->inner = f->o.inner;
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        if (sae_tensors[t].inner && f->param[t].p)
            *sae_tensor(s, t) = mem_alloc(f->param[t].width, sizeof(float));
        if (*sae_tensor(s, t) && f->param[t].p)
            memcpy(*sae_tensor(s, t), f->param[t].p, f->param[t].rows * f->param[t].width * sizeof(float));
    }
    if (f->o.kind->finish)
        f->o.kind->finish(f, s);
    fold_scale(s, f->scale);
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
        if (*sae_tensor(s, t) && vec_first_nonfinite(*sae_tensor(s, t), f->param[t].rows * f->param[t].width) >= 0) {
            sae_free(s);
            diverged(t);
            return NULL;
        }
    return s;
}
