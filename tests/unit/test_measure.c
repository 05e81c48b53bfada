/* test_measure: sums over rows against plain loops in double, whatever the batches and threads; and against closed forms of
 * the orthonormal dictionary, on a grid where they hold to the width of the grid. */
/* SPDX-License-Identifier: MIT */
#include "base/par.h"
#include "base/rng.h"
#include "maths/geometry.h"
#include "maths/measure.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng r;

static float *normals(size_t n, double mean, double sd)
{
    float *x = malloc((n + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(mean + sd * rng_normal(&r));
    return x;
}

/* n rows of codes over m features, each firing with probability p. */
static struct codes random_codes(size_t n, size_t m, double p)
{
    struct codes c = { .n = 0 };
    uint32_t *idx = malloc((m + 1) * sizeof *idx);
    float *val = malloc((m + 1) * sizeof *val);
    codes_reset(&c, m);
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        for (size_t j = 0; j < m; j++)
            if (rng_uniform(&r) < p)
                idx[k] = (uint32_t)j, val[k++] = (float)(0.1 + rng_uniform(&r));
        codes_push(&c, idx, val, k);
    }
    free(idx);
    free(val);
    return c;
}

static struct codes part_of(const struct codes *c, size_t from, size_t n)
{
    struct codes out = { .n = 0 };
    codes_reset(&out, c->m);
    for (size_t i = from; i < from + n; i++)
        codes_push(&out, c->idx + c->ptr[i], c->val + c->ptr[i], c->ptr[i + 1] - c->ptr[i]);
    return out;
}

/* The codes as a full matrix (n,m) of doubles. */
static double *dense(const struct codes *c)
{
    double *f = calloc(c->n * c->m + 1, sizeof *f);
    for (size_t i = 0; i < c->n; i++)
        for (uint32_t p = c->ptr[i]; p < c->ptr[i + 1]; p++)
            f[i * c->m + c->idx[p]] = c->val[p];
    return f;
}

struct data {
    size_t n, d, m, g;
    float *x, *x_hat, *dec, *enc, *b_dec;
    struct codes f, truth;
    uint32_t *match;
};

static struct data make(size_t n, size_t d, size_t m, size_t g)
{
    struct data k = { n, d, m, g, normals(n * d, 0.5, 1), NULL, normals(m * d, 0, 0.5), normals(m * d, 0, 0.5),
                      normals(d, 0, 1), random_codes(n, m, 0.3), random_codes(n, g, 0.4), malloc((m + 1) * 4) };
    k.x_hat = malloc((n * d + 1) * sizeof(float));
    codes_decode(&k.f, k.dec, k.b_dec, d, k.x_hat);
    for (size_t i = 0; i < m; i++)
        k.match[i] = (uint32_t)rng_below(&r, g);
    if (n > 3)
        memset(k.x + 3 * d, 0, d * sizeof(float));          /* a row of zeros */
    return k;
}

static void release(struct data *k)
{
    free(k->x);
    free(k->x_hat);
    free(k->dec);
    free(k->enc);
    free(k->b_dec);
    free(k->match);
    codes_free(&k->f);
    codes_free(&k->truth);
}

/* Measure in batches of the given size. */
static struct measure *run(const struct data *k, const struct geometry *g, size_t batch)
{
    struct measure_of of = { k->d, k->m, k->dec, k->b_dec, g->unit_gram, g->pass, true, k->match, k->g };
    struct measure *t = measure_new(&of);
    for (size_t at = 0; at < k->n; at += batch) {
        size_t n = k->n - at < batch ? k->n - at : batch;
        struct codes f = part_of(&k->f, at, n), truth = part_of(&k->truth, at, n);
        measure_add(t, k->x + at * k->d, k->x_hat + at * k->d, &f, &truth);
        codes_free(&f);
        codes_free(&truth);
    }
    return t;
}

/* ---- plain loops ---- */

static double mean_of(const double *v, size_t n)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += v[i] / (double)n;
    return s;
}

/* E v^p about c. */
static double moment(const double *v, size_t n, int p, double c)
{
    double s = 0;
    for (size_t i = 0; i < n; i++)
        s += pow(v[i] - c, p) / (double)n;
    return s;
}

static double covariance(const double *a, const double *b, size_t n)
{
    double s = 0, ma = mean_of(a, n), mb = mean_of(b, n);
    for (size_t i = 0; i < n; i++)
        s += (a[i] - ma) * (b[i] - mb) / (double)n;
    return s;
}

static double *column(const double *x, size_t n, size_t width, size_t j)
{
    double *v = malloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = x[i * width + j];
    return v;
}

static double *wide(const float *x, size_t n)
{
    double *v = malloc((n + 1) * sizeof *v);
    for (size_t i = 0; i < n; i++)
        v[i] = x[i];
    return v;
}

/* |x - D^T E x| of one row, or |x - D^T D x|. */
static double pass_of(const struct data *k, const double *x)
{
    double sum = 0;
    double *hat = calloc(k->d, sizeof *hat);
    for (size_t i = 0; i < k->m; i++) {
        double dot = 0;
        for (size_t j = 0; j < k->d; j++)
            dot += k->enc[i * k->d + j] * x[j];
        for (size_t j = 0; j < k->d; j++)
            hat[j] += dot * k->dec[i * k->d + j];
    }
    for (size_t j = 0; j < k->d; j++)
        sum += (x[j] - hat[j]) * (x[j] - hat[j]);
    free(hat);
    return sqrt(sum);
}

static void check_rows(const struct data *k, const struct measure *t)
{
    struct measure_report got = measure_report(t);
    size_t n = k->n, d = k->d, m = k->m;
    double *x = wide(k->x, n * d), *hat = wide(k->x_hat, n * d), *f = dense(&k->f), *z = malloc((n * m + 1) * sizeof *z);
    double x2 = 0, r2 = 0, h2 = 0, xh = 0, spread = 0, r_spread = 0, skew = 0, l0 = 0, l1 = 0, power = 0;
    double cosine = 0, ratio = 0, pass = 0, full = 0;
    for (size_t j = 0; j < d; j++) {
        double *v = column(x, n, d, j), *w = column(hat, n, d, j);
        for (size_t i = 0; i < n; i++)
            w[i] -= v[i];
        double var = moment(v, n, 2, mean_of(v, n));
        spread += var * (double)n;
        r_spread += moment(w, n, 2, mean_of(w, n)) * (double)n;
        skew += moment(v, n, 3, mean_of(v, n)) / pow(var, 1.5) / (double)d;
        free(v);
        free(w);
    }
    for (size_t i = 0; i < n; i++) {
        double a = 0, b = 0, c = 0;
        for (size_t j = 0; j < d; j++) {
            a += x[i * d + j] * x[i * d + j], b += hat[i * d + j] * hat[i * d + j], c += x[i * d + j] * hat[i * d + j];
            r2 += pow(hat[i * d + j] - x[i * d + j], 2);
        }
        x2 += a, h2 += b, xh += c;
        if (a > 0)
            full++, cosine += b > 0 ? c / sqrt(a * b) : 0, ratio += sqrt(b / a), pass += pass_of(k, x + i * d) / sqrt(a);
        for (size_t q = 0; q < m; q++) {
            double norm = 0, dot = 0, v = f[i * m + q];
            for (size_t j = 0; j < d; j++) {
                norm += pow(k->dec[q * d + j], 2);
                dot += k->dec[q * d + j] * (x[i * d + j] - k->b_dec[j]);
            }
            l0 += v != 0, l1 += v, power += v * v * norm;
            z[i * m + q] = dot / sqrt(norm) - v * sqrt(norm);
        }
    }
    double N = (double)n;
    is_near(got.l0, l0 / N, 1e-12 * (1 + l0), "L0");
    is_near(got.l1, l1 / N, 1e-12 * (1 + l1), "L1");
    is_near(got.mse / (r2 / (N * (double)d)), 1, 1e-6, "mse");
    is_near(got.nmse / (r2 / x2), 1, 1e-6, "nMSE");
    is_near(got.fvu / (r2 / spread), 1, 1e-6, "FVU");
    is_near((1 - got.explained) / (r_spread / spread), 1, 1e-6, "variance explained");
    is_near(got.cosine, cosine / full, 1e-9, "cosine");
    is_near(got.ratio, ratio / full, 1e-9, "norm ratio");
    is_near(got.gamma / (h2 / xh), 1, 1e-9, "gamma");
    is_near(got.pass / (pass / full), 1, 1e-5, "linear error");
    is_near(got.skew, skew, 1e-6, "skew of the input, by component");
    is_near(got.skew_pooled, moment(x, n * d, 3, mean_of(x, n * d)) / pow(moment(x, n * d, 2, mean_of(x, n * d)), 1.5), 1e-6,
            "and pooled");
    is_near(got.power / (power / N), 1, 1e-6, "power of the codes");
    is_near(got.interference / moment(z, n * m, 2, mean_of(z, n * m)), 1, 1e-5, "interference");
    free(x);
    free(hat);
    free(f);
    free(z);
}

static void check_features(const struct data *k, const struct measure *t)
{
    size_t n = k->n, d = k->d, m = k->m, wrong = 0, neuron;
    double *x = wide(k->x, n * d), *f = dense(&k->f), *a = dense(&k->truth), worst = 0;
    for (size_t i = 0; i < m; i++) {
        double *v = column(f, n, m, i), *u = column(a, n, k->g, k->match[i]), most = 0, best = 0;
        double mean = mean_of(v, n), var = moment(v, n, 2, mean), u_var = covariance(u, u, n);
        size_t count = 0, last = 0, at = 0;
        for (size_t q = 0; q < n; q++)
            if (v[q] != 0)
                count++, last = q + 1, most = fmax(most, v[q]);
        wrong += count != t->feature[i].count || last != t->feature[i].last || (float)most != t->feature[i].max;
        for (size_t j = 0; j < d; j++) {
            double *w = column(x, n, d, j), c = covariance(v, w, n) / sqrt(var * covariance(w, w, n));
            if (fabs(c) > fabs(best))
                best = c, at = j;
            free(w);
        }
        worst = fmax(worst, fabs(measure_neuron(t, i, &neuron) - best));
        wrong += neuron != at;
        worst = fmax(worst, fabs(measure_skew(t, i) / (moment(v, n, 3, 0) / pow(var, 1.5)) - 1));
        worst = fmax(worst, fabs(measure_kurtosis(t, i) / (moment(v, n, 4, 0) / pow(var, 2)) - 1));
        worst = fmax(worst, fabs(measure_slope(t, i, false) - covariance(v, u, n) / u_var));
        double fa = covariance(v, u, n) + mean * mean_of(u, n);
        worst = fmax(worst, fabs(measure_slope(t, i, true) - fa / moment(u, n, 2, 0)));
        free(v);
        free(u);
    }
    ok(wrong == 0, "%zu features: counts, last row, largest value, best neuron", m);
    is_near(worst, 0, 1e-6, "moments, correlations and slopes");
    free(x);
    free(f);
    free(a);
}

static void check_random(size_t n, size_t d, size_t m, size_t g)
{
    struct data k = make(n, d, m, g);
    struct geometry shape = geometry_of(k.dec, k.enc, m, d);
    struct measure *t = run(&k, &shape, n), *u = run(&k, &shape, 64);
    check_rows(&k, t);
    check_features(&k, t);
    ok(!memcmp(t->sum, u->sum, sizeof t->sum) && !memcmp(t->cross, u->cross, m * d * 8), "the same in batches of 64");
    measure_free(u);
    u = run(&k, &shape, 37);
    check_rows(&k, u);
    measure_free(u);
    par_start(3);
    u = run(&k, &shape, n);
    ok(!memcmp(t->sum, u->sum, sizeof t->sum) && !memcmp(t->cross, u->cross, m * d * 8) &&
       !memcmp(t->feature, u->feature, m * sizeof *t->feature), "the same with three threads");
    par_start(1);
    measure_free(t);
    measure_free(u);
    geometry_free(&shape);
    release(&k);
}

/* ---- closed forms ---- */

/* Orthonormal truth, a uniform on (0,1), one active a row: the ReLU dictionary says a - tau where that is positive. */
static void check_shrinkage(double tau)
{
    enum { D = 8, GRID = 4000, N = D * GRID };
    float *x = calloc(N * D, sizeof *x), *x_hat = calloc(N * D, sizeof *x_hat), dec[D * D] = { 0 }, b[D] = { 0 };
    uint32_t match[D];
    struct codes f = { .n = 0 }, truth = { .n = 0 };
    codes_reset(&f, D);
    codes_reset(&truth, D);
    for (uint32_t i = 0; i < D; i++)
        match[i] = i, dec[i * D + i] = 1;
    for (size_t n = 0; n < N; n++) {
        uint32_t i = n % D;
        float a = (float)(((double)(n / D) + 0.5) / GRID), shrunk = a - (float)tau;
        x[n * D + i] = a;
        codes_push(&truth, &i, &a, 1);
        codes_push(&f, &i, &shrunk, shrunk > 0);
    }
    codes_decode(&f, dec, b, D, x_hat);
    struct geometry g = geometry_of(dec, dec, D, D);
    struct measure_of of = { D, D, dec, b, g.unit_gram, g.pass, true, match, D };
    struct measure *t = measure_new(&of);
    measure_add(t, x, x_hat, &f, &truth);
    struct measure_report got = measure_report(t);
    size_t neuron;
    is_near(got.nmse, 3 * tau * tau - 2 * tau * tau * tau, 1e-5, "tau %g: nMSE is 3 tau^2 - 2 tau^3", tau);
    is_near(got.gamma, 2 * (1 - tau) / (2 + tau), 1e-5, "gamma is 2 (1 - tau) / (2 + tau)");
    is_near(got.l0, 1 - tau, 1e-3, "L0 is 1 - tau");
    is_near(got.cosine, 1 - tau, 1e-3, "cosine is 1 where it fires, 0 where nothing does");
    is_near(got.pass, 0, 1e-7, "without its nonlinearity it is the identity");
    double missed = (tau - tau * tau / 2) / D;
    is_near(got.interference, (tau * tau - 2 * pow(tau, 3) / 3) / D - missed * missed, 1e-5,
            "all that is read beside the codes is min(a, tau), which they miss");
    is_near(measure_slope(t, 3, true), 1 - 1.5 * tau + 0.5 * pow(tau, 3), 1e-5, "slope is 1 - 3/2 tau + tau^3 / 2");
    ok(measure_neuron(t, 3, &neuron) > 0.95 && neuron == 3, "feature 3 is neuron 3");
    measure_free(t);
    geometry_free(&g);
    codes_free(&f);
    codes_free(&truth);
    free(x);
    free(x_hat);
}

/* Exactly l of G random directions in d dimensions active: the others read one with variance l / d. */
static void check_interference(void)
{
    enum { D = 128, G = 512, L = 20, N = 2000 };
    float *dec = normals(G * D, 0, 1), *x = malloc(N * D * sizeof *x), b[D] = { 0 };
    struct codes f = { .n = 0 };
    for (size_t i = 0; i < G; i++) {
        double norm = 0;
        for (size_t j = 0; j < D; j++)
            norm += pow(dec[i * D + j], 2);
        for (size_t j = 0; j < D; j++)
            dec[i * D + j] = (float)(dec[i * D + j] / sqrt(norm));
    }
    codes_reset(&f, G);
    for (size_t n = 0; n < N; n++) {
        uint32_t idx[L], k = 0;
        float one[L];
        for (uint32_t i = 0; i < G; i++)        /* each of the rest is as likely as the others to be among those left */
            if (rng_below(&r, G - i) < L - k)
                one[k] = 1, idx[k++] = i;
        codes_push(&f, idx, one, L);
    }
    codes_decode(&f, dec, b, D, x);
    struct geometry g = geometry_of(dec, NULL, G, D);
    struct measure_of of = { D, G, dec, b, g.unit_gram, g.pass, false, NULL, 0 };
    struct measure *t = measure_new(&of);
    measure_add(t, x, x, &f, NULL);
    struct measure_report got = measure_report(t);
    is_near(got.interference, (double)L / D, 0.006, "interference of %d boolean features is l/d", (int)L);
    is_near(got.power / D, (double)L / D, 1e-6, "which is what the law says");
    ok(got.nmse == 0 && got.fvu == 0 && got.explained == 1 && got.l0 == L, "and nothing is missed");
    measure_free(t);
    geometry_free(&g);
    codes_free(&f);
    free(dec);
    free(x);
}

int main(void)
{
    rng_seed(&r, 5, 0);
    check_random(150, 7, 9, 4);
    check_random(200, 33, 70, 70);
    check_random(65, 64, 3, 130);
    check_shrinkage(0.1);
    check_shrinkage(0.3);
    check_interference();
    return done_testing();
}
