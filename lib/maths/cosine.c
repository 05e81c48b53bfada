/* SPDX-License-Identifier: MIT */
#include "maths/cosine.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>

/* A piece of work: ROWS rows of a against b, or BLOCK rows against as many, in tiles that stay in the cache. */
enum { ROWS = 32, TILE = 64, BLOCK = 256 };

/* ---- rows of a with rows of b ---- */

struct job {
    const float *a, *b;
    size_t na, nb, d;
    struct cosine_stats *out;
    double *sum, *sum_sq;           /* one for each piece, added in order at the end */
    float **best;                   /* one array (nb) for each worker */
    size_t blocks, round;           /* of one set with itself: see below */
};

static void one_tile(struct job *j, size_t piece, size_t lo, size_t hi, float *best)
{
    size_t first = piece * ROWS, last = first + ROWS < j->na ? first + ROWS : j->na;
    for (size_t r = first; r < last; r++) {
        double sum = 0, sum_sq = 0;
        struct largest *near = &j->out->nearest[r];
        for (size_t c = lo; c < hi; c++) {
            float t = vec_dot(j->a + r * j->d, j->b + c * j->d, j->d);
            sum += t;
            sum_sq += (double)t * t;
            best[c] = t > best[c] ? t : best[c];
            if (near->n < near->k || t > near->item[0].key)
                largest_push(near, t, c, NULL);
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
}

static void merge_best(struct job *j)
{
    j->out->best_b = j->best[0];
    for (int w = 1; w < par_threads(); w++) {
        for (size_t c = 0; c < j->nb; c++)
            j->out->best_b[c] = j->best[w][c] > j->out->best_b[c] ? j->best[w][c] : j->out->best_b[c];
        free(j->best[w]);
    }
}

static void add_sums(struct job *j, size_t pieces)
{
    for (size_t p = 0; p < pieces; p++) {
        j->out->sum += j->sum[p];
        j->out->sum_sq += j->sum_sq[p];
        j->sum[p] = j->sum_sq[p] = 0;
    }
}

static float *no_cosines(size_t n)
{
    float *best = mem_alloc(n, sizeof *best);
    for (size_t c = 0; c < n; c++)
        best[c] = -2;
    return best;
}

static void all_between(struct job *j)
{
    size_t pieces = (j->na + ROWS - 1) / ROWS;
    j->sum = mem_zero(pieces, sizeof *j->sum);
    j->sum_sq = mem_zero(pieces, sizeof *j->sum_sq);
    j->best = mem_alloc((size_t)par_threads(), sizeof *j->best);
    for (int w = 0; w < par_threads(); w++)
        j->best[w] = no_cosines(j->nb);
    par_for(pieces, one_piece, j);
    merge_best(j);
    add_sums(j, pieces);
    free(j->best);
}

/* ---- rows of a with each other: every pair once ----
 *
 * Rows are cut into an even number of blocks, and blocks meet as teams do that all play each other: in each round every
 * block meets one other, so that no two pieces of a round write to the same rows. In round 0 each meets itself. */

static void count_cosine(struct job *j, size_t r, size_t c, float t)
{
    struct largest *near = &j->out->nearest[r];
    float *best = &j->out->best_b[r];
    *best = t > *best ? t : *best;
    if (near->n < near->k || t >= near->item[0].key)
        largest_push(near, t, c, NULL);
}

static void two_blocks(struct job *j, size_t piece, size_t x, size_t y)
{
    size_t last = (x + 1) * BLOCK < j->na ? (x + 1) * BLOCK : j->na, end = (y + 1) * BLOCK < j->na ? (y + 1) * BLOCK : j->na;
    for (size_t lo = y * BLOCK; lo < end; lo += TILE)
        for (size_t r = x * BLOCK; r < last; r++) {
            double sum = 0, sum_sq = 0;
            for (size_t c = x == y && r >= lo ? r + 1 : lo; c < end && c < lo + TILE; c++) {
                float t = vec_dot(j->a + r * j->d, j->a + c * j->d, j->d);
                sum += t;
                sum_sq += (double)t * t;
                count_cosine(j, r, c, t);
                count_cosine(j, c, r, t);
            }
            j->sum[piece] += 2 * sum;
            j->sum_sq[piece] += 2 * sum_sq;
        }
}

/* Round t of 1..blocks-1: the last block meets number t - 1 on a circle of the others, which meet across it. */
static void one_meeting(void *arg, size_t piece, int worker)
{
    struct job *j = arg;
    size_t circle = j->blocks - 1, turn = j->round - 1;
    (void)worker;
    if (j->round == 0)
        two_blocks(j, piece, piece, piece);
    else if (piece == 0)
        two_blocks(j, piece, turn, circle);
    else
        two_blocks(j, piece, (turn + piece) % circle, (turn + circle - piece) % circle);
}

static void all_among(struct job *j)
{
    j->blocks = (j->na + BLOCK - 1) / BLOCK;
    j->blocks += j->blocks % 2;
    j->sum = mem_zero(j->blocks, sizeof *j->sum);
    j->sum_sq = mem_zero(j->blocks, sizeof *j->sum_sq);
    j->out->best_b = no_cosines(j->na);
    for (j->round = 0; j->round < j->blocks; j->round++) {
        size_t pieces = j->round ? j->blocks / 2 : j->blocks;
        par_for(pieces, one_meeting, j);
        add_sums(j, pieces);
    }
}

static void sort_row(void *arg, size_t piece, int worker)
{
    struct job *j = arg;
    (void)worker;
    for (size_t r = piece * ROWS; r < (piece + 1) * ROWS && r < j->na; r++)
        largest_sort(&j->out->nearest[r]);
}

void cosine_all(const float *a, size_t na, const float *b, size_t nb, size_t d, bool same, size_t k,
                struct cosine_stats *out)
{
    struct job j = { .a = a, .b = b, .na = na, .nb = nb, .d = d, .out = out };
    *out = (struct cosine_stats){ .pairs = (uint64_t)na * (nb - same), .nearest = mem_zero(na, sizeof *out->nearest) };
    for (size_t r = 0; r < na; r++)
        out->nearest[r].k = k;
    if (same)
        all_among(&j);
    else
        all_between(&j);
    par_for((na + ROWS - 1) / ROWS, sort_row, &j);
    free(j.sum);
    free(j.sum_sq);
}

void cosine_free(struct cosine_stats *s, size_t na)
{
    for (size_t r = 0; r < na; r++)
        largest_free(&s->nearest[r]);
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
