/* work: what fit.c and step.c share and no kind needs to see. */
/* SPDX-License-Identifier: MIT */
#ifndef WORK_H
#define WORK_H

#include "kinds/fit.h"
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
    struct codes *piece;        /* of each piece of rows */
    size_t pieces, piece_cap;
    float *sum_r;               /* (pieces of rows, d_model) sums of r */
    size_t sum_r_cap;
    float *back;                /* (pieces of features, d_model) sums of db_i e_i */
    size_t back_cap;
    struct fit_scratch *scratch;
    size_t workers;
};

/* The loss of the batch is finite and has not grown beyond all measure. */
bool fit_is_sound(const struct fit *f);

#endif
