/* SPDX-License-Identifier: MIT */
#include "fit/decoder_overlap.h"
#include "base/mem.h"
#include "base/par.h"
#include "fit/fit_internal.h"
#include "fit/unit_rows.h"
#include "maths/blas.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 8, CHUNK_LEAST = 64, BLOCK = 64, STREAM = 0x047 };

/* What the pieces share. */
struct alike {
    const struct fit *f;
    const float *u;                     /* (m, d) unit rows */
    float *g;                           /* (m, d) the gradient with respect to them */
    float *gram;                        /* (d, d) U^T U */
    const uint32_t *order;              /* the row of u that stands at each place */
    float *placed;                      /* (m, d) u in that order */
    size_t size;                        /* places in a chunk */
    uint32_t *best;                     /* (m) of place i: the place of the most alike in its chunk, i: none */
    float *dots;                        /* (workers, BLOCK, size) */
};

/* ---- the frame potential ---- */

static void gram_piece(void *arg, size_t piece, int worker)
{
    const struct alike *a = arg;
    size_t d = a->f->o.d_model, from = piece * BLOCK, n = d - from < BLOCK ? d - from : BLOCK;
    (void)worker;
    blas_tn(n, d, a->f->o.d_sae, a->u + from, d, a->u, d, 0, a->gram + from * d, d);
}

static void frame_piece(void *arg, size_t piece, int worker)
{
    const struct alike *a = arg;
    size_t d = a->f->o.d_model, m = a->f->o.d_sae, from = piece * BLOCK, n = m - from < BLOCK ? m - from : BLOCK;
    (void)worker;
    blas_nn(n, d, d, a->u + from * d, d, a->gram, d, 0, a->g + from * d, d);
    vec_scale(a->g + from * d, (float)(4 * a->f->o.ortho), n * d);
}

static double frame(struct alike *a)
{
    size_t d = a->f->o.d_model, m = a->f->o.d_sae;
    a->gram = mem_align(d * d, sizeof(float));
    par_for((d + BLOCK - 1) / BLOCK, gram_piece, a);
    par_for((m + BLOCK - 1) / BLOCK, frame_piece, a);
    double sum = vec_dot_wide(a->gram, a->gram, d * d);
    free(a->gram);
    return sum;
}

/* ---- the most alike ---- */

size_t decoder_overlap_chunks(const struct fit *f, uint32_t *order, size_t *size)
{
    size_t m = f->o.d_sae, chunks = m / CHUNK_LEAST < CHUNKS ? m / CHUNK_LEAST : CHUNKS;
    struct rng r;
    for (size_t i = 0; i < m; i++)
        order[i] = (uint32_t)i;
    *size = m;
    if (f->o.ortho_kind != FIT_ORTHO_CHUNKS || chunks < 2)
        return 1;
    rng_seed(&r, f->o.seed + f->step, STREAM);
    for (size_t i = m; i-- > 1;) {
        size_t j = rng_below(&r, i + 1);
        uint32_t keep = order[i];
        order[i] = order[j];
        order[j] = keep;
    }
    *size = (m + chunks - 1) / chunks;
    return (m + *size - 1) / *size;
}

/* Squares are compared where the penalty is of squares. */
static void best_piece(void *arg, size_t piece, int worker)
{
    const struct alike *a = arg;
    size_t d = a->f->o.d_model, m = a->f->o.d_sae, from = piece * BLOCK, to = from + BLOCK < m ? from + BLOCK : m;
    bool squares = a->f->o.ortho_kind == FIT_ORTHO_CHUNKS;
    float *dots = a->dots + (size_t)worker * BLOCK * a->size;
    while (from < to) {                                         /* a block may touch several chunks */
        size_t first = from / a->size * a->size, size = m - first < a->size ? m - first : a->size;
        size_t n = (to < first + size ? to : first + size) - from;
        blas_nt(n, size, d, a->placed + from * d, d, a->placed + first * d, d, 0, dots, size);
        for (size_t i = 0; i < n; i++) {
            float most = -INFINITY;
            a->best[from + i] = (uint32_t)(from + i);
            for (size_t j = 0; j < size; j++) {
                float c = dots[i * size + j];
                c = squares ? c * c : c;
                if (c > most && first + j != from + i) {
                    most = c;
                    a->best[from + i] = (uint32_t)(first + j);
                }
            }
        }
        from += n;
    }
}

/* The gradient of weight c_ij. */
static void pull(struct alike *a, size_t i, size_t j, double weight)
{
    size_t d = a->f->o.d_model;
    vec_axpy(a->g + i * d, (float)weight, a->u + j * d, d);
    vec_axpy(a->g + j * d, (float)weight, a->u + i * d, d);
}

/* gamma mean_{i != j} c_ij = gamma (|sum u|^2 - m) / (m (m - 1)). */
static double mean_cosine(struct alike *a)
{
    size_t d = a->f->o.d_model, m = a->f->o.d_sae;
    double pairs = (double)m * ((double)m - 1);
    float *sum = mem_zero(d, sizeof *sum);
    for (size_t i = 0; i < m; i++)
        vec_add(sum, a->u + i * d, d);
    for (size_t i = 0; i < m; i++) {
        vec_axpy(a->g + i * d, (float)(2 * a->f->o.ortho / pairs), sum, d);
        vec_axpy(a->g + i * d, (float)(-2 * a->f->o.ortho / pairs), a->u + i * d, d);
    }
    double mean = (vec_dot_wide(sum, sum, d) - (double)m) / pairs;
    free(sum);
    return mean;
}

static double most_alike(struct alike *a)
{
    const struct fit_options *o = &a->f->o;
    size_t d = o->d_model, m = o->d_sae, top = 0;
    bool squares = o->ortho_kind == FIT_ORTHO_CHUNKS;
    double sum = 0, most = -INFINITY;
    uint32_t *order = mem_alloc(m, sizeof *order);
    memset(a->g, 0, m * d * sizeof *a->g);
    a->best = mem_alloc(m, sizeof *a->best);
    a->placed = mem_align(m * d, sizeof(float));
    decoder_overlap_chunks(a->f, order, &a->size);
    for (size_t i = 0; i < m; i++)
        memcpy(a->placed + i * d, a->u + order[i] * d, d * sizeof(float));
    a->dots = mem_align((size_t)par_threads() * BLOCK * a->size, sizeof(float));
    par_for((m + BLOCK - 1) / BLOCK, best_piece, a);
    for (size_t i = 0; i < m; i++) {
        size_t row = order[i], other = order[a->best[i]];
        if (row == other)                                       /* alone in its chunk */
            continue;
        double c = vec_dot_wide(a->u + row * d, a->u + other * d, d);
        pull(a, row, other, o->ortho / (double)m * (squares ? 2 * c : 1));
        sum += (squares ? c * c : c) / (double)m;
        if (c > most) {
            most = c;
            top = i;
        }
    }
    if (!squares && m > 1) {
        pull(a, order[top], order[a->best[top]], o->ortho);
        sum += most + mean_cosine(a);
    }
    free(order);
    free(a->best);
    free(a->placed);
    free(a->dots);
    return sum;
}

double decoder_overlap_penalty(struct fit *f)
{
    size_t d = f->o.d_model, m = f->o.d_sae;
    if (!(f->o.ortho > 0))
        return 0;
    f->work->alike = mem_grow(f->work->alike, &f->work->alike_cap, m * d, sizeof(float));
    struct alike a = { .f = f, .u = f->dec, .g = f->work->alike };
    float *unit = NULL;
    if (f->o.norm_weighted) {
        a.u = unit = mem_align(m * d, sizeof *unit);
        memcpy(unit, f->dec, m * d * sizeof *unit);
        for (size_t i = 0; i < m; i++)
            vec_normalize(unit + i * d, d, 1e-30f);
    }
    double sum = f->o.ortho_kind == FIT_ORTHO_FRAME ? frame(&a) : most_alike(&a);
    for (size_t i = 0; unit && i < m; i++) {                    /* du / dd = (I - u u^T) / |d| */
        double norm = sqrt(vec_dot_wide(f->dec + i * d, f->dec + i * d, d));
        unit_rows_project(a.g + i * d, unit + i * d, d);
        vec_scale(a.g + i * d, (float)(norm > 0 ? 1 / norm : 0), d);
    }
    free(unit);
    return f->o.ortho * sum;
}
