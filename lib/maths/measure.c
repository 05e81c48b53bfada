/* SPDX-License-Identifier: MIT */
#include "maths/measure.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/blas.h"
#include "maths/clones.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64, FEATURES = 64 };

struct measure *measure_new(const struct measure_of *of)
{
    struct measure *t = mem_zero(1, sizeof *t);
    t->of = *of;
    t->norm = mem_alloc(of->m, sizeof *t->norm);
    t->total = mem_zero(of->d, sizeof *t->total);
    t->first = mem_zero(of->d, sizeof *t->first);
    t->residual = mem_zero(of->d, sizeof *t->residual);
    for (int p = 0; p < 3; p++)
        t->moment[p] = mem_zero(of->d, sizeof(double));
    t->cross = of->neurons ? mem_zero(of->m * of->d, sizeof *t->cross) : NULL;
    t->feature = mem_zero(of->m, sizeof *t->feature);
    t->truth = mem_zero(of->truths, sizeof *t->truth);
    for (size_t i = 0; i < of->m && of->d; i++) {
        const float *row = of->dec + i * of->d;
        t->norm[i] = sqrt(vec_dot_wide(row, row, of->d));
        for (size_t j = 0; t->norm[i] > 0 && j < of->d; j++)
            t->total[j] += row[j] / t->norm[i];
    }
    return t;
}

void measure_free(struct measure *t)
{
    for (int p = 0; p < 3; p++)
        free(t->moment[p]);
    columns_free(&t->by_feature);
    columns_free(&t->by_truth);
    free(t->norm);
    free(t->total);
    free(t->first);
    free(t->residual);
    free(t->cross);
    free(t->feature);
    free(t->truth);
    free(t);
}

/* ---- sums over rows ---- */

struct block {
    double sum[MEASURE_SUMS];
    double *vec;                    /* (4,d): what goes to moment[0..2] and residual */
};

struct job {
    struct measure *t;
    const float *x, *x_hat;
    const struct codes *f, *truth;
    struct block *block;
    float **room;                   /* (3, ROWS, d) for each worker: r, y = x - b_dec, products */
};

CLONES static void add_moments(double *restrict vec, const double *restrict first, const float *restrict x,
                               const float *restrict r, size_t d)
{
    for (size_t j = 0; j < d; j++) {
        double u = x[j] - first[j];
        vec[j] += u;
        vec[d + j] += u * u;
        vec[2 * d + j] += u * u * u;
        vec[3 * d + j] += r[j];
    }
}

CLONES static double dot_mixed(const double *restrict a, const float *restrict b, size_t d)
{
    double lane[8] = { 0 }, sum = 0;
    size_t i = 0;
    for (; i + 8 <= d; i += 8)
        for (size_t j = 0; j < 8; j++)
            lane[j] += a[i + j] * b[i + j];
    for (; i < d; i++)
        sum += a[i] * b[i];
    for (size_t j = 0; j < 8; j++)
        sum += lane[j];
    return sum;
}

/* z_i = <u_i, y> for all i, summed by way of sum_i u_i and y^T U^T U y; then put right for those that fire, whose own
 * part f_i |d_i| is no interference. */
static void add_readings(const struct job *k, size_t row, const float *y, const float *gram_y, double *sum)
{
    const struct measure *t = k->t;
    size_t d = t->of.d;
    sum[MEASURE_READ] += dot_mixed(t->total, y, d);
    sum[MEASURE_READ2] += vec_dot_wide(y, gram_y, d);
    for (uint32_t p = k->f->ptr[row]; p < k->f->ptr[row + 1]; p++) {
        uint32_t i = k->f->idx[p];
        if (t->norm[i] == 0)
            continue;
        double own = k->f->val[p] * t->norm[i], read = vec_dot_wide(t->of.dec + i * d, y, d) / t->norm[i];
        sum[MEASURE_READ] -= own;
        sum[MEASURE_READ2] += own * own - 2 * own * read;
    }
}

static void add_codes(const struct job *k, size_t row, double *sum)
{
    for (uint32_t p = k->f->ptr[row]; p < k->f->ptr[row + 1]; p++) {
        double f = k->f->val[p], size = f * (k->t->of.d ? k->t->norm[k->f->idx[p]] : NAN);
        sum[MEASURE_L0] += f != 0;
        sum[MEASURE_L1] += fabs(f);
        sum[MEASURE_POWER] += size * size;
    }
}

static void add_row(const struct job *k, size_t row, const float *r, double *sum)
{
    size_t d = k->t->of.d;
    const float *x = k->x + row * d, *x_hat = k->x_hat + row * d;
    double x2 = vec_dot_wide(x, x, d), hat2 = vec_dot_wide(x_hat, x_hat, d), both = vec_dot_wide(x, x_hat, d);
    sum[MEASURE_X2] += x2;
    sum[MEASURE_HAT2] += hat2;
    sum[MEASURE_X_HAT] += both;
    sum[MEASURE_R2] += vec_dot_wide(r, r, d);
    if (x2 > 0) {
        sum[MEASURE_FULL] += 1;
        sum[MEASURE_COS] += hat2 > 0 ? both / sqrt(x2 * hat2) : 0;
        sum[MEASURE_RATIO] += sqrt(hat2 / x2);
    }
}

/* What x and x_hat say of rows [from, from + n). room as in job. */
static void add_errors(const struct job *k, struct block *b, size_t from, size_t n, float *room)
{
    const struct measure_of *of = &k->t->of;
    size_t d = of->d;
    const float *x = k->x + from * d;
    float *r = room, *y = r + ROWS * d, *product = y + ROWS * d;
    vec_sub(r, k->x_hat + from * d, x, n * d);
    for (size_t i = 0; i < n; i++) {
        vec_sub(y + i * d, x + i * d, of->b_dec, d);
        add_row(k, from + i, r + i * d, b->sum);
        add_moments(b->vec, k->t->first, x + i * d, r + i * d, d);
    }
    blas_nt(n, d, d, x, d, of->pass, d, 0, product, d);
    for (size_t i = 0; i < n; i++) {
        double x2 = vec_dot_wide(x + i * d, x + i * d, d);
        double p2 = vec_dot_wide(product + i * d, product + i * d, d);
        b->sum[MEASURE_PASS] += x2 > 0 ? sqrt(p2 / x2) : 0;
    }
    blas_nt(n, d, d, y, d, of->unit_gram, d, 0, product, d);
    for (size_t i = 0; i < n; i++)
        add_readings(k, from + i, y + i * d, product + i * d, b->sum);
}

static void one_block(void *arg, size_t piece, int worker)
{
    struct job *k = arg;
    struct block *b = &k->block[piece];
    size_t d = k->t->of.d, from = piece * ROWS, n = k->f->n - from < ROWS ? k->f->n - from : ROWS;
    b->vec = mem_zero(4 * d, sizeof *b->vec);
    for (size_t i = 0; i < n; i++)
        add_codes(k, from + i, b->sum);
    if (d)
        add_errors(k, b, from, n, k->room[worker]);
}

/* ---- sums over the rows of a feature ---- */

CLONES static void add_cross(double *restrict out, double f, const float *restrict x, const double *restrict first,
                             size_t d)
{
    for (size_t j = 0; j < d; j++)
        out[j] += f * (x[j] - first[j]);
}

static void add_feature(struct measure_feature *s, const struct codes *c, const struct codes_by_feature *by, size_t i, uint64_t before)
{
    for (uint32_t q = by->start[i]; q < by->start[i + 1]; q++) {
        double f = c->val[by->at[q]];
        if (f == 0)
            continue;
        s->count++;
        s->last = before + by->row[q] + 1;
        s->max = s->count == 1 || f > s->max ? (float)f : s->max;
        s->sum[0] += f;
        s->sum[1] += f * f;
        s->sum[2] += f * f * f;
        s->sum[3] += f * f * f * f;
    }
}

/* Both lists of rows ascend. */
static double products(const struct job *k, size_t i)
{
    const struct codes_by_feature *a = &k->t->by_feature, *b = &k->t->by_truth;
    uint32_t g = k->t->of.truth[i], q = b->start[g];
    double sum = 0;
    for (uint32_t p = a->start[i]; p < a->start[i + 1]; p++) {
        while (q < b->start[g + 1] && b->row[q] < a->row[p])
            q++;
        if (q < b->start[g + 1] && b->row[q] == a->row[p])
            sum += (double)k->f->val[a->at[p]] * k->truth->val[b->at[q]];
    }
    return sum;
}

static void some_features(void *arg, size_t piece, int worker)
{
    struct job *k = arg;
    struct measure *t = k->t;
    const struct codes_by_feature *by = &t->by_feature;
    size_t d = t->of.d;
    (void)worker;
    for (size_t i = piece * FEATURES; i < t->of.m && i < (piece + 1) * FEATURES; i++) {
        add_feature(&t->feature[i], k->f, by, i, t->rows);
        for (uint32_t q = by->start[i]; t->cross && q < by->start[i + 1]; q++)
            add_cross(t->cross + i * d, k->f->val[by->at[q]], k->x + by->row[q] * d, t->first, d);
        if (k->truth)
            t->feature[i].product += products(k, i);
    }
}

static void some_truths(void *arg, size_t piece, int worker)
{
    struct job *k = arg;
    struct measure *t = k->t;
    (void)worker;
    for (size_t g = piece * FEATURES; g < t->of.truths && g < (piece + 1) * FEATURES; g++)
        add_feature(&t->truth[g], k->truth, &t->by_truth, g, t->rows);
}

/* ---- a batch ---- */

static void add_blocks(struct job *k)
{
    struct measure *t = k->t;
    size_t blocks = (k->f->n + ROWS - 1) / ROWS, workers = (size_t)par_threads(), d = t->of.d;
    k->block = mem_zero(blocks, sizeof *k->block);
    k->room = mem_alloc(workers, sizeof *k->room);
    for (size_t w = 0; w < workers; w++)
        k->room[w] = mem_align(3 * ROWS * d, sizeof(float));
    par_for(blocks, one_block, k);
    for (size_t b = 0; b < blocks; b++) {
        for (int s = 0; s < MEASURE_SUMS; s++)
            t->sum[s] += k->block[b].sum[s];
        for (size_t j = 0; j < d; j++) {
            for (int p = 0; p < 3; p++)
                t->moment[p][j] += k->block[b].vec[(size_t)p * d + j];
            t->residual[j] += k->block[b].vec[3 * d + j];
        }
        free(k->block[b].vec);
    }
    for (size_t w = 0; w < workers; w++)
        free(k->room[w]);
    free(k->room);
    free(k->block);
}

void measure_add(struct measure *t, const float *x, const float *x_hat, const struct codes *f, const struct codes *truth)
{
    struct job k = { .t = t, .x = x, .x_hat = x_hat, .f = f, .truth = truth };
    if (!t->rows && f->n)
        for (size_t j = 0; j < t->of.d; j++)
            t->first[j] = x[j];
    codes_columns(f, &t->by_feature);
    add_blocks(&k);
    if (truth) {
        codes_columns(truth, &t->by_truth);
        par_for((t->of.truths + FEATURES - 1) / FEATURES, some_truths, &k);
    }
    par_for((t->of.m + FEATURES - 1) / FEATURES, some_features, &k);
    t->rows += f->n;
}

/* ---- the numbers ---- */

/* sum over j of square_j less n times the square of the mean. */
static double about_mean(double square, const double *sum, size_t d, double n)
{
    for (size_t j = 0; j < d; j++)
        square -= sum[j] * sum[j] / n;
    return square > 0 ? square : 0;
}

/* Third moment about the mean over the standard deviation cubed, from sums of n numbers' powers. */
static double skew_of(double n, double s1, double s2, double s3)
{
    double mean = s1 / n, var = s2 / n - mean * mean;
    return var > 0 ? (s3 / n - 3 * mean * s2 / n + 2 * mean * mean * mean) / (var * sqrt(var)) : 0;
}

static double skew_pooled(const struct measure *t)
{
    double n = (double)t->rows, d = (double)t->of.d, mean = 0, s1 = 0, s2 = 0, s3 = 0;
    for (size_t j = 0; j < t->of.d; j++)
        mean += (t->first[j] + t->moment[0][j] / n) / d;
    for (size_t j = 0; j < t->of.d; j++) {      /* x - mean = (x - first) + c */
        double c = t->first[j] - mean, a = t->moment[0][j], b = t->moment[1][j];
        s1 += a + n * c;
        s2 += b + 2 * c * a + n * c * c;
        s3 += t->moment[2][j] + 3 * c * b + 3 * c * c * a + n * c * c * c;
    }
    return skew_of(n * d, s1, s2, s3);
}

struct measure_report measure_report(const struct measure *t)
{
    const double *s = t->sum;
    double n = (double)t->rows, d = (double)t->of.d, pairs = n * (double)t->of.m, square = 0;
    struct measure_report r = { .l0 = s[MEASURE_L0] / n, .l1 = s[MEASURE_L1] / n, .skew = 0 };
    for (size_t j = 0; j < t->of.d; j++) {
        square += t->moment[1][j];
        r.skew += skew_of(n, t->moment[0][j], t->moment[1][j], t->moment[2][j]) / d;
    }
    double spread = about_mean(square, t->moment[0], t->of.d, n);
    r.mse = s[MEASURE_R2] / (n * d);
    r.nmse = s[MEASURE_R2] / s[MEASURE_X2];
    r.fvu = s[MEASURE_R2] / spread;
    r.explained = 1 - about_mean(s[MEASURE_R2], t->residual, t->of.d, n) / spread;
    r.cosine = s[MEASURE_COS] / s[MEASURE_FULL];
    r.ratio = s[MEASURE_RATIO] / s[MEASURE_FULL];
    r.gamma = s[MEASURE_HAT2] / s[MEASURE_X_HAT];
    r.pass = s[MEASURE_PASS] / s[MEASURE_FULL];
    r.skew_pooled = skew_pooled(t);
    r.power = s[MEASURE_POWER] / n;
    r.interference = s[MEASURE_READ2] / pairs - s[MEASURE_READ] / pairs * (s[MEASURE_READ] / pairs);
    return r;
}

static double variance(const struct measure *t, const struct measure_feature *s)
{
    double n = (double)t->rows, mean = s->sum[0] / n, var = s->sum[1] / n - mean * mean;
    return var > 0 ? var : 0;
}

double measure_skew(const struct measure *t, size_t i)
{
    double var = variance(t, &t->feature[i]);
    return var > 0 ? t->feature[i].sum[2] / (double)t->rows / (var * sqrt(var)) : 0;
}

double measure_kurtosis(const struct measure *t, size_t i)
{
    double var = variance(t, &t->feature[i]);
    return var > 0 ? t->feature[i].sum[3] / (double)t->rows / (var * var) : 0;
}

double measure_neuron(const struct measure *t, size_t i, size_t *neuron)
{
    double n = (double)t->rows, var = variance(t, &t->feature[i]), mean = t->feature[i].sum[0] / n, best = 0;
    *neuron = 0;
    for (size_t j = 0; var > 0 && j < t->of.d; j++) {
        double at = t->moment[0][j] / n, spread = t->moment[1][j] / n - at * at;
        double r = spread > 0 ? (t->cross[i * t->of.d + j] / n - mean * at) / sqrt(var * spread) : 0;
        if (fabs(r) > fabs(best))
            best = r, *neuron = j;
    }
    return best;
}

double measure_slope(const struct measure *t, size_t i, bool origin)
{
    const struct measure_feature *f = &t->feature[i], *a = &t->truth[t->of.truth[i]];
    double n = (double)t->rows, mean = origin ? 0 : a->sum[0] / n;
    double over = a->sum[1] / n - mean * mean;
    return over > 0 ? (f->product / n - mean * f->sum[0] / n) / over : NAN;
}
