/* SPDX-License-Identifier: MIT */
#include "maths/lasso.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "maths/blas.h"
#include "maths/clones.h"
#include "maths/vec.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16, STRIP = 64, POWER_ROUNDS = 100, CHECK_EVERY = 10, LANES = 16 };

/* As long as no more features fire than this, and the same ones as ten steps before, their values are solved for. */
enum { EXACT = 128, PIVOTS = 64 };

/* D D^T of so many rows is 256 MB. */
#define GRAM_ROWS 8192

/* ---- the dictionary ---- */

static void gram_strip(void *arg, size_t piece, int worker)
{
    struct lasso_atoms *a = arg;
    size_t from = piece * STRIP, rows = a->m - from < STRIP ? a->m - from : STRIP;
    (void)worker;
    blas_nt(rows, a->m, a->d, a->w + from * a->d, a->d, a->w, a->d, 0, a->gram + from * a->m, a->m);
}

/* What no eigenvalue of D D^T exceeds: the sum of squares of D, and the largest sum of the sizes in a row. */
static double ceiling(const struct lasso_atoms *a)
{
    double squares = 0, widest = INFINITY;
    for (size_t i = 0; i < a->m; i++)
        squares += (double)a->norm[i] * a->norm[i];
    if (a->gram) {
        widest = 0;
        for (size_t i = 0; i < a->m; i++) {
            double sum = 0;
            for (size_t j = 0; j < a->m; j++)
                sum += fabs((double)a->gram[i * a->m + j]);
            widest = fmax(widest, sum);
        }
    }
    return fmin(squares, widest);
}

struct power {
    const struct lasso_atoms *a;
    const float *v;             /* (d) */
    float *part, *weight;       /* (strips, d) sums of <d_i, v> d_i; (m) <d_i, v> */
};

static void power_strip(void *arg, size_t piece, int worker)
{
    struct power *p = arg;
    size_t d = p->a->d, to = (piece + 1) * STRIP < p->a->m ? (piece + 1) * STRIP : p->a->m;
    float *part = p->part + piece * d;
    (void)worker;
    memset(part, 0, d * sizeof *part);
    for (size_t i = piece * STRIP; i < to; i++) {
        p->weight[i] = vec_dot(p->a->w + i * d, p->v, d);
        vec_axpy(part, p->weight[i], p->a->w + i * d, d);
    }
}

/* The largest eigenvalue of D^T D by iteration from a fixed random start, which comes from below: 2 % and ten
 * times what the last round still gained are added, and a row that yet fails to descend makes its own L larger. */
static double largest(const struct lasso_atoms *a)
{
    size_t d = a->d, strips = (a->m + STRIP - 1) / STRIP;
    struct rng rng;
    float *v = mem_alloc(d, sizeof *v);
    struct power p = { a, v, mem_alloc(strips * d, sizeof(float)), mem_alloc(a->m, sizeof(float)) };
    double size = 0, gain = INFINITY;
    rng_seed(&rng, 0, 0xf157a);
    for (size_t j = 0; j < d; j++)
        v[j] = (float)rng_normal(&rng);
    vec_normalize(v, d, FLT_MIN);
    for (int round = 0; round < POWER_ROUNDS && gain > 1e-4 * size; round++) {
        par_for(strips, power_strip, &p);
        memset(v, 0, d * sizeof *v);
        for (size_t s = 0; s < strips; s++)
            vec_add(v, p.part + s * d, d);
        double now = vec_normalize(v, d, FLT_MIN);
        gain = fabs(now - size);
        size = now;
        if (size == 0)
            break;
    }
    free(v);
    free(p.part);
    free(p.weight);
    return size * 1.02 + 10 * (isfinite(gain) ? gain : 0);
}

struct lasso_atoms lasso_atoms_new(const float *w, size_t m, size_t d, double work)
{
    struct lasso_atoms a = { .w = w, .m = m, .d = d, .norm = mem_alloc(m, sizeof(float)) };
    for (size_t i = 0; i < m; i++)
        a.norm[i] = (float)sqrt(vec_dot_wide(w + i * d, w + i * d, d));
    if (m <= GRAM_ROWS && (double)m <= work) {
        a.gram = mem_align(m * m, sizeof *a.gram);
        par_for((m + STRIP - 1) / STRIP, gram_strip, &a);
    }
    a.bound = fmin(largest(&a), ceiling(&a) * (1 + 1e-5));
    return a;
}

void lasso_atoms_free(struct lasso_atoms *a)
{
    free(a->gram);
    free(a->norm);
    *a = (struct lasso_atoms){ .m = 0 };
}

/* ---- one row ---- */

struct scratch {
    float *z, *was, *y, *u, *c;     /* (m) z, the z before it, y, D D^T y, D (x - b) */
    float *r, *val;                 /* (d), (m) */
    uint32_t *idx, *all;            /* (m), 0..m-1 */
    uint32_t *held;                 /* (m) the k_held features that fired at the last look */
    size_t k_held;
    double *exact, *rhs, *sign;     /* (EXACT, EXACT), (EXACT), (EXACT) */
};

static struct scratch scratch_new(size_t m, size_t d)
{
    struct scratch s = { .r = mem_align(d, sizeof(float)), .val = mem_align(m, sizeof(float)),
                         .idx = mem_align(m, sizeof(uint32_t)), .all = mem_align(m, sizeof(uint32_t)),
                         .held = mem_align(m, sizeof(uint32_t)),
                         .exact = mem_alloc((size_t)EXACT * EXACT, sizeof(double)),
                         .rhs = mem_alloc(EXACT, sizeof(double)), .sign = mem_alloc(EXACT, sizeof(double)) };
    float **dense[] = { &s.z, &s.was, &s.y, &s.u, &s.c };
    for (size_t i = 0; i < sizeof dense / sizeof *dense; i++)
        *dense[i] = mem_align(m, sizeof(float));
    for (size_t i = 0; i < m; i++)
        s.all[i] = (uint32_t)i;
    return s;
}

static void scratch_free(struct scratch *s)
{
    void *all[] = { s->z, s->was, s->y, s->u, s->c, s->r, s->val, s->idx, s->all, s->held, s->exact, s->rhs, s->sign };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

static size_t list_nonzero(const float *v, size_t m, uint32_t *idx, float *val)
{
    size_t k = 0;
    for (size_t i = 0; i < m; i++) {
        idx[k] = (uint32_t)i;
        val[k] = v[i];
        k += v[i] != 0;
    }
    return k;
}

/* u = D D^T v, by the way that is cheaper for so many values. */
static void fold(const struct lasso_atoms *a, struct scratch *s, const float *v, float *u)
{
    size_t k = list_nonzero(v, a->m, s->idx, s->val), m = a->m, d = a->d;
    if (a->gram && k * m <= k * d + d * m) {
        sparse_sum(s->idx, s->val, k, a->gram, NULL, m, u);
        return;
    }
    sparse_sum(s->idx, s->val, k, a->w, NULL, d, s->r);
    sparse_dots(s->all, m, a->w, s->r, d, u);
}

/* was = z; z = shrink(y - 2 (u - c) / L, lambda / L). Returns <y - z, z - was>: above 0 the momentum points uphill. */
CLONES static float advance(float *z, float *was, const float *y, const float *u, const float *c, float step,
                            float shrink, size_t m)
{
    float lane[LANES] = { 0 }, uphill = 0;
    for (size_t from = 0; from < m; from += LANES)
        for (size_t j = 0; j < LANES && from + j < m; j++) {
            size_t i = from + j;
            float to = y[i] - step * (u[i] - c[i]) - shrink, before = z[i];
            to = to < 0 ? 0 : to;           /* NaN stays */
            was[i] = before;
            z[i] = to;
            lane[j] += (y[i] - to) * (to - before);
        }
    for (size_t j = 0; j < LANES; j++)
        uphill += lane[j];
    return uphill;
}

CLONES static float advance_signed(float *z, float *was, const float *y, const float *u, const float *c, float step,
                                   float shrink, size_t m)
{
    float uphill = 0;
    for (size_t i = 0; i < m; i++) {
        float to = y[i] - step * (u[i] - c[i]), before = z[i], size = fabsf(to) - shrink;
        to = copysignf(size < 0 ? 0 : size, to);
        was[i] = before;
        z[i] = to;
        uphill += (y[i] - to) * (to - before);
    }
    return uphill;
}

/* y = z + b (z - was). */
CLONES static void lean(float *y, const float *z, const float *was, float momentum, size_t m)
{
    for (size_t i = 0; i < m; i++)
        y[i] = z[i] + momentum * (z[i] - was[i]);
}

/* What is left of the conditions at z, u = D D^T z. */
static double left(const float *z, const float *u, const float *c, double lambda, bool is_signed, size_t m)
{
    double most = 0;
    for (size_t i = 0; i < m; i++) {
        double g = 2 * ((double)u[i] - c[i]), miss;
        if (z[i] != 0)
            miss = fabs(g + (z[i] > 0 ? lambda : -lambda));
        else
            miss = is_signed ? fabs(g) - lambda : -(g + lambda);
        if (!(miss <= most))
            most = miss;
    }
    return most;
}

/* |D^T z|^2 - 2 <z, c> + lambda |z|_1: the objective less |x - b|^2. */
static double height(const float *z, const float *u, const float *c, double lambda, size_t m)
{
    double sum = 0;
    for (size_t i = 0; i < m; i++)
        if (z[i] != 0)
            sum += (double)z[i] * ((double)u[i] - 2.0 * c[i]) + lambda * fabs((double)z[i]);
    return sum;
}

/* Do the same values as at the last look differ from 0? Keeps which do. */
static bool settled(const struct lasso_atoms *a, struct scratch *s)
{
    size_t k = list_nonzero(s->z, a->m, s->idx, s->val);
    bool same = k == s->k_held && !memcmp(s->idx, s->held, k * sizeof *s->idx);
    memcpy(s->held, s->idx, k * sizeof *s->idx);
    s->k_held = k;
    return same && k > 0 && k <= EXACT;
}

/* G f = rhs for the k features held, G = D D^T of these, by Cholesky. Returns k, or the place of one that depends on
 * those before it. */
static size_t solve_held(const struct lasso_atoms *a, struct scratch *s, size_t k)
{
    double *g = s->exact, *f = s->rhs;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j <= i; j++) {
            size_t p = s->held[i], q = s->held[j];
            double sum = a->gram ? a->gram[p * a->m + q] : vec_dot_wide(a->w + p * a->d, a->w + q * a->d, a->d);
            for (size_t l = 0; l < j; l++)
                sum -= g[i * EXACT + l] * g[j * EXACT + l];
            if (i == j && !(sum > 1e-5 * a->norm[p] * a->norm[p]))
                return i;
            g[i * EXACT + j] = i == j ? sqrt(sum) : sum / g[j * EXACT + j];
        }
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < i; j++)
            f[i] -= g[i * EXACT + j] * f[j];
        f[i] /= g[i * EXACT + i];
    }
    for (size_t i = k; i-- > 0;) {
        for (size_t j = i + 1; j < k; j++)
            f[i] -= g[j * EXACT + i] * f[j];
        f[i] /= g[i * EXACT + i];
    }
    return k;
}

/* Drop of the k features held those whose value has not the sign it was solved for, or only the one at `place` when
 * that is less than k. Returns how many stay. */
static size_t drop_held(struct scratch *s, size_t k, size_t place)
{
    size_t kept = 0;
    for (size_t i = 0; i < k; i++) {
        bool stays = place < k ? i != place : s->rhs[i] * s->sign[i] > 0;
        s->held[kept] = s->held[i];
        s->rhs[kept] = s->rhs[i];
        s->sign[kept] = s->sign[i];
        kept += stays;
    }
    return kept;
}

/* Hold also the silent feature whose condition is broken most, by more than limit. Returns how many are held. */
static size_t hold_worst(const struct lasso_atoms *a, const struct fista *how, struct scratch *s, size_t k, double limit)
{
    double most = limit;
    size_t at = k;
    for (size_t i = 0; i < a->m; i++) {
        double g = 2 * ((double)s->u[i] - s->c[i]), miss = (how->is_signed ? fabs(g) : -g) - how->lambda;
        if (s->z[i] != 0 || !(miss > most))
            continue;
        most = miss;
        at = k + 1;
        s->held[k] = (uint32_t)i;
        s->sign[k] = g < 0 ? 1 : -1;
    }
    return at;
}

/* From a guess of which features fire to the minimum: 2 (G f - c) + lambda sign(f) = 0 is solved for these, who comes
 * out with the wrong sign is dropped, and when there is none, who ought to fire joins. Put in z if that comes within
 * limit; else z is left as it is. [Lee 2007, feature-sign search, without its line search] */
static bool finish(const struct lasso_atoms *a, const struct fista *how, struct scratch *s, double limit)
{
    size_t k = s->k_held, stuck, stay;
    bool done = false;
    for (size_t i = 0; i < k; i++)
        s->sign[i] = s->z[s->held[i]] > 0 ? 1 : -1;
    memcpy(s->was, s->z, a->m * sizeof *s->z);      /* which the next step does not need any more */
    for (int pivot = 0; pivot < PIVOTS && k <= EXACT; pivot++) {
        for (size_t i = 0; i < k; i++)
            s->rhs[i] = s->c[s->held[i]] - s->sign[i] * how->lambda / 2;
        stuck = solve_held(a, s, k);
        if ((stay = drop_held(s, k, stuck)) < k) {
            k = stay;
            continue;
        }
        memset(s->z, 0, a->m * sizeof *s->z);
        for (size_t i = 0; i < k; i++)
            s->z[s->held[i]] = (float)s->rhs[i];
        fold(a, s, s->z, s->u);
        if ((done = left(s->z, s->u, s->c, how->lambda, how->is_signed, a->m) <= limit))
            break;
        stay = k < EXACT ? hold_worst(a, how, s, k, limit) : k;
        if (stay == k)
            break;
        k = stay;
    }
    s->k_held = 0;
    if (!done)
        memcpy(s->z, s->was, a->m * sizeof *s->z);
    return done;
}

/* From z, with L = 2 bound: returns whether it came within limit. */
static bool descend(const struct lasso_atoms *a, const struct fista *how, struct scratch *s, double bound, double limit)
{
    float step = (float)(1 / bound), shrink = (float)(how->lambda / (2 * bound));
    double t = 1;
    s->k_held = 0;
    memcpy(s->y, s->z, a->m * sizeof *s->y);
    for (size_t i = 1; i <= how->iterations; i++) {
        fold(a, s, s->y, s->u);
        if ((how->is_signed ? advance_signed : advance)(s->z, s->was, s->y, s->u, s->c, step, shrink, a->m) > 0)
            t = 1;
        double next = (1 + sqrt(1 + 4 * t * t)) / 2;
        lean(s->y, s->z, s->was, (float)((t - 1) / next), a->m);
        t = next;
        if (i % CHECK_EVERY && i < how->iterations)
            continue;
        fold(a, s, s->z, s->u);
        if (left(s->z, s->u, s->c, how->lambda, how->is_signed, a->m) <= limit ||
            (settled(a, s) && finish(a, how, s, limit)))
            return true;
    }
    return false;
}

/* What a row began with, to fall back on. */
struct origin {
    const uint32_t *idx;
    const float *val;
    size_t k;
};

static void set_origin(const struct origin *o, float *z, size_t m)
{
    memset(z, 0, m * sizeof *z);
    for (size_t j = 0; j < o->k; j++)
        z[o->idx[j]] = o->val[j];
}

/* z = the codes of the row whose c is set. */
static bool solve(const struct lasso_atoms *a, const struct fista *how, struct scratch *s, const struct origin *o)
{
    double limit = how->lambda, bound = a->bound;
    for (size_t i = 0; how->lambda == 0 && i < a->m; i++)
        limit = fmax(limit, 2 * fabs((double)s->c[i]));
    limit *= how->tol;
    set_origin(o, s->z, a->m);
    fold(a, s, s->z, s->u);
    double start = height(s->z, s->u, s->c, how->lambda, a->m);
    if (!(bound > 0) || left(s->z, s->u, s->c, how->lambda, how->is_signed, a->m) <= limit)
        return true;
    for (int tries = 0; tries < 4; tries++, bound *= 2) {
        bool done = descend(a, how, s, bound, limit);
        if (done || !(height(s->z, s->u, s->c, how->lambda, a->m) > start))
            return done;
        set_origin(o, s->z, a->m);
    }
    return false;
}

/* ---- many rows ---- */

struct job {
    const struct lasso_atoms *a;
    const struct fista *how;
    const float *x, *b;
    size_t n;
    const struct codes *start;
    struct scratch *scratch;        /* one for each worker */
    struct codes *piece;
    size_t *missed;                 /* of each piece */
};

static void job_piece(void *arg, size_t piece, int worker)
{
    struct job *j = arg;
    const struct lasso_atoms *a = j->a;
    struct scratch *s = &j->scratch[worker];
    codes_reset(&j->piece[piece], a->m);
    for (size_t r = piece * ROWS; r < j->n && r < (piece + 1) * ROWS; r++) {
        struct origin o = { NULL, NULL, 0 };
        memcpy(s->r, j->x + r * a->d, a->d * sizeof *s->r);
        if (j->b)
            vec_sub(s->r, j->x + r * a->d, j->b, a->d);
        sparse_dots(s->all, a->m, a->w, s->r, a->d, s->c);
        if (j->start)
            o = (struct origin){ j->start->idx + j->start->ptr[r], j->start->val + j->start->ptr[r],
                                 j->start->ptr[r + 1] - j->start->ptr[r] };
        j->missed[piece] += !solve(a, j->how, s, &o);
        codes_push(&j->piece[piece], s->idx, s->val, list_nonzero(s->z, a->m, s->idx, s->val));
    }
}

size_t lasso_codes(const struct lasso_atoms *a, const struct fista *how, const float *x, size_t n, const float *b,
                   const struct codes *start, struct codes *out)
{
    size_t pieces = (n + ROWS - 1) / ROWS, workers = (size_t)par_threads(), missed = 0;
    struct job j = { a, how, x, b, n, start, mem_alloc(workers, sizeof *j.scratch), mem_zero(pieces, sizeof *j.piece),
                     mem_zero(pieces, sizeof *j.missed) };
    for (size_t w = 0; w < workers; w++)
        j.scratch[w] = scratch_new(a->m, a->d);
    par_for(pieces, job_piece, &j);
    codes_reset(out, a->m);
    for (size_t p = 0; p < pieces; p++) {
        codes_append(out, &j.piece[p]);
        codes_free(&j.piece[p]);
        missed += j.missed[p];
    }
    for (size_t w = 0; w < workers; w++)
        scratch_free(&j.scratch[w]);
    free(j.scratch);
    free(j.piece);
    free(j.missed);
    return missed;
}

/* ---- in double ---- */

/* D^T f + b - x. */
static double *misfit(const struct lasso_atoms *a, const float *x, const float *b, const uint32_t *idx, const float *val,
                      size_t k)
{
    double *r = mem_alloc(a->d, sizeof *r);
    for (size_t j = 0; j < a->d; j++)
        r[j] = (b ? (double)b[j] : 0) - x[j];
    for (size_t p = 0; p < k; p++)
        for (size_t j = 0; j < a->d; j++)
            r[j] += (double)val[p] * a->w[idx[p] * a->d + j];
    return r;
}

double lasso_objective(const struct lasso_atoms *a, const struct fista *how, const float *x, const float *b,
                       const uint32_t *idx, const float *val, size_t k)
{
    double *r = misfit(a, x, b, idx, val, k), sum = 0;
    for (size_t j = 0; j < a->d; j++)
        sum += r[j] * r[j];
    for (size_t p = 0; p < k; p++)
        sum += how->lambda * fabs((double)val[p]);
    free(r);
    return sum;
}

double lasso_residual(const struct lasso_atoms *a, const struct fista *how, const float *x, const float *b,
                      const uint32_t *idx, const float *val, size_t k)
{
    double *r = misfit(a, x, b, idx, val, k), most = 0;
    for (size_t i = 0, p = 0; i < a->m; i++) {
        double g = 0, f = p < k && idx[p] == i ? val[p++] : 0;
        for (size_t j = 0; j < a->d; j++)
            g += 2 * r[j] * a->w[i * a->d + j];
        double miss = f != 0 ? fabs(g + (f > 0 ? how->lambda : -how->lambda))
                             : how->is_signed ? fabs(g) - how->lambda : -(g + how->lambda);
        most = fmax(most, miss);
    }
    free(r);
    return most;
}
