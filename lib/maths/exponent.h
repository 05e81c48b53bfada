/* exponent: exp of one f32, to be inlined into loops that the compiler vectorizes. Private to lib/maths.
 * Relative error within 2e-7. */
/* SPDX-License-Identifier: MIT */
#ifndef EXPONENT_H
#define EXPONENT_H

#include "maths/clones.h"

#include <stdint.h>
#include <string.h>

INLINE float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE uint32_t to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* exp(x) = 2^k exp(r), r = x - k ln 2 in [-0.35, 0.35]. Adding 1.5 2^23 rounds x / ln 2 to k and leaves k in the low
 * bits; 2^k is applied in two halves so that overflow and subnormal results come out by themselves. NaN stays NaN. */
INLINE float exp_of(float x)
{
    const float shift = 12582912.0f;
    x = x > 89.0f ? 89.0f : x;
    x = x < -105.0f ? -105.0f : x;
    float shifted = x * 1.44269504f + shift, whole = shifted - shift;
    float r = (x - whole * 0.693145752f) - whole * 1.42860677e-6f;
    float p = 0.00138142531f;
    p = p * r + 0.00836890448f;
    p = p * r + 0.0416684055f;
    p = p * r + 0.166665191f;
    p = p * r + 0.499999933f;
    p = p * (r * r) + r + 1.0f;
    int32_t k = (int32_t)(to_bits(shifted) - 0x4b400000), half = k >> 1;
    return p * from_bits((uint32_t)(half + 127) << 23) * from_bits((uint32_t)(k - half + 127) << 23);
}

#endif
