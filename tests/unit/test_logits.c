/* logits against the same sums in long double, for rows of every small width and some large ones: far apart, near, nearly
 * equal, with tokens that f32 has no probability for. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "maths/logits.h"
#include "tap.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static long double true_lse(const float *a, size_t n)
{
    long double top = a[0], sum = 0;
    for (size_t i = 0; i < n; i++)
        top = a[i] > top ? a[i] : top;
    for (size_t i = 0; i < n; i++)
        sum += expl(a[i] - top);
    return top + logl(sum);
}

static long double true_kl(const float *a, const float *b, size_t n)
{
    long double la = true_lse(a, n), lb = true_lse(b, n), sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += expl(a[i] - la) * (((long double)a[i] - la) - ((long double)b[i] - lb));
    return sum;
}

/* b = a + size times noise + shift, for widths 1 to 70 and some more; the worst error relative to the value. */
static void test_distance(float spread, float size, float shift, double tol)
{
    struct rng r;
    double worst = 0, worst_lse = 0;
    int below = 0;
    rng_seed(&r, 3, 0);
    for (size_t n = 1; n < 60000; n = n < 70 ? n + 1 : n * 3 + 1) {
        float *a = mem_alloc(n, sizeof *a), *b = mem_alloc(n, sizeof *b);
        for (size_t i = 0; i < n; i++) {
            a[i] = spread * (float)rng_normal(&r);
            b[i] = a[i] + size * (float)rng_normal(&r) + shift;
        }
        double lse_a, lse_b, got = logits_kl(a, b, n, &lse_a, &lse_b), want = (double)true_kl(a, b, n);
        worst = fmax(worst, fabs(got - want) / (n == 1 ? 1 : want));
        below += !(got >= 0);
        worst_lse = fmax(worst_lse, fabs(lse_a - (double)true_lse(a, n)));
        worst_lse = fmax(worst_lse, fabs(lse_b - (double)true_lse(b, n)));
        worst_lse = fmax(worst_lse, fabs(logits_lse(b, n) - lse_b));
        free(a);
        free(b);
    }
    ok(below == 0, "never negative");
    is_near(worst, 0, tol, "KL of rows of spread %g that are %g apart, shifted by %g", spread, size, shift);
    is_near(worst_lse, 0, 1e-7, "their log sums");
}

static void test_equal(void)
{
    float a[1000], b[1000];
    double lse_a, lse_b;
    for (int i = 0; i < 1000; i++) {
        a[i] = (float)(i * 37 % 101) / 7 - 5;
        b[i] = a[i] + 4;
    }
    ok(logits_kl(a, a, 1000, &lse_a, &lse_b) == 0, "equal rows: exactly 0");
    ok(lse_a == lse_b, "and equal sums");
    is_near(logits_kl(a, b, 1000, &lse_a, &lse_b), 0, 1e-12, "a shift of all logits changes nothing");
    is_near(lse_b - lse_a, 4, 1e-6, "but the sum");
    a[3] = NAN;
    ok(isnan(logits_kl(a, b, 1000, &lse_a, &lse_b)), "NaN in the clean row");
    ok(isnan(logits_kl(b, a, 1000, &lse_a, &lse_b)), "NaN in the other");
}

/* What is too unlikely for f32 becomes the likeliest. */
static void test_unlikely(void)
{
    float a[40], b[40];
    double lse_a, lse_b;
    for (int gap = 20; gap <= 400; gap += 20) {
        for (int i = 0; i < 40; i++)
            a[i] = b[i] = (float)i / 10;
        a[7] = (float)-gap;
        b[7] = 5;
        double want = (double)true_kl(a, b, 40);
        is_near(logits_kl(a, b, 40, &lse_a, &lse_b), want, 1e-5 * want, "from exp(-%d) to likely", gap);
        want = (double)true_kl(b, a, 40);
        is_near(logits_kl(b, a, 40, &lse_a, &lse_b), want, 1e-5 * want, "and back");
    }
}

static void test_top(void)
{
    float a[50] = { 0 };
    ok(logits_top(a, 50) == 0, "equal ones: the first");
    a[17] = a[33] = 1;
    ok(logits_top(a, 50) == 17, "two largest: the first");
    a[49] = 2;
    ok(logits_top(a, 50) == 49, "the last one");
    a[0] = -1;
    ok(logits_top(a, 1) == 0, "one");
}

static void test_changes(size_t n, size_t k, int sign)
{
    struct rng r;
    float *a = mem_alloc(n, sizeof *a), *b = mem_alloc(n, sizeof *b), *val = mem_alloc(k, sizeof *val);
    uint32_t *idx = mem_alloc(k, sizeof *idx), *spare = mem_alloc(n, sizeof *spare);
    float *more = mem_alloc(n, sizeof *more);
    bool *used = mem_zero(n, sizeof *used);
    int wrong = 0;
    rng_seed(&r, n, k);
    for (size_t i = 0; i < n; i++) {
        a[i] = (float)rng_below(&r, 9);         /* whole numbers: many changes are equal, many are 0 */
        b[i] = (float)rng_below(&r, 9);
    }
    size_t got = logits_changes(a, b, n, sign, k, idx, val, spare, more), want = 0;
    for (; want < k; want++) {                  /* the plain way: k times the first of the largest */
        size_t best = n;
        for (size_t i = 0; i < n; i++)
            if (!used[i] && (float)sign * (b[i] - a[i]) > 0 &&
                (best == n || (float)sign * (b[i] - a[i]) > (float)sign * (b[best] - a[best])))
                best = i;
        if (best == n)
            break;
        used[best] = true;
        wrong += want >= got || idx[want] != best || val[want] != b[best] - a[best];
    }
    ok(got == want && wrong == 0, "the %zu that %s most of %zu", k, sign > 0 ? "rose" : "fell", n);
    free(a);
    free(b);
    free(val);
    free(idx);
    free(spare);
    free(more);
    free(used);
}

int main(void)
{
    test_distance(3, 3, 0, 1e-6);
    test_distance(3, 0.3f, 0, 1e-6);
    test_distance(3, 1e-2f, 0, 1e-6);
    test_distance(3, 1e-4f, 0, 1e-6);
    test_distance(20, 30, 0, 1e-5);
    test_distance(3, 1, 12, 1e-5);
    test_distance(3, 0.1f, -60, 2e-4);
    test_equal();
    test_unlikely();
    test_top();
    for (size_t k = 1; k <= 30; k += 7)
        for (size_t n = 1; n <= 200; n = n * 5 + 1) {
            test_changes(n, k, 1);
            test_changes(n, k, -1);
        }
    return done_testing();
}
