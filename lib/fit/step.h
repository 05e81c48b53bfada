/* step: the pieces a kind's step hook is put together from. Only the encoder product is dense; the rest touches the
 * features that fire, and no (d_sae, d_model) gradient is ever held:
 *
 *   x --step_encode--> pairs (row, feature, f) --step_rows--> r = x_hat - x, g = dL/dpi --step_update--> by feature:
 *       dD_i = 2/B sum f r, dE_i = 1/B sum g x, db_i = 1/B sum g  --the kind's gradient--> Adam --its constrain-->
 *   and last b_dec: 1/B [2 sum r - E^T sum g], E as it was.
 *
 * The term |r|^2 has the weight f->o.recon. A kind with more to say than its firing features can hold lists pairs a
 * second time (open gates, the window of a kernel, dead features) and hands several terms to step_update_terms().
 * Work is cut into fixed blocks of rows, then of features; sums over rows run in row order. */
/* SPDX-License-Identifier: MIT */
#ifndef STEP_H
#define STEP_H

#include "fit/fit.h"

/* ---- encode ---- */

/* Which features of one row fire: dot (d_sae) = E x; list them ascending with their values. Returns how many. */
typedef size_t (*step_fires)(const struct fit *f, const float *dot, uint32_t *idx, float *val);
/* Fill f->f from f->x. */
void step_encode(struct fit *f, step_fires fires);

/* A second list of pairs beside f->f. */
struct step_list {
    struct codes c;
    float *g, *extra;           /* for each pair: d(row's L) / d pi; whatever else the kind sums by feature */
    float *r;                   /* (n, d_model) what is left of what this list is to explain */
    double weight;              /* of |r|^2 in L */
    struct codes_by_feature by_feature;
    size_t g_cap, extra_cap, r_cap;
};
/* Fill it too, by a second hook that sees the same products; it has room for all but weight. */
struct step_list *step_encode_two(struct fit *f, step_fires fires, step_fires others);
/* The list, as it was last filled. */
struct step_list *step_second(const struct fit *f);

/* Keep of f->f the `count` largest values of the whole batch (the earlier pair wins a tie), or those above a bound.
 * Returns the smallest value kept, 0 when none is. */
float step_keep_largest(struct fit *f, size_t count);
float step_keep_above(struct fit *f, float bound);

/* ---- rows ---- */

/* For one row: its residual in f->r, by step_residual(), and g for each of its pairs. Returns what L has besides
 * recon |r|^2: the penalty, lambda S(f). */
typedef double (*step_row)(struct fit *f, size_t row);
/* Do so for all rows; f->error, f->loss and the loss of the batch follow, with the penalty of decoder_overlap.h. b_dec learns
 * from `towards` (n, d_model) instead of f->r unless it is NULL. */
void step_rows(struct fit *f, step_row fn);
void step_rows_towards(struct fit *f, step_row fn, const float *towards);
/* Afterwards: add what fn returns to the loss of each row. */
void step_rows_more(struct fit *f, step_row fn);

/* The weight of |r|^2. */
double step_recon(const struct fit *f);
/* f->r of the row = f W_dec + b_dec - s x. */
void step_residual(struct fit *f, size_t row);
/* out (d_model) = base + the row of c, decoded; base NULL: zero. base - s x is the row's residual with f = 0. */
void step_decode(const struct fit *f, const struct codes *c, size_t row, const float *base, float *out);
/* What the decoder adds its features to, in the frame of f->x: b_dec, or NULL for nothing. */
const float *step_base(const struct fit *f);
/* g_p = scale <d, r> for each pair p of the row of c. */
void step_back(const struct fit *f, const struct codes *c, size_t row, const float *r, double scale, float *g);

/* ---- features ---- */

/* The gradient of feature i's parameters: g[SAE_W_DEC], g[SAE_W_ENC], g[SAE_B_ENC] hold dD_i, dE_i, db_i; every row
 * of a tensor the kind learns is to hold the gradient of that parameter on return. Rows of other tensors come as
 * zeros. */
typedef void (*step_gradient)(const struct fit *f, size_t i, float *const g[SAE_TENSORS]);
/* Hand all gradients on, as f->mode says: nothing, to f->gradient, or to Adam; with f->o.clip no longer than that. */
void step_update(struct fit *f, step_gradient fn);

/* One list's part in the gradient: dD_i += 2 weight / B sum val r, dE_i += 1/B sum g x. */
struct step_term {
    const struct codes *c;
    struct codes_by_feature *by_feature; /* filled here */
    const float *g;             /* for each pair; NULL: the encoder learns nothing from it */
    const float *r;             /* (n, d_model); NULL: nor does the decoder */
    const uint32_t *plane;      /* (d_sae) r is several such planes, and this is the one for feature i; NULL: one */
    double weight;
};
void step_update_terms(struct fit *f, const struct step_term *term, size_t terms, step_gradient fn);
/* The term of f->f, f->g and f->r; that of the second list with its g alone, or with its r too. */
struct step_term step_term_first(struct fit *f);
struct step_term step_term_second(struct fit *f, bool decodes);

/* 1/B sum over the pairs of feature i of coef: what a bias added to pi gets when coef is g. */
double step_sum(const struct fit *f, const struct codes_by_feature *by_feature, size_t i, const float *coef);

/* ---- what several kinds share ---- */

/* The norm of decoder rows at the start: f->o.dec_norm where it is free, else 1. */
double step_dec_norm(const struct fit *f);
/* Random decoder rows of that norm; encoder rows their copy, or as random. */
void step_init_rows(struct fit *f);

/* The fires hook of f = relu(pi). */
size_t step_fires_relu(const struct fit *f, const float *dot, uint32_t *idx, float *val);
/* The row hook of no penalty at all. */
double step_row_plain(struct fit *f, size_t row);

#endif
