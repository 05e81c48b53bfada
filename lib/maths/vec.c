/* The order of a sum is part of its meaning here: four accumulators of 16 lanes (wide: 8 lanes of double) take turns,
 * whole lanes that are left go to the first, then ((0+1)+(2+3)), then the lanes are halved, and the items behind the
 * last whole lanes are added one by one. */
/* SPDX-License-Identifier: MIT */
#include "maths/vec.h"
#include "maths/lanes.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

CLONES float vec_dot(const float *x, const float *y, size_t n)
{
    lanes acc[4] = { { 0 } }, a, b;
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 4; j++) {
            LANES_LOAD(a, x + i + 16 * j);
            LANES_LOAD(b, y + i + 16 * j);
            acc[j] += a * b;
        }
    for (; i + 16 <= n; i += 16) {
        LANES_LOAD(a, x + i);
        LANES_LOAD(b, y + i);
        acc[0] += a * b;
    }
    lanes all = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    float sum = lanes_sum(&all);
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

CLONES double vec_dot_wide(const float *x, const float *y, size_t n)
{
    wide_lanes acc[4] = { { 0 } };
    half_lanes a, b;
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++) {
            LANES_LOAD(a, x + i + 8 * j);
            LANES_LOAD(b, y + i + 8 * j);
            acc[j] += __builtin_convertvector(a, wide_lanes) * __builtin_convertvector(b, wide_lanes);
        }
    for (; i + 8 <= n; i += 8) {
        LANES_LOAD(a, x + i);
        LANES_LOAD(b, y + i);
        acc[0] += __builtin_convertvector(a, wide_lanes) * __builtin_convertvector(b, wide_lanes);
    }
    wide_lanes all = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    double sum = wide_lanes_sum(&all);
    for (; i < n; i++)
        sum += (double)x[i] * y[i];
    return sum;
}

CLONES void vec_axpy(float *restrict y, float a, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

CLONES void vec_scale(float *y, float a, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] *= a;
}

CLONES void vec_add(float *restrict y, const float *restrict x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

CLONES void vec_sub(float *out, const float *x, const float *y, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = x[i] - y[i];
}

float vec_normalize(float *x, size_t n, float floor)
{
    double norm = sqrt(vec_dot_wide(x, x, n));
    vec_scale(x, (float)(1 / (norm > floor ? norm : floor)), n);
    return (float)norm;
}

/* 1 when all exponents of a block are below that of infinity. */
CLONES static int all_finite(const float *x, size_t n)
{
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        top = bits > top ? bits : top;
    }
    return top < 0x7f800000;
}

ptrdiff_t vec_first_nonfinite(const float *x, size_t n)
{
    if (all_finite(x, n))
        return -1;
    size_t i = 0;
    while (isfinite(x[i]))
        i++;
    return (ptrdiff_t)i;
}
