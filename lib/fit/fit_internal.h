/* fit_internal: what fit.c, step.c and its penalties share and no kind needs to see. */
/* SPDX-License-Identifier: MIT */
#ifndef FIT_INTERNAL_H
#define FIT_INTERNAL_H

#include "fit/step.h"
#include "maths/optim.h"

/* Scratch of one worker. */
struct fit_scratch {
    float *dot;                 /* (rows of a piece, d_sae) */
    size_t dot_cap;
    uint32_t *idx;              /* (d_sae) */
    float *val;                 /* (d_sae) */
    float *list;                /* (n) coefficients of one feature */
    size_t list_cap;
    float *g[SAE_TENSORS];      /* one row of each tensor's gradient */
};

struct fit_work {
    struct fit_piece {          /* of each piece of rows */
        struct codes fires, others;
    } *piece;
    size_t pieces, piece_cap;
    struct step_list second;
    uint32_t *dead;             /* (dead_n) features, ascending: auxk.c */
    size_t dead_n, dead_cap;
    float *norm;                /* (d_sae) |d_i|, where the penalty is weighted by it: penalty.c */
    size_t norm_cap;
    double p;                   /* the power of the penalty in force */
    float *alike;               /* (d_sae, d_model) gradient of the penalty on rows that are alike; decoder_overlap.c */
    size_t alike_cap;
    float *inner, *inner_g;     /* layers before the last: what they hold, their gradients; inner_layers.c */
    size_t inner_cap, inner_g_cap;
    const float *in;            /* (n, d_model) what the last layer of the encoder sees */
    float *towards;             /* (n, d_model) dL / d of that */
    size_t towards_cap;
    float least;                /* smallest value kept of the batch; batch_threshold.c */
    double *square;             /* (pieces of features) sums of squares of the gradient */
    size_t square_cap;
    float *sum_r;               /* (pieces of rows, d_model) sums of r */
    size_t sum_r_cap;
    float *back;                /* (pieces of features, d_model) sums of db_i e_i */
    size_t back_cap;
    struct fit_scratch *scratch;
    size_t workers;
};

#endif
