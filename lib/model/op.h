/* op: the operations that a forward pass is a list of, each with its way forward and its way back; private to lib/model.
 *
 * An operation reads and writes slots: buffers (rows, width) with one row for each token of the batch. It may write the slot
 * it reads. Backwards each slot has a gradient, "live" while something behind it reads the slot. */
/* SPDX-License-Identifier: MIT */
#ifndef OP_H
#define OP_H

#include "maths/nonlin.h"

#include <stdbool.h>
#include <stddef.h>

/* RESID is the residual stream, all that a layer hands to the next. */
enum slot { NONE, RESID, NORM, GAINED, QKV, Q, K, V, Z, ATTN, HIDDEN, MLP, LOGITS, SLOTS };

struct op;
struct pass;

struct op_kind {
    void (*forward)(struct pass *p, const struct op *o);
    /* From the gradient at what it wrote to the one at what it read: added where that is live, else set. The former may be
     * spent on it. NULL: there is nothing to do. */
    void (*backward)(struct pass *p, const struct op *o);
    int keeps;                  /* of how many of the slots it reads, from the first, backward asks for the values */
};

struct op {
    const struct op_kind *kind;
    const char *name;           /* hook: behind "blocks.N." where it is in a layer */
    int layer;                  /* -1: before the layers; n_layer: behind them */
    unsigned char in[3], out[3];    /* slots, as many as the kind has; NONE */
    unsigned reads, writes;     /* the same as sets: bit s is slot s */
    int weight, bias, rope;     /* of the list, from 1; 0: none */
    bool by_position;           /* table: by position in the context rather than by token */
    bool in_out;                /* linear: the weight is (in, out) rather than (out, in) */
    enum nonlin act;
    size_t heads;               /* rotate, attend; split: runs */
    double eps;                 /* norm */
    float scale;                /* attend: of the scores */
};

extern const struct op_kind
    op_table,                   /* out = rows of a table */
    op_norm,                    /* out = (in - mean) / sqrt(variance + eps), row by row */
    op_gain,                    /* out = in weight + bias, both (width) */
    op_linear,                  /* out = in W + bias */
    op_split,                   /* out[0], out[1], out[2] = the columns of in: `heads` times a run of each */
    op_rotate,                  /* in each head pairs of dimensions turn with the position */
    op_attend,                  /* out = softmax(scale in[0] in[1]^T) in[2], head by head, causal */
    op_act,                     /* out = act(in), in place */
    op_add,                     /* out += in[1]; in[0] is out */
    op_hook;                    /* taps see the slot and may overwrite it */

#endif
