/* ica: the directions whose coefficients are as far from normal as can be, as pairs of features (components.h); found from
 * the first buffer of rows, the others being measured only.
 *
 *   x - mean --whiten--> z (n, q) --W, orthogonal--> s = W z      W <- mean[tanh(s) z^T] - diag(mean[1 - tanh^2(s)]) W,
 *                                                                 W <- (W W^T)^-1/2 W, until it stays
 *   d_j = row j of W L^1/2 V (the mixing rows), e_j = row j of W L^-1/2 V
 * [Hyvarinen 1999, FastICA with tanh and symmetric decorrelation] */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "dict/activation.h"
#include "fit/components.h"
#include "fit/preset.h"
#include "maths/blas.h"
#include "maths/linalg.h"
#include "maths/nonlin.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200, CHUNK = 4096, PIECE = 128, BAND = 64 };

/* W stays when no row turns by more than this (1 - |cosine|). */
#define STILL 1e-6

struct ica {
    size_t n, d, q;
    struct components_spectrum s;
    double *white;          /* (q, d) */
    double *w, *next;       /* (q, q) */
    float *z, *w_f32;       /* (n, q) whitened rows; W */
    float *t, *part;        /* (CHUNK, q) tanh(W z); (q, q) sum of tanh(s) z^T, of a chunk */
    double *bend;           /* (pieces of a chunk, q) sums of 1 - tanh^2 */
    size_t from, rows;      /* of the chunk */
};

static void tanh_piece(void *arg, size_t piece, int worker)
{
    struct ica *c = arg;
    size_t q = c->q, at = piece * PIECE, rows = c->rows - at < PIECE ? c->rows - at : PIECE;
    double *bend = c->bend + piece * q;
    float *t = c->t + at * q;
    (void)worker;
    blas_nt(rows, q, q, c->z + (c->from + at) * q, q, c->w_f32, q, 0, t, q);
    nonlin_tanh(t, rows * q);
    for (size_t j = 0; j < q; j++)
        bend[j] = (double)rows;
    for (size_t r = 0; r < rows; r++)
        for (size_t j = 0; j < q; j++)
            bend[j] -= (double)t[r * q + j] * t[r * q + j];
}

/* Rows of next from the chunk. */
static void gather_band(void *arg, size_t piece, int worker)
{
    struct ica *c = arg;
    size_t q = c->q, at = piece * BAND, rows = q - at < BAND ? q - at : BAND;
    (void)worker;
    blas_tn(rows, q, c->rows, c->t + at, q, c->z + c->from * q, q, 0, c->part + at * q, q);
    for (size_t j = at; j < at + rows; j++) {
        double bend = 0;
        for (size_t p = 0; p * PIECE < c->rows; p++)
            bend += c->bend[p * q + j];
        for (size_t l = 0; l < q; l++)
            c->next[j * q + l] += c->part[j * q + l] - bend * c->w[j * q + l];
    }
}

/* One round. Returns how far the row moved that moved most, or -1 and a sentence. */
static double turn(struct ica *c)
{
    size_t q = c->q;
    double most = 0;
    for (size_t i = 0; i < q * q; i++) {
        c->w_f32[i] = (float)c->w[i];
        c->next[i] = 0;
    }
    for (c->from = 0; c->from < c->n; c->from += CHUNK) {
        c->rows = c->n - c->from < CHUNK ? c->n - c->from : CHUNK;
        par_for((c->rows + PIECE - 1) / PIECE, tanh_piece, c);
        par_for((q + BAND - 1) / BAND, gather_band, c);
    }
    if (linalg_decorrelate(c->next, q, q))
        return -1;
    for (size_t j = 0; j < q; j++) {
        double along = 0;
        for (size_t l = 0; l < q; l++)
            along += c->next[j * q + l] * c->w[j * q + l];
        most = fmax(most, 1 - fabs(along));
    }
    memcpy(c->w, c->next, q * q * sizeof *c->w);
    return most;
}

static void whiten(struct ica *c, const float *x)
{
    size_t d = c->d, q = c->q;
    double *wide = mem_alloc(CHUNK * d, sizeof *wide), *z = mem_alloc(CHUNK * q, sizeof *z);
    for (size_t from = 0; from < c->n; from += CHUNK) {
        size_t rows = c->n - from < CHUNK ? c->n - from : CHUNK;
        for (size_t i = 0; i < rows * d; i++)
            wide[i] = x[from * d + i] - c->s.mean[i % d];
        linalg_multiply(false, true, rows, q, d, 1, wide, c->white, 0, z);
        for (size_t i = 0; i < rows * q; i++)
            c->z[from * q + i] = (float)z[i];
    }
    free(wide);
    free(z);
}

static struct ica *ica_new(const float *x, size_t n, size_t q, const struct components_spectrum *s)
{
    struct ica *c = mem_zero(1, sizeof *c);
    *c = (struct ica){ .n = n, .d = s->d, .q = q, .s = *s };
    c->white = mem_alloc(q * s->d, sizeof *c->white);
    components_spectrum_scaled(s, q, -1, c->white);
    c->w = mem_alloc(q * q, sizeof *c->w);
    c->next = mem_alloc(q * q, sizeof *c->next);
    c->z = mem_align(n * q, sizeof *c->z);
    c->w_f32 = mem_align(q * q, sizeof *c->w_f32);
    c->t = mem_align(CHUNK * q, sizeof *c->t);
    c->part = mem_align(q * q, sizeof *c->part);
    c->bend = mem_alloc(CHUNK / PIECE * q, sizeof *c->bend);
    whiten(c, x);
    return c;
}

static void ica_free(struct ica *c)
{
    void *all[] = { c->white, c->w, c->next, c->z, c->w_f32, c->t, c->part, c->bend };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    free(c);
}

/* The rows of the dictionary from W. */
static void ica_rows(struct ica *c, float *enc, float *dec)
{
    double *color = mem_alloc(c->q * c->d, sizeof *color), *dir = mem_alloc(c->q * c->d, sizeof *dir);
    double *e = mem_alloc(c->q * c->d, sizeof *e);
    components_spectrum_scaled(&c->s, c->q, 1, color);
    linalg_multiply(false, false, c->q, c->d, c->q, 1, c->w, color, 0, dir);
    linalg_multiply(false, false, c->q, c->d, c->q, 1, c->w, c->white, 0, e);
    for (size_t j = 0; j < c->q; j++)
        components_pair(enc, dec, c->d, j, e + j * c->d, dir + j * c->d);
    free(color);
    free(dir);
    free(e);
}

static int separate(struct fit *f, const float *x, size_t n, size_t q, const struct components_spectrum *s)
{
    struct ica *c = ica_new(x, n, q, s);
    for (size_t i = 0; i < q * q; i++)
        c->w[i] = rng_normal(&f->rng);
    int bad = linalg_decorrelate(c->w, q, q);
    double moved = bad ? -1 : 1;
    for (int round = 0; round < ROUNDS && moved > STILL; round++)
        moved = turn(c);
    if (moved >= 0)
        ica_rows(c, f->param[SAE_W_ENC].p, f->param[SAE_W_DEC].p);
    ica_free(c);
    return moved >= 0 ? 0 : -1;
}

static int begin(struct fit *f, const float *x, size_t n)
{
    struct components_spectrum s;
    if (!components_of(f, f->o.d_model, "more components than dimensions cannot be told apart") ||
        components_spectrum(x, n, f->o.d_model, &s))
        return -1;
    size_t q = components_of(f, s.rank, "the rows of the first buffer span no more dimensions than that");
    int bad = q ? separate(f, x, n, q, &s) : -1;
    components_center(f, s.mean);
    components_spectrum_free(&s);
    return bad;
}

static const struct preset usual = { .kind = "ica", .ratio = 2, .batch = 1024, .center = FIT_CENTER_MEAN,
                                     .apply_b_dec = true };

const struct kind kind_ica = {
    .name = "ica",
    .about = "independent components of the first buffer of rows, each as two features",
    .saves = WHOLE_TENSORS,
    .learns = WHOLE_TENSORS,
    .accepts = USES_K,
    .defaults = &usual,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .begin = begin,
    .step = components_step,
    .finish = components_finish,
};
