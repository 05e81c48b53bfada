/* nonlin against libm in double, over the whole range of floats, and rows of every small width. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "maths/nonlin.h"
#include "tap.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double truth(enum nonlin f, double x)
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

/* Largest error over x, where 1 means 2e-7 of the larger of 1 and the value. */
static double worst_error(enum nonlin f, const float *x, size_t n)
{
    float *y = mem_alloc(n, sizeof *y);
    double worst = 0;
    memcpy(y, x, n * sizeof *y);
    nonlin_apply(f, y, n);
    for (size_t i = 0; i < n; i++) {
        double want = truth(f, x[i]), off = fabs(y[i] - want) / (2e-7 * fmax(1, fabs(want)));
        worst = fmax(worst, isnan(off) ? INFINITY : off);
    }
    free(y);
    return worst;
}

static void test_range(enum nonlin f, const char *name)
{
    enum { N = 200001 };
    static float x[N];
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) / 10000.0f;
    ok(worst_error(f, x, N) <= 1, "%s from -10 to 10", name);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) / 500.0f;
    ok(worst_error(f, x, N) <= 1, "%s from -200 to 200", name);
    for (int i = 0; i < N; i++)
        x[i] = (i % 2 ? -1.0f : 1.0f) * (float)exp2(-149 + (i / 2) * 276.9 / (N / 2));
    ok(worst_error(f, x, N) <= 1, "%s over all magnitudes", name);
    for (int i = 0; i < 1000; i++)
        x[i] = (i % 2 ? -1e-4f : 1e-4f) * (float)i;
    double worst = 0;
    float y[1000];
    memcpy(y, x, sizeof y);
    nonlin_apply(f, y, 1000);
    for (int i = 1; i < 1000; i++)
        if (f != NONLIN_RELU)
            worst = fmax(worst, fabs(y[i] / truth(f, x[i]) - 1));
    ok(worst <= 4e-7, "%s near 0 to full relative accuracy (%.2g)", name, worst);
}

static void test_special(enum nonlin f, const char *name)
{
    float x[] = { 0.0f, INFINITY, NAN, FLT_MAX, -FLT_MAX };
    nonlin_apply(f, x, 5);
    ok(x[0] == 0 && x[1] == INFINITY && x[3] == FLT_MAX && x[4] == 0, "%s of 0, infinity and the largest floats", name);
    ok(isnan(x[2]), "%s keeps NaN", name);
    float whole[100], parts[100];
    for (int i = 0; i < 100; i++)
        whole[i] = parts[i] = 0.07f * (float)(i - 50);
    nonlin_apply(f, whole, 100);
    for (size_t i = 0, n = 0; i < 100; i += n, n++)
        nonlin_apply(f, parts + i, i + n <= 100 ? n : 100 - i);
    ok(!memcmp(whole, parts, sizeof whole), "%s of an item does not depend on its place in the array", name);
}

static void test_names(void)
{
    ok(nonlin_find("gelu") == NONLIN_GELU && nonlin_find("gelu_new") == NONLIN_GELU_TANH &&
       nonlin_find("gelu_pytorch_tanh") == NONLIN_GELU_TANH && nonlin_find("gelu_fast") == NONLIN_GELU_TANH &&
       nonlin_find("relu") == NONLIN_RELU && nonlin_find("silu") == NONLIN_SILU &&
       nonlin_find("quick_gelu") == NONLIN_QUICK_GELU, "names of a config");
    ok(nonlin_find("gelu_old") == -1 && nonlin_find("") == -1, "a name that is not known");
}

static void test_softmax(struct rng *r, size_t rows, size_t cols, size_t first, double spread)
{
    size_t ld = cols + 3;
    float *s = mem_alloc(rows * ld, sizeof *s), *old = mem_alloc(rows * ld, sizeof *s), inverse[70];
    float scale = 0.1767767f;
    double worst = 0;
    int zeros = 1, kept = 1;
    for (size_t i = 0; i < rows * ld; i++)
        s[i] = old[i] = (float)(rng_normal(r) * spread);
    nonlin_softmax(s, ld, rows, cols, first, scale, inverse);
    for (size_t i = 0; i < rows; i++) {
        size_t n = first + i < cols ? first + i : cols;
        double top = -INFINITY, sum = 0;
        for (size_t j = 0; j < n; j++)
            top = fmax(top, old[i * ld + j]);
        for (size_t j = 0; j < n; j++)
            sum += exp(scale * (old[i * ld + j] - top));
        for (size_t j = 0; j < n; j++) {
            double off = fabs((double)s[i * ld + j] * inverse[i] - exp(scale * (old[i * ld + j] - top)) / sum);
            worst = fmax(worst, isnan(off) ? INFINITY : off);
        }
        for (size_t j = n; j < cols; j++)
            zeros &= s[i * ld + j] == 0;
        for (size_t j = cols; j < ld; j++)
            kept &= s[i * ld + j] == old[i * ld + j];
    }
    is_near(worst, 0, 3e-7, "softmax of %zu x %zu, first row sees %zu, spread %g", rows, cols, first, spread);
    ok(zeros && kept, "zeros behind the diagonal, nothing written behind the row");
    free(s);
    free(old);
}

static void test_norm(struct rng *r, size_t n, size_t d, double offset)
{
    float *x = mem_alloc(n * d, sizeof *x), *out = mem_alloc(n * d, sizeof *x), *gained = mem_alloc(n * d, sizeof *x);
    float *gain = mem_alloc(d, sizeof *x), *bias = mem_alloc(d, sizeof *x);
    double worst = 0, worst_gain = 0;
    for (size_t i = 0; i < n * d; i++)
        x[i] = (float)(offset + rng_normal(r));
    for (size_t j = 0; j < d; j++) {
        gain[j] = (float)rng_normal(r);
        bias[j] = (float)rng_normal(r);
    }
    nonlin_normalize(out, x, n, d, 1e-5);
    nonlin_gain(gained, out, gain, bias, n, d);
    for (size_t i = 0; i < n; i++) {
        double mean = 0, variance = 0;
        for (size_t j = 0; j < d; j++)
            mean += x[i * d + j] / (double)d;
        for (size_t j = 0; j < d; j++)
            variance += (x[i * d + j] - mean) * (x[i * d + j] - mean) / (double)d;
        for (size_t j = 0; j < d; j++) {
            double want = (x[i * d + j] - mean) / sqrt(variance + 1e-5), off = fabs(out[i * d + j] - want);
            worst = fmax(worst, isnan(off) ? INFINITY : off / fmax(1, fabs(want)));
            off = fabs(gained[i * d + j] - ((double)out[i * d + j] * gain[j] + bias[j]));
            worst_gain = fmax(worst_gain, isnan(off) ? INFINITY : off);
        }
    }
    is_near(worst, 0, 2e-7, "normalising %zu rows of %zu around %g", n, d, offset);
    is_near(worst_gain, 0, 2e-6, "gain and bias of the same");
    nonlin_normalize(x, x, n, d, 1e-5);
    ok(!memcmp(x, out, n * d * sizeof *x), "the same in place");
    free(x);
    free(out);
    free(gained);
    free(gain);
    free(bias);
}

static void test_rotate(struct rng *r)
{
    enum { HEADS = 3, D = 10, HALF = 3 };
    float x[HEADS * D], old[HEADS * D], c[HALF], s[HALF];
    double worst = 0;
    for (int i = 0; i < HEADS * D; i++)
        x[i] = old[i] = (float)rng_normal(r);
    for (int i = 0; i < HALF; i++) {
        c[i] = (float)cos(i + 1);
        s[i] = (float)sin(i + 1);
    }
    nonlin_rotate(x, HEADS, D, HALF, c, s);
    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < D; i++) {
            const float *row = old + h * D;
            double want = i < HALF ? row[i] * cos(i + 1) - row[i + HALF] * sin(i + 1)
                        : i < 2 * HALF ? row[i] * cos(i - HALF + 1) + row[i - HALF] * sin(i - HALF + 1) : row[i];
            worst = fmax(worst, fabs(x[h * D + i] - want));
        }
    is_near(worst, 0, 5e-7, "rotation of half-split pairs, the rest of each head untouched");
}

static void test_tanh(void)
{
    enum { N = 4001 };
    float *x = mem_alloc(N, sizeof *x), edge[4] = { INFINITY, -INFINITY, NAN, -0.0f };
    double worst = 0;
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 0.0073f;
    nonlin_tanh(x, N);
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs(x[i] - tanh((float)(i - N / 2) * 0.0073f)));
    is_near(worst, 0, 2e-7, "tanh");
    nonlin_tanh(edge, 4);
    ok(edge[0] == 1 && edge[1] == -1 && isnan(edge[2]) && edge[3] == 0, "of infinity, NaN and 0");
    free(x);
}

int main(void)
{
    static const char *const names[] = { "gelu", "gelu_new", "relu", "silu", "quick_gelu" };
    struct rng r;
    rng_seed(&r, 3, 0);
    for (int f = NONLIN_GELU; f <= NONLIN_QUICK_GELU; f++) {
        test_range((enum nonlin)f, names[f]);
        test_special((enum nonlin)f, names[f]);
    }
    test_tanh();
    test_names();
    for (int i = 0; i < 20; i++)
        test_softmax(&r, 1 + rng_below(&r, 64), 1 + rng_below(&r, 200), 1 + rng_below(&r, 40), i % 2 ? 1 : 1000);
    test_softmax(&r, 1, 1, 1, 1);
    for (size_t d = 1; d <= 70; d += d < 4 ? 1 : 11)
        test_norm(&r, 3, d, d % 2 ? 0 : 100);
    test_norm(&r, 2, 768, 3000);
    test_norm(&r, 0, 5, 0);
    test_rotate(&r);
    return done_testing();
}
