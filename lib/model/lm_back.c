/* Each step mirrors one of lm_pass.c, last first. `grad` is the gradient at the residual stream: what a block adds to it
 * goes through the block, and is added to what went past it. */
/* SPDX-License-Identifier: MIT */
#include "model/lm_back.h"
#include "ground/mem.h"
#include "maths/blas.h"
#include "maths/vec.h"
#include "model/lm_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 64, HEAD_ROWS = 64 };      /* rows of an attention block; of logits held at once */

struct lm_back {
    struct lm_work *forward;
    size_t rows, inputs, context;           /* what the buffers hold; inputs: residual streams kept */
    float *kept;                            /* (inputs, rows, d_model) */
    float *grad, *sum, *side;               /* (rows, d_model): at the residual stream; two spare ones */
    float *q, *k, *v, *mid;                 /* (rows, d_model) of the layer in hand, q and k rotated */
    float *pre, *hidden;                    /* (rows, d_mlp): before the nonlinearity; gradient */
    float *dq, *dk, *dv, *dqkv;             /* (rows, d_model) each, (rows, 3 d_model) */
    float *weights, *dweights, *inverse;    /* (QUERIES, context) each, (QUERIES) */
    float *logits, *last, *dlast;           /* (HEAD_ROWS, n_vocab), (HEAD_ROWS, d_model) each */
};

struct back {
    const struct lm *m;
    struct lm_back *w;
    const struct lm_batch *b;
    const struct lm_tap *taps;
    size_t n_taps, n;                       /* n: rows */
    const struct lm_hook *at;
    float *out;
};

/* ---- buffers ---- */

struct lm_back *lm_back_new(const struct lm *m)
{
    struct lm_back *w = mem_zero(1, sizeof *w);
    w->forward = lm_work_new(m);
    return w;
}

static void free_rows(struct lm_back *w)
{
    float *all[] = { w->kept, w->grad, w->sum, w->side, w->q, w->k, w->v, w->mid, w->pre, w->hidden, w->dq, w->dk, w->dv,
                     w->dqkv };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static void free_context(struct lm_back *w)
{
    free(w->weights);
    free(w->dweights);
    free(w->inverse);
}

void lm_back_free(struct lm_back *w)
{
    if (!w)
        return;
    lm_work_free(w->forward);
    free_rows(w);
    free_context(w);
    free(w->logits);
    free(w->last);
    free(w->dlast);
    free(w);
}

static void reserve_rows(struct lm_back *w, const struct lm_config *c, size_t n, size_t inputs)
{
    if (n <= w->rows && inputs <= w->inputs)
        return;
    n = n > w->rows ? n : w->rows;
    inputs = inputs > w->inputs ? inputs : w->inputs;
    free_rows(w);
    float **wide[] = { &w->grad, &w->sum, &w->side, &w->q, &w->k, &w->v, &w->mid, &w->dq, &w->dk, &w->dv };
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        *wide[i] = mem_align(n, c->d_model * sizeof(float));
    w->kept = mem_align(inputs * n, c->d_model * sizeof(float));
    w->pre = mem_align(n, c->d_mlp * sizeof(float));
    w->hidden = mem_align(n, c->d_mlp * sizeof(float));
    w->dqkv = mem_align(n, 3 * c->d_model * sizeof(float));
    w->rows = n;
    w->inputs = inputs;
}

static void reserve(struct lm_back *w, const struct lm_config *c, const struct lm_batch *b, size_t n, size_t inputs)
{
    size_t longest = 1;
    for (size_t i = 0; i < b->count; i++) {
        size_t length = b->start[i + 1] - b->start[i];
        longest = length > longest ? length : longest;
    }
    reserve_rows(w, c, n, inputs);
    if (longest > w->context) {
        free_context(w);
        w->weights = mem_align(longest, QUERIES * sizeof(float));
        w->dweights = mem_align(longest, QUERIES * sizeof(float));
        w->inverse = mem_align(QUERIES, sizeof(float));
        w->context = longest;
    }
    if (!w->logits) {
        w->logits = mem_align(HEAD_ROWS, c->n_vocab * sizeof(float));
        w->last = mem_align(HEAD_ROWS, c->d_model * sizeof(float));
        w->dlast = mem_align(HEAD_ROWS, c->d_model * sizeof(float));
    }
}

/* ---- taps that keep what they are shown ---- */

struct keep {
    float *to;
    size_t width;
};

static void keep_rows(void *arg, float *rows, size_t n)
{
    const struct keep *k = arg;
    memcpy(k->to, rows, n * k->width * sizeof *rows);
}

static struct lm_tap keep_tap(const struct lm *m, int layer, int site, struct keep *k, float *to)
{
    const struct lm_hook *h = m->hook;
    while (h->layer != layer || h->site != site)
        h++;
    *k = (struct keep){ to, h->width };
    return (struct lm_tap){ h, keep_rows, k };
}

/* The first layer that the gradient has to come back through, up to its input at least. */
static int first_layer(const struct lm_hook *at)
{
    int layer = at->layer < 0 ? 0 : at->layer;
    return at->site == SITE_RESID_POST ? layer + 1 : layer;
}

/* Keep the residual stream in front of each layer from `first` on, before any tap there (lm_resume() shows it to them
 * again), and behind the last one, after them. Returns where the latter is. */
static const float *keep_inputs(struct back *r, int first)
{
    size_t layers = r->m->c.n_layer, items = r->n * r->m->c.d_model, inputs = layers - (size_t)first, all = 0;
    struct lm_tap *taps = mem_alloc(inputs + r->n_taps + 1, sizeof *taps);
    struct keep *keep = mem_alloc(inputs + 1, sizeof *keep);
    float *to = r->w->kept;
    for (size_t i = 0; i < inputs; i++, to += items)
        taps[all++] = keep_tap(r->m, first + (int)i, SITE_RESID_PRE, &keep[i], to);
    for (size_t i = 0; i < r->n_taps; i++)
        if (r->taps[i].hook->site != SITE_LN_FINAL)
            taps[all++] = r->taps[i];
    taps[all++] = keep_tap(r->m, (int)layers - 1, SITE_RESID_POST, &keep[inputs], to);
    lm_forward(r->m, r->w->forward, r->b, taps, all);
    free(taps);
    free(keep);
    return to;
}

/* ---- steps ---- */

/* Is this the point asked for? Then its gradient is in `g`. */
static bool arrived(struct back *r, int layer, int site, const float *g)
{
    if (r->at->layer != layer || r->at->site != site)
        return false;
    memcpy(r->out, g, r->n * r->at->width * sizeof *g);
    return true;
}

/* dx (n,in) from dy (n,out), y = x W + bias. */
static void linear_back(struct back *r, size_t layer, enum lm_tensor weight, size_t in, size_t out, const float *dy,
                        float *dx)
{
    const float *w = lm_load(r->m, layer, weight);
    if (r->m->family->in_out)
        blas_nt(r->n, in, out, dy, out, w, out, 0, dx, in);
    else
        blas_nn(r->n, in, out, dy, out, w, in, 0, dx, in);
}

/* g, the gradient behind gain and bias, becomes the one at the input x of the norm; true where the hook between is met. */
static bool norm_back(struct back *r, int layer, int site, enum lm_tensor gain, const float *x, float *g)
{
    size_t d = r->m->c.d_model, l = site == SITE_LN_FINAL ? 0 : (size_t)layer;
    const float *by = lm_load(r->m, l, gain);
    for (size_t i = 0; i < r->n; i++)
        for (size_t j = 0; j < d; j++)
            g[i * d + j] *= by[j];
    if (arrived(r, layer, site, g))
        return true;
    nonlin_normalise_back(g, x, r->n, d, r->m->c.eps);
    return false;
}

/* One head of one context of n rows: adds to dk and dv, sets dq. Weights are computed again, block by block. */
static void attend_back_head(struct lm_back *w, size_t at, size_t n, size_t d, size_t d_head, float scale, const float *dz)
{
    const float *q = w->q + at, *k = w->k + at, *v = w->v + at;
    for (size_t i = 0; i < n; i += QUERIES) {
        size_t rows = n - i < QUERIES ? n - i : QUERIES, keys = i + rows;
        blas_nt(rows, keys, d_head, q + i * d, d, k, d, 0, w->weights, keys);
        nonlin_softmax(w->weights, keys, rows, keys, i + 1, scale, w->inverse);
        for (size_t j = 0; j < rows; j++)
            vec_scale(w->weights + j * keys, w->inverse[j], keys);
        blas_tn(keys, d_head, rows, w->weights, keys, dz + at + i * d, d, 1, w->dv + at, d);
        blas_nt(rows, keys, d_head, dz + at + i * d, d, v, d, 0, w->dweights, keys);
        nonlin_softmax_back(w->dweights, w->weights, keys, rows, keys, scale);
        blas_nn(rows, d_head, keys, w->dweights, keys, k, d, 0, w->dq + at + i * d, d);
        blas_tn(keys, d_head, rows, w->dweights, keys, q + i * d, d, 1, w->dk + at, d);
    }
}

static void attend_back(struct back *r, int layer, const float *dz)
{
    const struct lm_config *c = &r->m->c;
    size_t d = c->d_model, d_head = d / c->n_head;
    float scale = (float)((c->scale_attn ? 1 / sqrt((double)d_head) : 1) / (c->scale_by_layer ? layer + 1 : 1));
    memset(r->w->dk, 0, r->n * d * sizeof(float));
    memset(r->w->dv, 0, r->n * d * sizeof(float));
    for (size_t i = 0; i < r->b->count; i++) {
        size_t at = (r->b->start[i] - r->b->start[0]) * d, n = r->b->start[i + 1] - r->b->start[i];
        for (size_t h = 0; h < c->n_head; h++, at += d_head)
            attend_back_head(r->w, at, n, d, d_head, scale, dz);
    }
}

static void rotate_back(struct back *r, float *x)
{
    const struct lm_config *c = &r->m->c;
    size_t half = c->rotary / 2;
    const float *sine, *cosine = lm_cosines(r->w->forward, &sine);
    for (size_t i = 0; i < r->b->count; i++)
        for (size_t j = r->b->start[i]; j < r->b->start[i + 1]; j++) {
            size_t p = (j - r->b->start[i]) * half;
            nonlin_rotate_back(x + (j - r->b->start[0]) * c->d_model, c->n_head, c->d_model / c->n_head, half, cosine + p,
                               sine + p);
        }
}

/* Put dq, dk, dv where qkv has them. */
static void join_qkv(struct back *r)
{
    const struct lm_config *c = &r->m->c;
    size_t d = c->d_model, heads = r->m->family->qkv_by_head ? c->n_head : 1, run = d / heads;
    const float *from[3] = { r->w->dq, r->w->dk, r->w->dv };
    for (size_t i = 0; i < r->n; i++)
        for (size_t h = 0; h < heads; h++)
            for (size_t p = 0; p < 3; p++)
                memcpy(r->w->dqkv + i * 3 * d + (3 * h + p) * run, from[p] + i * d + h * run, run * sizeof(float));
}

/* The steps of a layer return true at the point asked for. From dy, the gradient at what the attention (MLP) adds, to its
 * share at the residual stream x that it reads, in `dx`. */
static bool attention_back(struct back *r, int layer, const float *x, const float *dy, float *dx)
{
    struct lm_back *w = r->w;
    size_t d = r->m->c.d_model, l = (size_t)layer;
    if (arrived(r, layer, SITE_ATTN_OUT, dy))
        return true;
    linear_back(r, l, LM_ATTN_W, d, d, dy, dx);
    if (arrived(r, layer, SITE_Z, dx))
        return true;
    attend_back(r, layer, dx);
    if (r->m->c.rotary) {
        if (arrived(r, layer, SITE_ROT_Q, w->dq) || arrived(r, layer, SITE_ROT_K, w->dk))
            return true;
        rotate_back(r, w->dq);
        rotate_back(r, w->dk);
    }
    if (arrived(r, layer, SITE_Q, w->dq) || arrived(r, layer, SITE_K, w->dk) || arrived(r, layer, SITE_V, w->dv))
        return true;
    join_qkv(r);
    linear_back(r, l, LM_QKV_W, d, 3 * d, w->dqkv, dx);
    return norm_back(r, layer, SITE_LN1, LM_LN1_W, x, dx);
}

static bool mlp_back(struct back *r, int layer, const float *x, const float *dy, float *dx)
{
    struct lm_back *w = r->w;
    size_t d = r->m->c.d_model, f = r->m->c.d_mlp, l = (size_t)layer;
    if (arrived(r, layer, SITE_MLP_OUT, dy))
        return true;
    linear_back(r, l, LM_DOWN_W, f, d, dy, w->hidden);
    if (arrived(r, layer, SITE_POST, w->hidden))
        return true;
    nonlin_apply_back(r->m->c.act, w->hidden, w->pre, r->n * f);
    if (arrived(r, layer, SITE_PRE, w->hidden))
        return true;
    linear_back(r, l, LM_UP_W, d, f, w->hidden, dx);
    return norm_back(r, layer, SITE_LN2, LM_LN2_W, x, dx);
}

/* Compute a layer's inside again from its input, which becomes what the taps there make of it. */
static void recompute(struct back *r, int layer, float *input)
{
    struct lm_back *w = r->w;
    const struct lm_config *c = &r->m->c;
    struct lm_tap *taps = mem_alloc(r->n_taps + 6, sizeof *taps);
    struct keep keep[6];
    size_t all = 0;
    for (size_t i = 0; i < r->n_taps; i++)      /* what lies behind the last of those that keep would not be reached */
        if (r->taps[i].hook->layer == layer && r->taps[i].hook->site <= SITE_PRE)
            taps[all++] = r->taps[i];
    taps[all++] = keep_tap(r->m, layer, c->rotary ? SITE_ROT_Q : SITE_Q, &keep[0], w->q);
    taps[all++] = keep_tap(r->m, layer, c->rotary ? SITE_ROT_K : SITE_K, &keep[1], w->k);
    taps[all++] = keep_tap(r->m, layer, SITE_V, &keep[2], w->v);
    if (!c->parallel)
        taps[all++] = keep_tap(r->m, layer, SITE_RESID_MID, &keep[3], w->mid);
    taps[all++] = keep_tap(r->m, layer, SITE_PRE, &keep[4], w->pre);
    taps[all++] = keep_tap(r->m, layer, SITE_RESID_PRE, &keep[5], input);
    lm_resume(r->m, w->forward, r->b, layer, input, taps, all);
    free(taps);
}

static bool block_back(struct back *r, int layer, float *input)
{
    struct lm_back *w = r->w;
    size_t items = r->n * r->m->c.d_model;
    if (arrived(r, layer, SITE_RESID_POST, w->grad))
        return true;
    recompute(r, layer, input);
    if (r->m->c.parallel) {
        if (mlp_back(r, layer, input, w->grad, w->sum) || attention_back(r, layer, input, w->grad, w->side))
            return true;
        vec_add(w->grad, w->sum, items);
    } else {
        if (mlp_back(r, layer, w->mid, w->grad, w->side))
            return true;
        vec_add(w->grad, w->side, items);
        if (arrived(r, layer, SITE_RESID_MID, w->grad) || attention_back(r, layer, input, w->grad, w->side))
            return true;
    }
    vec_add(w->grad, w->side, items);
    return arrived(r, layer, SITE_RESID_PRE, w->grad);
}

/* ---- the head ---- */

/* Rows [from, from + n) of the number: w->last holds their normalised residual with gain and bias. Their gradient there goes
 * to rows of w->grad. */
static double head_rows(struct back *r, const struct lm_number *number, size_t from, size_t n, bool want)
{
    const struct lm_config *c = &r->m->c;
    struct lm_back *w = r->w;
    size_t d = c->d_model;
    double value = 0;
    const float *unembed = lm_load(r->m, 0, c->tied ? LM_EMBED : LM_HEAD);
    blas_nt(n, c->n_vocab, d, w->last, d, unembed, d, 0, w->logits, c->n_vocab);
    for (size_t i = 0; i < n; i++)
        value += number->fn(number->arg, number->row[from + i], w->logits + i * c->n_vocab);
    if (!want)
        return value;
    blas_nn(n, d, c->n_vocab, w->logits, c->n_vocab, unembed, d, 0, w->dlast, d);
    for (size_t i = 0; i < n; i++)
        memcpy(w->grad + number->row[from + i] * d, w->dlast + i * d, d * sizeof(float));
    return value;
}

/* The number, and its gradient behind the last norm in w->grad. `x` is the residual stream behind the last layer. */
static double head(struct back *r, const struct lm_number *number, const float *x)
{
    const struct lm_config *c = &r->m->c;
    struct lm_back *w = r->w;
    size_t d = c->d_model;
    double value = 0;
    nonlin_normalise(w->side, x, r->n, d, c->eps);
    for (size_t i = 0; i < r->n_taps; i++)
        if (r->taps[i].hook->site == SITE_LN_FINAL)
            r->taps[i].fn(r->taps[i].arg, w->side, r->n);
    memset(w->grad, 0, r->n * d * sizeof(float));
    for (size_t from = 0; from < number->n; from += HEAD_ROWS) {
        size_t n = number->n - from < HEAD_ROWS ? number->n - from : HEAD_ROWS;
        for (size_t i = 0; i < n; i++)
            nonlin_gain(w->last + i * d, w->side + number->row[from + i] * d, lm_load(r->m, 0, LM_NORM_W),
                        lm_load(r->m, 0, LM_NORM_B), 1, d);
        value += head_rows(r, number, from, n, r->out != NULL);
    }
    return value;
}

int lm_gradient(const struct lm *m, struct lm_back *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps,
                const struct lm_hook *at, const struct lm_number *number, double *value, float *grad)
{
    struct back r = { m, w, b, taps, n_taps, b->start[b->count] - b->start[0], at, grad };
    int layers = (int)m->c.n_layer, first = first_layer(at);
    size_t items = r.n * m->c.d_model;
    if (at->site == SITE_LOGITS)
        return err_usage("no gradient at the logits: the number is computed from them");
    *value = 0;
    if (!r.n)
        return 0;
    first = first > layers ? layers : first;
    reserve(w, &m->c, b, r.n, (size_t)(layers - first) + 1);
    const float *end = keep_inputs(&r, first);
    *value = head(&r, number, end);
    if (!grad || norm_back(&r, layers, SITE_LN_FINAL, LM_NORM_W, end, w->grad))
        return 0;
    for (int layer = layers - 1; layer >= first; layer--)
        if (block_back(&r, layer, w->kept + (size_t)(layer - first) * items))
            return 0;
    memcpy(grad, w->grad, items * sizeof *grad);        /* resid_post of the layer before, or the embeddings */
    return 0;
}
