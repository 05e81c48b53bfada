/* vec against loops in double, lengths 0 and 1 and around the block borders included, at odd alignments. */
/* SPDX-License-Identifier: MIT */
#include "base/rng.h"
#include "maths/vec.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX = 1100 };
static float x[MAX + 1], y[MAX + 1], z[MAX + 1];

static void fill(struct rng *r, float *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(r);
}

static void test_dots(struct rng *r)
{
    static const size_t lengths[] = { 0, 1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 127, 128, 200, 256, 1023 };
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        size_t n = lengths[l];
        float *a = x + l % 2, *b = y + l % 3 % 2;
        double sum = 0, size = 0;
        fill(r, x, MAX + 1);
        fill(r, y, MAX + 1);
        for (size_t i = 0; i < n; i++) {
            sum += (double)a[i] * b[i];
            size += fabs((double)a[i] * b[i]);
        }
        is_near(vec_dot(a, b, n), sum, size * 1e-6, "vec_dot of %zu", n);
        is_near(vec_dot_wide(a, b, n), sum, size * 1e-14, "vec_dot_wide of %zu", n);
        memcpy(z, a, n * sizeof *z);
        ok(vec_dot(z, b, n) == vec_dot(a, b, n), "vec_dot of %zu does not depend on alignment", n);
    }
    for (int i = 0; i < 70; i++)
        x[i] = y[i] = (float)i;
    ok(vec_dot(x, y, 70) == 111895 && vec_dot_wide(x, y, 70) == 111895, "small integers are exact");
}

static void test_elementwise(struct rng *r)
{
    for (size_t n = 0; n <= 70; n += n < 3 ? 1 : 13) {
        double axpy = 0, add = 0, sub = 0, scale = 0;
        float a = (float)rng_normal(r);
        fill(r, x, n + 1);
        fill(r, y, n + 1);
        float guard = y[n];
        for (int op = 0; op < 4; op++) {
            memcpy(z, y, (n + 1) * sizeof *z);
            if (op == 0)
                vec_axpy(z, a, x, n);
            else if (op == 1)
                vec_add(z, x, n);
            else if (op == 2)
                vec_sub(z, x, y, n);
            else
                vec_scale(z, a, n);
            for (size_t i = 0; i < n; i++) {
                axpy += op == 0 ? fabs(z[i] - ((double)y[i] + (double)a * x[i])) : 0;
                add += op == 1 ? fabs(z[i] - ((double)y[i] + x[i])) : 0;
                sub += op == 2 ? fabs(z[i] - ((double)x[i] - y[i])) : 0;
                scale += op == 3 ? fabs(z[i] - (double)y[i] * a) : 0;
            }
            ok(z[n] == guard, "operation %d on %zu items writes no further", op, n);
        }
        is_near(axpy + add + sub + scale, 0, 1e-6 * ((double)n + 1), "axpy, add, sub, scale of %zu", n);
    }
}

static void test_normalize(struct rng *r)
{
    fill(r, x, 100);
    double norm = 0, after = 0;
    for (int i = 0; i < 100; i++)
        norm += (double)x[i] * x[i];
    is_near(vec_normalize(x, 100, 1e-8f), sqrt(norm), 1e-5, "the norm it had");
    for (int i = 0; i < 100; i++)
        after += (double)x[i] * x[i];
    is_near(after, 1, 1e-6, "unit length afterwards");
    float tiny[2] = { 3e-4f, 4e-4f }, zero[2] = { 0, 0 };
    is_near(vec_normalize(tiny, 2, 1e-2f), 5e-4, 1e-9, "a short vector's norm");
    is_near(tiny[0], 3e-2, 1e-8, "is divided by the floor");
    ok(vec_normalize(zero, 2, 1e-8f) == 0 && zero[0] == 0 && zero[1] == 0, "zero stays zero");
}

static void test_finite(struct rng *r)
{
    fill(r, x, 200);
    ok(vec_first_nonfinite(x, 200) == -1 && vec_first_nonfinite(x, 0) == -1, "all finite");
    x[10] = 3.4e38f;
    x[11] = -3.4e38f;
    ok(vec_first_nonfinite(x, 200) == -1, "the largest floats are finite");
    for (size_t at = 0; at < 200; at += 33) {
        float kept = x[at];
        x[at] = at % 2 ? NAN : -INFINITY;
        ok(vec_first_nonfinite(x, 200) == (ptrdiff_t)at, "found at %zu", at);
        ok(vec_first_nonfinite(x, at) == -1, "not looked for behind the end %zu", at);
        x[at] = kept;
    }
    x[150] = INFINITY;
    x[70] = -NAN;
    ok(vec_first_nonfinite(x, 200) == 70, "the first of two");
}

int main(void)
{
    struct rng r;
    rng_seed(&r, 1, 0);
    test_dots(&r);
    test_elementwise(&r);
    test_normalize(&r);
    test_finite(&r);
    return done_testing();
}
