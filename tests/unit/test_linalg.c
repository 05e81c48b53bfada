/* Dense matrices in double against plain loops: products, eigenvectors, whitening, moments joined batch by batch. */
/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "maths/blas.h"
#include "maths/linalg.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng rng;

static double *normal(size_t n)
{
    double *x = mem_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rng_normal(&rng);
    return x;
}

static double furthest(const double *a, const double *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = fmax(most, fabs(a[i] - b[i]));
    return most;
}

static void check_product(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, double beta)
{
    double *a = normal(m * k), *b = normal(k * n), *c = normal(m * n), *want = mem_alloc(m * n, sizeof *want);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t l = 0; l < k; l++)
                sum += a[ta ? l * m + i : i * k + l] * b[tb ? j * k + l : l * n + j];
            want[i * n + j] = alpha * sum + beta * c[i * n + j];
        }
    linalg_multiply(ta, tb, m, n, k, alpha, a, b, beta, c);
    is_near(furthest(c, want, m * n), 0, 1e-11 * ((double)k + 1), "product %d%d of %zu %zu %zu", ta, tb, m, n, k);
    free(a);
    free(b);
    free(c);
    free(want);
}

/* A = B B^T of the given rank. */
static double *gram(size_t n, size_t rank)
{
    double *b = normal(n * rank), *a = mem_alloc(n * n, sizeof *a);
    linalg_multiply(false, true, n, n, rank, 1, b, b, 0, a);
    free(b);
    return a;
}

static void check_eigen(size_t n, size_t rank)
{
    double *a = gram(n, rank), *v = mem_alloc(n * n, sizeof *v), *value = mem_alloc(n, sizeof *value);
    double *back = mem_alloc(n * n, sizeof *back), *eye = mem_zero(n * n, sizeof *eye), trace = 0, sum = 0;
    memcpy(v, a, n * n * sizeof *v);
    ok(!linalg_eigen(v, n, value), "eigenvectors of %zu by %zu, rank %zu", n, n, rank);
    bool ordered = true, forward = true;
    for (size_t i = 0; i < n; i++) {
        double most = 0;
        for (size_t j = 0; j < n; j++)
            if (fabs(v[i * n + j]) > fabs(most))
                most = v[i * n + j];
        forward &= most > 0;
        ordered &= i == 0 || value[i] <= value[i - 1];
        trace += a[i * n + i];
        sum += value[i];
        eye[i * n + i] = 1;
    }
    double size = n ? 1 + fabs(value[0]) : 1;
    ok(ordered && forward, "largest first, and pointing forward");
    is_near(sum, trace, 1e-11 * size * ((double)n + 1), "their sum is the trace");
    linalg_power(v, value, n, 1, -1, back);
    ok(linalg_rank(value, n, 1e-10) == (rank < n ? rank : n), "rank");
    is_near(furthest(back, a, n * n), 0, 1e-11 * size, "V^T diag V is the matrix");
    linalg_multiply(false, true, n, n, n, 1, v, v, 0, back);
    is_near(furthest(back, eye, n * n), 0, 1e-12 * ((double)n + 1), "V V^T is I");
    if (rank >= n && n) {
        double *root = mem_alloc(n * n, sizeof *root), *half = mem_alloc(n * n, sizeof *half);
        ok(linalg_power(v, value, n, -0.5, 1e-14, root) == n, "its inverse root exists");
        linalg_multiply(false, false, n, n, n, 1, root, a, 0, half);
        linalg_multiply(false, false, n, n, n, 1, half, root, 0, back);
        is_near(furthest(back, eye, n * n), 0, 1e-9 * size / value[n - 1], "and whitens it");
        free(root);
        free(half);
    }
    free(a);
    free(v);
    free(value);
    free(back);
    free(eye);
}

static void check_decorrelate(size_t k, size_t n)
{
    double *w = normal(k * n), *was = mem_alloc(k * n, sizeof *was), *g = mem_alloc(k * k, sizeof *g), miss = 0;
    memcpy(was, w, k * n * sizeof *w);
    ok(!linalg_decorrelate(w, k, n), "decorrelate %zu of %zu", k, n);
    linalg_multiply(false, true, k, k, n, 1, w, w, 0, g);
    for (size_t i = 0; i < k * k; i++)
        miss = fmax(miss, fabs(g[i] - (i / k == i % k)));
    is_near(miss, 0, 1e-11, "rows orthonormal");
    linalg_multiply(false, true, k, k, n, 1, w, was, 0, g);
    miss = 0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            miss = fmax(miss, fabs(g[i * k + j] - g[j * k + i]));
    is_near(miss, 0, 1e-9, "by a symmetric factor");
    free(w);
    free(was);
    free(g);
}

/* Batches of any size give what two passes give, far from 0 too. */
static void check_moments(size_t n, size_t d, double away)
{
    float *x = mem_alloc(n * d, sizeof *x);
    double count = 0, *mean = mem_zero(d, sizeof *mean), *outer = mem_zero(d * d, sizeof *outer);
    double *want_mean = mem_zero(d, sizeof *want_mean), *want = mem_zero(d * d, sizeof *want);
    double *cov = mem_alloc(d * d, sizeof *cov);
    struct moments m = { d, &count, mean, outer };
    for (size_t i = 0; i < n * d; i++) {
        x[i] = (float)(away + (double)(1 + i % 3) * rng_normal(&rng));
        want_mean[i % d] += x[i] / (double)n;
    }
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < d; i++)
            for (size_t j = 0; j < d; j++)
                want[i * d + j] += (x[r * d + i] - want_mean[i]) * (x[r * d + j] - want_mean[j]) / (double)n;
    for (size_t from = 0; from < n;) {
        size_t some = 1 + rng_below(&rng, 1500), rows = n - from < some ? n - from : some;
        linalg_moments_add(&m, x + from * d, rows);
        from += rows;
    }
    linalg_moments_covariance(&m, cov);
    ok(count == (double)n, "%zu rows of %zu counted", n, d);
    is_near(furthest(mean, want_mean, d), 0, 1e-11 * (1 + away), "their mean");
    is_near(furthest(cov, want, d * d), 0, 1e-9, "their covariance");
    free(x);
    free(mean);
    free(outer);
    free(want_mean);
    free(want);
    free(cov);
}

int main(void)
{
    static const size_t sizes[] = { 0, 1, 2, 63, 64, 65, 130 };
    enum { SIZES = sizeof sizes / sizeof *sizes };
    blas_start();
    par_start(3);
    rng_seed(&rng, 11, 0);
    for (int turn = 0; turn < 12; turn++)
        check_product(turn & 1, turn & 2, sizes[rng_below(&rng, SIZES)], sizes[rng_below(&rng, SIZES)],
                      sizes[rng_below(&rng, SIZES)], 1 + turn % 2, turn % 3 ? 1 : 0);
    for (int turn = 0; turn < 4; turn++)
        check_product(turn & 1, turn & 2, 70, 9, turn ? 40 : 0, -1.5, 0.5);
    for (size_t i = 0; i < SIZES; i++)
        check_eigen(sizes[i], sizes[i]);
    check_eigen(20, 7);
    check_eigen(5, 0);
    check_decorrelate(1, 1);
    check_decorrelate(7, 30);
    check_decorrelate(64, 64);
    check_moments(1, 1, 0);
    check_moments(5000, 7, 0);
    check_moments(3000, 70, 1e3);

    double bad[4] = { 1, 0, NAN, 1 }, value[2], zero[4] = { 0 };
    ok(linalg_eigen(bad, 2, value) == -1 && strstr(err_text(), "not finite"), "NaN is refused");
    ok(linalg_decorrelate(zero, 2, 2) == -1, "rows that depend on each other too");
    return done_testing();
}
