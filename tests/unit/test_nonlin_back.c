/* The backward steps of nonlin against finite differences of the forward formulas in double. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "maths/nonlin.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng rng;

static void fill(float *x, size_t n, double scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * rng_normal(&rng));
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double forward(enum nonlin f, double x)
{
    switch (f) {
    case NONLIN_GELU: return x / 2 * erfc(-x / sqrt(2));
    case NONLIN_GELU_TANH: return x * sigmoid(2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x));
    case NONLIN_RELU: return x > 0 ? x : 0;
    case NONLIN_SILU: return x * sigmoid(x);
    case NONLIN_QUICK_GELU: return x * sigmoid(1.702 * x);
    }
    return NAN;
}

static void test_slope(enum nonlin f, const char *name)
{
    enum { N = 4001 };
    static float x[N], g[N];
    double worst = 0;
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) / 100.0f + 0.003f;
        g[i] = i % 2 ? 1 : -2;
    }
    nonlin_apply_back(f, g, x, N);
    for (int i = 0; i < N; i++) {
        double h = 1e-5, slope = (forward(f, x[i] + h) - forward(f, x[i] - h)) / (2 * h);
        worst = fmax(worst, fabs(g[i] / (i % 2 ? 1 : -2) - slope));
    }
    ok(worst < 1e-6, "slope of %s from -20 to 20 (%.2g)", name, worst);
    float far[] = { 1e30f, -1e30f, INFINITY, -INFINITY }, one[] = { 1, 1, 1, 1 };
    nonlin_apply_back(f, one, far, 4);
    ok(one[0] == 1 && one[1] == 0 && one[2] == 1 && one[3] == 0, "slope of %s far out", name);
}

/* sum_ij g_ij softmax(scale s)_ij, row i seeing `first` + i columns, in double. */
static double softmax_sum(const double *s, const float *g, size_t rows, size_t cols, size_t first, double scale)
{
    double all = 0;
    for (size_t i = 0; i < rows; i++) {
        double sum = 0, part = 0;
        for (size_t j = 0; j < cols && j < first + i; j++) {
            double e = exp(scale * s[i * cols + j]);
            sum += e;
            part += e * g[i * cols + j];
        }
        all += part / sum;
    }
    return all;
}

static void test_softmax(size_t rows, size_t cols, size_t first)
{
    size_t n = rows * cols;
    float *s = mem_alloc(n, sizeof *s), *g = mem_alloc(n, sizeof *g), *back = mem_alloc(n, sizeof *back);
    float *inverse = mem_alloc(rows, sizeof *inverse);
    double *wide = mem_alloc(n, sizeof *wide), worst = 0, scale = 0.7;
    fill(s, n, 1.5);
    fill(g, n, 1);
    for (size_t i = 0; i < n; i++)
        wide[i] = s[i];
    memcpy(back, g, n * sizeof *g);
    nonlin_softmax(s, cols, rows, cols, first, (float)scale, inverse);
    for (size_t i = 0; i < n; i++)
        s[i] *= inverse[i / cols];
    nonlin_softmax_back(back, s, cols, rows, cols, (float)scale);
    for (size_t i = 0; i < n; i++) {
        double h = 1e-5, was = wide[i];
        wide[i] = was + h;
        double up = softmax_sum(wide, g, rows, cols, first, scale);
        wide[i] = was - h;
        worst = fmax(worst, fabs((up - softmax_sum(wide, g, rows, cols, first, scale)) / (2 * h) - back[i]));
        wide[i] = was;
    }
    ok(worst < 1e-6, "softmax of %zu rows of %zu, the first sees %zu (%.2g)", rows, cols, first, worst);
    free(s);
    free(g);
    free(back);
    free(inverse);
    free(wide);
}

static double normal_sum(const double *x, const float *g, size_t d, double eps)
{
    double mean = 0, variance = 0, sum = 0;
    for (size_t j = 0; j < d; j++)
        mean += x[j] / (double)d;
    for (size_t j = 0; j < d; j++)
        variance += (x[j] - mean) * (x[j] - mean) / (double)d;
    for (size_t j = 0; j < d; j++)
        sum += g[j] * (x[j] - mean) / sqrt(variance + eps);
    return sum;
}

static void test_normalize(size_t n, size_t d, double eps)
{
    float *x = mem_alloc(n * d, sizeof *x), *g = mem_alloc(n * d, sizeof *g), *back = mem_alloc(n * d, sizeof *back);
    double *wide = mem_alloc(d, sizeof *wide), worst = 0;
    fill(x, n * d, 2);
    fill(g, n * d, 1);
    memcpy(back, g, n * d * sizeof *g);
    nonlin_normalize_back(back, x, n, d, eps);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < d; j++)
            wide[j] = x[i * d + j];
        for (size_t j = 0; j < d; j++) {
            double h = 1e-4, was = wide[j];
            wide[j] = was + h;
            double up = normal_sum(wide, g + i * d, d, eps);
            wide[j] = was - h;
            worst = fmax(worst, fabs((up - normal_sum(wide, g + i * d, d, eps)) / (2 * h) - back[i * d + j]));
            wide[j] = was;
        }
    }
    ok(worst < 2e-6, "layer norm of %zu rows of %zu (%.2g)", n, d, worst);
    free(x);
    free(g);
    free(back);
    free(wide);
}

static void test_rotate(void)
{
    enum { HEADS = 3, SIZE = 8, HALF = 2 };
    float x[HEADS * SIZE], y[HEADS * SIZE], g[HEADS * SIZE], cosine[HALF], sine[HALF];
    double forwards = 0, backwards = 0;
    fill(x, HEADS * SIZE, 1);
    fill(g, HEADS * SIZE, 1);
    for (int i = 0; i < HALF; i++) {
        cosine[i] = cosf(0.3f + (float)i);
        sine[i] = sinf(0.3f + (float)i);
    }
    memcpy(y, x, sizeof y);
    nonlin_rotate(y, HEADS, SIZE, HALF, cosine, sine);
    for (int i = 0; i < HEADS * SIZE; i++)
        forwards += (double)g[i] * y[i];
    nonlin_rotate_back(g, HEADS, SIZE, HALF, cosine, sine);
    for (int i = 0; i < HEADS * SIZE; i++)
        backwards += (double)g[i] * x[i];
    is_near(backwards, forwards, 1e-5, "rotating back is the transpose of rotating");
    nonlin_rotate_back(y, HEADS, SIZE, HALF, cosine, sine);
    double worst = 0;
    for (int i = 0; i < HEADS * SIZE; i++)
        worst = fmax(worst, fabs((double)y[i] - x[i]));
    ok(worst < 1e-6, "rotating there and back");
}

int main(void)
{
    rng_seed(&rng, 5, 0);
    test_slope(NONLIN_GELU, "gelu");
    test_slope(NONLIN_GELU_TANH, "gelu_new");
    test_slope(NONLIN_RELU, "relu");
    test_slope(NONLIN_SILU, "silu");
    test_slope(NONLIN_QUICK_GELU, "quick_gelu");
    test_softmax(1, 1, 1);
    test_softmax(5, 5, 1);
    test_softmax(7, 40, 34);
    test_softmax(0, 3, 1);
    test_normalize(1, 1, 1e-5);
    test_normalize(4, 24, 1e-5);
    test_normalize(3, 33, 0.1);
    test_normalize(0, 8, 1e-5);
    test_rotate();
    return done_testing();
}
