/* Blocks of a row are made exponentials in f32, which vectorizes, and summed in double lanes. */
/* SPDX-License-Identifier: MIT */
#include "maths/logits.h"
#include "maths/exponent.h"
#include "maths/lanes.h"
#include "maths/largest.h"

#include <math.h>

enum { BLOCK = 512 };

/* sum_i x_i for n a multiple of 16. */
INLINE double wide_sum(const float *x, size_t n)
{
    wide_lanes part[2] = { { 0 } };
    half_lanes v[2];
    for (size_t i = 0; i < n; i += 16) {
        LANES_LOAD(v, x + i);
        part[0] += __builtin_convertvector(v[0], wide_lanes);
        part[1] += __builtin_convertvector(v[1], wide_lanes);
    }
    part[0] += part[1];
    return wide_lanes_sum(part);
}

/* Blocks are whole lanes: what is behind the row weighs nothing. */
INLINE size_t padded(float *w, size_t m)
{
    size_t n = (m + 15) / 16 * 16;
    for (size_t i = m; i < n; i++)
        w[i] = 0;
    return n;
}

CLONES static double exp_sum(const float *a, size_t n, float top)
{
    float w[BLOCK];
    double sum = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        for (size_t j = 0; j < m; j++)
            w[j] = exp_of(a[i + j] - top);
        sum += wide_sum(w, padded(w, m));
    }
    return sum;
}

CLONES static float row_largest(const float *a, size_t n)
{
    return lanes_largest(a, n);
}

double logits_lse(const float *a, size_t n)
{
    float top = row_largest(a, n);
    return top + log(exp_sum(a, n, top));
}

/* The sum of w_i = exp(a_i - top), and of w_i (b_i - a_i) in *moved. */
CLONES static double weigh(const float *a, const float *b, size_t n, float top, double *moved)
{
    float w[BLOCK], u[BLOCK];
    double sum = 0, shift = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK, whole;
        for (size_t j = 0; j < m; j++) {
            w[j] = exp_of(a[i + j] - top);
            u[j] = w[j] * (b[i + j] - a[i + j]);
        }
        whole = padded(w, m);
        padded(u, m);
        sum += wide_sum(w, whole);
        shift += wide_sum(u, whole);
    }
    *moved = shift;
    return sum;
}

/* exp(u) - 1 - u: its series near 0, where the difference would lose everything. */
INLINE float excess_of(float u)
{
    float p = 2.75573192e-7f, far = exp_of(u) - 1.0f - u;
    p = p * u + 2.75573192e-6f;
    p = p * u + 2.48015873e-5f;
    p = p * u + 1.98412698e-4f;
    p = p * u + 1.38888889e-3f;
    p = p * u + 8.33333333e-3f;
    p = p * u + 4.16666667e-2f;
    p = p * u + 1.66666667e-1f;
    p = p * u + 0.5f;
    return u > -1.0f && u < 1.0f ? p * u * u : far;
}

/* sum_i w_i excess(b_i - a_i - shift). */
CLONES static double excess_sum(const float *a, const float *b, size_t n, float top, float shift)
{
    float w[BLOCK];
    double sum = 0;
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t m = n - i < BLOCK ? n - i : BLOCK;
        for (size_t j = 0; j < m; j++)
            w[j] = exp_of(a[i + j] - top) * excess_of((b[i + j] - a[i + j]) - shift);
        sum += wide_sum(w, padded(w, m));
    }
    return sum;
}

/* With u of mean 0 under p: KL = log sum p e^u = log(1 + sum p (e^u - 1 - u)). Where a token that p gives less than f32
 * can hold is likely under q the sum misses it, and the plain difference, then large, is right. */
double logits_kl(const float *a, const float *b, size_t n, double *lse_a, double *lse_b)
{
    float top_a = row_largest(a, n), top_b = row_largest(b, n);
    double moved, sum = weigh(a, b, n, top_a, &moved);
    *lse_a = top_a + log(sum);
    *lse_b = top_b + log(exp_sum(b, n, top_b));
    double shift = moved / sum, plain = *lse_b - *lse_a - shift;
    double near = log1p(excess_sum(a, b, n, top_a, (float)shift) / sum);
    return fabs(near - plain) < 1e-5 * (1 + fabs(shift)) ? near : plain > 0 ? plain : plain != plain ? plain : 0;
}

size_t logits_top(const float *a, size_t n)
{
    float top = row_largest(a, n);
    for (size_t i = 0; i < n; i++)
        if (a[i] == top)
            return i;
    return 0;                           /* NaN in front */
}

/* By insertion: they are few. Equal ones stay in the order of their indices. */
static void sort_falling(uint32_t *idx, float *val, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint32_t t = idx[i];
        float v = val[i];
        size_t j = i;
        for (; j > 0 && val[j - 1] < v; j--)
            idx[j] = idx[j - 1], val[j] = val[j - 1];
        idx[j] = t;
        val[j] = v;
    }
}

size_t logits_changes(const float *a, const float *b, size_t n, int sign, size_t k, uint32_t *idx, float *val,
                      uint32_t *scratch_idx, float *scratch_val)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        float change = sign < 0 ? a[i] - b[i] : b[i] - a[i];
        scratch_idx[found] = (uint32_t)i;
        scratch_val[found] = change;
        found += change > 0;
    }
    found = largest_pairs(scratch_idx, scratch_val, found, k);
    sort_falling(scratch_idx, scratch_val, found);
    for (size_t i = 0; i < found; i++) {
        idx[i] = scratch_idx[i];
        val[i] = sign < 0 ? -scratch_val[i] : scratch_val[i];
    }
    return found;
}

size_t logits_likely(const float *a, size_t n, size_t k, uint32_t *idx, float *p, uint32_t *scratch_idx, float *scratch_val)
{
    double lse = logits_lse(a, n);
    for (size_t i = 0; i < n; i++) {
        scratch_idx[i] = (uint32_t)i;
        scratch_val[i] = a[i];
    }
    size_t found = largest_pairs(scratch_idx, scratch_val, n, k);
    sort_falling(scratch_idx, scratch_val, found);
    for (size_t i = 0; i < found; i++) {
        idx[i] = scratch_idx[i];
        p[i] = (float)exp(scratch_val[i] - lse);
    }
    return found;
}
