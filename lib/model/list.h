/* list: a model as a list of operations, with the tensors and the slots they ask for; private to lib/model.
 *
 * A family builds its list from its config, from the embedding to the logits; what the pass computes, forward and backward,
 * what its hook points are called and which tensors of which shapes a checkpoint must have all follow from it. `name` is a
 * tensor's name without its last part ("h.*.mlp.c_fc" has .weight and .bias), '*' standing for the layer. Strings are
 * borrowed. */
/* SPDX-License-Identifier: MIT */
#ifndef LIST_H
#define LIST_H

#include "data/safetensors.h"
#include "model/op.h"

struct weight {
    const char *name, *part;    /* "h.*.mlp.c_fc", "weight" */
    int layer;                  /* -1: not of a layer */
    size_t rank, shape[2];      /* as stored */
    bool embedding;             /* a row for each token or position */
    const struct tensor *t;     /* what the checkpoint has */
    const float *f32;           /* its values, once lm_load() has been there */
    float *own;                 /* f32 where it could not be the mapped file */
};

struct rope {
    size_t half;                /* pairs that turn in each head */
    double *speed;              /* (half): radians a position */
};

struct list {
    struct op *op;
    struct weight *weight;
    struct rope *rope;
    size_t ops, weights, ropes;
    size_t op_cap, weight_cap, rope_cap;
    size_t head;                /* the operation that makes logits */
    size_t width[SLOTS];        /* 0: not used */
    int layer;                  /* of the operations to come */
    bool in_out;                /* matrices are stored (in, out) */
};

/* Release what the list holds, not l itself. */
void list_free(struct list *l);

/* What follows is in the next layer; behind the last one, after it. */
void list_next_layer(struct list *l);

/* RESID = rows of a table (rows, width) by token; RESID += rows of one by position; with their hooks. */
void list_embed(struct list *l, const char *name, size_t rows, size_t width);
void list_positions(struct list *l, const char *name, size_t rows);
/* NORM = the layer norm of `from`, a hook called `hook` there, GAINED = NORM gain + bias. */
void list_norm(struct list *l, int from, const char *hook, const char *name, double eps);
/* to (width) = from W, + bias where there is one. */
void list_linear(struct list *l, int from, int to, size_t width, const char *name, bool bias);
/* Q, K, V = QKV, whose columns are `runs` times a run of each. */
void list_split(struct list *l, size_t runs);
/* A table of rotations, base^(-2i/dims) radians a position for i < dims/2; its number, from 1. [Su 2021, section 3.2.2] */
int list_rope(struct list *l, size_t dims, double base);
/* Z = attention of Q and K, rotated by a table (0: as they are), to V, scores times scale; with all hooks from Q to Z. */
void list_attend(struct list *l, size_t heads, int rope, double scale);
/* to += from */
void list_add(struct list *l, int to, int from);
/* A hook point on what is in the slot now. */
void list_hook(struct list *l, int slot, const char *name);
/* MLP = act(GAINED W_up + bias) W_down + bias, with its hooks; `width`: of the hidden layer. */
void list_mlp(struct list *l, const char *up, const char *down, size_t width, enum nonlin act);
/* LOGITS = GAINED U^T, U (rows, width of GAINED) or, where name is NULL, the embedding; and its hook. */
void list_logits(struct list *l, const char *name, size_t rows);

#endif
