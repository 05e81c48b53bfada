/* Rows with known truth against closed forms: directions and their cosines, frequencies, joint frequencies, moments of
 * the coefficients, interference. Statistical limits are 5 standard errors of what is counted. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "maths/vec.h"
#include "tap.h"
#include "toy/tally.h"
#include "toy/toy_internal.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct toy_options plain = { .d = 32, .g = 64, .seed = 5, .active = 4, .decay = 1, .hi = 1, .batch = 50,
                                          .share = 0.5 };

static struct toy *make(const struct toy_options *o)
{
    struct toy *t = toy_new(o);
    if (!t)
        ok(0, "toy_new: %s", err_text());
    return t;
}

static void refused(struct toy_options o, const char *part)
{
    struct toy *t = toy_new(&o);
    ok(!t && err_status() == ERR_USAGE && strstr(err_text(), part), "refused: %s", part);
    toy_free(t);
}

static bool same_codes(const struct codes *a, const struct codes *b)
{
    size_t pairs = a->ptr[a->n];
    return a->n == b->n && !memcmp(a->ptr, b->ptr, (a->n + 1) * sizeof *a->ptr) &&
           !memcmp(a->idx, b->idx, pairs * sizeof *a->idx) && !memcmp(a->val, b->val, pairs * sizeof *a->val);
}

/* ---- directions ---- */

static double cosine(const struct toy *t, size_t i, size_t j)
{
    return vec_dot_wide(t->direction + i * t->o.d, t->direction + j * t->o.d, t->o.d);
}

static void test_random_directions(void)
{
    struct toy_options o = { .d = 64, .g = 400, .seed = 3, .active = 1, .decay = 1, .hi = 1 };
    struct toy *t = make(&o);
    double worst = 0, sum = 0, sq = 0, fourth = 0, n = 400 * 399 / 2.0;
    for (size_t i = 0; i < 400; i++) {
        worst = fmax(worst, fabs(cosine(t, i, i) - 1));
        for (size_t j = 0; j < i; j++) {
            double c = cosine(t, i, j);
            sum += c, sq += c * c, fourth += c * c * c * c;
        }
    }
    is_near(worst, 0, 1e-6, "random directions: unit rows");
    is_near(sum / n, 0, 5 * sqrt(1 / 64.0 / n), "mean cosine 0");
    is_near(sq / n, 1 / 64.0, 5 * sqrt(2.0 / n) / 64, "mean square cosine 1/d");
    is_near(fourth / n, 3 / (64.0 * 66), 0.05 * 3 / (64.0 * 66), "fourth moment 3/(d(d+2))");
    float *again = toy_random(400, 64, 3), *other = toy_random(400, 64, 4);
    ok(!memcmp(again, t->direction, 400 * 64 * sizeof *again), "toy_random gives the same directions");
    ok(memcmp(again, other, 400 * 64 * sizeof *again), "another seed gives others");
    free(again);
    free(other);
    toy_free(t);
}

/* Every cosine within a group is what want(i,j) says; across groups 0 when they fit side by side. */
static void check_groups(const char *name, struct toy_options o, size_t corners, bool fit,
                         double (*want)(size_t, size_t, const struct toy_options *))
{
    struct toy *t = make(&o);
    double inside = 0, across = 0;
    for (size_t i = 0; t && i < o.g; i++)
        for (size_t j = 0; j < o.g; j++) {
            double c = cosine(t, i, j);
            if (i / corners == j / corners)
                inside = fmax(inside, fabs(c - want(i % corners, j % corners, &o)));
            else
                across = fmax(across, fabs(c));
        }
    is_near(inside, 0, 3e-7, "%s: cosines within a group", name);
    ok(fit ? across < 3e-7 : across > 0.01, "%s: groups are %s", name, fit ? "orthogonal" : "not orthogonal");
    ok(t && t->orthogonal == fit, "%s: and that is known", name);
    toy_free(t);
}

static double equal_want(size_t i, size_t j, const struct toy_options *o)
{
    return i == j ? 1 : o->shape == TOY_SIMPLEX ? -1 / (double)o->group : o->cosine;
}

static double polygon_want(size_t i, size_t j, const struct toy_options *o)
{
    return cos(6.283185307179586 * ((double)i - (double)j) / (double)o->group);
}

static double cross_want(size_t i, size_t j, const struct toy_options *o)
{
    (void)o;
    return i / 2 != j / 2 ? 0 : i == j ? 1 : -1;
}

/* With s = z^2: next to each other s, across a square 2s - 1, to the other square s (near) or -3s (far);
 * s = sqrt(2)/4 / (1 + sqrt(2)/4). */
static double antiprism_want(size_t i, size_t j, const struct toy_options *o)
{
    double s = sqrt(2) / 4 / (1 + sqrt(2) / 4);
    size_t apart = (i + 8 - j) % 8;
    (void)o;
    return apart == 0 ? 1 : apart == 4 ? 2 * s - 1 : apart % 2 == 0 ? s : apart == 1 || apart == 7 ? s : -3 * s;
}

static struct toy_options shaped(enum toy_shape shape, size_t group, double cos_, size_t g, size_t d)
{
    struct toy_options o = plain;
    o.shape = shape, o.group = group, o.cosine = cos_, o.g = g, o.d = d;
    return o;
}

static void test_groups(void)
{
    struct toy_options o = shaped(TOY_FREE, 0, 0, 32, 32);
    o.orthonormal = true;
    check_groups("orthonormal, g = d", o, 1, true, equal_want);
    o.g = 20;
    check_groups("orthonormal, g < d", o, 1, true, equal_want);
    check_groups("pairs", shaped(TOY_CLUSTERS, 2, 0.6, 16, 16), 2, true, equal_want);
    check_groups("opposite pairs", shaped(TOY_CLUSTERS, 2, -1, 16, 16), 2, true, equal_want);
    check_groups("clusters", shaped(TOY_CLUSTERS, 4, 0.7, 64, 32), 4, false, equal_want);
    check_groups("clusters as far apart as can be", shaped(TOY_CLUSTERS, 5, -0.25, 30, 32), 5, true, equal_want);
    check_groups("triangles", shaped(TOY_SIMPLEX, 2, 0, 30, 20), 3, true, equal_want);
    check_groups("tetrahedra", shaped(TOY_SIMPLEX, 3, 0, 40, 20), 4, false, equal_want);
    check_groups("digons", shaped(TOY_SIMPLEX, 1, 0, 16, 8), 2, true, equal_want);
    check_groups("pentagons", shaped(TOY_POLYGON, 5, 0, 25, 10), 5, true, polygon_want);
    check_groups("antiprisms", shaped(TOY_ANTIPRISM, 0, 0, 16, 6), 8, true, antiprism_want);
    check_groups("cross polytopes", shaped(TOY_CROSS, 3, 0, 24, 13), 6, true, cross_want);
    refused(shaped(TOY_SIMPLEX, 2, 0, 31, 20), "not whole groups of 3");
    refused(shaped(TOY_ANTIPRISM, 0, 0, 8, 2), "does not fit into a width of 2");
    o.g = 33;
    refused(o, "do not fit into a width of 32");
}

/* ---- activity ---- */

/* Codes of n rows, and how often each feature and each two are active. */
struct counts {
    struct codes c;
    double *p, *joint;                  /* (g), (g,g) shares */
};

static struct counts count(const struct toy *t, size_t n)
{
    struct counts k = { .c = { .n = 0 } };
    size_t g = t->o.g;
    k.p = mem_zero(g, sizeof *k.p);
    k.joint = mem_zero(g * g, sizeof *k.joint);
    toy_codes(t, 0, n, &k.c);
    for (size_t r = 0; r < n; r++)
        for (uint32_t i = k.c.ptr[r]; i < k.c.ptr[r + 1]; i++) {
            k.p[k.c.idx[i]] += 1 / (double)n;
            for (uint32_t j = k.c.ptr[r]; j < k.c.ptr[r + 1]; j++)
                k.joint[k.c.idx[i] * g + k.c.idx[j]] += 1 / (double)n;
        }
    return k;
}

static void counts_free(struct counts *k)
{
    codes_free(&k->c);
    free(k->p);
    free(k->joint);
}

/* Share `got` of n draws against probability p: how many standard errors off. */
static double off(double got, double p, double n)
{
    return fabs(got - p) / sqrt(fmax(p * (1 - p), 1e-9) / n);
}

/* Every frequency within 5 standard errors of t->p, and their sum of the expected one. */
static void check_frequencies(const char *name, const struct toy *t, const struct counts *k)
{
    double worst = 0, sum = 0, want = 0;
    for (size_t g = 0; g < t->o.g; g++) {
        worst = fmax(worst, off(k->p[g], t->p[g], (double)k->c.n));
        sum += k->p[g], want += t->p[g];
    }
    ok(worst < 5, "%s: every feature as often as it should be (%.2f standard errors)", name, worst);
    is_near(want, t->active, 1e-9, "%s: the expected number of active features", name);
    is_near(sum, t->active, 0.02 * t->active, "%s: the mean number of active features", name);
}

static void test_bernoulli(void)
{
    enum { N = 200000 };
    struct toy_options o = plain;
    o.decay = 0.95;
    struct toy *t = make(&o);
    struct counts k = count(t, N);
    double worst = 0;
    check_frequencies("decay", t, &k);
    is_near(t->active, 4, 1e-12, "decay: the mean is what was asked for");
    is_near(t->p[10] / t->p[9], 0.95, 1e-12, "decay: of the probabilities");
    for (size_t i = 0; i < 64; i++)
        for (size_t j = 0; j < i; j++)
            worst = fmax(worst, off(k.joint[i * 64 + j], t->p[i] * t->p[j], N));
    ok(worst < 6, "no two depend on each other (%.2f standard errors)", worst);
    counts_free(&k);
    toy_free(t);
    struct toy_options sharkey = { .d = 256, .g = 512, .active = 5, .decay = 0.99, .raw_decay = true, .hi = 1 };
    t = make(&sharkey);
    is_near(t->active, 5.0 / 512 * (1 - pow(0.99, 512)) / 0.01, 1e-9, "as published: the mean follows from the sum");
    is_near(t->active, 0.971, 5e-4, "as published: 0.971");
    toy_free(t);
    o.active = 30;
    refused(o, "at most");
    o = plain, o.active = 64;
    t = make(&o);
    k = count(t, 100);
    is_near(k.p[63], 1, 1e-9, "g active features on average: all are");
    counts_free(&k);
    toy_free(t);
    o.active = 0;
    t = make(&o);
    k = count(t, 100);
    ok(k.c.n == 100 && k.c.ptr[100] == 0, "none on average: none is");
    counts_free(&k);
    toy_free(t);
}

static void test_exactly(void)
{
    enum { N = 100000, G = 40, L = 7 };
    struct toy_options o = plain;
    o.activity = TOY_EXACTLY, o.exactly = L, o.g = G, o.law = TOY_CONSTANT;
    struct toy *t = make(&o);
    struct counts k = count(t, N);
    bool right = true;
    double worst = 0;
    for (size_t r = 0; r < N; r++) {
        right = right && k.c.ptr[r + 1] - k.c.ptr[r] == L;
        for (uint32_t i = k.c.ptr[r] + 1; i < k.c.ptr[r + 1]; i++)
            right = right && k.c.idx[i - 1] < k.c.idx[i];
    }
    ok(right, "exactly %d in every row, in order", L);
    check_frequencies("exactly", t, &k);
    for (size_t i = 0; i < G; i++)
        for (size_t j = 0; j < i; j++)
            worst = fmax(worst, off(k.joint[i * G + j], L * (L - 1) / (double)(G * (G - 1)), N));
    ok(worst < 6, "every two alike (%.2f standard errors)", worst);
    counts_free(&k);
    toy_free(t);
    o.exactly = 41;
    refused(o, "exactly 41 active of 40");
}

static void test_pairs(void)
{
    enum { N = 100000 };
    struct toy_options o = shaped(TOY_CLUSTERS, 2, 0.6, 16, 16);
    o.activity = TOY_PAIRS, o.active = 0.8;
    struct toy *t = make(&o);
    struct counts k = count(t, N);
    double both = 0;
    check_frequencies("pairs", t, &k);
    is_near(t->p[3], 0.05, 1e-12, "pairs: half of P(pair) = 0.1");
    for (size_t i = 0; i < 16; i += 2)
        both += k.joint[i * 16 + i + 1];
    is_near(both, 0, 0, "never both of a pair");
    counts_free(&k);
    toy_free(t);
    o.activity = TOY_COMPOSED, o.composed[0] = 0.1, o.composed[1] = 0.25, o.composed[2] = 0.3;
    t = make(&o);
    k = count(t, N);
    check_frequencies("composed", t, &k);
    ok(off(k.joint[2 * 16 + 3], 0.3, N) < 5 && off(k.joint[2 * 16 + 4], 0.4 * 0.4, N) < 5,
       "composed: both with the third probability; pairs independent");
    counts_free(&k);
    toy_free(t);
    o.composed[0] = 0.5;
    refused(o, "above 1");
    o.g = 15;
    refused(o, "not pairs");
}

/* P(X < a, Y < b) of standard normals with correlation r: the integral of phi(x) Phi((b - r x) / sqrt(1 - r^2)). */
static double joint_normal(double a, double b, double r)
{
    double sum = 0, h = (a + 9) / 4000;
    for (int i = 0; i <= 4000; i++) {
        double x = -9 + h * i, weight = i == 0 || i == 4000 ? 1 : i % 2 ? 4 : 2;
        sum += weight * exp(-x * x / 2) * normal_cdf((b - r * x) / sqrt(1 - r * r));
    }
    return sum * h / 3 / sqrt(6.283185307179586);
}

static void test_normal(void)
{
    is_near(normal_cdf(1.959963984540054), 0.975, 1e-12, "Phi");
    is_near(normal_quantile(0.975), 1.959963984540054, 1e-10, "its inverse");
    is_near(joint_normal(0, 0, 0.5), 0.25 + asin(0.5) / 6.283185307179586, 1e-9, "the bivariate integral, at 0");
}

static void test_copula_blocks(void)
{
    enum { N = 200000 };
    struct toy_options o = plain;
    o.corr = TOY_SAMPLE, o.block = 4, o.rho = 0.8, o.decay = 0.97;
    struct toy *t = make(&o);
    struct counts k = count(t, N);
    check_frequencies("copula of rows", t, &k);
    double worst = 0, apart = 0;
    for (size_t i = 0; i < 64; i++)
        for (size_t j = 0; j < i; j++) {
            double r = i / 4 == j / 4 ? 0.8 : 0;
            double want = joint_normal(normal_quantile(t->p[i]), normal_quantile(t->p[j]), r);
            *(r > 0 ? &worst : &apart) = fmax(r > 0 ? worst : apart, off(k.joint[i * 64 + j], want, N));
        }
    ok(worst < 5 && apart < 6, "joint frequencies are the bivariate normal's (%.2f, %.2f standard errors)", worst,
       apart);
    ok(k.joint[1] > 3 * k.p[0] * k.p[1], "which is far from independent");
    counts_free(&k);
    toy_free(t);
}

/* Rows that share a draw are tied by share, also a feature to itself; a row on its own is as without. */
static void test_copula_batches(void)
{
    enum { N = 200000, B = 10 };
    struct toy_options o = plain;
    o.g = 8, o.active = 2, o.corr = TOY_BATCH, o.batch = B, o.share = 0.6, o.block = 2, o.rho = 0.5;
    struct toy *t = make(&o);
    struct counts k = count(t, N);
    double a = normal_quantile(0.25), again = 0;
    for (size_t g = 0; g < 8; g++)
        is_near(k.p[g], 0.25, 0.012, "copula of batches: frequency of feature %zu", g);
    is_near(k.joint[1], joint_normal(a, a, 0.6 * 0.5), 0.008, "two of a block in a row: correlation share * rho");
    is_near(k.joint[2], 0.0625, 0.008, "two of different blocks: independent");
    for (size_t r = 0; r + 1 < N; r += B)
        for (uint32_t i = k.c.ptr[r]; i < k.c.ptr[r + 1]; i++)
            for (uint32_t j = k.c.ptr[r + 1]; j < k.c.ptr[r + 2]; j++)
                again += k.c.idx[i] == k.c.idx[j];
    is_near(again / (8.0 * N / B), joint_normal(a, a, 0.6), 0.008, "a feature in two rows of a batch: share");
    counts_free(&k);
    toy_free(t);
    o.corr = TOY_DATASET;
    double mean = 0;
    enum { SEEDS = 400 };
    for (uint64_t s = 0; s < SEEDS; s++) {
        o.seed = s;
        t = make(&o);
        struct codes c = { .n = 0 };
        toy_codes(t, 0, 200, &c);
        mean += c.ptr[200] / 200.0 / SEEDS;
        codes_free(&c);
        toy_free(t);
    }
    is_near(mean, 2, 0.2, "copula of data sets: the mean, over seeds");
}

static void test_copula_random(void)
{
    enum { N = 60000, G = 60 };
    struct copula c;
    struct toy_options o = plain;
    ok(copula_make(&c, G, 0, 0, 9) == 0, "random correlations");
    double unit = 0, mean = 0, least = 1, most = -1;
    for (size_t i = 0; i < G; i++)
        for (size_t j = 0; j <= i; j++) {
            double r = vec_dot_wide(c.root + i * G, c.root + j * G, j + 1);
            if (i == j) {
                unit = fmax(unit, fabs(r - 1));
                continue;
            }
            mean += r / (G * (G - 1) / 2), least = fmin(least, r), most = fmax(most, r);
        }
    is_near(unit, 0, 1e-5, "unit variances");
    ok(least > 0 && most < 0.5 && mean > 0.1 && mean < 0.2, "correlations of a shifted uniform matrix: %.3f to %.3f, "
       "mean %.3f", least, most, mean);
    copula_free(&c);
    o.g = G, o.corr = TOY_SAMPLE, o.active = 9;
    struct toy *t = make(&o);
    struct counts k = count(t, N);
    check_frequencies("random copula", t, &k);
    double got = 0, want = 0, independent = 0;
    for (size_t i = 0; i < G; i++)
        for (size_t j = 0; j < i; j++) {
            double r = vec_dot_wide(t->draw->copula.root + i * G, t->draw->copula.root + j * G, j + 1);
            want += joint_normal(t->draw->threshold[i], t->draw->threshold[j], r);
            got += k.joint[i * G + j], independent += t->p[i] * t->p[j];
        }
    is_near(got, want, 0.02 * want, "active pairs in all are those of the bivariate normals");
    ok(want > 1.1 * independent, "more than %.3g without correlation", independent);
    counts_free(&k);
    toy_free(t);
    o.g = 5000, o.active = 5;
    refused(o, "at most 2048");
    o.g = 1, o.active = 0.5;
    t = make(&o);
    ok(t && t->p[0] == 0.5, "one feature has nothing to be tied to");
    toy_free(t);
}

/* ---- coefficients ---- */

static void check_law(const char *name, struct toy_options o, double mean, double var, double fourth)
{
    enum { N = 100000 };
    o.g = 2, o.d = 2, o.active = 2;
    struct toy *t = make(&o);
    struct codes c = { .n = 0 };
    double s1 = 0, s2 = 0, n = 2 * N;
    toy_codes(t, 0, N, &c);
    for (size_t i = 0; i < 2 * N; i++)
        s1 += (double)c.val[i] / n;
    for (size_t i = 0; i < 2 * N; i++)
        s2 += ((double)c.val[i] - s1) * ((double)c.val[i] - s1) / n;
    ok(c.ptr[N] == 2 * N, "%s: no coefficient is lost", name);
    is_near(s1, mean, 5 * sqrt(var / n) + 1e-9, "%s: mean", name);
    is_near(s2, var, 5 * sqrt(fmax(fourth - var * var, 0) / n) + 1e-9, "%s: variance", name);
    codes_free(&c);
    toy_free(t);
}

static void test_laws(void)
{
    struct toy_options o = plain;
    check_law("uniform", o, 0.5, 1 / 12.0, 1 / 80.0);
    o.lo = 0.5;
    check_law("uniform on [0.5, 1]", o, 0.75, 1 / 48.0, 1 / 1280.0);
    o.lo = 0, o.law = TOY_CONSTANT;
    check_law("constant", o, 1, 0, 0);
    o.law = TOY_EXPONENTIAL;
    check_law("exponential", o, 1, 1, 9);
    o.law = TOY_UNIFORM2;                   /* E a^2 = 1/9, E a^4 = 1/25: the fourth moment from these */
    check_law("uniform2", o, 0.25, 1 / 9.0 - 1 / 16.0, 1 / 25.0 - 4 * 0.25 / 16.0 + 6 / 16.0 / 9 - 3 / 256.0);
    o.law = TOY_LOGNORMAL;
    check_law("lognormal", o, exp(0.5), (exp(1) - 1) * exp(1), 400);
}

static void test_scales(void)
{
    struct toy_options o = plain;
    o.scales = TOY_GEOMETRIC, o.scale = 0.9, o.law = TOY_CONSTANT;
    struct toy *t = make(&o);
    struct codes c = { .n = 0 };
    double worst = 0;
    toy_codes(t, 0, 1000, &c);
    for (size_t i = 0; i < c.ptr[1000]; i++)
        worst = fmax(worst, fabs((double)c.val[i] / pow(0.9, c.idx[i]) - 1));
    is_near(worst, 0, 1e-6, "geometric scales: codes are a_g s_g");
    codes_free(&c);
    toy_free(t);
    o.scales = TOY_SPREAD, o.scale = 0.5, o.g = 20000, o.d = 2;
    t = make(&o);
    double mean = 0, var = 0;
    for (size_t g = 0; g < o.g; g++)
        mean += log((double)t->scale[g]) / (double)o.g;
    for (size_t g = 0; g < o.g; g++)
        var += pow(log((double)t->scale[g]) - mean, 2) / (double)o.g;
    is_near(mean, 0, 5 * 0.5 / sqrt(20000), "lognormal scales: mean of the logarithm");
    is_near(var, 0.25, 5 * 0.25 * sqrt(2 / 20000.0), "lognormal scales: its variance");
    toy_free(t);
}

/* ---- rows ---- */

static void test_rows(void)
{
    enum { N = 700 };
    struct toy_options o = plain;
    struct codes all = { .n = 0 }, part = { .n = 0 }, joined = { .n = 0 };
    o.corr = TOY_BATCH, o.noise = 0.3, o.block = 8, o.rho = 0.5, o.d = 33;
    struct toy *t = make(&o);
    float *x = mem_zero(N * o.d, sizeof *x), *y = mem_zero(N * o.d, sizeof *y);
    toy_codes(t, 0, N, &all);
    codes_reset(&joined, o.g);
    for (size_t from = 0, n; from < N; from += n) {
        n = from + 97 < N ? 97 : N - from;
        toy_codes(t, from, n, &part);
        codes_append(&joined, &part);
        toy_noise(t, from, n, y + from * o.d);
    }
    toy_noise(t, 0, N, x);
    ok(same_codes(&all, &joined), "codes do not depend on how many rows are asked for at once");
    ok(!memcmp(x, y, N * o.d * sizeof *x), "nor does the noise");
    double power = 0, lag = 0, count_ = N * (double)o.d;
    for (size_t i = 0; i < N * o.d; i++) {
        power += (double)x[i] * (double)x[i] / count_;
        lag += i ? (double)x[i] * (double)x[i - 1] / count_ : 0;
    }
    is_near(power, 0.09, 5 * 0.09 * sqrt(2 / count_), "its variance is sigma^2");
    is_near(lag, 0, 5 * 0.09 / sqrt(count_), "and neighbours are independent");
    o.noise = 0;
    struct toy *quiet = make(&o);
    toy_codes(quiet, 0, N, &part);
    ok(same_codes(&all, &part), "noise does not change the codes");
    toy_rows(t, &all, x);
    double worst = 0;
    for (size_t r = 0; r < N; r++)
        for (size_t j = 0; j < o.d; j++) {
            double want = 0;
            for (uint32_t i = all.ptr[r]; i < all.ptr[r + 1]; i++)
                want += (double)all.val[i] * (double)t->direction[all.idx[i] * o.d + j];
            worst = fmax(worst, fabs(want - (double)x[r * o.d + j]));
        }
    is_near(worst, 0, 1e-6, "x = codes times directions");
    toy_codes(t, 10, 0, &part);
    ok(part.n == 0 && part.ptr[0] == 0, "no rows");
    toy_free(t);
    toy_free(quiet);
    codes_free(&all);
    codes_free(&part);
    codes_free(&joined);
    free(x);
    free(y);
}

/* ---- what came of it ---- */

/* l of G boolean features: what the others add to a reading has variance l/d (of an active feature (l - 1)/d), and a
 * threshold of 1/2 goes wrong with probability Phi(-1/2 / sqrt(variance)) each way. */
static void test_interference(void)
{
    enum { N = 8000, D = 128, G = 1024, L = 20 };
    struct toy_options o = { .d = D, .g = G, .seed = 1, .activity = TOY_EXACTLY, .exactly = L, .law = TOY_CONSTANT };
    struct toy *t = make(&o);
    struct tally *a = tally_new(t, true, true);
    struct codes c = { .n = 0 };
    float *x = mem_align(N * D, sizeof *x);
    double var = 0, lost = 0, invented = 0, on = 0;
    for (size_t part = 0; part < 2; part++) {
        toy_codes(t, part * N, N, &c);
        toy_rows(t, &c, x);
        tally_add(a, &c, x, x);
    }
    for (size_t g = 0; g < G; g++) {
        const struct tally_feature *f = &a->feature[g];
        double n = (double)a->rows, mean = f->sum_z / n;
        var += (f->sum_z2 / n - mean * mean) / G;
        lost += (double)f->lost, invented += (double)f->invented, on += (double)f->active;
    }
    is_near(var, L / (double)D, 0.03 * L / D, "interference l/d");
    double flip = normal_cdf(-0.5 * sqrt(D / (double)L)), loss = normal_cdf(-0.5 * sqrt(D / (L - 1.0)));
    is_near(lost / on, loss, 0.05 * loss, "active features lost to it, each among l - 1 others");
    is_near(invented / (G * (double)a->rows - on), flip, 0.05 * flip, "inactive ones it invents");
    ok(a->rows == 2 * N && a->active == 2 * N * L && on == 2.0 * N * L, "rows and active features are counted");
    is_near(a->noise, 0, 0, "no noise");
    uint64_t diagonal = 0, beside = 0;
    for (size_t i = 0; i < G; i++)
        for (size_t j = 0; j < G; j++)
            *(i == j ? &diagonal : &beside) += a->pair[i * G + j];
    ok(diagonal == 2 * N * L && beside == 2 * N * L * (L - 1), "and pairs of them");
    codes_free(&c);
    free(x);
    tally_free(a);
    toy_free(t);
}

static void test_signal_to_noise(void)
{
    enum { N = 4000 };
    struct toy_options o = plain;
    o.noise = 0.2;
    struct toy *t = make(&o);
    struct tally *a = tally_new(t, false, false);
    struct codes c = { .n = 0 };
    float *clean = mem_align(N * o.d, sizeof *clean), *x = mem_align(N * o.d, sizeof *x);
    toy_codes(t, 0, N, &c);
    toy_rows(t, &c, clean);
    memcpy(x, clean, N * o.d * sizeof *x);
    toy_noise(t, 0, N, x);
    tally_add(a, &c, clean, x);
    is_near(a->noise / N, 32 * 0.04, 0.02 * 32 * 0.04, "|noise|^2 is d sigma^2 a row");
    is_near(a->signal / N, 4 / 3.0, 0.1, "|x|^2 is that of 4 uniform coefficients a row");
    codes_free(&c);
    free(clean);
    free(x);
    tally_free(a);
    toy_free(t);
}

/* ---- superposition ---- */

/* Five rare features in a plane become a regular pentagon. */
static void test_pentagon(void)
{
    struct toy_options o = { .d = 2, .g = 5, .seed = 1, .active = 0.2, .decay = 1, .hi = 1, .train = 3000 };
    struct toy *t = make(&o);
    double off_angle = 0, least = 1e9, most = 0;
    for (size_t i = 0; i < 5; i++) {
        least = fmin(least, (double)t->scale[i]), most = fmax(most, (double)t->scale[i]);
        for (size_t j = 0; j < i; j++) {
            double c = cosine(t, i, j), near = cos(6.283185307179586 / 5), far = cos(2 * 6.283185307179586 / 5);
            off_angle = fmax(off_angle, fmin(fabs(c - near), fabs(c - far)));
        }
    }
    ok(least > 0.8 && most / least < 1.05, "superposition: all five are kept, alike (%.3f to %.3f)", least, most);
    is_near(off_angle, 0, 0.03, "superposition: at the angles of a pentagon");
    toy_free(t);
    o.d = 5, o.train = 1500;
    t = make(&o);
    double worst = 0;
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < i; j++)
            worst = fmax(worst, fabs(cosine(t, i, j)));
    ok(worst < 0.1, "with room for all they are orthogonal (%.3f)", worst);
    toy_free(t);
}

static void test_threads(void)
{
    struct toy_options o = plain;
    o.corr = TOY_SAMPLE, o.noise = 0.1, o.train = 20;
    struct toy *one = make(&o);
    struct codes a = { .n = 0 }, b = { .n = 0 };
    toy_codes(one, 0, 3000, &a);
    par_start(3);
    struct toy *three = make(&o);
    toy_codes(three, 0, 3000, &b);
    ok(!memcmp(one->direction, three->direction, o.g * o.d * sizeof(float)) && same_codes(&a, &b),
       "three threads give what one does");
    o.train = 0, o.orthonormal = true, o.g = 32;
    struct toy *frame = make(&o);
    par_start(1);
    struct toy *again = make(&o);
    ok(!memcmp(frame->direction, again->direction, o.g * o.d * sizeof(float)), "and the same orthonormal directions");
    toy_free(one);
    toy_free(three);
    toy_free(frame);
    toy_free(again);
    codes_free(&a);
    codes_free(&b);
}

int main(void)
{
    test_random_directions();
    test_groups();
    test_bernoulli();
    test_exactly();
    test_pairs();
    test_normal();
    test_copula_blocks();
    test_copula_batches();
    test_copula_random();
    test_laws();
    test_scales();
    test_rows();
    test_interference();
    test_signal_to_noise();
    test_pentagon();
    test_threads();
    return done_testing();
}
