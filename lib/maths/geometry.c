/* SPDX-License-Identifier: MIT */
#include "maths/geometry.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/blas.h"
#include "maths/cosine.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 256, STRIP = 64, ROWS = 64 };
#define LEAST_PART 1e-6

/* ---- sums of outer products ---- */

struct outer {
    const float *a, *b;
    size_t m, d;
    double *out;                    /* (d,d) */
    float **room;                   /* (STRIP,d) for each worker */
};

/* Rows [piece * STRIP, ...) of out = sum_i a_i b_i^T. */
static void outer_strip(void *arg, size_t piece, int worker)
{
    struct outer *o = arg;
    size_t from = piece * STRIP, rows = o->d - from < STRIP ? o->d - from : STRIP;
    float *part = o->room[worker];
    double *out = o->out + from * o->d;
    for (size_t i = 0; i < o->m; i += BLOCK) {
        size_t n = o->m - i < BLOCK ? o->m - i : BLOCK;
        blas_tn(rows, o->d, n, o->a + i * o->d + from, o->d, o->b + i * o->d, o->d, 0, part, o->d);
        for (size_t k = 0; k < rows * o->d; k++)
            out[k] += part[k];
    }
}

static double *outer_sum(const float *a, const float *b, size_t m, size_t d)
{
    size_t workers = (size_t)par_threads();
    struct outer o = { a, b, m, d, mem_zero(d * d, sizeof(double)), mem_alloc(workers, sizeof(float *)) };
    for (size_t w = 0; w < workers; w++)
        o.room[w] = mem_align(STRIP * d, sizeof(float));
    par_for((d + STRIP - 1) / STRIP, outer_strip, &o);
    for (size_t w = 0; w < workers; w++)
        free(o.room[w]);
    free(o.room);
    return o.out;
}

/* a - I, and its Frobenius norm. */
static double less_identity(double *a, size_t d)
{
    double sum = 0;
    for (size_t i = 0; i < d; i++)
        a[i * d + i] -= 1;
    for (size_t k = 0; k < d * d; k++)
        sum += a[k] * a[k];
    return sqrt(sum);
}

static float *rounded(const double *a, size_t n)
{
    float *out = mem_align(n, sizeof *out);
    for (size_t k = 0; k < n; k++)
        out[k] = (float)a[k];
    return out;
}

/* ---- each feature by itself ---- */

struct job {
    struct geometry *g;
    const float *dec, *enc, *gram;  /* gram (d,d) = D^T D */
    float *unit, *rest;             /* (m,d) d_i / |d_i|; n_i / |n_i| or NULL */
    float **room;                   /* (ROWS,d) for each worker */
};

static void shape_of(struct direction *s, const float *row, size_t d)
{
    double square = 0, sum = 0, most = 0;
    for (size_t j = 0; j < d; j++) {
        double size = fabs((double)row[j]);
        square += size * size;
        sum += size;
        if (size > most)
            most = size, s->peak_at = j;
    }
    s->dec_norm = sqrt(square);
    s->peak = square > 0 ? most / s->dec_norm : 0;
    s->participation = square > 0 ? sum * sum / square : 0;
}

static void encoder_of(struct job *k, size_t i)
{
    size_t d = k->g->d;
    struct direction *s = &k->g->each[i];
    const float *e = k->enc + i * d, *u = k->unit + i * d;
    float *rest = k->rest + i * d;
    double along = vec_dot_wide(e, u, d), square = 0;
    s->enc_norm = sqrt(vec_dot_wide(e, e, d));
    s->align = vec_dot_wide(e, k->dec + i * d, d);
    for (size_t j = 0; j < d; j++) {
        double part = e[j] - along * u[j];
        square += part * part;
        rest[j] = (float)part;
    }
    s->denoise = s->enc_norm > 0 ? sqrt(square) / s->enc_norm : 0;
    if (s->denoise < LEAST_PART)
        memset(rest, 0, d * sizeof *rest);
    vec_normalize(rest, d, 1e-30f);
}

static void one_piece(void *arg, size_t piece, int worker)
{
    struct job *k = arg;
    size_t d = k->g->d, from = piece * ROWS, rows = k->g->m - from < ROWS ? k->g->m - from : ROWS;
    float *turned = k->room[worker];
    blas_nn(rows, d, d, k->dec + from * d, d, k->gram, d, 0, turned, d);
    for (size_t i = from; i < from + rows; i++) {
        struct direction *s = &k->g->each[i];
        double own = vec_dot_wide(k->dec + i * d, k->dec + i * d, d);
        double all = vec_dot_wide(turned + (i - from) * d, k->dec + i * d, d);
        shape_of(s, k->dec + i * d, d);
        s->capacity = own > 0 && all > 0 ? own * own / all : 0;
        s->enc_norm = s->align = s->denoise = s->overlap = NAN;
        if (k->enc)
            encoder_of(k, i);
    }
}

/* The nearest d_j of each n_i, and of each -n_i. Its own d_i, along which n_i has no part, is neither, but by rounding. */
static void find_overlaps(struct job *k)
{
    size_t m = k->g->m, d = k->g->d;
    struct cosine_stats way[2];
    for (int w = 0; w < 2; w++) {
        cosine_all(k->rest, m, k->unit, m, d, false, 1, &way[w]);
        for (size_t i = 0; w == 0 && i < m * d; i++)
            k->rest[i] = -k->rest[i];
    }
    for (size_t i = 0; i < m; i++) {
        const struct largest_item *with = way[0].nearest[i].item, *against = way[1].nearest[i].item;
        bool negative = against->key > with->key;
        if (k->g->each[i].denoise < LEAST_PART)
            continue;
        k->g->each[i].overlap = negative ? -against->key : with->key;
        k->g->each[i].overlap_with = (size_t)(negative ? against : with)->order;
    }
    cosine_free(&way[0], m);
    cosine_free(&way[1], m);
}

static bool any_rest(const struct geometry *g)
{
    for (size_t i = 0; i < g->m; i++)
        if (g->each[i].denoise >= LEAST_PART)
            return true;
    return false;
}

static float *unit_rows(const float *x, size_t m, size_t d)
{
    float *unit = mem_align(m * d, sizeof *unit);
    memcpy(unit, x, m * d * sizeof *unit);
    for (size_t i = 0; i < m; i++)
        vec_normalize(unit + i * d, d, 1e-30f);
    return unit;
}

struct geometry geometry_of(const float *dec, const float *enc, size_t m, size_t d)
{
    struct geometry g = { .m = m, .d = d, .each = mem_zero(m, sizeof *g.each) };
    struct job k = { .g = &g, .dec = dec, .enc = enc, .unit = unit_rows(dec, m, d) };
    size_t workers = (size_t)par_threads();
    double *gram = outer_sum(dec, dec, m, d), *unit_gram = outer_sum(k.unit, k.unit, m, d);
    double *pass = enc ? outer_sum(dec, enc, m, d) : mem_alloc(d * d, sizeof *pass);
    if (!enc)
        memcpy(pass, gram, d * d * sizeof *pass);
    float *gram_f32 = rounded(gram, d * d);
    k.gram = gram_f32;
    k.rest = enc ? mem_align(m * d, sizeof(float)) : NULL;
    k.room = mem_alloc(workers, sizeof *k.room);
    for (size_t w = 0; w < workers; w++)
        k.room[w] = mem_align(ROWS * d, sizeof(float));
    par_for((m + ROWS - 1) / ROWS, one_piece, &k);
    if (enc && m > 1 && any_rest(&g))
        find_overlaps(&k);
    for (size_t i = 0; i < m; i++)
        g.capacity += g.each[i].capacity;
    for (size_t i = 0; i < d * d; i++)
        g.frame_potential += unit_gram[i] * unit_gram[i];
    g.unit_gram = rounded(unit_gram, d * d);
    g.tied_distance = less_identity(gram, d);
    g.pass_distance = less_identity(pass, d);
    g.pass = rounded(pass, d * d);
    for (size_t w = 0; w < workers; w++)
        free(k.room[w]);
    free(k.room);
    free(k.unit);
    free(k.rest);
    free(gram);
    free(unit_gram);
    free(pass);
    free(gram_f32);
    return g;
}

void geometry_free(struct geometry *g)
{
    free(g->each);
    free(g->unit_gram);
    free(g->pass);
}
