/* SPDX-License-Identifier: MIT */
#include "data/dtype.h"

#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[] = {
    [DTYPE_F32] = { "f32", 4 }, [DTYPE_F16] = { "f16", 2 }, [DTYPE_BF16] = { "bf16", 2 }, [DTYPE_F64] = { "f64", 8 },
    [DTYPE_U8] = { "u8", 1 }, [DTYPE_U16] = { "u16", 2 }, [DTYPE_U32] = { "u32", 4 }, [DTYPE_U64] = { "u64", 8 },
    [DTYPE_I32] = { "i32", 4 }, [DTYPE_I64] = { "i64", 8 },
};

const char *dtype_name(enum dtype t)
{
    return t < 0 ? "?" : types[t].name;
}

size_t dtype_size(enum dtype t)
{
    return types[t].size;
}

enum dtype dtype_find(const char *name)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i].name, name))
            return (enum dtype)i;
    return DTYPE_NONE;
}

static inline float as_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline uint32_t as_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

/* Branch-free so that it vectorizes: shift exponent and mantissa into place, then let one multiplication by 2^112
 * rebias the exponent, subnormals included; infinities and NaN get the exponent they lost. */
static inline float half_to_float(uint16_t h)
{
    uint32_t magnitude = (uint32_t)(h & 0x7fff) << 13;
    uint32_t bits = as_bits(as_float(magnitude) * 0x1p112f);
    bits |= magnitude >= 0x0f800000u ? 0x7f800000u | (magnitude & 0x007fffffu) : 0;
    return as_float(bits | (uint32_t)(h & 0x8000) << 16);
}

static inline uint16_t float_to_half(float f)
{
    uint32_t u = as_bits(f), sign = u >> 16 & 0x8000, a = u & 0x7fffffff;
    if (a > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000)                                    /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000)                                     /* below 2^-14: adding 0.5 aligns and rounds */
        return (uint16_t)(sign | (as_bits(as_float(a) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | ((a + 0xfff + (a >> 13 & 1)) - 0x38000000) >> 13);
}

static inline uint16_t float_to_bfloat(float f)
{
    uint32_t u = as_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

void dtype_load(float *dst, const void *src, enum dtype t, size_t n)
{
    const unsigned char *p = src;
    if (t == DTYPE_F32) {
        memcpy(dst, p, n * 4);
    } else if (t == DTYPE_F64) {
        for (size_t i = 0; i < n; i++) {
            double v;
            memcpy(&v, p + 8 * i, 8);
            dst[i] = (float)v;
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, p + 2 * i, 2);
            dst[i] = t == DTYPE_F16 ? half_to_float(h) : as_float((uint32_t)h << 16);
        }
    }
}

void dtype_store(void *dst, const float *src, enum dtype t, size_t n)
{
    uint16_t *out = dst;
    if (t == DTYPE_F32) {
        memcpy(dst, src, n * 4);
        return;
    }
    for (size_t i = 0; i < n; i++)
        out[i] = t == DTYPE_F16 ? float_to_half(src[i]) : float_to_bfloat(src[i]);
}
