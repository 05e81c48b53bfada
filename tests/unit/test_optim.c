/* Adam and the schedules against their formulas in double; the statistics of rows against plain loops. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "maths/optim.h"
#include "maths/stats.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>

static void check_adam(struct rng *r, size_t n, double beta1)
{
    float *p = mem_zero(n, sizeof *p), *m = mem_zero(n, sizeof *m);
    float *v = mem_zero(n, sizeof *v), *g = mem_zero(n, sizeof *g);
    double *wp = mem_zero(n, sizeof *wp), *wm = mem_zero(n, sizeof *wm), *wv = mem_zero(n, sizeof *wv), worst = 0;
    for (size_t i = 0; i < n; i++)
        wp[i] = p[i] = (float)rng_normal(r);
    for (uint64_t t = 1; t <= 50; t++) {
        double lr = 1e-2 / (double)t;
        struct adam a = optim_adam_step(lr, beta1, 0.999, 1e-8, t);
        for (size_t i = 0; i < n; i++) {
            g[i] = t % 3 == 0 ? 0 : (float)rng_normal(r);       /* idle rows move too */
            wm[i] = beta1 * wm[i] + (1 - beta1) * g[i];
            wv[i] = 0.999 * wv[i] + 0.001 * g[i] * g[i];
            wp[i] -= lr * (wm[i] / (1 - pow(beta1, (double)t))) / (sqrt(wv[i] / (1 - pow(0.999, (double)t))) + 1e-8);
        }
        optim_adam_row(&a, p, m, v, g, n);
    }
    for (size_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(p[i] - wp[i]));
    is_near(worst, 0, 2e-6, "adam: 50 updates of %zu items, beta1 %g", n, beta1);
    free(p);
    free(m);
    free(v);
    free(g);
    free(wp);
    free(wm);
    free(wv);
}

static void check_schedule(void)
{
    is_near(optim_schedule_factor(0, 0, 0, 0), 1, 0, "no schedule");
    is_near(optim_schedule_factor(0, 4, 0, 0), 0.25, 1e-15, "warmup begins above 0");
    is_near(optim_schedule_factor(3, 4, 0, 0), 1, 0, "and has ended after its steps");
    is_near(optim_schedule_factor(79, 0, 0.2, 100), 1, 0, "constant before the decay");
    is_near(optim_schedule_factor(80, 0, 0.2, 100), 1, 0, "decay begins from the full value");
    is_near(optim_schedule_factor(90, 0, 0.2, 100), 0.5, 1e-15, "half way down");
    is_near(optim_schedule_factor(99, 0, 0.2, 100), 0.05, 1e-15, "the last step is the last above 0");
    is_near(optim_schedule_factor(100, 0, 0.2, 100), 0, 0, "0 behind the last step");
    is_near(optim_schedule_factor(1000000, 0, 0.2, 0), 1, 0, "no decay towards an unknown end");
}

static void check_spread(struct rng *r, size_t n, size_t d)
{
    float *x = mem_alloc(n * d, sizeof *x), *mean = mem_alloc(d, sizeof *mean);
    double *want = mem_zero(d, sizeof *want), about = 0, worst = 0;
    for (size_t i = 0; i < n * d; i++)
        x[i] = (float)(3 + rng_normal(r));
    for (size_t i = 0; i < n * d; i++)
        want[i % d] += x[i] / (double)n;
    for (size_t i = 0; i < n * d; i++)
        about += (x[i] - want[i % d]) * (x[i] - want[i % d]);
    struct spread s = stats_new(d);
    stats_add(&s, x, n / 3, 2);
    stats_add(&s, x + n / 3 * d, n - n / 3, 2);
    is_near(stats_about_mean(&s), 4 * about, 1e-9 * about, "spread of %zu rows of %zu, scaled by 2", n, d);
    stats_mean(x, n, d, mean);
    for (size_t j = 0; j < d; j++)
        worst = fmax(worst, fabs(mean[j] - want[j]));
    is_near(worst, 0, 1e-6, "mean");
    stats_reset(&s);
    is_near(stats_about_mean(&s), 0, 0, "nothing after a reset");
    stats_free(&s);
    free(x);
    free(mean);
    free(want);
}

static double distances(const float *x, size_t n, size_t d, const float *c)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double square = 0;
        for (size_t j = 0; j < d; j++)
            square += pow((double)x[i * d + j] - c[j], 2);
        sum += sqrt(square);
    }
    return sum;
}

static void check_median(struct rng *r)
{
    enum { N = 400, D = 3 };
    static float x[N * D];
    float c[D], near[D];
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < D; j++)          /* a quarter lies far off and must not pull much */
            x[i * D + j] = (float)(rng_normal(r) + (i % 4 == 0 ? 50 : 0));
    stats_geometric_median(x, N, D, c);
    double least = distances(x, N, D, c);
    int lowest = 1;
    for (int k = 0; k < 50; k++) {
        for (size_t j = 0; j < D; j++)
            near[j] = c[j] + (float)(0.05 * rng_normal(r));
        lowest &= distances(x, N, D, near) >= least - 1e-3;
    }
    ok(lowest, "geometric median: no point near by has a lesser sum of distances");
    ok(fabs(c[0]) < 2, "and outliers do not carry it off");
    float line[3] = { 0, 1, 10 }, same[2] = { 5, 5 }, out;
    stats_geometric_median(line, 3, 1, &out);
    is_near(out, 1, 1e-2, "of three numbers, the middle one");
    stats_geometric_median(same, 2, 1, &out);
    is_near(out, 5, 0, "of equal rows, the row");
    stats_geometric_median(line, 0, 1, &out);
    is_near(out, 0, 0, "of none, zero");
}

int main(void)
{
    static const size_t sizes[] = { 0, 1, 7, 64, 129 };
    struct rng r;
    rng_seed(&r, 4, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_adam(&r, sizes[i], 0.9);
        check_adam(&r, sizes[i], 0);
    }
    check_schedule();
    check_spread(&r, 1, 5);
    check_spread(&r, 300, 1);
    check_spread(&r, 257, 37);
    check_median(&r);
    return done_testing();
}
