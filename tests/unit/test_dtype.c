/* test_dtype: all 65536 halves against their definition, and rounding to nearest even by comparing distances. */
/* SPDX-License-Identifier: MIT */
#include "base/rng.h"
#include "data/dtype.h"
#include "tap.h"

#include <string.h>

/* The value of a number with `e` exponent bits and `f` fraction bits, from sign, exponent and fraction. */
static double value(unsigned bits, int e, int f)
{
    int exponent = (int)(bits >> f) & ((1 << e) - 1), bias = (1 << (e - 1)) - 1;
    double fraction = bits & ((1u << f) - 1), sign = bits >> (e + f) & 1 ? -1 : 1;
    if (exponent == (1 << e) - 1)
        return fraction != 0 ? NAN : sign * INFINITY;
    return sign * (exponent ? ldexp(1 + ldexp(fraction, -f), exponent - bias) : ldexp(fraction, 1 - bias - f));
}

static void loads(enum dtype t, int e, int f)
{
    int wrong = 0;
    for (unsigned u = 0; u < 65536; u++) {
        uint16_t h = (uint16_t)u;
        float got;
        double want = value(u, e, f);
        dtype_load(&got, &h, t, 1);
        wrong += isnan(want) ? !isnan(got) : got != want || !signbit(got) != !signbit(want);
    }
    ok(wrong == 0, "every %s: %d wrong", dtype_name(t), wrong);
}

/* The nearest of all finite values (the one beyond the largest stands for infinity), ties to the even pattern. */
static unsigned nearest(float x, int e, int f)
{
    unsigned lo = 0, hi = (unsigned)((1 << e) - 1) << f, sign = signbit(x) ? 1u << (e + f) : 0;
    double a = fabs((double)x), beyond = ldexp(1, 1 << (e - 1));
    while (hi - lo > 1) {
        unsigned mid = (lo + hi) / 2;
        if (value(mid, e, f) <= a)
            lo = mid;
        else
            hi = mid;
    }
    double up = isinf(value(hi, e, f)) ? beyond : value(hi, e, f), d = a - value(lo, e, f), u = up - a;
    return sign | (d < u || (d == u && lo % 2 == 0) ? lo : hi);
}

static void stores(enum dtype t, int e, int f)
{
    struct rng r;
    int wrong = 0;
    rng_seed(&r, 5, (uint64_t)t);
    for (int i = 0; i < 400000; i++) {
        uint32_t u = (uint32_t)rng_bits(&r);
        if (i % 4 == 0)                             /* ties of a short type, and their neighbors */
            u = (u & ~((1u << (23 - f)) - 1)) | 1u << (22 - f);
        if (i % 16 == 4)
            u += 1;
        if (i % 3 == 0 && t == DTYPE_F16)           /* the range of halves, subnormals included */
            u = (u & 0x807fffff) | (uint32_t)(127 - 28 + u % 48) << 23;
        float x;
        uint16_t got;
        memcpy(&x, &u, 4);
        dtype_store(&got, &x, t, 1);
        wrong += isnan(x) ? !isnan(value(got, e, f)) : got != (isinf(x) ? ((unsigned)((1 << e) - 1) << f) | (u >> 31) << 15
                                                                       : nearest(x, e, f));
    }
    ok(wrong == 0, "%s of 400000 floats is the nearest, ties to even: %d wrong", dtype_name(t), wrong);
}

static void plain(void)
{
    unsigned char odd[33];
    float x[4] = { 1, -2.5f, 1e-40f, INFINITY }, y[4];
    double d[4] = { 0.1, -1e300, 3, 1e-320 };
    memcpy(odd + 1, x, 16);
    dtype_load(y, odd + 1, DTYPE_F32, 4);
    ok(!memcmp(x, y, 16), "f32 is copied, of any alignment");
    memcpy(odd + 1, d, 32);
    dtype_load(y, odd + 1, DTYPE_F64, 4);
    ok(y[0] == 0.1f && y[1] == -INFINITY && y[2] == 3 && y[3] == 0, "f64 is rounded to f32");
    for (enum dtype t = DTYPE_F32; t <= DTYPE_I64; t++)
        ok(dtype_find(dtype_name(t)) == t && dtype_size(t) >= 1 && dtype_size(t) <= 8, "%s is found by its name", dtype_name(t));
    ok(dtype_find("f8") == DTYPE_NONE && dtype_find("") == DTYPE_NONE, "no other name is");
}

int main(void)
{
    loads(DTYPE_F16, 5, 10);
    loads(DTYPE_BF16, 8, 7);
    stores(DTYPE_F16, 5, 10);
    stores(DTYPE_BF16, 8, 7);
    plain();
    return done_testing();
}
