/* lanes: vectors of fixed width, whatever the CPU's, so that a sum has one order everywhere. Private to lib/maths. */
/* SPDX-License-Identifier: MIT */
#ifndef LANES_H
#define LANES_H

#include "maths/clones.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef float lanes __attribute__((vector_size(64)));
typedef int32_t masks __attribute__((vector_size(64)));
typedef float half_lanes __attribute__((vector_size(32)));
typedef double wide_lanes __attribute__((vector_size(64)));

/* v = the items at p, of any alignment. */
#define LANES_LOAD(v, p) memcpy(&(v), (p), sizeof(v))

/* The sum of all lanes: the upper half is added to the lower one until one lane is left. */
INLINE float lanes_sum(const lanes *v)
{
    typedef float quarter __attribute__((vector_size(16)));
    half_lanes h[2];
    quarter q[2];
    memcpy(h, v, sizeof h);
    h[0] += h[1];
    memcpy(q, h, sizeof q);
    q[0] += q[1];
    return (q[0][0] + q[0][2]) + (q[0][1] + q[0][3]);
}

INLINE double wide_lanes_sum(const wide_lanes *v)
{
    typedef double half __attribute__((vector_size(32)));
    half h[2];
    memcpy(h, v, sizeof h);
    h[0] += h[1];
    return (h[0][0] + h[0][2]) + (h[0][1] + h[0][3]);
}

/* The largest of n items, at least 1. */
INLINE float lanes_largest(const float *x, size_t n)
{
    float last[16], top = x[0];
    lanes best = x[0] - (lanes){ 0 }, v;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        LANES_LOAD(v, x + i);
        masks more = v > best;
        best = (lanes)(((masks)v & more) | ((masks)best & ~more));
    }
    memcpy(last, &best, sizeof last);
    for (int j = 0; j < 16; j++)
        top = last[j] > top ? last[j] : top;
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

#endif
