/* SPDX-License-Identifier: MIT */
#include "fit/step.h"
#include "base/mem.h"
#include "base/par.h"
#include "fit/decoder_overlap.h"
#include "fit/fit_internal.h"
#include "fit/inner_layers.h"
#include "fit/penalty.h"
#include "fit/state.h"
#include "maths/blas.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, FEATURES = 32 };

static size_t pieces_of(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* ---- encode ---- */

struct encode {
    struct fit *f;
    step_fires fires, others;
};

static void encode_piece(void *arg, size_t piece, int worker)
{
    const struct encode *e = arg;
    struct fit *f = e->f;
    struct fit_scratch *w = &f->work->scratch[worker];
    size_t d = f->o.d_model, m = f->o.d_sae, from = piece * ROWS;
    size_t rows = f->n - from < ROWS ? f->n - from : ROWS;
    struct fit_piece *out = &f->work->piece[piece];
    w->dot = mem_grow(w->dot, &w->dot_cap, rows * m, sizeof *w->dot);
    blas_nt(rows, m, d, f->work->in + from * d, d, f->enc, d, 0, w->dot, m);
    codes_reset(&out->fires, m);
    codes_reset(&out->others, m);
    for (size_t r = 0; r < rows; r++) {
        codes_push(&out->fires, w->idx, w->val, e->fires(f, w->dot + r * m, w->idx, w->val));
        if (e->others)
            codes_push(&out->others, w->idx, w->val, e->others(f, w->dot + r * m, w->idx, w->val));
    }
}

static void encode(struct fit *f, step_fires fires, step_fires others)
{
    struct encode e = { f, fires, others };
    struct fit_work *w = f->work;
    size_t pieces = pieces_of(f->n, ROWS);
    if (pieces > w->pieces) {
        w->piece = mem_grow(w->piece, &w->piece_cap, pieces, sizeof *w->piece);
        memset(w->piece + w->pieces, 0, (pieces - w->pieces) * sizeof *w->piece);
        w->pieces = pieces;
    }
    w->in = inner_layers_forward(f);
    par_for(pieces, encode_piece, &e);
    codes_reset(&f->f, f->o.d_sae);
    codes_reset(&w->second.c, f->o.d_sae);
    for (size_t p = 0; p < pieces; p++) {
        codes_append(&f->f, &w->piece[p].fires);
        codes_append(&w->second.c, &w->piece[p].others);
    }
    f->g = mem_grow(f->g, &f->g_cap, f->f.ptr[f->n], sizeof *f->g);
}

void step_encode(struct fit *f, step_fires fires)
{
    encode(f, fires, NULL);
}

struct step_list *step_encode_two(struct fit *f, step_fires fires, step_fires others)
{
    struct step_list *s = &f->work->second;
    encode(f, fires, others);
    s->g = mem_grow(s->g, &s->g_cap, s->c.ptr[f->n], sizeof *s->g);
    s->extra = mem_grow(s->extra, &s->extra_cap, s->c.ptr[f->n], sizeof *s->extra);
    s->r = mem_grow(s->r, &s->r_cap, f->n * f->o.d_model, sizeof *s->r);
    return s;
}

struct step_list *step_second(const struct fit *f)
{
    return &f->work->second;
}

/* ---- the largest of a batch ---- */

/* The value at place k, from 0, were v sorted with the largest first; v is left in another order. [Hoare 1961, FIND] */
static float sorted_at(float *v, ptrdiff_t n, ptrdiff_t k)
{
    ptrdiff_t lo = 0, hi = n - 1;
    while (lo < hi) {
        float pivot = v[k];
        ptrdiff_t i = lo, j = hi;
        while (i <= j) {
            while (v[i] > pivot)
                i++;
            while (pivot > v[j])
                j--;
            if (i <= j) {
                float keep = v[i];
                v[i++] = v[j];
                v[j--] = keep;
            }
        }
        if (j < k)
            lo = i;
        if (k < i)
            hi = j;
    }
    return v[k];
}

/* Keep the pairs above a bound and the first `level` at it; NaN is above all. Returns the smallest value kept. */
static float keep_pairs(struct codes *c, float bound, size_t level)
{
    uint32_t kept = 0;
    float least = INFINITY;
    for (size_t row = 0, p = 0; row < c->n; row++) {
        for (; p < c->ptr[row + 1]; p++) {
            float v = c->val[p];
            if (v <= bound && !(v == bound && level > 0 && level--))
                continue;
            c->idx[kept] = c->idx[p];
            c->val[kept++] = v;
            least = v < least ? v : least;
        }
        c->ptr[row + 1] = kept;
    }
    return kept ? least : 0;
}

float step_keep_largest(struct fit *f, size_t count)
{
    size_t pairs = f->f.ptr[f->n], above = 0;
    if (count >= pairs)
        return keep_pairs(&f->f, -INFINITY, pairs);
    if (count == 0)
        return keep_pairs(&f->f, INFINITY, 0);
    float *v = mem_alloc(pairs, sizeof *v);
    for (size_t p = 0; p < pairs; p++)
        v[p] = isnan(f->f.val[p]) ? INFINITY : f->f.val[p];
    float bound = sorted_at(v, (ptrdiff_t)pairs, (ptrdiff_t)count - 1);
    for (size_t p = 0; p < pairs; p++)
        above += v[p] > bound;
    free(v);
    return keep_pairs(&f->f, bound, count - above);
}

float step_keep_above(struct fit *f, float bound)
{
    return keep_pairs(&f->f, bound, 0);
}

/* ---- rows ---- */

struct rows {
    struct fit *f;
    step_row fn;
    const float *towards;
};

double step_recon(const struct fit *f)
{
    return f->o.recon > 0 ? f->o.recon : 1;
}

void step_decode(const struct fit *f, const struct codes *c, size_t row, const float *base, float *out)
{
    size_t from = c->ptr[row];
    sparse_sum(c->idx + from, c->val + from, c->ptr[row + 1] - from, f->dec, base, f->o.d_model, out);
}

const float *step_base(const struct fit *f)
{
    return f->o.apply_b_dec ? NULL : f->param[SAE_B_DEC].p;         /* or b_dec is in f->x already */
}

void step_residual(struct fit *f, size_t row)
{
    size_t d = f->o.d_model;
    float *r = f->r + row * d;
    step_decode(f, &f->f, row, step_base(f), r);
    vec_sub(r, r, f->x + row * d, d);
}

void step_back(const struct fit *f, const struct codes *c, size_t row, const float *r, double scale, float *g)
{
    size_t from = c->ptr[row], k = c->ptr[row + 1] - from;
    sparse_dots(c->idx + from, k, f->dec, r, f->o.d_model, g + from);
    for (size_t p = from; p < from + k; p++)
        g[p] *= (float)scale;
}

static void rows_piece(void *arg, size_t piece, int worker)
{
    const struct rows *t = arg;
    struct fit *f = t->f;
    size_t d = f->o.d_model;
    float *sum = f->work->sum_r + piece * d;
    double recon = step_recon(f);
    (void)worker;
    memset(sum, 0, d * sizeof *sum);
    for (size_t row = piece * ROWS; row < f->n && row < (piece + 1) * ROWS; row++) {
        const float *r = f->r + row * d;
        double penalty = t->fn(f, row);
        f->error[row] = vec_dot_wide(r, r, d);
        f->loss[row] = recon * f->error[row] + penalty;
        vec_add(sum, t->towards ? t->towards + row * d : r, d);
    }
}

static void sum_loss(struct fit *f)
{
    f->batch_loss = 0;
    for (size_t row = 0; row < f->n; row++)
        f->batch_loss += f->loss[row] / (double)f->n;
}

void step_rows_towards(struct fit *f, step_row fn, const float *towards)
{
    struct rows t = { f, fn, towards };
    size_t pieces = pieces_of(f->n, ROWS);
    f->work->sum_r = mem_grow(f->work->sum_r, &f->work->sum_r_cap, pieces * f->o.d_model, sizeof(float));
    par_for(pieces, rows_piece, &t);
    double alike = decoder_overlap_penalty(f);
    for (size_t row = 0; row < f->n; row++)
        f->loss[row] += alike;
    sum_loss(f);
}

void step_rows(struct fit *f, step_row fn)
{
    step_rows_towards(f, fn, NULL);
}

static void more_piece(void *arg, size_t piece, int worker)
{
    const struct rows *t = arg;
    (void)worker;
    for (size_t row = piece * ROWS; row < t->f->n && row < (piece + 1) * ROWS; row++)
        t->f->loss[row] += t->fn(t->f, row);
}

void step_rows_more(struct fit *f, step_row fn)
{
    struct rows t = { f, fn, NULL };
    par_for(pieces_of(f->n, ROWS), more_piece, &t);
    sum_loss(f);
}

/* ---- features ---- */

struct update {
    struct fit *f;
    const struct step_term *term;
    size_t terms;
    step_gradient fn;
    const float *in;            /* what the last layer of the encoder saw */
    struct adam adam;
    bool measure;               /* only add up the squares of the gradient */
    float shrink;               /* what the gradient is multiplied with */
};

double step_sum(const struct fit *f, const struct codes_by_feature *by_feature, size_t i, const float *coef)
{
    double sum = 0;
    for (size_t j = by_feature->start[i]; j < by_feature->start[i + 1]; j++)
        sum += coef[by_feature->at[j]];
    return sum / (double)f->n;
}

/* out (d) = base + sum over the pairs of feature i of scale * coef * X[row]; returns the sum of scale * coef. */
static double sum_rows(const struct fit *f, const struct codes_by_feature *c, size_t i, const float *coef, float scale,
                       const float *x, float *list, const float *base, float *out)
{
    size_t from = c->start[i], k = c->start[i + 1] - from;
    double sum = 0;
    for (size_t j = 0; j < k; j++) {
        list[j] = scale * coef[c->at[from + j]];
        sum += list[j];
    }
    sparse_sum(c->row + from, list, k, x, base, f->o.d_model, out);
    return sum;
}

/* dD_i, dE_i and db_i of all terms. */
static void sum_terms(const struct update *u, size_t i, float *list, float *const g[SAE_TENSORS])
{
    const struct fit *f = u->f;
    float share = 1 / (float)f->n, *dec = NULL, *enc = NULL;
    double bias = 0;
    for (size_t t = 0; t < u->terms; t++) {
        const struct step_term *a = &u->term[t];
        if (a->r) {
            const float *r = a->r + (a->plane ? a->plane[i] * f->n * f->o.d_model : 0);
            sum_rows(f, a->by_feature, i, a->c->val, (float)(2 * a->weight) * share, r, list, dec, g[SAE_W_DEC]);
            dec = g[SAE_W_DEC];
        }
        if (a->g) {
            bias += sum_rows(f, a->by_feature, i, a->g, share, u->in, list, enc, g[SAE_W_ENC]);
            enc = g[SAE_W_ENC];
        }
    }
    if (!dec)
        memset(g[SAE_W_DEC], 0, f->o.d_model * sizeof *dec);
    if (!enc)
        memset(g[SAE_W_ENC], 0, f->o.d_model * sizeof *enc);
    g[SAE_B_ENC][0] = (float)bias;
}

/* Give one row of a parameter its gradient; returns the sum of its squares where that is what is asked for. */
static double hand_on(const struct update *u, enum sae_tensor t, size_t row, float *g)
{
    struct fit *f = u->f;
    struct fit_param *p = &f->param[t];
    size_t at = row * p->width;
    if (u->measure)
        return vec_dot_wide(g, g, p->width);
    if (u->shrink != 1)
        vec_scale(g, u->shrink, p->width);
    if (f->mode == FIT_GRADIENT)
        memcpy(f->gradient[t] + at, g, p->width * sizeof *g);
    else
        optim_adam_row(&u->adam, p->p + at, p->m + at, p->v + at, g, p->width);
    return 0;
}

static void update_piece(void *arg, size_t piece, int worker)
{
    const struct update *u = arg;
    struct fit *f = u->f;
    struct fit_scratch *w = &f->work->scratch[worker];
    size_t d = f->o.d_model, m = f->o.d_sae;
    float *back = f->work->back + piece * d;
    double square = 0;
    memset(back, 0, d * sizeof *back);
    w->list = mem_grow(w->list, &w->list_cap, f->n, sizeof *w->list);
    for (size_t i = piece * FEATURES; i < m && i < (piece + 1) * FEATURES; i++) {
        for (enum sae_tensor t = SAE_THRESHOLD; t < SAE_TENSORS; t++)
            w->g[t][0] = 0;
        sum_terms(u, i, w->list, w->g);
        vec_axpy(back, w->g[SAE_B_ENC][0], f->enc + i * d, d);
        if (f->o.ortho > 0)
            vec_add(w->g[SAE_W_DEC], f->work->alike + i * d, d);
        u->fn(f, i, w->g);
        for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
            if (f->param[t].p && sae_tensors[t].per_feature)
                square += hand_on(u, t, i, w->g[t]);
        if (f->mode == FIT_UPDATE && !u->measure)
            f->o.kind->constrain(f, i);
    }
    f->work->square[piece] = square;
}

/* 1/B [2 sum r - E^T sum g], the second term where the encoder sees b_dec. */
static double update_b_dec(const struct update *u)
{
    struct fit *f = u->f;
    size_t d = f->o.d_model;
    float *g = f->work->scratch[0].g[SAE_B_DEC];
    memset(g, 0, d * sizeof *g);
    for (size_t p = 0; p < pieces_of(f->n, ROWS); p++)
        vec_axpy(g, (float)(2 * step_recon(f)) / (float)f->n, f->work->sum_r + p * d, d);
    if (f->o.apply_b_dec && u->in == f->x)
        for (size_t p = 0; p < pieces_of(f->o.d_sae, FEATURES); p++)
            vec_axpy(g, -1, f->work->back + p * d, d);
    else if (f->o.apply_b_dec)
        for (size_t row = 0; row < f->n; row++)
            vec_axpy(g, -1 / (float)f->n, f->work->towards + row * d, d);
    return hand_on(u, SAE_B_DEC, 0, g);
}

/* For one piece of rows: sum of g e_i, dL / d what the last layer saw. */
static void towards_piece(void *arg, size_t piece, int worker)
{
    const struct update *u = arg;
    struct fit *f = u->f;
    size_t d = f->o.d_model;
    (void)worker;
    for (size_t row = piece * ROWS; row < f->n && row < (piece + 1) * ROWS; row++) {
        float *out = f->work->towards + row * d;
        memset(out, 0, d * sizeof *out);
        for (size_t t = 0; t < u->terms; t++) {
            const struct codes *c = u->term[t].c;
            size_t from = c->ptr[row];
            if (u->term[t].g)
                sparse_sum(c->idx + from, u->term[t].g + from, c->ptr[row + 1] - from, f->enc, out, d, out);
        }
    }
}

static void update_inner_begin(struct update *u)
{
    struct fit *f = u->f;
    struct fit_work *w = f->work;
    w->towards = mem_grow(w->towards, &w->towards_cap, f->n * f->o.d_model, sizeof(float));
    par_for(pieces_of(f->n, ROWS), towards_piece, u);
    inner_layers_backward(f, w->towards);
}

/* All features, layers before the last, b_dec. Returns the norm of the gradient where that is what is asked for. */
static double update_all(struct update *u)
{
    struct fit *f = u->f;
    size_t pieces = pieces_of(f->o.d_sae, FEATURES);
    double square = 0;
    par_for(pieces, update_piece, u);
    if (f->param[SAE_B_DEC].p)
        square = update_b_dec(u);
    for (enum sae_tensor t = SAE_W_INNER; u->in != f->x && t < SAE_TENSORS; t++)
        if (f->param[t].p)
            square += hand_on(u, t, 0, inner_layers_gradient(f, t));
    for (size_t p = 0; p < pieces; p++)
        square += f->work->square[p];
    return sqrt(square);
}

void step_update_terms(struct fit *f, const struct step_term *term, size_t terms, step_gradient fn)
{
    if (f->mode == FIT_MEASURE || !fit_is_sound(f))
        return;
    struct fit_work *w = f->work;
    size_t pieces = pieces_of(f->o.d_sae, FEATURES);
    struct update u = { f, term, terms, fn, f->o.enc_layers > 1 ? w->in : f->x,
                        optim_adam_step(fit_rate(f, f->step), f->o.beta1, f->o.beta2, f->o.eps, f->step + 1), false, 1 };
    w->back = mem_grow(w->back, &w->back_cap, pieces * f->o.d_model, sizeof(float));
    w->square = mem_grow(w->square, &w->square_cap, pieces, sizeof *w->square);
    for (size_t t = 0; t < terms; t++)
        codes_columns(term[t].c, term[t].by_feature);
    if (u.in != f->x)
        update_inner_begin(&u);
    if (f->o.clip > 0 && f->mode == FIT_UPDATE) {
        u.measure = true;
        double norm = update_all(&u);
        u.measure = false;
        u.shrink = norm > f->o.clip ? (float)(f->o.clip / norm) : 1;
    }
    update_all(&u);
}

struct step_term step_term_first(struct fit *f)
{
    return (struct step_term){ &f->f, &f->by_feature, f->g, f->r, NULL, step_recon(f) };
}

struct step_term step_term_second(struct fit *f, bool decodes)
{
    struct step_list *s = &f->work->second;
    return (struct step_term){ &s->c, &s->by_feature, s->g, decodes ? s->r : NULL, NULL, s->weight };
}

void step_update(struct fit *f, step_gradient fn)
{
    struct step_term term = step_term_first(f);
    step_update_terms(f, &term, 1, fn);
}

/* ---- what several kinds share ---- */

static void random_rows(struct fit *f, float *w, double norm)
{
    size_t d = f->o.d_model, items = f->o.d_sae * d;
    for (size_t i = 0; i < items; i++)
        w[i] = (float)rng_normal(&f->rng);
    for (size_t i = 0; i < f->o.d_sae; i++) {
        vec_normalize(w + i * d, d, 1e-8f);
        if (norm != 1)
            vec_scale(w + i * d, (float)norm, d);
    }
}

double step_dec_norm(const struct fit *f)
{
    return f->o.norm_weighted && f->o.dec_norm > 0 ? f->o.dec_norm : 1;
}

void step_init_rows(struct fit *f)
{
    double norm = step_dec_norm(f);
    float *enc = f->param[SAE_W_ENC].p, *dec = f->param[SAE_W_DEC].p;
    random_rows(f, dec, norm);
    if (f->o.tied_init)
        memcpy(enc, dec, f->o.d_sae * f->o.d_model * sizeof *dec);
    else
        random_rows(f, enc, norm);
    inner_layers_init(f);
}

size_t step_fires_relu(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    return sparse_above(dot, f->param[SAE_B_ENC].p, 0, NULL, f->o.d_sae, idx, val);
}

double step_row_plain(struct fit *f, size_t row)
{
    step_residual(f, row);
    step_back(f, &f->f, row, f->r + row * f->o.d_model, 2 * step_recon(f), f->g);
    return 0;
}
