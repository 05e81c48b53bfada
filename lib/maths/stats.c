/* SPDX-License-Identifier: MIT */
#include "maths/stats.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/clones.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 128, ROUNDS = 100 };
#define TOLERANCE 1e-5

/* Weighted sums of blocks of rows. Block b has its own d + 2 doubles: sum of w x, then of w |x - center|^p,
 * then of w. */
struct blocks {
    const float *x;
    size_t n, d;
    double scale;
    const double *center;       /* NULL: w = 1, p = 2 about 0; otherwise w = 1 / |x - center|, p = 1 */
    double nearest;             /* no distance counts as less than this */
    double *part;
};

CLONES static double square_about(const float *x, double scale, const double *restrict center, size_t d)
{
    double lane[8] = { 0 }, sum = 0;
    size_t i = 0;
    for (; i + 8 <= d; i += 8)
        for (size_t j = 0; j < 8; j++) {
            double off = scale * x[i + j] - (center ? center[i + j] : 0);
            lane[j] += off * off;
        }
    for (; i < d; i++) {
        double off = scale * x[i] - (center ? center[i] : 0);
        sum += off * off;
    }
    for (size_t j = 0; j < 8; j++)
        sum += lane[j];
    return sum;
}

CLONES static void add_scaled(double *restrict sum, const float *restrict x, double a, size_t d)
{
    for (size_t i = 0; i < d; i++)
        sum[i] += a * x[i];
}

static void block_sums(void *arg, size_t block, int worker)
{
    struct blocks *b = arg;
    size_t from = block * ROWS, to = from + ROWS < b->n ? from + ROWS : b->n;
    double *part = b->part + block * (b->d + 2);
    (void)worker;
    memset(part, 0, (b->d + 2) * sizeof *part);
    for (size_t r = from; r < to; r++) {
        const float *x = b->x + r * b->d;
        double square = square_about(x, b->scale, b->center, b->d), size = square, w = 1;
        if (b->center) {
            size = sqrt(square);
            w = 1 / (size > b->nearest ? size : b->nearest);
        }
        add_scaled(part, x, w * b->scale, b->d);
        part[b->d] += size;
        part[b->d + 1] += w;
    }
}

/* total (d + 2) = the sums over all rows. */
static void all_sums(struct blocks *b, double *total)
{
    size_t count = (b->n + ROWS - 1) / ROWS;
    b->part = mem_alloc(count * (b->d + 2), sizeof *b->part);
    par_for(count, block_sums, b);
    memset(total, 0, (b->d + 2) * sizeof *total);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < b->d + 2; j++)
            total[j] += b->part[i * (b->d + 2) + j];
    free(b->part);
}

/* ---- spread ---- */

struct spread stats_new(size_t d)
{
    return (struct spread){ .d = d, .sum = mem_zero(d, sizeof(double)) };
}

void stats_free(struct spread *s)
{
    free(s->sum);
    s->sum = NULL;
}

void stats_reset(struct spread *s)
{
    memset(s->sum, 0, s->d * sizeof *s->sum);
    s->square = 0;
    s->n = 0;
}

void stats_add(struct spread *s, const float *x, size_t n, double scale)
{
    struct blocks b = { .x = x, .n = n, .d = s->d, .scale = scale };
    double *total = mem_alloc(s->d + 2, sizeof *total);
    all_sums(&b, total);
    for (size_t i = 0; i < s->d; i++)
        s->sum[i] += total[i];
    s->square += total[s->d];
    s->n += n;
    free(total);
}

double stats_about_mean(const struct spread *s)
{
    double mean_square = 0;
    if (!s->n)
        return 0;
    for (size_t i = 0; i < s->d; i++)
        mean_square += s->sum[i] * s->sum[i] / (double)s->n;
    return s->square > mean_square ? s->square - mean_square : 0;
}

/* ---- centers ---- */

void stats_mean(const float *x, size_t n, size_t d, float *out)
{
    struct spread s = stats_new(d);
    stats_add(&s, x, n, 1);
    for (size_t i = 0; i < d; i++)
        out[i] = n ? (float)(s.sum[i] / (double)n) : 0;
    stats_free(&s);
}

void stats_geometric_median(const float *x, size_t n, size_t d, float *out)
{
    double *total = mem_alloc(d + 2, sizeof *total), *center = mem_alloc(d, sizeof *center);
    struct blocks b = { .x = x, .n = n, .d = d, .scale = 1, .center = center };
    struct spread s = stats_new(d);
    stats_add(&s, x, n, 1);
    for (size_t i = 0; i < d; i++)
        center[i] = n ? s.sum[i] / (double)n : 0;
    double distance = n ? sqrt(stats_about_mean(&s) / (double)n) : 0;
    for (int round = 0; distance > 0 && round < ROUNDS; round++) {
        double moved = 0;
        b.nearest = 1e-6 * distance;    /* a row at the center itself must not take it all */
        all_sums(&b, total);
        distance = total[d] / (double)n;
        for (size_t i = 0; i < d; i++) {
            double next = total[i] / total[d + 1];
            moved += (next - center[i]) * (next - center[i]);
            center[i] = next;
        }
        if (sqrt(moved) <= TOLERANCE * distance)
            break;
    }
    for (size_t i = 0; i < d; i++)
        out[i] = (float)center[i];
    stats_free(&s);
    free(total);
    free(center);
}
