/* The order of a sum is part of its meaning here: four accumulators of 16 lanes (wide: 8 lanes of double) take turns,
 * whole lanes that are left go to the first, then ((0+1)+(2+3)), then the lanes are halved, and the items behind the
 * last whole lanes are added one by one. */
/* SPDX-License-Identifier: MIT */
#include "maths/vec.h"
#include "maths/clones.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float lanes __attribute__((vector_size(64)));
typedef float half_lanes __attribute__((vector_size(32)));
typedef double wide_lanes __attribute__((vector_size(64)));

#define LOAD(v, p) __builtin_memcpy(&(v), (p), sizeof(v))

CLONES float vec_dot(const float *x, const float *y, size_t n)
{
    lanes acc[4] = { { 0 } }, a, b;
    size_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int j = 0; j < 4; j++) {
            LOAD(a, x + i + 16 * j);
            LOAD(b, y + i + 16 * j);
            acc[j] += a * b;
        }
    for (; i + 16 <= n; i += 16) {
        LOAD(a, x + i);
        LOAD(b, y + i);
        acc[0] += a * b;
    }
    lanes all = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    float s[16];
    memcpy(s, &all, sizeof s);
    for (int width = 8; width; width /= 2)
        for (int j = 0; j < width; j++)
            s[j] += s[j + width];
    for (; i < n; i++)
        s[0] += x[i] * y[i];
    return s[0];
}

CLONES double vec_dot_wide(const float *x, const float *y, size_t n)
{
    wide_lanes acc[4] = { { 0 } };
    half_lanes a, b;
    size_t i = 0;
    for (; i + 32 <= n; i += 32)
        for (int j = 0; j < 4; j++) {
            LOAD(a, x + i + 8 * j);
            LOAD(b, y + i + 8 * j);
            acc[j] += __builtin_convertvector(a, wide_lanes) * __builtin_convertvector(b, wide_lanes);
        }
    for (; i + 8 <= n; i += 8) {
        LOAD(a, x + i);
        LOAD(b, y + i);
        acc[0] += __builtin_convertvector(a, wide_lanes) * __builtin_convertvector(b, wide_lanes);
    }
    wide_lanes all = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    double s[8];
    memcpy(s, &all, sizeof s);
    for (int width = 4; width; width /= 2)
        for (int j = 0; j < width; j++)
            s[j] += s[j + width];
    for (; i < n; i++)
        s[0] += (double)x[i] * y[i];
    return s[0];
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

float vec_normalise(float *x, size_t n, float floor)
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
