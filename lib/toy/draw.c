/* Which events happen in a row, which features they make active, and with what coefficients. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "toy/toy_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* From event i on, no event is more likely than `most`: gaps between trials at that rate are geometric, so impossible
 * events cost nothing, and a trial at event j succeeds with p_j / most. */
struct hops {
    double most, log;               /* log(1 - most) */
};

static void hops_make(struct hops *h, const double *p, size_t events)
{
    double most = 0;
    for (size_t i = events; i-- > 0;) {
        most = p[i] > most ? p[i] : most;
        h[i] = (struct hops){ most, log1p(-most) };
    }
}

/* ---- probabilities ---- */

static int composed_probabilities(struct toy *t)
{
    const double *p = t->o.composed, sum = p[0] + p[1] + p[2];
    if (sum > 1)
        return err_usage("the three probabilities of composed features add up to %g, above 1", sum);
    for (size_t i = 0; i < t->draw->events; i++)
        t->draw->p[i] = sum;
    return 0;
}

/* decay^i, scaled so that they add up to `active`, or as published. */
static int decaying_probabilities(struct toy *t)
{
    const struct toy_options *o = &t->o;
    struct toy_draw *w = t->draw;
    double sum = 0;
    for (size_t i = 0; i < w->events; i++)
        sum += w->p[i] = pow(o->decay, (double)i);
    double first = o->active / (o->raw_decay ? (double)w->events : sum);
    if (first > 1 + 1e-12)
        return err_usage("%g active features on average ask for a probability of %g: at most %.9g here", o->active,
                         first, o->active / first);
    for (size_t i = 0; i < w->events; i++)
        w->p[i] = w->p[i] * first < 1 ? w->p[i] * first : 1;
    return 0;
}

static double feature_probability(const struct toy *t, size_t g)
{
    const struct toy_options *o = &t->o;
    switch (o->activity) {
    case TOY_EXACTLY:
        return (double)o->exactly / (double)o->g;
    case TOY_PAIRS:
        return t->draw->p[g / 2] / 2;
    case TOY_COMPOSED:
        return o->composed[g % 2] + o->composed[2];
    default:
        return t->draw->p[g];
    }
}

static int check(const struct toy_options *o)
{
    if ((o->activity == TOY_PAIRS || o->activity == TOY_COMPOSED) && o->g % 2)
        return err_usage("%zu features are not pairs", o->g);
    if (o->activity == TOY_EXACTLY && o->exactly > o->g)
        return err_usage("exactly %zu active of %zu features", o->exactly, o->g);
    if (o->activity == TOY_EXACTLY && o->corr != TOY_NONE)
        return err_usage("exactly %zu active features leave nothing to correlate", o->exactly);
    return 0;
}

int toy_draw_make(struct toy *t)
{
    const struct toy_options *o = &t->o;
    struct toy_draw *w = t->draw = mem_zero(1, sizeof *t->draw);
    if (check(o))
        return -1;
    w->events = o->activity == TOY_EXACTLY ? 0 : o->activity == TOY_BERNOULLI ? o->g : o->g / 2;
    w->p = mem_zero(w->events, sizeof *w->p);
    w->hops = mem_zero(w->events, sizeof *w->hops);
    if (o->activity == TOY_COMPOSED ? composed_probabilities(t) : w->events && decaying_probabilities(t))
        return -1;
    hops_make(w->hops, w->p, w->events);
    t->p = mem_zero(o->g, sizeof *t->p);
    for (size_t g = 0; g < o->g; g++)
        t->active += t->p[g] = feature_probability(t, g);
    if (o->activity == TOY_EXACTLY)
        t->active = (double)o->exactly;
    if (o->corr == TOY_NONE)
        return 0;
    w->threshold = mem_zero(w->events, sizeof *w->threshold);
    for (size_t i = 0; i < w->events; i++)
        w->threshold[i] = normal_quantile(w->p[i]);
    return copula_make(&w->copula, w->events, o->block, o->rho, o->seed);
}

void toy_draw_free(struct toy_draw *w)
{
    if (!w)
        return;
    copula_free(&w->copula);
    free(w->threshold);
    free(w->hops);
    free(w->p);
    free(w);
}

/* ---- one row ---- */

struct row_scratch {
    uint32_t *idx;                  /* (g) */
    float *val;                     /* (g) */
    float *z, *u;                   /* (events) */
    double *p;                      /* (events) given the draw in hand */
    struct hops *hops;              /* of p */
    uint64_t draw;                  /* which; UINT64_MAX: none */
    uint8_t *taken;                 /* (g) zeros */
};

static double coefficient(const struct toy_options *o, struct rng *r)
{
    double a;
    switch (o->law) {
    case TOY_CONSTANT:
        return 1;
    case TOY_EXPONENTIAL:
        return -log(1 - rng_uniform(r));
    case TOY_LOGNORMAL:
        return exp(rng_normal(r));
    case TOY_UNIFORM2:
        a = o->lo + (o->hi - o->lo) * (1 - rng_uniform(r));
        return a * (o->lo + (o->hi - o->lo) * (1 - rng_uniform(r)));
    default:
        return o->lo + (o->hi - o->lo) * (1 - rng_uniform(r));
    }
}

/* Event e happens: list its features. Returns how many are listed now. */
static size_t happen(const struct toy *t, struct rng *r, size_t e, uint32_t *idx, size_t n)
{
    const double *p = t->o.composed;
    if (t->o.activity == TOY_BERNOULLI) {
        idx[n++] = (uint32_t)e;
    } else if (t->o.activity == TOY_PAIRS) {
        idx[n++] = (uint32_t)(2 * e + rng_below(r, 2));
    } else {
        double at = rng_uniform(r) * (p[0] + p[1] + p[2]);
        bool both = at >= p[0] + p[1];
        if (both || at < p[0])
            idx[n++] = (uint32_t)(2 * e);
        if (both || at >= p[0])
            idx[n++] = (uint32_t)(2 * e + 1);
    }
    return n;
}

static size_t independent_events(const struct toy *t, struct rng *r, const double *p, const struct hops *h,
                                 uint32_t *idx)
{
    size_t events = t->draw->events, n = 0;
    for (size_t i = 0; i < events && h[i].most > 0; i++) {
        double most = h[i].most, gap = most < 1 ? floor(log(1 - rng_uniform(r)) / h[i].log) : 0;
        if (!(gap < (double)(events - i)))
            break;
        i += (size_t)gap;
        if (p[i] == most || rng_uniform(r) * most < p[i])
            n = happen(t, r, i, idx, n);
    }
    return n;
}

/* One latent normal for each event, below its threshold when the event happens. */
static size_t tied_events(const struct toy *t, struct rng *r, struct row_scratch *w)
{
    const struct toy_draw *d = t->draw;
    size_t n = 0;
    copula_draw(&d->copula, r, w->z, w->u);
    for (size_t i = 0; i < d->events; i++)
        if (w->u[i] < d->threshold[i])
            n = happen(t, r, i, w->idx, n);
    return n;
}

/* The same latent, sqrt(s) u shared by the rows of a draw and sqrt(1 - s) z the row's own: given u the events are
 * independent with p(u) = Phi((threshold - sqrt(s) u) / sqrt(1 - s)), and over all draws each has its p. */
static void condition(const struct toy *t, uint64_t draw, struct row_scratch *w)
{
    const struct toy_draw *d = t->draw;
    struct rng r = toy_rng(t->o.seed, TOY_OF_DRAW, draw);
    double shared = sqrt(t->o.share), own = sqrt(1 - t->o.share);
    if (w->draw == draw)
        return;
    copula_draw(&d->copula, &r, w->z, w->u);
    for (size_t i = 0; i < d->events; i++)
        w->p[i] = normal_cdf((d->threshold[i] - shared * (double)w->u[i]) / own);
    hops_make(w->hops, w->p, d->events);
    w->draw = draw;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* L of g, every set alike: the j-th number drawn is below g - L + j + 1, or when taken that bound itself. [Floyd] */
static size_t exactly(const struct toy *t, struct rng *r, struct row_scratch *w)
{
    size_t g = t->o.g, l = t->o.exactly, n = 0;
    for (size_t j = g - l; j < g; j++) {
        size_t pick = rng_below(r, j + 1);
        pick = w->taken[pick] ? j : pick;
        w->taken[pick] = 1;
        w->idx[n++] = (uint32_t)pick;
    }
    for (size_t i = 0; i < n; i++)
        w->taken[w->idx[i]] = 0;
    qsort(w->idx, n, sizeof *w->idx, ascending);
    return n;
}

static size_t draw_row(const struct toy *t, uint64_t row, struct row_scratch *w)
{
    const struct toy_options *o = &t->o;
    struct rng r = toy_rng(o->seed, TOY_OF_ROW, row);
    size_t n;
    if (o->activity == TOY_EXACTLY) {
        n = exactly(t, &r, w);
    } else if (o->corr == TOY_SAMPLE) {
        n = tied_events(t, &r, w);
    } else if (o->corr == TOY_NONE) {
        n = independent_events(t, &r, t->draw->p, t->draw->hops, w->idx);
    } else {
        condition(t, o->corr == TOY_BATCH ? row / o->batch : 0, w);
        n = independent_events(t, &r, w->p, w->hops, w->idx);
    }
    for (size_t i = 0; i < n; i++)
        w->val[i] = (float)(coefficient(o, &r) * t->scale[w->idx[i]]);
    return n;
}

/* ---- many rows ---- */

enum { PIECE = 256 };

struct many {
    const struct toy *t;
    uint64_t row;
    size_t n;
    struct codes *piece;
    struct row_scratch *scratch;
    float *x;
};

static void codes_piece(void *arg, size_t piece, int worker)
{
    struct many *m = arg;
    struct row_scratch *w = &m->scratch[worker];
    codes_reset(&m->piece[piece], m->t->o.g);
    for (size_t i = piece * PIECE; i < m->n && i < (piece + 1) * PIECE; i++)
        codes_push(&m->piece[piece], w->idx, w->val, draw_row(m->t, m->row + i, w));
}

static void scratch_make(struct row_scratch *w, const struct toy *t)
{
    size_t g = t->o.g, e = t->draw->events;
    *w = (struct row_scratch){ .draw = UINT64_MAX };
    w->idx = mem_alloc(g, sizeof *w->idx);
    w->val = mem_alloc(g, sizeof *w->val);
    w->taken = mem_zero(g, 1);
    w->z = mem_alloc(e, sizeof *w->z);
    w->u = mem_alloc(e, sizeof *w->u);
    w->p = mem_alloc(e, sizeof *w->p);
    w->hops = mem_alloc(e, sizeof *w->hops);
}

static void scratch_free(struct row_scratch *w)
{
    free(w->idx);
    free(w->val);
    free(w->taken);
    free(w->z);
    free(w->u);
    free(w->p);
    free(w->hops);
}

void toy_codes(const struct toy *t, uint64_t row, size_t n, struct codes *out)
{
    size_t pieces = (n + PIECE - 1) / PIECE, workers = (size_t)par_threads();
    struct many m = { .t = t, .row = row, .n = n };
    m.piece = mem_zero(pieces, sizeof *m.piece);
    m.scratch = mem_zero(workers, sizeof *m.scratch);
    for (size_t w = 0; w < workers; w++)
        scratch_make(&m.scratch[w], t);
    par_for(pieces, codes_piece, &m);
    codes_reset(out, t->o.g);
    for (size_t p = 0; p < pieces; p++) {
        codes_append(out, &m.piece[p]);
        codes_free(&m.piece[p]);
    }
    for (size_t w = 0; w < workers; w++)
        scratch_free(&m.scratch[w]);
    free(m.scratch);
    free(m.piece);
}

static void noise_piece(void *arg, size_t piece, int worker)
{
    const struct many *m = arg;
    size_t d = m->t->o.d;
    (void)worker;
    for (size_t i = piece * PIECE; i < m->n && i < (piece + 1) * PIECE; i++) {
        struct rng r = toy_rng(m->t->o.seed, TOY_OF_NOISE, m->row + i);
        for (size_t j = 0; j < d; j++)
            m->x[i * d + j] += (float)(m->t->o.noise * rng_normal(&r));
    }
}

void toy_noise(const struct toy *t, uint64_t row, size_t n, float *x)
{
    struct many m = { .t = t, .row = row, .n = n, .x = x };
    if (t->o.noise > 0)
        par_for((n + PIECE - 1) / PIECE, noise_piece, &m);
}
