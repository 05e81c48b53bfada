/* test_cosine: all pairs against a triple loop in double, the matching against every permutation, and the law of random
 * directions against closed forms, published numbers and random directions. */
/* SPDX-License-Identifier: MIT */
#include "base/par.h"
#include "base/rng.h"
#include "maths/cosine.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static struct rng r;

static float *unit_rows(size_t n, size_t d)
{
    float *x = malloc((n * d + 1) * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double norm = 0;
        for (size_t j = 0; j < d; j++)
            norm += pow(x[i * d + j] = (float)rng_normal(&r), 2);
        for (size_t j = 0; j < d; j++)
            x[i * d + j] = (float)(x[i * d + j] / sqrt(norm));
    }
    return x;
}

static double dot(const float *a, const float *b, size_t d)
{
    double s = 0;
    for (size_t i = 0; i < d; i++)
        s += (double)a[i] * b[i];
    return s;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? 1 : -(x > y);
}

/* ---- all pairs ---- */

static void pairs(size_t na, size_t nb, size_t d, bool same, size_t k)
{
    float *a = unit_rows(na, d), *b = same ? a : unit_rows(nb, d);
    double *row = malloc((nb + 1) * sizeof *row), *best = malloc((nb + 1) * sizeof *best), sum = 0, sum_sq = 0, worst = 0;
    struct cosine_stats s;
    size_t wrong = 0;
    cosine_all(a, na, b, nb, d, same, k, &s);
    for (size_t c = 0; c < nb; c++)
        best[c] = -2;
    for (size_t i = 0; i < na; i++) {
        size_t n = 0;
        for (size_t c = 0; c < nb; c++) {
            double t = dot(a + i * d, b + c * d, d);
            if (same && c == i)
                continue;
            row[n++] = t;
            sum += t, sum_sq += t * t;
            best[c] = t > best[c] ? t : best[c];
        }
        qsort(row, n, sizeof *row, descending);
        wrong += s.nearest[i].n != (n < k ? n : k);
        for (size_t q = 0; q < s.nearest[i].n; q++) {
            const struct largest_item *t = &s.nearest[i].item[q];
            double at = fabs(dot(a + i * d, b + t->order * d, d) - t->key), off = fabs(t->key - row[q]);
            worst = fmax(worst, fmax(at, off));
            wrong += same && t->order == i;
        }
    }
    for (size_t c = 0; c < nb; c++)
        worst = fmax(worst, fabs(best[c] - s.best_b[c]));
    ok(wrong == 0 && worst < 2e-6 && s.pairs == na * (nb - same) && fabs(s.sum - sum) < 1e-6 * (double)(na * nb + 1) &&
       fabs(s.sum_sq - sum_sq) < 1e-6 * (double)(na * nb + 1), "%zu rows and %s%zu of width %zu, the best %zu: worst %.1e", na,
       same ? "the same " : "", nb, d, k, worst);
    cosine_free(&s, na);
    if (!same)
        free(b);
    free(a);
    free(row);
    free(best);
}

/* Equal cosines rank by the number of the row, and any number of threads gives the same bits. */
static void ties(void)
{
    enum { N = 600, D = 6, K = 5 };
    float *x = malloc(N * D * sizeof *x), *some = unit_rows(3, D);
    struct cosine_stats s[2];
    size_t wrong = 0;
    for (size_t i = 0; i < N; i++)
        memcpy(x + i * D, some + i % 3 * D, D * sizeof *x);
    for (int t = 0; t < 2; t++) {
        par_start(1 + 3 * t);
        cosine_all(x, N, x, N, D, true, K, &s[t]);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t q = 0, at = i % 3; q < K; q++, at += 3) {
            at += at == i ? 3 : 0;
            wrong += s[0].nearest[i].item[q].order != at;
            wrong += memcmp(&s[0].nearest[i].item[q], &s[1].nearest[i].item[q], sizeof(struct largest_item)) != 0;
        }
    ok(wrong == 0 && s[0].sum == s[1].sum && s[0].sum_sq == s[1].sum_sq, "ties go to the smaller number, with 1 and 4 threads");
    cosine_free(&s[0], N);
    cosine_free(&s[1], N);
    free(x);
    free(some);
}

/* ---- matching ---- */

static double best_of(const float *a, size_t na, const float *b, size_t nb, size_t d, unsigned used, size_t row)
{
    if (row == na)
        return 0;
    double best = na > nb - (size_t)__builtin_popcount(used) + row ? best_of(a, na, b, nb, d, used, row + 1) : -1e9;
    for (size_t c = 0; c < nb; c++)
        if (!(used >> c & 1))
            best = fmax(best, dot(a + row * d, b + c * d, d) + best_of(a, na, b, nb, d, used | 1u << c, row + 1));
    return best;
}

static void match(size_t na, size_t nb, size_t d)
{
    float *a = unit_rows(na, d), *b = unit_rows(nb, d);
    size_t partner[8], pairs_made = 0, less = na < nb ? na : nb;
    unsigned used = 0;
    double got = cosine_match(a, na, b, nb, d, partner), sum = 0;
    bool twice = false;
    for (size_t i = 0; i < na; i++) {
        if (partner[i] == SIZE_MAX)
            continue;
        twice |= partner[i] >= nb || used >> partner[i] & 1;
        used |= 1u << partner[i];
        sum += dot(a + i * d, b + partner[i] * d, d);
        pairs_made++;
    }
    double want = (na <= nb ? best_of(a, na, b, nb, d, 0, 0) : best_of(b, nb, a, na, d, 0, 0)) / (double)less;
    ok(!twice && pairs_made == less && fabs(got - want) < 1e-5 && fabs(sum / (double)less - got) < 1e-5,
       "matching %zu with %zu: %.6f, the best of all %.6f", na, nb, got, want);
    free(a);
    free(b);
}

/* ---- the law ---- */

static void closed_forms(void)
{
    static const size_t n[] = { 1, 2, 5, 100 };
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 1; k <= n[i] && k <= 3; k++) {      /* d = 3: one cosine is uniform on [-1, 1] */
            double m = (double)n[i], mean = 1 - 2 * (double)k / (m + 1), at[2];
            double var = 4 * (double)k * (m + 1 - (double)k) / ((m + 1) * (m + 1) * (m + 2));
            static const double q[] = { 0.25, 0.9 };
            struct cosine_law law = cosine_law(3, n[i], k, q, at, 2);
            is_near(law.mean, mean, 1e-4, "d 3, number %zu of %zu: mean", k, n[i]);
            is_near(law.sd, sqrt(var), 1e-4, "d 3, number %zu of %zu: sd", k, n[i]);
            if (k == 1)
                is_near(at[1], 2 * pow(0.9, 1 / m) - 1, 1e-3, "d 3, largest of %zu: 90 %% quantile", n[i]);
        }
    is_near(cosine_law(2, 2, 1, NULL, NULL, 0).mean, 0.4052847345693511, 1e-3, "d 2, largest of 2: 4/pi^2");
    is_near(cosine_welch(256, 512), sqrt(256.0 / (256 * 511)), 1e-12, "Welch's bound");
    ok(cosine_welch(512, 512) == 0 && cosine_welch(512, 3) == 0, "no bound where all can be orthogonal");
}

static void published(void)
{
    static const struct {
        size_t d, n;
        double mean, sd, q[3], tenth, hundredth;
    } rows[] = {
        { 64, 256, .3457, .0445, { .281, .341, .426 }, .2223, .0352 },
        { 128, 1024, .2827, .0291, { .241, .279, .336 }, .2068, .1149 },
        { 256, 512, .1890, .0225, { .157, .186, .230 }, .1299, .0539 },
        { 512, 4096, .1594, .0139, { .140, .158, .185 }, .1247, .0871 },
        { 768, 24576, .1461, .0103, { .132, .145, .165 }, .1210, .0954 },
    };
    static const double q[] = { 0.05, 0.5, 0.95 };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double at[3];
        size_t d = rows[i].d, n = rows[i].n - 1;
        struct cosine_law law = cosine_law(d, n, 1, q, at, 3);
        is_near(law.mean, rows[i].mean, 6e-5, "d %zu, n %zu: mean of the largest", d, n + 1);
        is_near(law.sd, rows[i].sd, 6e-5, "d %zu, n %zu: its sd", d, n + 1);
        for (int k = 0; k < 3; k++)
            is_near(at[k], rows[i].q[k], 6e-4, "d %zu, n %zu: its quantile %g", d, n + 1, q[k]);
        is_near(cosine_law(d, n, 10, NULL, NULL, 0).mean, rows[i].tenth, 6e-5, "d %zu, n %zu: mean of the 10th", d, n + 1);
        is_near(cosine_law(d, n, 100, NULL, NULL, 0).mean, rows[i].hundredth, 6e-5, "d %zu, n %zu: mean of the 100th", d, n + 1);
    }
}

/* The law of the k-th largest among 255 cosines in 64 dimensions, by drawing them. */
static void drawn(void)
{
    enum { D = 64, N = 256, TIMES = 12 };
    double sum[3] = { 0 }, sq = 0;
    static const size_t rank[] = { 1, 10, 100 };
    for (int time = 0; time < TIMES; time++) {
        float *x = unit_rows(N, D);
        struct cosine_stats s;
        cosine_all(x, N, x, N, D, true, 100, &s);
        for (size_t i = 0; i < N; i++) {
            for (int k = 0; k < 3; k++)
                sum[k] += s.nearest[i].item[rank[k] - 1].key / (N * TIMES);
            sq += pow(s.nearest[i].item[0].key, 2) / (N * TIMES);
        }
        cosine_free(&s, N);
        free(x);
    }
    for (int k = 0; k < 3; k++)
        is_near(sum[k], cosine_law(D, N - 1, rank[k], NULL, NULL, 0).mean, 0.005, "drawn: mean of number %zu", rank[k]);
    is_near(sqrt(sq - sum[0] * sum[0]), cosine_law(D, N - 1, 1, NULL, NULL, 0).sd, 0.005, "drawn: sd of the largest");
}

int main(void)
{
    rng_seed(&r, 12, 0);
    for (int threads = 1; threads <= 3; threads += 2) {
        par_start(threads);
        pairs(0, 3, 4, false, 2);
        pairs(1, 1, 1, false, 1);
        pairs(2, 2, 5, true, 1);
        pairs(33, 65, 7, false, 3);
        pairs(100, 100, 48, true, 100);
        pairs(129, 1, 16, false, 4);
        pairs(0, 0, 3, true, 1);
        pairs(1, 1, 3, true, 1);
        pairs(256, 256, 5, true, 2);
        pairs(257, 257, 5, true, 256);
        pairs(1100, 1100, 3, true, 4);
    }
    ties();
    for (size_t na = 1; na <= 6; na++)
        for (size_t nb = 1; nb <= 6; nb++)
            match(na, nb, 1 + na);
    closed_forms();
    published();
    drawn();
    return done_testing();
}
