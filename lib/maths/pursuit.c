/* SPDX-License-Identifier: MIT */
#include "maths/pursuit.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16 };

/* A cosine with the rest of the row this small is rounding. */
#define FAINT 1e-5

struct scratch {
    float *x, *r;               /* (d) the row less b; what is left of it */
    float *corr, *first;        /* (m) D r; D x */
    float *val;                 /* (k) */
    uint32_t *idx, *all;        /* (k) who has joined, in that order; 0..m-1 */
    char *in;                   /* (m) has joined */
    double *gram, *chol;        /* (k, k) of those who have joined */
    double *c, *f, *to;         /* (k) <d_i, x>; their values; values without the bound at 0 */
};

static struct scratch scratch_new(size_t m, size_t d, size_t k)
{
    struct scratch s = {
        .x = mem_align(d, sizeof(float)), .r = mem_align(d, sizeof(float)), .corr = mem_align(m, sizeof(float)),
        .first = mem_align(m, sizeof(float)), .val = mem_align(m, sizeof(float)), .idx = mem_align(k, sizeof(uint32_t)),
        .all = mem_align(m, sizeof(uint32_t)), .in = mem_zero(m, 1), .gram = mem_alloc(k * k, sizeof(double)),
        .chol = mem_alloc(k * k, sizeof(double)), .c = mem_alloc(k, sizeof(double)),
        .f = mem_alloc(k, sizeof(double)), .to = mem_alloc(k, sizeof(double)),
    };
    for (size_t i = 0; i < m; i++)
        s.all[i] = (uint32_t)i;
    return s;
}

static void scratch_free(struct scratch *s)
{
    void *all[] = { s->x, s->r, s->corr, s->first, s->val, s->idx, s->all, s->in, s->gram, s->chol, s->c, s->f, s->to };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

/* ---- least squares over those who have joined; k is the distance between rows ---- */

/* Row i of the Cholesky factor, those above it being there. false: feature i is a sum of the others. */
static bool factor_row(struct scratch *s, size_t i, size_t k)
{
    double *row = s->chol + i * k, rest = s->gram[i * k + i];
    for (size_t j = 0; j < i; j++) {
        double sum = s->gram[i * k + j];
        for (size_t l = 0; l < j; l++)
            sum -= row[l] * s->chol[j * k + l];
        row[j] = sum / s->chol[j * k + j];
        rest -= row[j] * row[j];
    }
    row[i] = sqrt(rest);
    return rest > 1e-10 * s->gram[i * k + i];
}

/* to = the least squares without a bound. */
static void solve(struct scratch *s, size_t n, size_t k)
{
    for (size_t i = 0; i < n; i++) {
        double sum = s->c[i];
        for (size_t j = 0; j < i; j++)
            sum -= s->chol[i * k + j] * s->to[j];
        s->to[i] = sum / s->chol[i * k + i];
    }
    for (size_t i = n; i-- > 0;) {
        double sum = s->to[i];
        for (size_t j = i + 1; j < n; j++)
            sum -= s->chol[j * k + i] * s->to[j];
        s->to[i] = sum / s->chol[i * k + i];
    }
}

/* The feature at place p leaves. */
static void leave(struct scratch *s, size_t p, size_t n, size_t k)
{
    s->in[s->idx[p]] = 0;
    for (size_t i = p; i + 1 < n; i++) {
        s->idx[i] = s->idx[i + 1];
        s->c[i] = s->c[i + 1];
        s->f[i] = s->f[i + 1];
    }
    for (size_t i = 0; i + 1 < n; i++)
        for (size_t j = 0; j + 1 < n; j++)
            s->gram[i * k + j] = s->gram[(i + (i >= p)) * k + j + (j >= p)];
}

/* f = the least squares with no value below 0 of the n that have joined, of which the last is new; returns how many
 * stay. [Lawson and Hanson 1974, steps 6 to 11] */
static size_t settle(struct scratch *s, size_t n, size_t k)
{
    for (size_t valid = n - 1; n > 0;) {
        bool apart = true;
        for (; valid < n && apart; valid++)
            apart = factor_row(s, valid, k);
        size_t first = n;
        if (!apart) {
            first = valid - 1;
        } else {
            double share = 1;
            solve(s, n, k);
            for (size_t i = 0; i < n; i++)
                if (!(s->to[i] > 0) && s->f[i] / (s->f[i] - s->to[i]) < share) {
                    share = s->f[i] / (s->f[i] - s->to[i]);
                    first = i;
                }
            for (size_t i = 0; i < n; i++)
                s->f[i] += share * (s->to[i] - s->f[i]);
        }
        if (first == n)
            return n;
        leave(s, first, n--, k);
        valid = first;
    }
    return 0;
}

/* ---- one row ---- */

/* corr = D r, by the way that is cheaper for n that have joined. */
static void correlate(const struct lasso_atoms *a, struct scratch *s, size_t n)
{
    if (!a->gram || n >= a->d) {
        sparse_dots(s->all, a->m, a->w, s->r, a->d, s->corr);
        return;
    }
    for (size_t j = 0; j < n; j++)
        s->val[j] = -(float)s->f[j];
    sparse_sum(s->idx, s->val, n, a->gram, s->first, a->m, s->corr);
}

/* The one not yet in whose cosine with r is largest; m when none is worth it. */
static size_t choose(const struct lasso_atoms *a, struct scratch *s, double least)
{
    size_t best = a->m;
    float top = 0;
    for (size_t i = 0; i < a->m; i++) {
        float cosine = a->norm[i] > 0 ? s->corr[i] / a->norm[i] : 0;
        if (!s->in[i] && cosine > top && cosine > (float)least) {
            top = cosine;
            best = i;
        }
    }
    return best;
}

static void join(const struct lasso_atoms *a, struct scratch *s, size_t i, size_t n, size_t k)
{
    for (size_t j = 0; j <= n; j++) {
        const float *other = a->w + (j < n ? s->idx[j] : i) * a->d;
        s->gram[n * k + j] = s->gram[j * k + n] = vec_dot_wide(a->w + i * a->d, other, a->d);
    }
    s->idx[n] = (uint32_t)i;
    s->c[n] = vec_dot_wide(a->w + i * a->d, s->x, a->d);
    s->f[n] = 0;
    s->in[i] = 1;
}

static void rest_of(const struct lasso_atoms *a, struct scratch *s, size_t n)
{
    for (size_t j = 0; j < n; j++)
        s->val[j] = (float)s->f[j];
    sparse_sum(s->idx, s->val, n, a->w, NULL, a->d, s->r);
    vec_sub(s->r, s->x, s->r, a->d);
}

/* The pairs in the order of idx, without those that came out as 0. Returns how many. */
static size_t sort_pairs(uint32_t *idx, float *val, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        idx[kept] = idx[i];
        val[kept] = val[i];
        kept += val[i] > 0;
    }
    n = kept;
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j > 0 && idx[j] < idx[j - 1]; j--) {
            uint32_t at = idx[j];
            float v = val[j];
            idx[j] = idx[j - 1];
            val[j] = val[j - 1];
            idx[j - 1] = at;
            val[j - 1] = v;
        }
    return n;
}

/* Returns how many pairs there are in idx and val. A feature that cannot stay ends the search. A row that is not finite
 * has one value, NaN. */
static size_t pursue(const struct lasso_atoms *a, struct scratch *s, size_t k, const float *x, const float *b)
{
    size_t n = 0, d = a->d, next;
    memcpy(s->x, x, d * sizeof *x);
    if (b)
        vec_sub(s->x, x, b, d);
    double least = FAINT * sqrt(vec_dot_wide(s->x, s->x, d));
    if (!isfinite(least) && k > 0) {
        s->idx[0] = 0;
        s->val[0] = NAN;
        return 1;
    }
    sparse_dots(s->all, a->m, a->w, s->x, d, s->first);
    memcpy(s->r, s->x, d * sizeof *x);
    for (size_t round = 0; round < 2 * k && n < k; round++) {
        correlate(a, s, n);
        if ((next = choose(a, s, least)) == a->m)
            break;
        join(a, s, next, n, k);
        n = settle(s, n + 1, k);
        rest_of(a, s, n);
        if (!s->in[next])
            break;
    }
    for (size_t j = 0; j < n; j++)
        s->in[s->idx[j]] = 0;
    rest_of(a, s, n);
    return sort_pairs(s->idx, s->val, n);
}

/* ---- many rows ---- */

struct job {
    const struct lasso_atoms *a;
    size_t k, n;
    const float *x, *b;
    struct scratch *scratch;        /* one for each worker */
    struct codes *piece;
};

static void job_piece(void *arg, size_t piece, int worker)
{
    struct job *j = arg;
    struct scratch *s = &j->scratch[worker];
    codes_reset(&j->piece[piece], j->a->m);
    for (size_t r = piece * ROWS; r < j->n && r < (piece + 1) * ROWS; r++) {
        size_t n = pursue(j->a, s, j->k, j->x + r * j->a->d, j->b);
        codes_push(&j->piece[piece], s->idx, s->val, n);
    }
}

void pursuit_codes(const struct lasso_atoms *a, size_t k, const float *x, size_t n, const float *b, struct codes *out)
{
    size_t pieces = (n + ROWS - 1) / ROWS, workers = (size_t)par_threads();
    struct job j = { a, k < a->m ? k : a->m, n, x, b, mem_alloc(workers, sizeof *j.scratch),
                     mem_zero(pieces, sizeof *j.piece) };
    for (size_t w = 0; w < workers; w++)
        j.scratch[w] = scratch_new(a->m, a->d, j.k);
    par_for(pieces, job_piece, &j);
    codes_reset(out, a->m);
    for (size_t p = 0; p < pieces; p++) {
        codes_append(out, &j.piece[p]);
        codes_free(&j.piece[p]);
    }
    for (size_t w = 0; w < workers; w++)
        scratch_free(&j.scratch[w]);
    free(j.scratch);
    free(j.piece);
}
