/* SPDX-License-Identifier: MIT */
#include "model/list.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

static unsigned set_of(const unsigned char slot[3])
{
    return (1u << slot[0] | 1u << slot[1] | 1u << slot[2]) & ~(1u << NONE);
}

static void add(struct list *l, struct op o)
{
    o.layer = l->layer;
    o.reads = set_of(o.in);
    o.writes = set_of(o.out);
    l->op = mem_grow(l->op, &l->op_cap, l->ops + 1, sizeof *l->op);
    l->op[l->ops++] = o;
}

/* A tensor to look for, (rows, cols) or, where cols is 0, (rows); its number. */
static int tensor(struct list *l, const char *name, const char *part, size_t rows, size_t cols)
{
    int layer = strchr(name, '*') ? l->layer : -1;
    l->weight = mem_grow(l->weight, &l->weight_cap, l->weights + 1, sizeof *l->weight);
    l->weight[l->weights++] = (struct weight){ name, part, layer, cols ? 2 : 1, { rows, cols }, false, NULL, NULL, NULL };
    return (int)l->weights;
}

/* One with a row for each token or position. */
static int table(struct list *l, const char *name, size_t rows, size_t cols)
{
    int weight = tensor(l, name, "weight", rows, cols);
    l->weight[weight - 1].embedding = true;
    return weight;
}

void list_embed(struct list *l, const char *name, size_t rows, size_t width)
{
    l->width[RESID] = width;
    add(l, (struct op){ &op_table, .out = { RESID }, .weight = table(l, name, rows, width) });
    list_hook(l, RESID, "hook_embed");
}

void list_positions(struct list *l, const char *name, size_t rows)
{
    l->width[NORM] = l->width[RESID];
    add(l, (struct op){ &op_table, .out = { NORM }, .weight = table(l, name, rows, l->width[NORM]), .by_position = true });
    list_hook(l, NORM, "hook_pos_embed");
    list_add(l, RESID, NORM);
}

void list_next_layer(struct list *l)
{
    l->layer++;
}

void list_norm(struct list *l, int from, const char *hook, const char *name, double eps)
{
    size_t d = l->width[from];
    int gain = tensor(l, name, "weight", d, 0), bias = tensor(l, name, "bias", d, 0);
    l->width[NORM] = l->width[GAINED] = d;
    add(l, (struct op){ &op_norm, .in = { from }, .out = { NORM }, .eps = eps });
    list_hook(l, NORM, hook);
    add(l, (struct op){ &op_gain, .in = { NORM }, .out = { GAINED }, .weight = gain, .bias = bias });
}

void list_linear(struct list *l, int from, int to, size_t width, const char *name, bool bias)
{
    size_t in = l->width[from];
    int weight = tensor(l, name, "weight", l->in_out ? in : width, l->in_out ? width : in);
    int shift = bias ? tensor(l, name, "bias", width, 0) : 0;
    l->width[to] = width;
    add(l, (struct op){ &op_linear, .in = { from }, .out = { to }, .weight = weight, .bias = shift, .in_out = l->in_out });
}

void list_split(struct list *l, size_t runs)
{
    l->width[Q] = l->width[K] = l->width[V] = l->width[QKV] / 3;
    add(l, (struct op){ &op_split, .in = { QKV }, .out = { Q, K, V }, .heads = runs });
}

int list_rope(struct list *l, size_t dims, double base)
{
    struct rope r = { dims / 2, mem_alloc(dims / 2, sizeof *r.speed) };
    for (size_t i = 0; i < r.half; i++)
        r.speed[i] = pow(base, -2.0 * (double)i / (double)dims);
    l->rope = mem_grow(l->rope, &l->rope_cap, l->ropes + 1, sizeof *l->rope);
    l->rope[l->ropes++] = r;
    return (int)l->ropes;
}

static void rotate(struct list *l, int slot, size_t heads, int rope, const char *hook)
{
    if (!rope)
        return;
    add(l, (struct op){ &op_rotate, .in = { slot }, .out = { slot }, .heads = heads, .rope = rope });
    list_hook(l, slot, hook);
}

void list_attend(struct list *l, size_t heads, int rope, double scale)
{
    l->width[Z] = l->width[Q];
    list_hook(l, Q, "attn.hook_q");
    list_hook(l, K, "attn.hook_k");
    list_hook(l, V, "attn.hook_v");
    rotate(l, Q, heads, rope, "attn.hook_rot_q");
    rotate(l, K, heads, rope, "attn.hook_rot_k");
    add(l, (struct op){ &op_attend, .in = { Q, K, V }, .out = { Z }, .heads = heads, .scale = (float)scale });
    list_hook(l, Z, "attn.hook_z");
}

void list_add(struct list *l, int to, int from)
{
    add(l, (struct op){ &op_add, .in = { to, from }, .out = { to } });
}

void list_hook(struct list *l, int slot, const char *name)
{
    add(l, (struct op){ &op_hook, .in = { slot }, .out = { slot }, .name = name });
}

void list_mlp(struct list *l, const char *up, const char *down, size_t width, enum nonlin act)
{
    list_linear(l, GAINED, HIDDEN, width, up, true);
    list_hook(l, HIDDEN, "mlp.hook_pre");
    add(l, (struct op){ &op_act, .in = { HIDDEN }, .out = { HIDDEN }, .act = act });
    list_hook(l, HIDDEN, "mlp.hook_post");
    list_linear(l, HIDDEN, MLP, l->width[RESID], down, true);
    list_hook(l, MLP, "hook_mlp_out");
}

void list_logits(struct list *l, const char *name, size_t rows)
{
    int weight = name ? table(l, name, rows, l->width[GAINED]) : l->op[0].weight;
    l->width[LOGITS] = rows;
    l->head = l->ops;
    add(l, (struct op){ &op_linear, .in = { GAINED }, .out = { LOGITS }, .weight = weight });
    list_hook(l, LOGITS, "logits");
}
