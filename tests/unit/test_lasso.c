/* Sparse coding: closed forms of orthonormal dictionaries, optimality conditions in double, objectives against an
 * encoder's; pursuit against every choice of features there is. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "dict/kind.h"
#include "kinds/kinds.h"
#include "maths/blas.h"
#include "maths/linalg.h"
#include "maths/pursuit.h"
#include "maths/vec.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng rng;

static float *normal(size_t n, double size)
{
    float *x = mem_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(size * rng_normal(&rng));
    return x;
}

static float *unit_rows(size_t m, size_t d)
{
    float *w = normal(m * d, 1);
    for (size_t i = 0; i < m; i++)
        vec_normalize(w + i * d, d, 1e-30f);
    return w;
}

static float *orthonormal(size_t m, size_t d)
{
    float *w = mem_alloc(m * d, sizeof *w);
    double *wide = mem_alloc(m * d, sizeof *wide);
    for (size_t i = 0; i < m * d; i++)
        wide[i] = rng_normal(&rng);
    ok(!linalg_decorrelate(wide, m, d), "an orthonormal dictionary of %zu in %zu", m, d);
    for (size_t i = 0; i < m * d; i++)
        w[i] = (float)wide[i];
    free(wide);
    return w;
}

/* Rows of few active features, values uniform. */
static float *sparse_rows(const float *w, size_t m, size_t d, size_t n, size_t active)
{
    float *x = mem_zero(n * d, sizeof *x);
    for (size_t r = 0; r < n; r++)
        for (size_t a = 0; a < active; a++)
            vec_axpy(x + r * d, (float)rng_uniform(&rng), w + rng_below(&rng, m) * d, d);
    return x;
}

static double value_at(const struct codes *c, size_t row, size_t i)
{
    for (uint32_t p = c->ptr[row]; p < c->ptr[row + 1]; p++)
        if (c->idx[p] == i)
            return c->val[p];
    return 0;
}

/* Orthonormal rows: f_i = max(0, <d_i, x - b> - lambda / 2), of either sign when signed. */
static void check_closed(size_t m, size_t d, size_t n, double lambda, bool is_signed, bool with_gram)
{
    float *w = orthonormal(m, d), *x = normal(n * d, 1), *b = normal(d, 1);
    struct lasso_atoms a = lasso_atoms_new(w, m, d, with_gram ? 1e18 : 0);
    struct fista how = { lambda, is_signed, 300, 1e-4 };
    struct codes c = { .n = 0 };
    double worst = 0;
    ok(!!a.gram == with_gram && a.bound >= 1 && a.bound < 1.1, "bound %.4g of 1", a.bound);
    size_t missed = lasso_codes(&a, &how, x, n, b, NULL, &c);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < m; i++) {
            double score = 0, want;
            for (size_t j = 0; j < d; j++)
                score += (double)w[i * d + j] * ((double)x[r * d + j] - b[j]);
            want = fmax(0, fabs(score) - lambda / 2);
            want = is_signed ? copysign(want, score) : score > 0 ? want : 0;
            worst = fmax(worst, fabs(want - value_at(&c, r, i)));
        }
    ok(missed == 0, "all of %zu rows came within tol", n);
    is_near(worst, 0, 2e-5 * (1 + lambda), "soft threshold: %zu in %zu, lambda %g%s", m, d, lambda,
            is_signed ? ", signed" : "");
    codes_free(&c);
    lasso_atoms_free(&a);
    free(w);
    free(x);
    free(b);
}

/* Any dictionary: the optimality conditions hold, and no other way to find codes has a lower objective. */
static void check_optimal(size_t m, size_t d, size_t n, double lambda, bool is_signed, bool with_gram,
                          size_t steps)
{
    float *w = unit_rows(m, d), *x = sparse_rows(w, m, d, n, 3);
    struct lasso_atoms a = lasso_atoms_new(w, m, d, with_gram ? 1e18 : 0);
    struct fista how = { lambda, is_signed, steps, 0 }, better = { lambda, is_signed, 20000, 1e-5 };
    struct codes c = { .n = 0 }, best = { .n = 0 };
    double worst = 0, gap = 0;
    lasso_codes(&a, &how, x, n, NULL, NULL, &c);
    lasso_codes(&a, &better, x, n, NULL, &c, &best);
    for (size_t r = 0; r < n; r++) {
        uint32_t at = c.ptr[r], to = best.ptr[r];
        worst = fmax(worst, lasso_residual(&a, &how, x + r * d, NULL, c.idx + at, c.val + at, c.ptr[r + 1] - at));
        gap = fmax(gap, lasso_objective(&a, &how, x + r * d, NULL, c.idx + at, c.val + at, c.ptr[r + 1] - at) -
                        lasso_objective(&a, &how, x + r * d, NULL, best.idx + to, best.val + to,
                                        best.ptr[r + 1] - to));
    }
    ok(worst <= 5e-3 * lambda, "%zu in %zu, lambda %g: conditions within %.2g lambda after %zu steps", m, d, lambda,
       worst / lambda, steps);
    ok(gap <= 1e-5, "objective within %.2g of the best", gap);
    codes_free(&c);
    codes_free(&best);
    lasso_atoms_free(&a);
    free(w);
    free(x);
}

/* Rows that nearly or exactly repeat others make the descent slow; the minimum is found all the same. */
static void check_near_copies(double apart, double lambda)
{
    enum { D = 24, M = 96, N = 100 };
    float *w = unit_rows(M, D);
    for (size_t i = 1; i < M; i += 2) {
        for (size_t j = 0; j < D; j++)
            w[i * D + j] = w[(i - 1) * D + j] + (float)(apart * rng_normal(&rng));
        vec_normalize(w + i * D, D, 1e-30f);
    }
    float *x = sparse_rows(w, M, D, N, 4);
    struct lasso_atoms a = lasso_atoms_new(w, M, D, 1e18);
    struct fista how = { lambda, false, 300, 2e-3 };
    struct codes c = { .n = 0 };
    double worst = 0;
    size_t missed = lasso_codes(&a, &how, x, N, NULL, NULL, &c);
    for (size_t r = 0; r < N; r++)
        worst = fmax(worst, lasso_residual(&a, &how, x + r * D, NULL, c.idx + c.ptr[r], c.val + c.ptr[r],
                                           c.ptr[r + 1] - c.ptr[r]));
    ok(missed == 0 && worst <= 5e-3 * lambda, "copies %g apart, lambda %g: %zu missed, within %.2g lambda", apart, lambda,
       missed, worst / lambda);
    codes_free(&c);
    lasso_atoms_free(&a);
    free(w);
    free(x);
}

/* The bound on sigma_max^2 is one, and not far off. */
static void check_bound(size_t m, size_t d, double lean)
{
    float *w = unit_rows(m, d);
    double *gram = mem_alloc(d * d, sizeof *gram), *value = mem_alloc(d, sizeof *value);
    double *wide = mem_alloc(m * d, sizeof *wide);
    for (size_t i = 0; i < m * d; i++)
        wide[i] = w[i] = (float)(w[i] + (i % d == 0 ? lean : 0));
    linalg_multiply(true, false, d, d, m, 1, wide, wide, 0, gram);
    struct lasso_atoms a = lasso_atoms_new(w, m, d, 1e18);
    ok(!linalg_eigen(gram, d, value) && a.bound >= value[0] && a.bound <= 1.05 * value[0] + 1e-9,
       "bound %.6g of sigma^2 %.6g", a.bound, value[0]);
    lasso_atoms_free(&a);
    free(w);
    free(gram);
    free(value);
    free(wide);
}

/* Beside the codes of an encoder, of the same dictionary. */
static void check_encoder(double lambda)
{
    enum { D = 32, M = 96, N = 200 };
    struct sae *s = sae_new(kind_find("relu"), D, M);
    float *w = unit_rows(M, D), *x = sparse_rows(w, M, D, N, 4);
    memcpy(s->w_enc, w, M * D * sizeof *w);
    memcpy(s->w_dec, w, M * D * sizeof *w);
    for (size_t i = 0; i < M; i++)
        s->b_enc[i] = -0.2f;
    for (size_t j = 0; j < D; j++)
        s->b_dec[j] = (float)(0.1 * rng_normal(&rng));
    s->l1 = 2 * lambda;
    s->activation_scale = 2;
    struct fista how = sae_fista(s), cold;
    struct codes e = { .n = 0 }, f = { .n = 0 }, g = { .n = 0 }, one = { .n = 0 };
    is_near(how.lambda, lambda, 1e-12, "lambda is that of the rows as they come");
    struct lasso_atoms a = lasso_atoms_new(s->w_dec, M, D, 1e18);
    sae_encode(s, x, N, &e);
    ok(!sae_encode_fista(s, &how, x, N, &f), "every row within tol");
    bool below = true, same = true;
    double apart = 0;
    cold = how;
    lasso_codes(&a, &cold, x, N, s->b_dec, NULL, &g);
    for (size_t r = 0; r < N; r++) {
        const struct codes *c[] = { &e, &f, &g };
        double at[3];
        for (int k = 0; k < 3; k++)
            at[k] = lasso_objective(&a, &how, x + r * D, s->b_dec, c[k]->idx + c[k]->ptr[r], c[k]->val + c[k]->ptr[r],
                                    c[k]->ptr[r + 1] - c[k]->ptr[r]);
        below &= at[1] <= at[0] + 1e-5;
        apart = fmax(apart, fabs(at[1] - at[2]));
        sae_encode_fista(s, &how, x + r * D, 1, &one);
        uint32_t n = f.ptr[r + 1] - f.ptr[r];
        same &= one.ptr[1] == n && !memcmp(one.val, f.val + f.ptr[r], n * sizeof(float));
    }
    ok(below, "no row's objective is above the encoder's");
    is_near(apart, 0, 1e-5, "where the search begins does not matter");
    ok(same, "one row at a time gives the same bits");
    how.iterations = 1;
    how.tol = 0;
    ok(sae_encode_fista(s, &how, x, N, &g) == N, "one step is not enough, and that is said");

    free(s->w_enc);
    s->w_enc = NULL;
    sae_encode(s, x, N, &g);
    cold = sae_fista(s);
    lasso_codes(&a, &cold, x, N, s->b_dec, NULL, &f);
    ok(g.ptr[N] == f.ptr[N] && !memcmp(g.val, f.val, g.ptr[N] * sizeof(float)), "without an encoder that is encoding");
    codes_free(&e);
    codes_free(&f);
    codes_free(&g);
    codes_free(&one);
    lasso_atoms_free(&a);
    sae_free(s);
    free(w);
    free(x);
}

/* ---- pursuit ---- */

/* The least squares of x on the features of a set (bits), none below 0, by going round the coordinates. */
static double best_of_set(const float *w, size_t d, const float *x, unsigned set)
{
    double f[16] = { 0 }, *r = mem_alloc(d, sizeof *r), sum = 0;
    for (size_t j = 0; j < d; j++)
        r[j] = x[j];
    for (int round = 0; round < 5000; round++)
        for (size_t i = 0; i < 16; i++) {
            if (!(set >> i & 1))
                continue;
            double along = 0, size = 0;
            for (size_t j = 0; j < d; j++) {
                along += r[j] * w[i * d + j];
                size += (double)w[i * d + j] * w[i * d + j];
            }
            double to = fmax(0, f[i] + along / size);
            for (size_t j = 0; j < d; j++)
                r[j] -= (to - f[i]) * w[i * d + j];
            f[i] = to;
        }
    for (size_t j = 0; j < d; j++)
        sum += r[j] * r[j];
    free(r);
    return sum;
}

/* Values are the least squares of the features chosen; one feature is the best one; all of them are the best there is. */
static void check_pursuit(size_t d, double size)
{
    enum { M = 12, N = 20 };
    float *w = unit_rows(M, d), *x = normal(N * d, 1);
    vec_scale(w, (float)size, M * d);
    struct codes c = { .n = 0 };
    for (size_t with_gram = 0; with_gram < 2; with_gram++) {
        struct lasso_atoms a = lasso_atoms_new(w, M, d, with_gram ? 1e18 : 0);
        struct fista how = { .lambda = 0 };
        for (size_t k = 1; k <= M; k += k == 1 ? 2 : 9) {
            double worst = 0, missed = 0;
            bool few = true;
            pursuit_codes(&a, k, x, N, NULL, &c);
            for (size_t r = 0; r < N; r++) {
                unsigned set = 0;
                uint32_t n = c.ptr[r + 1] - c.ptr[r];
                for (uint32_t p = c.ptr[r]; p < c.ptr[r + 1]; p++) {
                    set |= 1u << c.idx[p];
                    few &= c.val[p] > 0 && (p == c.ptr[r] || c.idx[p] > c.idx[p - 1]);
                }
                few &= n <= k;
                double got = lasso_objective(&a, &how, x + r * d, NULL, c.idx + c.ptr[r], c.val + c.ptr[r], n);
                worst = fmax(worst, fabs(got - best_of_set(w, d, x + r * d, set)));
                if (k == M)
                    missed = fmax(missed, got - best_of_set(w, d, x + r * d, (1u << M) - 1));
                for (size_t i = 0; k == 1 && i < M; i++)
                    missed = fmax(missed, got - best_of_set(w, d, x + r * d, 1u << i));
            }
            ok(few, "d %zu, %zu features at most, in order, above 0", d, k);
            is_near(worst, 0, 1e-4, "values are the least squares");
            is_near(missed, 0, 1e-4, "no choice would have been better");
        }
        lasso_atoms_free(&a);
    }
    codes_free(&c);
    free(w);
    free(x);
}

/* Features far apart are found exactly. */
static void check_recovery(void)
{
    enum { D = 128, M = 256, N = 50, K = 5 };
    float *w = unit_rows(M, D), *x = mem_zero(N * D, sizeof *x);
    struct codes want = { .n = 0 }, got = { .n = 0 };
    codes_reset(&want, M);
    for (size_t r = 0; r < N; r++) {
        uint32_t idx[K];
        float val[K];
        for (uint32_t k = 0; k < K; k++) {
            idx[k] = k * 50 + (uint32_t)rng_below(&rng, 50);
            val[k] = (float)(0.5 + rng_uniform(&rng));
            vec_axpy(x + r * D, val[k], w + idx[k] * D, D);
        }
        codes_push(&want, idx, val, K);
    }
    struct lasso_atoms a = lasso_atoms_new(w, M, D, 1e18);
    pursuit_codes(&a, K, x, N, NULL, &got);
    double apart = 0;
    for (size_t r = 0; r < N; r++)
        for (size_t i = 0; i < M; i++)
            apart = fmax(apart, fabs(value_at(&want, r, i) - value_at(&got, r, i)));
    is_near(apart, 0, 1e-4, "five active features of 256 in 128 dimensions are found with their values");
    codes_free(&want);
    codes_free(&got);
    lasso_atoms_free(&a);
    free(w);
    free(x);
}

static void check_edges(void)
{
    float w[6] = { 1, 0, 0, 1, 0, 0 }, x[6] = { 0, 0, NAN, 1, -1, -1 };
    struct lasso_atoms a = lasso_atoms_new(w, 3, 2, 1e18);
    struct fista how = { 0.5, false, 300, 1e-3 };
    struct codes c = { .n = 0 };
    ok(lasso_codes(&a, &how, x, 3, NULL, NULL, &c) == 1 && c.ptr[1] == 0 && c.ptr[2] > 0 && c.ptr[3] == c.ptr[2],
       "rows of zeros, of NaN, and against every feature; a feature of zeros");
    ok(isnan(c.val[0]), "NaN does not pass for silence");
    pursuit_codes(&a, 2, x, 3, NULL, &c);
    ok(c.ptr[1] == 0 && c.ptr[2] == 1 && isnan(c.val[0]) && c.ptr[3] == 1, "the same by pursuit");
    pursuit_codes(&a, 0, x, 1, NULL, &c);
    ok(c.ptr[1] == 0, "no features at all");
    lasso_codes(&a, &how, x, 0, NULL, NULL, &c);
    ok(c.n == 0, "no rows");
    lasso_atoms_free(&a);
    memset(w, 0, sizeof w);
    a = lasso_atoms_new(w, 3, 2, 1e18);
    ok(lasso_codes(&a, &how, x + 4, 1, NULL, NULL, &c) == 0 && c.ptr[1] == 0, "a dictionary of zeros");
    codes_free(&c);
    lasso_atoms_free(&a);
}

int main(void)
{
    blas_start();
    par_start(3);
    rng_seed(&rng, 7, 0);
    check_closed(32, 32, 50, 0.3, false, true);
    check_closed(20, 32, 50, 0.3, true, true);
    check_closed(16, 40, 50, 0, false, false);
    check_closed(1, 1, 5, 0.1, true, true);
    check_optimal(128, 64, 100, 0.1, false, true, 300);
    check_optimal(256, 64, 60, 0.1, false, false, 300);
    check_optimal(100, 20, 60, 0.3, true, true, 300);
    check_optimal(300, 10, 60, 0.05, false, true, 3000);
    check_optimal(1, 7, 20, 0.1, false, true, 300);
    check_near_copies(0.01, 0.1);
    check_near_copies(0.05, 0.02);
    check_near_copies(0, 0.1);
    check_bound(1, 5, 0);
    check_bound(200, 30, 0);
    check_bound(100, 50, 3);
    check_bound(64, 64, 0);
    check_encoder(0.1);
    check_encoder(0.02);
    check_pursuit(5, 1);
    check_pursuit(20, 3);
    check_recovery();
    check_edges();
    return done_testing();
}
