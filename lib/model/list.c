/* SPDX-License-Identifier: MIT */
#include "model/list.h"
#include "ground/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- growing ---- */

/* The next operation, from one slot (NONE) to one. Borrowed until the next. */
static struct op *add(struct list *l, const struct op_kind *kind, int in, int out)
{
    l->op = mem_grow(l->op, &l->op_cap, l->ops + 1, sizeof *l->op);
    struct op *o = &l->op[l->ops++];
    *o = (struct op){ kind, .layer = l->layer, .weight = NONE, .bias = NONE };
    memset(o->in, NONE, sizeof o->in);
    memset(o->out, NONE, sizeof o->out);
    o->in[0] = (signed char)in;
    o->out[0] = (signed char)out;
    return o;
}

/* A tensor to look for, (rows, cols) or, where cols is 0, (rows); its number. */
static int tensor(struct list *l, const char *name, const char *part, size_t rows, size_t cols)
{
    l->weight = mem_grow(l->weight, &l->weight_cap, l->weights + 1, sizeof *l->weight);
    int layer = strchr(name, '*') ? l->layer : -1;
    l->weight[l->weights] = (struct weight){ name, part, layer, cols ? 2 : 1, { rows, cols }, false, NULL, NULL, NULL };
    return (int)l->weights++;
}

void list_free(struct list *l)
{
    for (size_t i = 0; i < l->weights; i++)
        free(l->weight[i].own);
    for (size_t i = 0; i < l->ropes; i++)
        free(l->rope[i].speed);
    free(l->weight);
    free(l->rope);
    free(l->op);
}

void list_next_layer(struct list *l)
{
    l->layer++;
}

/* ---- operations ---- */

static void table(struct list *l, const struct op_kind *kind, int to, const char *name, size_t rows, size_t width)
{
    int weight = tensor(l, name, "weight", rows, width);
    l->weight[weight].embedding = true;
    add(l, kind, NONE, to)->weight = weight;
    l->width[to] = width;
}

void list_embed(struct list *l, const char *name, size_t rows, size_t width)
{
    table(l, &op_embed, RESID, name, rows, width);
}

void list_position(struct list *l, const char *name, size_t rows)
{
    table(l, &op_position, NORM, name, rows, l->width[RESID]);
}

void list_layer_norm(struct list *l, int from, const char *hook, const char *name, double eps)
{
    size_t d = l->width[from];
    add(l, &op_norm, from, NORM)->eps = eps;
    list_hook(l, NORM, hook);
    struct op *o = add(l, &op_gain, NORM, GAINED);
    o->weight = tensor(l, name, "weight", d, 0);
    o->bias = tensor(l, name, "bias", d, 0);
    l->width[NORM] = l->width[GAINED] = d;
}

void list_linear(struct list *l, int from, int to, size_t width, const char *name, bool bias)
{
    size_t in = l->width[from];
    struct op *o = add(l, &op_linear, from, to);
    o->in_out = l->in_out;
    o->weight = tensor(l, name, "weight", l->in_out ? in : width, l->in_out ? width : in);
    o->bias = bias ? tensor(l, name, "bias", width, 0) : NONE;
    l->width[to] = width;
}

void list_split(struct list *l, size_t runs)
{
    struct op *o = add(l, &op_split, QKV, Q);
    o->out[1] = K;
    o->out[2] = V;
    o->heads = runs;
    l->width[Q] = l->width[K] = l->width[V] = l->width[QKV] / 3;
}

size_t list_rope(struct list *l, size_t dims, double base)
{
    l->rope = mem_grow(l->rope, &l->rope_cap, l->ropes + 1, sizeof *l->rope);
    struct rope *r = &l->rope[l->ropes];
    r->half = dims / 2;
    r->speed = mem_alloc(r->half, sizeof *r->speed);
    for (size_t i = 0; i < r->half; i++)
        r->speed[i] = pow(base, -2.0 * (double)i / (double)dims);
    return l->ropes++;
}

void list_rotate(struct list *l, int slot, size_t heads, size_t rope)
{
    struct op *o = add(l, &op_rotate, slot, slot);
    o->heads = heads;
    o->rope = rope;
}

void list_attend(struct list *l, size_t heads, double scale)
{
    struct op *o = add(l, &op_attend, Q, Z);
    o->in[1] = K;
    o->in[2] = V;
    o->heads = heads;
    o->scale = (float)scale;
    l->width[Z] = l->width[Q];
}

void list_act(struct list *l, int slot, enum nonlin act)
{
    add(l, &op_act, slot, slot)->act = act;
}

void list_add(struct list *l, int to, int from)
{
    add(l, &op_add, to, to)->in[1] = (signed char)from;
}

void list_hook(struct list *l, int slot, const char *name)
{
    add(l, &op_hook, slot, slot)->name = name;
}

void list_logits(struct list *l, const char *name, size_t rows)
{
    l->head = l->ops;
    struct op *o = add(l, &op_linear, GAINED, LOGITS);
    o->weight = name ? tensor(l, name, "weight", rows, l->width[GAINED]) : l->op[0].weight;
    l->weight[o->weight].embedding = true;
    l->width[LOGITS] = rows;
    list_hook(l, LOGITS, "logits");
}

void list_mlp(struct list *l, const char *up, const char *down, size_t width, enum nonlin act)
{
    list_linear(l, GAINED, HIDDEN, width, up, true);
    list_hook(l, HIDDEN, "mlp.hook_pre");
    list_act(l, HIDDEN, act);
    list_hook(l, HIDDEN, "mlp.hook_post");
    list_linear(l, HIDDEN, MLP, l->width[RESID], down, true);
    list_hook(l, MLP, "hook_mlp_out");
}
