/* The loops are plain and free of branches, for the compiler to vectorize; sums run in fixed lanes, like those of vec. */
/* SPDX-License-Identifier: MIT */
#include "maths/nonlin.h"
#include "maths/exponent.h"
#include "maths/lanes.h"
#include "maths/vec.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const struct {
    const char *name;
    enum nonlin f;
} names[] = {
    { "gelu", NONLIN_GELU }, { "gelu_python", NONLIN_GELU },
    { "gelu_new", NONLIN_GELU_TANH }, { "gelu_pytorch_tanh", NONLIN_GELU_TANH }, { "gelu_fast", NONLIN_GELU_TANH },
    { "relu", NONLIN_RELU }, { "silu", NONLIN_SILU }, { "swish", NONLIN_SILU }, { "quick_gelu", NONLIN_QUICK_GELU },
};

int nonlin_find(const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(names[i].name, name))
            return (int)names[i].f;
    return -1;
}

/* ---- one item: inlined into the loops below ---- */

/* All of these are x times a distribution function F with F(-x) = 1 - F(x): max(x, 0) - |x| F(-|x|), which keeps the
 * small values of both sides. Past the cut F(-|x|) is 0 in f32, and cutting keeps infinity out of products. */
INLINE float magnitude(float x, float cut)
{
    float a = from_bits(to_bits(x) & 0x7fffffff);
    return a > cut ? cut : a;
}

INLINE float gated(float x, float a, float tail)
{
    return (x > 0 ? x : 0.0f * a) - a * tail;       /* 0 * a: NaN stays NaN */
}

/* Phi(-a) = exp(-a^2/2) t P(t), t = 1 / (1 + 0.3 a): P fitted to relative error 4e-9 for 0 <= a <= 14.6. */
INLINE float gelu_tail(float a)
{
    float t = 1.0f / (1.0f + 0.3f * a);
    float p = -0.0206249667f;
    p = p * t + 0.112444012f;
    p = p * t - 0.228234043f;
    p = p * t + 0.191812824f;
    p = p * t - 0.0794479686f;
    p = p * t + 0.0961705349f;
    p = p * t + 0.0783846982f;
    p = p * t + 0.110236536f;
    p = p * t + 0.119571674f;
    p = p * t + 0.119686697f;
    return exp_of(-0.5f * a * a) * t * p;
}

INLINE float gelu_of(float x)
{
    float a = magnitude(x, 14.5f);
    return gated(x, a, gelu_tail(a));
}

/* (1 + tanh u) / 2 = sigmoid(2 u), and sigmoid(-v) = e / (1 + e), e = exp(-v). */
INLINE float gelu_tanh_of(float x)
{
    float a = magnitude(x, 14.5f), e = exp_of(-1.59576912f * (a + 0.044715f * (a * a * a)));
    return gated(x, a, e / (1.0f + e));
}

INLINE float sigmoid_gated(float x, float slope)
{
    float a = magnitude(x, 110.0f), e = exp_of(-slope * a);
    return gated(x, a, e / (1.0f + e));
}

/* (1 - e) / (1 + e), e = exp(-2 |x|). */
INLINE float tanh_of(float x)
{
    float a = magnitude(x, 14.5f), e = exp_of(-2.0f * a), y = (1.0f - e) / (1.0f + e);
    return x < 0 ? -y : x > 0 ? y : x;
}

/* ---- arrays ---- */

CLONES static void apply_gelu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = gelu_of(x[i]);
}

CLONES static void apply_gelu_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = gelu_tanh_of(x[i]);
}

CLONES static void apply_relu(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = x[i] < 0 ? 0 : x[i];
}

CLONES static void apply_silu(float *x, size_t n, float slope)
{
    for (size_t i = 0; i < n; i++)
        x[i] = sigmoid_gated(x[i], slope);
}

void nonlin_apply(enum nonlin f, float *x, size_t n)
{
    switch (f) {
    case NONLIN_GELU:
        apply_gelu(x, n);
        break;
    case NONLIN_GELU_TANH:
        apply_gelu_tanh(x, n);
        break;
    case NONLIN_RELU:
        apply_relu(x, n);
        break;
    case NONLIN_SILU:
        apply_silu(x, n, 1.0f);
        break;
    case NONLIN_QUICK_GELU:
        apply_silu(x, n, 1.702f);
        break;
    }
}

CLONES void nonlin_tanh(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = tanh_of(x[i]);
}

/* ---- rows ---- */

INLINE float row_sum(const float *x, size_t n)
{
    lanes all = { 0 }, v;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        LANES_LOAD(v, x + i);
        all += v;
    }
    float sum = lanes_sum(&all);
    for (; i < n; i++)
        sum += x[i];
    return sum;
}

/* What a row may not see becomes minus infinity up to the end of its last lanes: whole lanes are much the faster. */
CLONES void nonlin_softmax(float *s, size_t ld, size_t rows, size_t cols, size_t first, float scale, float *inverse)
{
    for (size_t i = 0; i < rows; i++) {
        float *row = s + i * ld;
        size_t seen = first + i < cols ? first + i : cols, n = (seen + 15) / 16 * 16;
        n = n < cols ? n : cols;
        for (size_t j = seen; j < n; j++)
            row[j] = -INFINITY;
        float top = lanes_largest(row, n);
        for (size_t j = 0; j < n; j++)
            row[j] = exp_of(scale * (row[j] - top));
        inverse[i] = 1.0f / row_sum(row, n);
        memset(row + n, 0, (cols - n) * sizeof *row);
    }
}

CLONES static void normalize_row(float *out, const float *x, size_t d, double eps)
{
    wide_lanes part[2] = { { 0 } };
    half_lanes v[2];
    size_t whole = d / 16 * 16;
    for (size_t i = 0; i < whole; i += 16) {
        LANES_LOAD(v, x + i);
        part[0] += __builtin_convertvector(v[0], wide_lanes);
        part[1] += __builtin_convertvector(v[1], wide_lanes);
    }
    part[0] += part[1];
    double mean = wide_lanes_sum(part), variance;
    for (size_t i = whole; i < d; i++)
        mean += x[i];
    mean /= (double)d;
    part[0] = part[1] = (wide_lanes){ 0 };
    for (size_t i = 0; i < whole; i += 16) {
        LANES_LOAD(v, x + i);
        wide_lanes a = __builtin_convertvector(v[0], wide_lanes) - mean;
        wide_lanes b = __builtin_convertvector(v[1], wide_lanes) - mean;
        part[0] += a * a;
        part[1] += b * b;
    }
    part[0] += part[1];
    variance = wide_lanes_sum(part);
    for (size_t i = whole; i < d; i++)
        variance += (x[i] - mean) * (x[i] - mean);
    double inverse = 1 / sqrt(variance / (double)d + eps);
    for (size_t i = 0; i < d; i++)
        out[i] = (float)((x[i] - mean) * inverse);
}

void nonlin_normalize(float *out, const float *x, size_t n, size_t d, double eps)
{
    for (size_t i = 0; i < n; i++)
        normalize_row(out + i * d, x + i * d, d, eps);
}

CLONES void nonlin_gain(float *restrict out, const float *restrict x, const float *restrict gain,
                        const float *restrict bias, size_t n, size_t d)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++)
            out[i * d + j] = x[i * d + j] * gain[j] + bias[j];
}

void nonlin_rotate(float *x, size_t n_head, size_t d_head, size_t half, const float *cosine, const float *sine)
{
    for (size_t h = 0; h < n_head; h++, x += d_head)
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] - b * sine[i];
            x[i + half] = b * cosine[i] + a * sine[i];
        }
}

/* ---- backwards ---- */

/* x F(x) has the slope F + x F', and F = 1 - tail where x > 0. */
INLINE float slope_of(float x, float tail, float x_density)
{
    return (x > 0 ? 1.0f - tail : tail) + (x < 0 ? -x_density : x_density);
}

INLINE float gelu_slope(float x)
{
    float a = magnitude(x, 14.5f);
    return slope_of(x, gelu_tail(a), a * 0.398942280f * exp_of(-0.5f * a * a));
}

INLINE float gelu_tanh_slope(float x)
{
    float a = magnitude(x, 14.5f), e = exp_of(-1.59576912f * (a + 0.044715f * (a * a * a))), tail = e / (1.0f + e);
    return slope_of(x, tail, a * (tail / (1.0f + e)) * (1.59576912f + 0.214064488f * a * a));
}

INLINE float sigmoid_slope(float x, float slope)
{
    float a = magnitude(x, 110.0f), e = exp_of(-slope * a), tail = e / (1.0f + e);
    return slope_of(x, tail, slope * a * (tail / (1.0f + e)));
}

CLONES static void back_gelu(float *restrict g, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g[i] *= gelu_slope(x[i]);
}

CLONES static void back_gelu_tanh(float *restrict g, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g[i] *= gelu_tanh_slope(x[i]);
}

CLONES static void back_relu(float *restrict g, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        g[i] = x[i] > 0 ? g[i] : 0;
}

CLONES static void back_silu(float *restrict g, const float *restrict x, size_t n, float slope)
{
    for (size_t i = 0; i < n; i++)
        g[i] *= sigmoid_slope(x[i], slope);
}

void nonlin_apply_back(enum nonlin f, float *g, const float *x, size_t n)
{
    switch (f) {
    case NONLIN_GELU:
        back_gelu(g, x, n);
        break;
    case NONLIN_GELU_TANH:
        back_gelu_tanh(g, x, n);
        break;
    case NONLIN_RELU:
        back_relu(g, x, n);
        break;
    case NONLIN_SILU:
        back_silu(g, x, n, 1.0f);
        break;
    case NONLIN_QUICK_GELU:
        back_silu(g, x, n, 1.702f);
        break;
    }
}

CLONES void nonlin_softmax_back(float *g, const float *p, size_t ld, size_t rows, size_t cols, float scale)
{
    for (size_t i = 0; i < rows; i++, g += ld, p += ld) {
        float mean = (float)vec_dot_wide(p, g, cols);
        for (size_t j = 0; j < cols; j++)
            g[j] = scale * p[j] * (g[j] - mean);
    }
}

/* With y = (x - mean) / std: (g - mean of g - y times the mean of g y) / std. */
CLONES static void normalize_back_row(float *g, const float *x, size_t d, double eps)
{
    double n = (double)d, mean = 0, variance = 0, g_mean = 0, g_x = 0;
    for (size_t i = 0; i < d; i++) {
        mean += x[i];
        g_mean += g[i];
    }
    mean /= n;
    g_mean /= n;
    for (size_t i = 0; i < d; i++) {
        double off = x[i] - mean;
        variance += off * off;
        g_x += off * g[i];
    }
    double inverse = 1 / sqrt(variance / n + eps), slope = g_x / n * inverse * inverse;
    for (size_t i = 0; i < d; i++)
        g[i] = (float)(inverse * (g[i] - g_mean - slope * (x[i] - mean)));
}

void nonlin_normalize_back(float *g, const float *x, size_t n, size_t d, double eps)
{
    for (size_t i = 0; i < n; i++)
        normalize_back_row(g + i * d, x + i * d, d, eps);
}

void nonlin_rotate_back(float *x, size_t n_head, size_t d_head, size_t half, const float *cosine, const float *sine)
{
    for (size_t h = 0; h < n_head; h++, x += d_head)
        for (size_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            x[i] = a * cosine[i] + b * sine[i];
            x[i + half] = b * cosine[i] - a * sine[i];
        }
}
