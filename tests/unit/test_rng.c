/* test_rng: the published generator, streams apart, and distributions with the moments they should have. */
/* SPDX-License-Identifier: MIT */
#include "base/rng.h"
#include "tap.h"

#include <stdbool.h>

/* xoshiro256** from the state 1, 2, 3, 4, worked out by hand from its definition: the first result is
 * rotl(2 * 5, 7) * 9 = 11520, the second rotl(0, 7) = 0; then 1509978240 and 1215971899390074240. */
static void published(void)
{
    static const uint64_t want[] = { 11520, 0, 1509978240, 1215971899390074240 };
    struct rng r = { { 1, 2, 3, 4 } };
    for (int i = 0; i < 4; i++)
        ok(rng_bits(&r) == want[i], "xoshiro256** from 1 2 3 4: number %d", i);
}

static void streams(void)
{
    struct rng a, b, c, d;
    rng_seed(&a, 1, 1);
    rng_seed(&b, 1, 1);
    rng_seed(&c, 1, 2);
    rng_seed(&d, 2, 1);
    int same = 0, other = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t x = rng_bits(&a);
        same += x == rng_bits(&b);
        other += x == rng_bits(&c);
        other += x == rng_bits(&d);
    }
    ok(same == 1000, "same seed, same numbers");
    ok(other == 0, "another seed or stream, other numbers");
}

static void moments(void)
{
    enum { N = 200000 };
    struct rng r;
    rng_seed(&r, 3, 0);
    double u = 0, uu = 0, g = 0, gg = 0, gggg = 0;
    bool inside = true;
    for (int i = 0; i < N; i++) {
        double x = rng_uniform(&r), y = rng_normal(&r);
        inside &= x >= 0 && x < 1;
        u += x, uu += x * x, g += y, gg += y * y, gggg += y * y * y * y;
    }
    ok(inside, "uniform numbers lie in [0,1)");
    is_near(u / N, 0.5, 5 * 0.2887 / sqrt(N), "mean of uniform numbers");
    is_near(uu / N, 1.0 / 3, 5 * 0.2981 / sqrt(N), "mean square of uniform numbers");
    is_near(g / N, 0, 5 / sqrt(N), "mean of normal numbers");
    is_near(gg / N, 1, 5 * sqrt(2.0 / N), "variance of normal numbers");
    is_near(gggg / N, 3, 5 * sqrt(96.0 / N), "fourth moment of normal numbers");
}

/* n = 3 * 2^62 would show a bias of one half towards small results if the remainder were taken as it comes. */
static void below(void)
{
    enum { N = 60000 };
    struct rng r;
    rng_seed(&r, 4, 0);
    int count[6] = { 0 }, low = 0;
    double chi = 0;
    for (int i = 0; i < N; i++) {
        count[rng_below(&r, 6)]++;
        low += rng_below(&r, (uint64_t)3 << 62) < (uint64_t)1 << 62;
    }
    for (int i = 0; i < 6; i++)
        chi += (count[i] - N / 6.0) * (count[i] - N / 6.0) / (N / 6.0);
    ok(chi < 25, "six sides of a die, chi squared %.1f", chi);
    is_near((double)low / N, 1.0 / 3, 0.01, "no bias for a range that does not divide 2^64");
    ok(rng_below(&r, 1) == 0, "below 1 is 0");
}

int main(void)
{
    published();
    streams();
    moments();
    below();
    return done_testing();
}
