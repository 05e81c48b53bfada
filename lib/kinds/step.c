/* SPDX-License-Identifier: MIT */
#include "kinds/step.h"
#include "ground/mem.h"
#include "ground/par.h"
#include "kinds/work.h"
#include "maths/blas.h"
#include "maths/vec.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, FEATURES = 32 };

static size_t pieces_of(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

/* ---- encode ---- */

struct encode {
    struct fit *f;
    step_fires fires;
};

static void encode_piece(void *arg, size_t piece, int worker)
{
    const struct encode *e = arg;
    struct fit *f = e->f;
    struct fit_scratch *w = &f->work->scratch[worker];
    size_t d = f->o.d_model, m = f->o.d_sae, from = piece * ROWS;
    size_t rows = f->n - from < ROWS ? f->n - from : ROWS;
    struct codes *out = &f->work->piece[piece];
    w->dot = mem_grow(w->dot, &w->dot_cap, rows * m, sizeof *w->dot);
    blas_nt(rows, m, d, f->x + from * d, d, f->enc, d, 0, w->dot, m);
    codes_reset(out, m);
    for (size_t r = 0; r < rows; r++)
        codes_push(out, w->idx, w->val, e->fires(f, w->dot + r * m, w->idx, w->val));
}

void step_encode(struct fit *f, step_fires fires)
{
    struct encode e = { f, fires };
    struct fit_work *w = f->work;
    size_t pieces = pieces_of(f->n, ROWS);
    if (pieces > w->pieces) {
        w->piece = mem_grow(w->piece, &w->piece_cap, pieces, sizeof *w->piece);
        memset(w->piece + w->pieces, 0, (pieces - w->pieces) * sizeof *w->piece);
        w->pieces = pieces;
    }
    par_for(pieces, encode_piece, &e);
    codes_reset(&f->f, f->o.d_sae);
    for (size_t p = 0; p < pieces; p++)
        codes_append(&f->f, &w->piece[p]);
    f->g = mem_grow(f->g, &f->g_cap, f->f.ptr[f->n], sizeof *f->g);
}

/* ---- rows ---- */

struct rows {
    struct fit *f;
    step_row fn;
};

void step_residual(struct fit *f, size_t row)
{
    size_t from = f->f.ptr[row], k = f->f.ptr[row + 1] - from, d = f->o.d_model;
    float *r = f->r + row * d;
    const float *base = f->o.apply_b_dec ? NULL : f->param[SAE_B_DEC].p;       /* or b_dec is in f->x already */
    sparse_sum(f->f.idx + from, f->f.val + from, k, f->dec, base, d, r);
    vec_sub(r, r, f->x + row * d, d);
}

static void rows_piece(void *arg, size_t piece, int worker)
{
    const struct rows *t = arg;
    struct fit *f = t->f;
    size_t d = f->o.d_model;
    float *sum = f->work->sum_r + piece * d;
    (void)worker;
    memset(sum, 0, d * sizeof *sum);
    for (size_t row = piece * ROWS; row < f->n && row < (piece + 1) * ROWS; row++) {
        const float *r = f->r + row * d;
        double penalty = t->fn(f, row);
        f->error[row] = vec_dot_wide(r, r, d);
        f->loss[row] = f->error[row] + penalty;
        vec_add(sum, r, d);
    }
}

void step_rows(struct fit *f, step_row fn)
{
    struct rows t = { f, fn };
    size_t pieces = pieces_of(f->n, ROWS);
    f->work->sum_r = mem_grow(f->work->sum_r, &f->work->sum_r_cap, pieces * f->o.d_model, sizeof(float));
    par_for(pieces, rows_piece, &t);
    f->batch_loss = 0;
    for (size_t row = 0; row < f->n; row++)
        f->batch_loss += f->loss[row] / (double)f->n;
}

/* ---- features ---- */

struct update {
    struct fit *f;
    step_gradient fn;
    struct adam adam;
};

void step_project(float *g, const float *u, size_t d)
{
    vec_axpy(g, (float)-vec_dot_wide(g, u, d), u, d);
}

/* out (d) = sum over the rows where feature i fires of scale * coef * X[row]; returns the sum of scale * coef. */
static double sum_rows(const struct fit *f, size_t i, const float *coef, float scale, const float *x, float *list,
                       float *out)
{
    const struct columns *c = &f->by_feature;
    size_t from = c->start[i], k = c->start[i + 1] - from;
    double sum = 0;
    for (size_t j = 0; j < k; j++) {
        list[j] = scale * coef[c->at[from + j]];
        sum += list[j];
    }
    sparse_sum(c->row + from, list, k, x, NULL, f->o.d_model, out);
    return sum;
}

/* Give one row of a parameter its gradient. */
static void hand_on(struct fit *f, const struct adam *adam, enum sae_tensor t, size_t row, const float *g)
{
    struct fit_param *p = &f->param[t];
    size_t at = row * p->width;
    if (f->mode == FIT_GRADIENT)
        memcpy(f->gradient[t] + at, g, p->width * sizeof *g);
    else
        adam_row(adam, p->p + at, p->m + at, p->v + at, g, p->width);
}

static void update_piece(void *arg, size_t piece, int worker)
{
    const struct update *u = arg;
    struct fit *f = u->f;
    struct fit_scratch *w = &f->work->scratch[worker];
    size_t d = f->o.d_model, m = f->o.d_sae;
    float *back = f->work->back + piece * d;
    memset(back, 0, d * sizeof *back);
    w->list = mem_grow(w->list, &w->list_cap, f->n, sizeof *w->list);
    for (size_t i = piece * FEATURES; i < m && i < (piece + 1) * FEATURES; i++) {
        float share = 1 / (float)f->n;
        for (enum sae_tensor t = SAE_THRESHOLD; t < SAE_TENSORS; t++)
            w->g[t][0] = 0;
        sum_rows(f, i, f->f.val, 2 * share, f->r, w->list, w->g[SAE_W_DEC]);
        double bias = sum_rows(f, i, f->g, share, f->x, w->list, w->g[SAE_W_ENC]);
        w->g[SAE_B_ENC][0] = (float)bias;
        vec_axpy(back, (float)bias, f->enc + i * d, d);
        u->fn(f, i, w->g);
        for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
            if (f->param[t].p && sae_tensors[t].per_feature)
                hand_on(f, &u->adam, t, i, w->g[t]);
        if (f->mode == FIT_UPDATE)
            f->o.kind->constrain(f, i);
    }
}

/* 1/B [2 sum r - E^T sum g], the second term where the encoder sees b_dec. */
static void update_b_dec(struct fit *f, const struct adam *adam)
{
    size_t d = f->o.d_model;
    float *g = f->work->scratch[0].g[SAE_B_DEC];
    memset(g, 0, d * sizeof *g);
    for (size_t p = 0; p < pieces_of(f->n, ROWS); p++)
        vec_axpy(g, 2 / (float)f->n, f->work->sum_r + p * d, d);
    for (size_t p = 0; f->o.apply_b_dec && p < pieces_of(f->o.d_sae, FEATURES); p++)
        vec_axpy(g, -1, f->work->back + p * d, d);
    hand_on(f, adam, SAE_B_DEC, 0, g);
}

void step_update(struct fit *f, step_gradient fn)
{
    if (f->mode == FIT_MEASURE || !fit_is_sound(f))
        return;
    size_t pieces = pieces_of(f->o.d_sae, FEATURES);
    struct update u = { f, fn, adam_step(fit_rate(f), f->o.beta1, f->o.beta2, f->o.eps, f->step + 1) };
    f->work->back = mem_grow(f->work->back, &f->work->back_cap, pieces * f->o.d_model, sizeof(float));
    codes_columns(&f->f, &f->by_feature);
    par_for(pieces, update_piece, &u);
    if (f->param[SAE_B_DEC].p)
        update_b_dec(f, &u.adam);
}
