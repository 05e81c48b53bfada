/* Encoding in two passes. A piece of rows is multiplied by all encoder rows at once (sgemm, whose rounding depends
 * on its shape); what its kind cannot rule out within that rounding is computed again by vec_dot, which has one
 * result. */
/* SPDX-License-Identifier: MIT */
#include "dict/sae.h"
#include "base/mem.h"
#include "base/par.h"
#include "dict/deep_encoder.h"
#include "dict/kind.h"
#include "maths/blas.h"
#include "maths/pursuit.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ENCODE_ROWS = 128 };

/* Below this the relative bound of a rounding error does not hold; far above what d underflows could add up to. */
#define TINY 1e-18f

struct sae *sae_new(const struct kind *kind, size_t d_model, size_t d_sae)
{
    struct sae *s = mem_zero(1, sizeof *s);
    s->kind = kind;
    s->d_model = d_model;
    s->d_sae = d_sae;
    s->activation_scale = 1;
    s->meta = json_object();
    if (!s->meta)
        mem_die(0);
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
        if (kind->saves & SAE_HAS(t))
            *sae_tensor(s, t) = mem_zero(sae_tensor_rows(t, d_sae) * sae_tensor_width(t, d_model), sizeof(float));
    return s;
}

void sae_free(struct sae *s)
{
    if (!s)
        return;
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
        free(*sae_tensor(s, t));
    free(s->enc_norm);
    if (s->atoms)
        lasso_atoms_free(s->atoms);
    free(s->atoms);
    json_decref(s->meta);
    free(s);
}

const char *sae_digest(const struct sae *s)
{
    return json_string_value(json_object_get(s->meta, "digest"));
}

struct encode {
    struct sae *s;
    const float *x;
    size_t n;
    struct codes *piece;            /* one for each piece */
    struct encode_scratch {
        float *x, *dot, *val;       /* (ENCODE_ROWS, d_model), (ENCODE_ROWS, d_sae), (d_sae) */
        float *spare;               /* (d_model) */
        uint32_t *idx;              /* (d_sae) */
    } *scratch;                     /* one for each worker */
};

/* How far two sums of d_model products may lie apart, in units of |e||x|: each is within gamma = d u / (1 - d u) of the
 * true one, u = 2^-24, in whatever order it was added up. [Higham 2002, eq. 3.5] */
static float rounding_slack(size_t d)
{
    double du = ((double)d + 8) * 0x1p-24;
    return du < 0.5 ? (float)(2 * du / (1 - du) * 1.001) : INFINITY;
}

static void encode_piece(void *arg, size_t piece, int worker)
{
    struct encode *e = arg;
    struct sae *s = e->s;
    struct encode_scratch *w = &e->scratch[worker];
    size_t d = s->d_model, m = s->d_sae, from = piece * ENCODE_ROWS;
    size_t rows = e->n - from < ENCODE_ROWS ? e->n - from : ENCODE_ROWS;
    const float *x = e->x + from * d;
    if (s->apply_b_dec_to_input) {
        for (size_t r = 0; r < rows; r++)
            vec_sub(w->x + r * d, x + r * d, s->b_dec, d);
        x = w->x;
    }
    if (s->w_inner[0]) {
        memmove(w->x, x, rows * d * sizeof *x);
        for (size_t r = 0; r < rows; r++)
            deep_encoder_encode(s, w->x + r * d, w->spare);
        x = w->x;
    }
    blas_nt(rows, m, d, x, d, s->w_enc, d, 0, w->dot, m);
    codes_reset(&e->piece[piece], m);
    for (size_t r = 0; r < rows; r++) {
        double norm = sqrt(vec_dot_wide(x + r * d, x + r * d, d));
        float slack = rounding_slack(d) * (float)norm + TINY * (float)d;
        size_t n = s->kind->candidates(s, w->dot + r * m, slack, w->idx, w->val);
        sparse_dots(w->idx, n, s->w_enc, x + r * d, d, w->val);
        n = s->kind->select(s, w->idx, w->val, n);
        codes_push(&e->piece[piece], w->idx, w->val, n);
    }
}

static void measure_encoder(struct sae *s)
{
    s->enc_norm = mem_alloc(s->d_sae, sizeof *s->enc_norm);
    for (size_t i = 0; i < s->d_sae; i++) {
        const float *e = s->w_enc + i * s->d_model;
        s->enc_norm[i] = (float)(sqrt(vec_dot_wide(e, e, s->d_model)) * 1.000001) + TINY;
    }
}

void sae_encode(struct sae *s, const float *x, size_t n, struct codes *out)
{
    size_t pieces = (n + ENCODE_ROWS - 1) / ENCODE_ROWS, workers = (size_t)par_threads();
    size_t rows = n < ENCODE_ROWS ? n : ENCODE_ROWS;
    struct encode e = { .s = s, .x = x, .n = n };
    if (!s->w_enc) {
        struct fista how = sae_fista(s);
        sae_encode_fista(s, &how, x, n, out);
        return;
    }
    if (!s->enc_norm)
        measure_encoder(s);
    e.piece = mem_zero(pieces, sizeof *e.piece);
    e.scratch = mem_zero(workers, sizeof *e.scratch);
    for (size_t w = 0; w < workers; w++) {
        e.scratch[w].x = mem_align(rows * s->d_model, sizeof(float));
        e.scratch[w].dot = mem_align(rows * s->d_sae, sizeof(float));
        e.scratch[w].val = mem_align(s->d_sae, sizeof(float));
        e.scratch[w].spare = mem_align(s->d_model, sizeof(float));
        e.scratch[w].idx = mem_align(s->d_sae, sizeof(uint32_t));
    }
    par_for(pieces, encode_piece, &e);
    codes_reset(out, s->d_sae);
    for (size_t p = 0; p < pieces; p++) {
        codes_append(out, &e.piece[p]);
        codes_free(&e.piece[p]);
    }
    for (size_t w = 0; w < workers; w++) {
        free(e.scratch[w].x);
        free(e.scratch[w].dot);
        free(e.scratch[w].val);
        free(e.scratch[w].spare);
        free(e.scratch[w].idx);
    }
    free(e.scratch);
    free(e.piece);
}

static const struct lasso_atoms *atoms_of(struct sae *s)
{
    if (!s->atoms) {
        s->atoms = mem_alloc(1, sizeof *s->atoms);
        *s->atoms = lasso_atoms_new(s->w_dec, s->d_sae, s->d_model, INFINITY);
    }
    return s->atoms;
}

struct fista sae_fista(const struct sae *s)
{
    return (struct fista){ .lambda = s->l1 / s->activation_scale, .iterations = 1000, .tol = 1e-3 };
}

size_t sae_encode_fista(struct sae *s, const struct fista *how, const float *x, size_t n, struct codes *out)
{
    struct codes start = { .n = 0 };
    if (s->w_enc)
        sae_encode(s, x, n, &start);
    size_t missed = lasso_codes(atoms_of(s), how, x, n, s->b_dec, s->w_enc ? &start : NULL, out);
    codes_free(&start);
    return missed;
}

void sae_encode_pursuit(struct sae *s, size_t k, const float *x, size_t n, struct codes *out)
{
    pursuit_codes(atoms_of(s), k, x, n, s->b_dec, out);
}

void sae_decode(const struct sae *s, const struct codes *c, float *x_hat)
{
    codes_decode(c, s->w_dec, s->b_dec, s->d_model, x_hat);
}
