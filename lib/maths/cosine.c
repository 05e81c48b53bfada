/* SPDX-License-Identifier: MIT */
#include "maths/cosine.h"
#include "ground/mem.h"
#include "ground/par.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 32, TILE = 64 };      /* a piece of work: ROWS rows of a, against b in tiles that stay in the cache */

/* ---- all pairs ---- */

struct job {
    const float *a, *b;
    size_t na, nb, d;
    bool same;
    struct cosine_stats *out;
    double *sum, *sum_sq;           /* one for each piece, added in order at the end */
    float **best;                   /* one array (nb) for each worker */
};

static void one_tile(struct job *j, size_t piece, size_t lo, size_t hi, float *best)
{
    size_t first = piece * ROWS, last = first + ROWS < j->na ? first + ROWS : j->na;
    for (size_t r = first; r < last; r++) {
        double sum = 0, sum_sq = 0;
        struct topk *near = &j->out->nearest[r];
        for (size_t c = lo; c < hi; c++) {
            if (j->same && c == r)
                continue;
            float t = vec_dot(j->a + r * j->d, j->b + c * j->d, j->d);
            sum += t;
            sum_sq += (double)t * t;
            best[c] = t > best[c] ? t : best[c];
            if (near->n < near->k || t > near->item[0].key)
                topk_push(near, t, c, NULL);
        }
        j->sum[piece] += sum;
        j->sum_sq[piece] += sum_sq;
    }
}

static void one_piece(void *arg, size_t piece, int worker)
{
    struct job *j = arg;
    for (size_t lo = 0; lo < j->nb; lo += TILE)
        one_tile(j, piece, lo, lo + TILE < j->nb ? lo + TILE : j->nb, j->best[worker]);
    for (size_t r = piece * ROWS; r < (piece + 1) * ROWS && r < j->na; r++)
        topk_sort(&j->out->nearest[r]);
}

static void merge(struct job *j, size_t pieces)
{
    struct cosine_stats *out = j->out;
    out->best_b = j->best[0];
    for (int w = 1; w < par_threads(); w++) {
        for (size_t c = 0; c < j->nb; c++)
            out->best_b[c] = j->best[w][c] > out->best_b[c] ? j->best[w][c] : out->best_b[c];
        free(j->best[w]);
    }
    for (size_t p = 0; p < pieces; p++) {
        out->sum += j->sum[p];
        out->sum_sq += j->sum_sq[p];
    }
}

void cosine_all(const float *a, size_t na, const float *b, size_t nb, size_t d, bool same, size_t k,
                struct cosine_stats *out)
{
    size_t pieces = (na + ROWS - 1) / ROWS;
    struct job j = { .a = a, .b = b, .na = na, .nb = nb, .d = d, .same = same, .out = out,
                     .sum = mem_zero(pieces, sizeof(double)), .sum_sq = mem_zero(pieces, sizeof(double)),
                     .best = mem_alloc((size_t)par_threads(), sizeof(float *)) };
    *out = (struct cosine_stats){ .pairs = (uint64_t)na * (nb - same), .nearest = mem_zero(na, sizeof *out->nearest) };
    for (size_t r = 0; r < na; r++)
        out->nearest[r].k = k;
    for (int w = 0; w < par_threads(); w++) {
        j.best[w] = mem_alloc(nb, sizeof(float));
        for (size_t c = 0; c < nb; c++)
            j.best[w][c] = -2;
    }
    par_for(pieces, one_piece, &j);
    merge(&j, pieces);
    free(j.sum);
    free(j.sum_sq);
    free(j.best);
}

void cosine_free(struct cosine_stats *s, size_t na)
{
    for (size_t r = 0; r < na; r++)
        topk_free(&s->nearest[r]);
    free(s->nearest);
    free(s->best_b);
}

/* ---- one-to-one matching ---- */

struct costs {
    const float *a, *b;
    size_t n, m, d;
    float *c;                       /* (n,m): minus the cosine */
};

static void cost_row(void *arg, size_t r, int worker)
{
    struct costs *k = arg;
    (void)worker;
    for (size_t c = 0; c < k->m; c++)
        k->c[r * k->m + c] = -vec_dot(k->a + r * k->d, k->b + c * k->d, k->d);
}

struct match {
    const float *cost;
    size_t n, m;                    /* n <= m */
    double *u, *v, *least;          /* potentials of rows and columns; cheapest way to reach each column so far */
    size_t *row, *way;              /* row[c]: the row column c is given to, n when free; column 0..m-1, m is the start */
    bool *used;
};

/* Give row r a column: grow the tree of cheapest alternating paths until it reaches a free column, then turn the path. */
static void assign_row(struct match *k, size_t r)
{
    size_t at = k->m;
    k->row[at] = r;
    for (size_t c = 0; c <= k->m; c++)
        k->least[c] = INFINITY, k->used[c] = false;
    while (k->row[at] < k->n) {
        size_t from = k->row[at], next = 0;
        double step = INFINITY;
        k->used[at] = true;
        for (size_t c = 0; c < k->m; c++) {
            if (k->used[c])
                continue;
            double cost = (double)k->cost[from * k->m + c] - k->u[from] - k->v[c];
            if (cost < k->least[c])
                k->least[c] = cost, k->way[c] = at;
            if (k->least[c] < step)
                step = k->least[c], next = c;
        }
        for (size_t c = 0; c <= k->m; c++) {
            if (k->used[c])
                k->u[k->row[c]] += step, k->v[c] -= step;
            else
                k->least[c] -= step;
        }
        at = next;
    }
    for (size_t before; at != k->m; at = before) {
        before = k->way[at];
        k->row[at] = k->row[before];
    }
}

/* The assignment of n <= m rows: row[c] filled in for every column. */
static void assign(const float *cost, size_t n, size_t m, size_t *row)
{
    struct match k = { .cost = cost, .n = n, .m = m, .u = mem_zero(n + 1, sizeof(double)),
                       .v = mem_zero(m + 1, sizeof(double)), .least = mem_alloc(m + 1, sizeof(double)), .row = row,
                       .way = mem_alloc(m + 1, sizeof(size_t)), .used = mem_alloc(m + 1, sizeof(bool)) };
    for (size_t c = 0; c <= m; c++)
        row[c] = n;
    for (size_t r = 0; r < n; r++)
        assign_row(&k, r);
    free(k.u);
    free(k.v);
    free(k.least);
    free(k.way);
    free(k.used);
}

double cosine_match(const float *a, size_t na, const float *b, size_t nb, size_t d, size_t *partner)
{
    bool turned = na > nb;
    struct costs k = { turned ? b : a, turned ? a : b, turned ? nb : na, turned ? na : nb, d, NULL };
    size_t *row = mem_alloc(k.m + 1, sizeof *row);
    double sum = 0;
    k.c = mem_alloc(k.n * k.m, sizeof *k.c);
    par_for(k.n, cost_row, &k);
    assign(k.c, k.n, k.m, row);
    for (size_t r = 0; r < na; r++)
        partner[r] = SIZE_MAX;
    for (size_t c = 0; c < k.m; c++) {
        if (row[c] == k.n)
            continue;
        partner[turned ? c : row[c]] = turned ? row[c] : c;
        sum -= (double)k.c[row[c] * k.m + c];
    }
    free(row);
    free(k.c);
    return k.n ? sum / (double)k.n : NAN;
}

/* ---- the law of random directions ---- */

enum { GRID = 1 << 16 };

/* P(k-th largest of n <= t) from F(t) of one: sum over j < k of C(n,j) (1-F)^j F^(n-j), term by term in logarithms. */
static double order_cdf(double f, size_t n, size_t k)
{
    if (f <= 0)
        return 0;
    if (f >= 1)
        return 1;
    double log_f = log(f), log_g = log1p(-f), choose = 0, sum = 0;
    for (size_t j = 0; j < k; j++) {
        sum += exp(choose + (double)j * log_g + (double)(n - j) * log_f);
        choose += log((double)(n - j) / (double)(j + 1));
    }
    return sum < 1 ? sum : 1;
}

struct cosine_law cosine_law(size_t d, size_t n, size_t k, const double *q, double *at, size_t quantiles)
{
    double *f = mem_alloc(GRID + 1, sizeof *f), h = 3.14159265358979323846 / GRID, mean = 1, square = 1, last = 0;
    f[0] = 0;
    for (size_t i = 1; i <= GRID; i++) {        /* t = sin(angle): the density cos^(d-2) has no pole; Simpson's rule */
        double x = -1.57079632679489661923 + h * (double)i;
        f[i] = f[i - 1] + h / 6 * (pow(fabs(cos(x - h)), (double)d - 2) + 4 * pow(fabs(cos(x - h / 2)), (double)d - 2) +
                                   pow(fabs(cos(x)), (double)d - 2));
    }
    for (size_t i = 0; i < quantiles; i++)
        at[i] = NAN;
    for (size_t i = 0; i <= GRID; i++) {        /* E X = 1 - int P dt and E X^2 = 1 - int 2 t P dt over [-1, 1] */
        double x = -1.57079632679489661923 + h * (double)i, t = sin(x), p = order_cdf(f[i] / f[GRID], n, k);
        double w = (i == 0 || i == GRID ? 0.5 : 1) * h * cos(x);
        mean -= w * p;
        square -= w * 2 * t * p;
        for (size_t s = 0; s < quantiles; s++)
            if (last < q[s] && p >= q[s])
                at[s] = t;
        last = p;
    }
    free(f);
    return (struct cosine_law){ mean, sqrt(square > mean * mean ? square - mean * mean : 0) };
}

double cosine_welch(size_t d, size_t n)
{
    return n > d && n > 1 ? sqrt((double)(n - d) / ((double)d * (double)(n - 1))) : 0;
}
