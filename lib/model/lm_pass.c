/* The forward pass: dense products over all rows of the batch at once, attention context by context and head by head,
 * in blocks of query rows that see only the keys up to their own end.
 *
 *   sequential:  mid = pre + attn(ln1 pre)   post = mid + mlp(ln2 mid)
 *   parallel:    post = pre + attn(ln1 pre) + mlp(ln2 pre)                 */
/* SPDX-License-Identifier: MIT */
#include "ground/mem.h"
#include "maths/blas.h"
#include "maths/vec.h"
#include "model/lm_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { QUERIES = 64 };                  /* rows of an attention block */

struct lm_work {
    size_t rows, context;               /* what the buffers hold: rows of a batch, the longest context */
    float *resid, *norm, *gained;       /* (rows, d_model): residual stream, ln before and after its gain */
    float *qkv, *q, *k, *v, *z;         /* (rows, 3 d_model), (rows, d_model) each */
    float *attn, *mlp, *hidden;         /* contributions (rows, d_model), (rows, d_mlp) */
    float *scores, *inverse;            /* (QUERIES, context), (QUERIES) */
    float *cosine, *sine;               /* (context, rotary/2) */
    float *logits;                      /* (logit_rows, n_vocab) */
    size_t logit_rows;
};

struct run {
    const struct lm *m;
    struct lm_work *w;
    const struct lm_batch *b;
    const struct lm_tap *taps;
    size_t n_taps, left;                /* left: taps still to come */
    size_t n;                           /* rows */
};

/* ---- buffers ---- */

struct lm_work *lm_work_new(const struct lm *m)
{
    (void)m;
    return mem_zero(1, sizeof(struct lm_work));
}

static void free_rows(struct lm_work *w)
{
    free(w->resid);
    free(w->norm);
    free(w->gained);
    free(w->qkv);
    free(w->q);
    free(w->k);
    free(w->v);
    free(w->z);
    free(w->attn);
    free(w->mlp);
    free(w->hidden);
}

static void free_context(struct lm_work *w)
{
    free(w->scores);
    free(w->inverse);
    free(w->cosine);
    free(w->sine);
}

void lm_work_free(struct lm_work *w)
{
    if (!w)
        return;
    free_rows(w);
    free_context(w);
    free(w->logits);
    free(w);
}

static void reserve_rows(struct lm_work *w, const struct lm_config *c, size_t n)
{
    if (n <= w->rows)
        return;
    free_rows(w);
    float **wide[] = { &w->resid, &w->norm, &w->gained, &w->q, &w->k, &w->v, &w->z, &w->attn, &w->mlp };
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        *wide[i] = mem_align(n, c->d_model * sizeof(float));
    w->qkv = mem_align(n, 3 * c->d_model * sizeof(float));
    w->hidden = mem_align(n, c->d_mlp * sizeof(float));
    w->rows = n;
}

/* Angles of position p: p base^(-2i/rotary), i < rotary/2. [Su 2021, section 3.2.2] */
static void reserve_context(struct lm_work *w, const struct lm_config *c, size_t length)
{
    size_t half = c->rotary / 2;
    if (length <= w->context)
        return;
    free_context(w);
    w->scores = mem_align(length, QUERIES * sizeof(float));
    w->inverse = mem_align(QUERIES, sizeof(float));
    w->cosine = mem_align(length, half * sizeof(float));
    w->sine = mem_align(length, half * sizeof(float));
    for (size_t i = 0; i < half; i++) {
        double speed = pow(c->rope_base, -2.0 * (double)i / (double)c->rotary);
        for (size_t p = 0; p < length; p++) {
            w->cosine[p * half + i] = (float)cos((double)p * speed);
            w->sine[p * half + i] = (float)sin((double)p * speed);
        }
    }
    w->context = length;
}

/* ---- steps ---- */

/* Let the taps at this point see the rows; true when that was the last of all. */
static bool tap(struct run *r, int layer, int site, float *rows)
{
    for (size_t i = 0; i < r->n_taps; i++) {
        const struct lm_tap *t = &r->taps[i];
        if (t->hook->layer != layer || t->hook->site != site)
            continue;
        t->fn(t->arg, rows, r->n);
        r->left--;
    }
    return r->left == 0;
}

/* y (n,out) = x (n,in) W + bias. The bias comes first: the product is then added to it at no cost. */
static void linear(struct run *r, size_t layer, enum lm_tensor weight, enum lm_tensor bias, size_t in, size_t out,
                   const float *x, float *y)
{
    const float *w = lm_load(r->m, layer, weight), *b = lm_load(r->m, layer, bias);
    for (size_t i = 0; b && i < r->n; i++)
        memcpy(y + i * out, b, out * sizeof *y);
    if (r->m->family->in_out)
        blas_nn(r->n, out, in, x, in, w, out, b ? 1 : 0, y, out);
    else
        blas_nt(r->n, out, in, x, in, w, in, b ? 1 : 0, y, out);
}

/* Layer norm of x into w->norm, shown to the taps, then gain and bias into w->gained. */
static bool norm(struct run *r, int layer, int site, enum lm_tensor gain, enum lm_tensor bias, const float *x)
{
    size_t d = r->m->c.d_model, l = layer < 0 ? 0 : (size_t)layer;
    nonlin_normalise(r->w->norm, x, r->n, d, r->m->c.eps);
    if (tap(r, layer, site, r->w->norm))
        return true;
    nonlin_gain(r->w->gained, r->w->norm, lm_load(r->m, l, gain), lm_load(r->m, l, bias), r->n, d);
    return false;
}

static bool embed(struct run *r)
{
    const struct lm *m = r->m;
    size_t d = m->c.d_model, first = r->b->start[0];
    const struct tensor *e = lm_weight(m, 0, LM_EMBED)->t, *p = lm_weight(m, 0, LM_POS)->t;
    size_t row = d * dtype_size(e->type);
    for (size_t i = 0; i < r->n; i++)       /* straight from the file: only the rows that occur are read */
        dtype_load(r->w->resid + i * d, (const char *)e->data + r->b->tok[first + i] * row, e->type, d);
    if (tap(r, -1, SITE_EMBED, r->w->resid))
        return true;
    if (!p)
        return false;
    row = d * dtype_size(p->type);
    for (size_t i = 0; i < r->b->count; i++)
        for (size_t j = r->b->start[i]; j < r->b->start[i + 1]; j++)
            dtype_load(r->w->norm + (j - first) * d, (const char *)p->data + (j - r->b->start[i]) * row, p->type, d);
    if (tap(r, -1, SITE_POS_EMBED, r->w->norm))
        return true;
    vec_add(r->w->resid, r->w->norm, r->n * d);
    return false;
}

/* Bring the columns of qkv into one array each, heads in order. */
static void split_qkv(struct run *r)
{
    const struct lm_config *c = &r->m->c;
    size_t d = c->d_model, heads = r->m->family->qkv_by_head ? c->n_head : 1, run = d / heads;
    float *to[3] = { r->w->q, r->w->k, r->w->v };
    for (size_t i = 0; i < r->n; i++)
        for (size_t h = 0; h < heads; h++)
            for (size_t p = 0; p < 3; p++)
                memcpy(to[p] + i * d + h * run, r->w->qkv + i * 3 * d + (3 * h + p) * run, run * sizeof(float));
}

static void rotate(struct run *r, float *x)
{
    const struct lm_config *c = &r->m->c;
    size_t half = c->rotary / 2, first = r->b->start[0];
    for (size_t i = 0; i < r->b->count; i++)
        for (size_t j = r->b->start[i]; j < r->b->start[i + 1]; j++) {
            size_t p = (j - r->b->start[i]) * half;
            nonlin_rotate(x + (j - first) * c->d_model, c->n_head, c->d_model / c->n_head, half, r->w->cosine + p,
                          r->w->sine + p);
        }
}

/* z = softmax(q k^T scale) v for one head of one context of n rows. Weights are divided by their sum at the end. */
static void attend_head(struct lm_work *w, const float *q, const float *k, const float *v, float *z, size_t n, size_t d,
                        size_t d_head, float scale)
{
    for (size_t i = 0; i < n; i += QUERIES) {
        size_t rows = n - i < QUERIES ? n - i : QUERIES, keys = i + rows;
        blas_nt(rows, keys, d_head, q + i * d, d, k, d, 0, w->scores, keys);
        nonlin_softmax(w->scores, keys, rows, keys, i + 1, scale, w->inverse);
        blas_nn(rows, d_head, keys, w->scores, keys, v, d, 0, z + i * d, d);
        for (size_t j = 0; j < rows; j++)
            vec_scale(z + (i + j) * d, w->inverse[j], d_head);
    }
}

static void attend(struct run *r, int layer)
{
    const struct lm_config *c = &r->m->c;
    size_t d = c->d_model, d_head = d / c->n_head;
    float scale = (float)((c->scale_attn ? 1 / sqrt((double)d_head) : 1) / (c->scale_by_layer ? layer + 1 : 1));
    for (size_t i = 0; i < r->b->count; i++) {
        size_t at = (r->b->start[i] - r->b->start[0]) * d, n = r->b->start[i + 1] - r->b->start[i];
        for (size_t h = 0; h < c->n_head; h++, at += d_head)
            attend_head(r->w, r->w->q + at, r->w->k + at, r->w->v + at, r->w->z + at, n, d, d_head, scale);
    }
}

/* The steps of a layer return true when nothing is left to be seen. */
static bool attention(struct run *r, int layer)
{
    struct lm_work *w = r->w;
    size_t d = r->m->c.d_model, l = (size_t)layer;
    if (norm(r, layer, SITE_LN1, LM_LN1_W, LM_LN1_B, w->resid))
        return true;
    linear(r, l, LM_QKV_W, LM_QKV_B, d, 3 * d, w->gained, w->qkv);
    split_qkv(r);
    if (tap(r, layer, SITE_Q, w->q) || tap(r, layer, SITE_K, w->k) || tap(r, layer, SITE_V, w->v))
        return true;
    if (r->m->c.rotary) {
        rotate(r, w->q);
        if (tap(r, layer, SITE_ROT_Q, w->q))
            return true;
        rotate(r, w->k);
        if (tap(r, layer, SITE_ROT_K, w->k))
            return true;
    }
    attend(r, layer);
    if (tap(r, layer, SITE_Z, w->z))
        return true;
    linear(r, l, LM_ATTN_W, LM_ATTN_B, d, d, w->z, w->attn);
    return tap(r, layer, SITE_ATTN_OUT, w->attn);
}

static bool mlp(struct run *r, int layer)
{
    struct lm_work *w = r->w;
    size_t d = r->m->c.d_model, f = r->m->c.d_mlp, l = (size_t)layer;
    if (norm(r, layer, SITE_LN2, LM_LN2_W, LM_LN2_B, w->resid))
        return true;
    linear(r, l, LM_UP_W, LM_UP_B, d, f, w->gained, w->hidden);
    if (tap(r, layer, SITE_PRE, w->hidden))
        return true;
    nonlin_apply(r->m->c.act, w->hidden, r->n * f);
    if (tap(r, layer, SITE_POST, w->hidden))
        return true;
    linear(r, l, LM_DOWN_W, LM_DOWN_B, f, d, w->hidden, w->mlp);
    return tap(r, layer, SITE_MLP_OUT, w->mlp);
}

/* In a parallel block the MLP does without the attention: skip that where only the MLP's points are still wanted. */
static bool only_mlp(const struct run *r, int layer)
{
    for (size_t i = 0; i < r->n_taps; i++) {
        const struct lm_hook *h = r->taps[i].hook;
        if (h->layer > layer || (h->layer == layer && h->site > SITE_RESID_PRE &&
                                 (h->site < SITE_LN2 || h->site > SITE_MLP_OUT)))
            return false;
    }
    return true;
}

static bool block(struct run *r, int layer)
{
    struct lm_work *w = r->w;
    size_t items = r->n * r->m->c.d_model;
    if (tap(r, layer, SITE_RESID_PRE, w->resid))
        return true;
    if (r->m->c.parallel) {
        if (!only_mlp(r, layer) && attention(r, layer))
            return true;
        if (mlp(r, layer))
            return true;
        vec_add(w->resid, w->attn, items);
    } else {
        if (attention(r, layer))
            return true;
        vec_add(w->resid, w->attn, items);
        if (tap(r, layer, SITE_RESID_MID, w->resid) || mlp(r, layer))
            return true;
    }
    vec_add(w->resid, w->mlp, items);
    return tap(r, layer, SITE_RESID_POST, w->resid);
}

static void head(struct run *r)
{
    const struct lm_config *c = &r->m->c;
    struct lm_work *w = r->w;
    int behind = (int)c->n_layer;
    if (norm(r, behind, SITE_LN_FINAL, LM_NORM_W, LM_NORM_B, w->resid))
        return;
    if (w->logit_rows < r->n) {
        free(w->logits);
        w->logits = mem_align(r->n, c->n_vocab * sizeof(float));
        w->logit_rows = r->n;
    }
    const float *unembed = lm_load(r->m, 0, c->tied ? LM_EMBED : LM_HEAD);
    blas_nt(r->n, c->n_vocab, c->d_model, w->gained, c->d_model, unembed, c->d_model, 0, w->logits, c->n_vocab);
    tap(r, behind, SITE_LOGITS, w->logits);
}

static void reserve(struct run *r)
{
    size_t longest = 0;
    for (size_t i = 0; i < r->b->count; i++) {
        size_t n = r->b->start[i + 1] - r->b->start[i];
        longest = n > longest ? n : longest;
    }
    reserve_rows(r->w, &r->m->c, r->n);
    reserve_context(r->w, &r->m->c, longest);
}

static void blocks_from(struct run *r, int layer)
{
    for (; layer < (int)r->m->c.n_layer; layer++)
        if (block(r, layer))
            return;
    head(r);
}

void lm_forward(const struct lm *m, struct lm_work *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps)
{
    struct run r = { m, w, b, taps, n_taps, n_taps, b->start[b->count] - b->start[0] };
    if (r.n == 0 || n_taps == 0)
        return;
    reserve(&r);
    if (!embed(&r))
        blocks_from(&r, 0);
}

void lm_resume(const struct lm *m, struct lm_work *w, const struct lm_batch *b, int layer, const float *rows,
               const struct lm_tap *taps, size_t n_taps)
{
    struct run r = { m, w, b, taps, n_taps, n_taps, b->start[b->count] - b->start[0] };
    if (r.n == 0 || n_taps == 0)
        return;
    reserve(&r);
    memcpy(w->resid, rows, r.n * m->c.d_model * sizeof *rows);
    blocks_from(&r, layer);
}

const float *lm_cosines(const struct lm_work *w, const float **sine)
{
    *sine = w->sine;
    return w->cosine;
}
