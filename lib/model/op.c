/* Dense products over all rows of the batch at once, attention context by context and head by head, in blocks of query rows
 * that see only the keys up to their own end. */
/* SPDX-License-Identifier: MIT */
#include "model/op.h"
#include "maths/blas.h"
#include "maths/vec.h"
#include "model/lm_internal.h"

#include <string.h>

enum { QUERIES = 64 };                  /* rows of an attention block */

/* ---- what an operation sees: values and gradients (rows, width) of slots ---- */

static size_t width(const struct pass *p, int slot)
{
    return p->m->list.width[slot];
}

static float *value(const struct pass *p, int slot)
{
    return lm_room(&p->w->buf[slot], p->n * width(p, slot));
}

static float *grad(const struct pass *p, int slot)
{
    return lm_room(&p->w->buf[GRAD + slot], p->n * width(p, slot));
}

static bool is_live(const struct pass *p, int slot)
{
    return p->w->live >> slot & 1;
}

/* What the k-th slot read was then. */
static const float *kept(const struct pass *p, const struct op *o, int k)
{
    return p->w->kept[o - p->m->list.op][k];
}

/* The gradient at `out`, which has been made into the one at `in`, goes there. */
static void hand_over(struct pass *p, const struct op *o)
{
    struct rows *from = &p->w->buf[GRAD + o->out[0]], *to = &p->w->buf[GRAD + o->in[0]], spare = *to;
    if (from == to)
        return;
    if (is_live(p, o->in[0])) {
        vec_add(to->p, from->p, p->n * width(p, o->in[0]));
    } else {
        *to = *from;
        *from = spare;
    }
}

/* ---- row by row ---- */

/* For every row: token j of the batch, at position j - start[i] of its context. */
#define EACH_ROW(b, i, j) \
    for (size_t i = 0; i < (b)->count; i++) \
        for (size_t j = (b)->start[i]; j < (b)->start[i + 1]; j++)

/* Straight from the file: only the rows that occur are read. */
static void table(struct pass *p, const struct op *o)
{
    const struct tensor *t = p->m->list.weight[o->weight - 1].t;
    size_t d = width(p, o->out[0]), row = d * dtype_size(t->type);
    float *to = value(p, o->out[0]);
    EACH_ROW(p->b, i, j) {
        size_t from = o->by_position ? j - p->b->start[i] : p->b->tok[j];
        dtype_load(to + (j - p->b->start[0]) * d, (const char *)t->data + from * row, t->type, d);
    }
}

static void norm(struct pass *p, const struct op *o)
{
    nonlin_normalize(value(p, o->out[0]), value(p, o->in[0]), p->n, width(p, o->in[0]), o->eps);
}

static void norm_back(struct pass *p, const struct op *o)
{
    nonlin_normalize_back(grad(p, o->out[0]), kept(p, o, 0), p->n, width(p, o->in[0]), o->eps);
    hand_over(p, o);
}

static void gain(struct pass *p, const struct op *o)
{
    const float *by = lm_load(p->m, o->weight), *bias = lm_load(p->m, o->bias);
    nonlin_gain(value(p, o->out[0]), value(p, o->in[0]), by, bias, p->n, width(p, o->in[0]));
}

static void gain_back(struct pass *p, const struct op *o)
{
    size_t d = width(p, o->in[0]);
    const float *by = lm_load(p->m, o->weight);
    float *g = grad(p, o->out[0]);
    for (size_t i = 0; i < p->n; i++)
        for (size_t j = 0; j < d; j++)
            g[i * d + j] *= by[j];
    hand_over(p, o);
}

/* y (n,to) = x (n,from) W + bias. The bias comes first: the product is then added to it at no cost. */
static void linear(struct pass *p, const struct op *o)
{
    size_t from = width(p, o->in[0]), to = width(p, o->out[0]);
    const float *x = value(p, o->in[0]), *w = lm_load(p->m, o->weight), *bias = lm_load(p->m, o->bias);
    float *y = value(p, o->out[0]);
    for (size_t i = 0; bias && i < p->n; i++)
        memcpy(y + i * to, bias, to * sizeof *y);
    if (o->in_out)
        blas_nn(p->n, to, from, x, from, w, to, bias ? 1 : 0, y, to);
    else
        blas_nt(p->n, to, from, x, from, w, from, bias ? 1 : 0, y, to);
}

static void linear_back(struct pass *p, const struct op *o)
{
    size_t from = width(p, o->in[0]), to = width(p, o->out[0]);
    const float *w = lm_load(p->m, o->weight), *dy = grad(p, o->out[0]);
    float *dx = grad(p, o->in[0]), more = is_live(p, o->in[0]);
    if (o->in_out)
        blas_nt(p->n, from, to, dy, to, w, to, more, dx, from);
    else
        blas_nn(p->n, from, to, dy, to, w, from, more, dx, from);
}

/* Between the columns of x, `heads` times a run of each of three, and one array for each, heads in order. */
static void split(struct pass *p, const struct op *o)
{
    size_t d = width(p, o->out[0]), run = d / o->heads;
    float *to[3] = { value(p, o->out[0]), value(p, o->out[1]), value(p, o->out[2]) };
    const float *x = value(p, o->in[0]);
    for (size_t i = 0; i < p->n; i++)
        for (size_t h = 0; h < o->heads; h++)
            for (size_t k = 0; k < 3; k++, x += run)
                memcpy(to[k] + i * d + h * run, x, run * sizeof *x);
}

static void split_back(struct pass *p, const struct op *o)
{
    size_t d = width(p, o->out[0]), run = d / o->heads;
    const float *from[3] = { grad(p, o->out[0]), grad(p, o->out[1]), grad(p, o->out[2]) };
    float *dx = grad(p, o->in[0]);
    for (size_t i = 0; i < p->n; i++)
        for (size_t h = 0; h < o->heads; h++)
            for (size_t k = 0; k < 3; k++, dx += run)
                memcpy(dx, from[k] + i * d + h * run, run * sizeof *dx);
}

static void act(struct pass *p, const struct op *o)
{
    nonlin_apply(o->act, value(p, o->out[0]), p->n * width(p, o->out[0]));
}

static void act_back(struct pass *p, const struct op *o)
{
    nonlin_apply_back(o->act, grad(p, o->out[0]), kept(p, o, 0), p->n * width(p, o->out[0]));
}

static void add(struct pass *p, const struct op *o)
{
    vec_add(value(p, o->out[0]), value(p, o->in[1]), p->n * width(p, o->out[0]));
}

static void add_back(struct pass *p, const struct op *o)
{
    size_t items = p->n * width(p, o->out[0]);
    float *to = grad(p, o->in[1]);
    if (is_live(p, o->in[1]))
        vec_add(to, grad(p, o->out[0]), items);
    else
        memcpy(to, grad(p, o->out[0]), items * sizeof *to);
}

/* ---- positions that turn ---- */

static void turn(struct pass *p, const struct op *o, float *x,
                 void (*fn)(float *x, size_t n_head, size_t d_head, size_t half, const float *cosine, const float *sine))
{
    size_t d = width(p, o->out[0]), half = p->m->list.rope[o->rope - 1].half;
    EACH_ROW(p->b, i, j) {
        const float *cosine = p->w->buf[TURNS + o->rope - 1].p + (j - p->b->start[i]) * half;
        fn(x + (j - p->b->start[0]) * d, o->heads, d / o->heads, half, cosine, cosine + p->w->context * half);
    }
}

static void rotate(struct pass *p, const struct op *o)
{
    turn(p, o, value(p, o->out[0]), nonlin_rotate);
}

static void rotate_back(struct pass *p, const struct op *o)
{
    turn(p, o, grad(p, o->out[0]), nonlin_rotate_back);
}

/* ---- attention ---- */

/* A block of query rows [from, from + rows) of a context, in one head: all pointers are to the context's first row there. */
struct block {
    size_t from, rows, keys;            /* keys: how many the block may look at */
    size_t d, d_head;                   /* row distance; width of a head */
    float *weights, *inverse;           /* (rows, keys): exp of scores; (rows): 1 / their sum */
};

/* Call fn for every block of every head of every context; `at`: the items in front of its context and head. */
static void each_block(struct pass *p, const struct op *o,
                       void (*fn)(struct pass *p, const struct op *o, const struct block *a, size_t at))
{
    size_t d = width(p, Q), d_head = d / o->heads;
    struct block a = { .d = d, .d_head = d_head, .weights = lm_room(&p->w->buf[SCORES], QUERIES * p->w->context),
                       .inverse = lm_room(&p->w->buf[INVERSE], QUERIES) };
    for (size_t i = 0; i < p->b->count; i++) {
        size_t at = (p->b->start[i] - p->b->start[0]) * d, n = p->b->start[i + 1] - p->b->start[i];
        for (size_t h = 0; h < o->heads; h++, at += d_head)
            for (a.from = 0; a.from < n; a.from += QUERIES) {
                a.rows = n - a.from < QUERIES ? n - a.from : QUERIES;
                a.keys = a.from + a.rows;
                fn(p, o, &a, at);
            }
    }
}

/* exp(q k^T scale - its maximum), not yet divided by their sum. */
static void weights(const struct op *o, const struct block *a, const float *q, const float *k)
{
    blas_nt(a->rows, a->keys, a->d_head, q + a->from * a->d, a->d, k, a->d, 0, a->weights, a->keys);
    nonlin_softmax(a->weights, a->keys, a->rows, a->keys, a->from + 1, o->scale, a->inverse);
}

static void attend_block(struct pass *p, const struct op *o, const struct block *a, size_t at)
{
    float *z = value(p, o->out[0]) + at + a->from * a->d;
    weights(o, a, value(p, o->in[0]) + at, value(p, o->in[1]) + at);
    blas_nn(a->rows, a->d_head, a->keys, a->weights, a->keys, value(p, o->in[2]) + at, a->d, 0, z, a->d);
    for (size_t j = 0; j < a->rows; j++)
        vec_scale(z + j * a->d, a->inverse[j], a->d_head);
}

static void attend(struct pass *p, const struct op *o)
{
    each_block(p, o, attend_block);
}

/* Adds to dk and dv, sets dq. */
static void attend_back_block(struct pass *p, const struct op *o, const struct block *a, size_t at)
{
    size_t d = a->d, from = at + a->from * d, ld = a->keys;
    const float *q = kept(p, o, 0), *k = kept(p, o, 1) + at, *v = kept(p, o, 2) + at, *dz = grad(p, o->out[0]) + from;
    float *dweights = lm_room(&p->w->buf[DSCORES], QUERIES * p->w->context);
    weights(o, a, q + at, k);
    for (size_t j = 0; j < a->rows; j++)
        vec_scale(a->weights + j * ld, a->inverse[j], a->keys);
    blas_tn(a->keys, a->d_head, a->rows, a->weights, ld, dz, d, 1, grad(p, o->in[2]) + at, d);
    blas_nt(a->rows, a->keys, a->d_head, dz, d, v, d, 0, dweights, ld);
    nonlin_softmax_back(dweights, a->weights, ld, a->rows, a->keys, o->scale);
    blas_nn(a->rows, a->d_head, a->keys, dweights, ld, k, d, is_live(p, o->in[0]) ? 1 : 0, grad(p, o->in[0]) + from, d);
    blas_tn(a->keys, a->d_head, a->rows, dweights, ld, q + from, d, 1, grad(p, o->in[1]) + at, d);
}

static void attend_back(struct pass *p, const struct op *o)
{
    for (int k = 1; k < 3; k++) {
        float *g = grad(p, o->in[k]);
        if (!is_live(p, o->in[k]))
            memset(g, 0, p->n * width(p, o->in[k]) * sizeof *g);
    }
    each_block(p, o, attend_back_block);
}

/* ---- hooks ---- */

static void hook(struct pass *p, const struct op *o)
{
    for (size_t i = 0; i < p->n_taps; i++)
        if (p->taps[i].hook->op == o)
            p->taps[i].fn(p->taps[i].arg, value(p, o->in[0]), p->n);
}

const struct op_kind op_table = { table, NULL, 0 };
const struct op_kind op_norm = { norm, norm_back, 1 };
const struct op_kind op_gain = { gain, gain_back, 0 };
const struct op_kind op_linear = { linear, linear_back, 0 };
const struct op_kind op_split = { split, split_back, 0 };
const struct op_kind op_rotate = { rotate, rotate_back, 0 };
const struct op_kind op_attend = { attend, attend_back, 3 };
const struct op_kind op_act = { act, act_back, 1 };
const struct op_kind op_add = { add, add_back, 0 };
const struct op_kind op_hook = { hook, NULL, 0 };
