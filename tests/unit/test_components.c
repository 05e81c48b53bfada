/* Kinds that look at rows as a whole, and sparse coding as a kind: exact identities, recovery of known truth, and the
 * definite answer to what cannot be done. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "fit/preset.h"
#include "fit/state.h"
#include "kinds/kinds.h"
#include "kinds/rica.h"
#include "maths/blas.h"
#include "maths/largest.h"
#include "maths/linalg.h"
#include "maths/vec.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng rng;

static double *wide_normal(size_t n)
{
    double *x = mem_alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rng_normal(&rng);
    return x;
}

/* ---- rows ---- */

/* Unit rows at random. */
static float *directions(size_t g, size_t d)
{
    float *w = mem_alloc(g * d, sizeof *w);
    for (size_t i = 0; i < g * d; i++)
        w[i] = (float)rng_normal(&rng);
    for (size_t i = 0; i < g; i++)
        vec_normalize(w + i * d, d, 1e-30f);
    return w;
}

static float *orthonormal(size_t d)
{
    float *w = mem_alloc(d * d, sizeof *w);
    double *wide = wide_normal(d * d);
    if (linalg_decorrelate(wide, d, d))
        abort();
    for (size_t i = 0; i < d * d; i++)
        w[i] = (float)wide[i];
    free(wide);
    return w;
}

/* Each of g features active with chance p, its value uniform. */
static float *sparse_rows(const float *w, size_t g, size_t d, size_t n, double p)
{
    float *x = mem_zero(n * d, sizeof *x);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < g; i++)
            if (rng_uniform(&rng) < p)
                vec_axpy(x + r * d, (float)rng_uniform(&rng), w + i * d, d);
    return x;
}

/* Normal rows whose dimensions differ in spread, away from 0, turned at random. */
static float *normal_rows(size_t n, size_t d)
{
    float *turn = orthonormal(d), *x = mem_zero(n * d, sizeof *x);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < d; i++)
            vec_axpy(x + r * d, (float)(3 + rng_normal(&rng) / (double)(1 + i)), turn + i * d, d);
    free(turn);
    return x;
}

/* ---- fitting ---- */

static struct fit_options options_of(const char *kind, size_t d, size_t m)
{
    struct fit_options o = fit_options_usual();
    const struct preset *r = kind_find(kind)->defaults;
    o.kind = kind_find(kind);
    o.d_model = d;
    o.d_sae = m;
    o.l1 = r->l1;
    o.lr = r->lr ? r->lr : o.lr;
    o.center = r->center;
    o.apply_b_dec = r->apply_b_dec;
    o.inner_iterations = r->inner_iterations;
    o.seed = 5;
    return o;
}

/* Begin on all rows, go through them `epochs` times in batches. NULL and a sentence when the kind refuses. */
static struct sae *fit_rows(const struct fit_options *o, const float *x, size_t n, size_t batch, int epochs)
{
    struct fit *f = fit_new(o);
    int bad = fit_begin(f, x, n);
    for (int e = 0; !bad && e < epochs; e++)
        for (size_t from = 0; !bad && from < n; from += batch)
            bad = fit_step(f, x + from * o->d_model, n - from < batch ? n - from : batch);
    struct sae *s = bad ? NULL : fit_export(f);
    fit_free(f);
    return s;
}

/* Sum of |x_hat - x|^2 over sum of |x - mean|^2. */
static double fvu(struct sae *s, const float *x, size_t n)
{
    size_t d = s->d_model;
    struct codes c = { .n = 0 };
    float *x_hat = mem_alloc(n * d, sizeof *x_hat);
    double *mean = mem_zero(d, sizeof *mean), lost = 0, all = 0;
    sae_encode(s, x, n, &c);
    sae_decode(s, &c, x_hat);
    for (size_t i = 0; i < n * d; i++)
        mean[i % d] += x[i] / (double)n;
    for (size_t i = 0; i < n * d; i++) {
        lost += pow((double)x_hat[i] - x[i], 2);
        all += pow(x[i] - mean[i % d], 2);
    }
    codes_free(&c);
    free(x_hat);
    free(mean);
    return lost / all;
}

/* Mean over the true rows of the largest cosine with a decoder row. */
static double mmcs(const float *truth, size_t g, const struct sae *s)
{
    double sum = 0;
    for (size_t i = 0; i < g; i++) {
        double most = -1;
        for (size_t j = 0; j < s->d_sae; j++) {
            const float *row = s->w_dec + j * s->d_model;
            most = fmax(most, vec_dot_wide(truth + i * s->d_model, row, s->d_model) /
                              sqrt(vec_dot_wide(row, row, s->d_model)));
        }
        sum += most / (double)g;
    }
    return sum;
}

static bool unit_rows(const struct sae *s)
{
    for (size_t i = 0; i < s->d_sae; i++) {
        const float *row = s->w_dec + i * s->d_model;
        if (fabs(vec_dot_wide(row, row, s->d_model) - 1) > 1e-5)
            return false;
    }
    return true;
}

/* ---- pca ---- */

/* FVU of the first q components is the share of the other eigenvalues, of all rows, not of the first buffer alone. */
static void check_pca(void)
{
    enum { N = 3000, D = 24 };
    float *x = normal_rows(N, D);
    double count = 0, *mean = mem_zero(D, sizeof *mean), *cov = mem_zero(D * D, sizeof *cov), value[D], all = 0;
    struct moments m = { D, &count, mean, cov };
    linalg_moments_add(&m, x, N);
    ok(!linalg_eigen(cov, D, value), "eigenvalues");
    for (size_t i = 0; i < D; i++)
        all += value[i];
    for (size_t q = 1; q <= D; q += q == 1 ? 4 : 19) {
        double tail = 0;
        for (size_t i = q; i < D; i++)
            tail += value[i];
        struct fit_options o = options_of("pca", D, 2 * q);
        struct fit *f = fit_new(&o);
        struct fit_tally t = fit_tally_new(D, 2 * q);
        ok(!fit_begin(f, x, 100) && !fit_step(f, x, 700) && !fit_step(f, x + 700 * D, N - 700), "pca with %zu", q);
        struct sae *s = fit_export(f);
        ok(s && s->apply_b_dec_to_input && unit_rows(s), "finished");
        is_near(fvu(s, x, N), tail / all, 1e-6, "FVU is the share of the tail");
        fit_measure(f, x, N, &t);
        is_near(fit_tally_report(&t, N).fvu, tail / all, 1e-6, "as measured before it was finished");
        struct sae *again = fit_export(f);
        ok(!memcmp(again->w_dec, s->w_dec, 2 * q * D * sizeof(float)) &&
           !memcmp(again->b_dec, s->b_dec, D * sizeof(float)), "measuring changed nothing");
        sae_free(again);
        sae_free(s);
        fit_tally_free(&t);
        fit_free(f);
    }
    free(x);
    free(mean);
    free(cov);
}

/* With k, the k scores of largest size in each row. */
static void check_pca_k(void)
{
    enum { N = 300, D = 16, K = 3 };
    float *x = normal_rows(N, D);
    struct fit_options o = options_of("pca", D, 2 * D);
    o.k = K;
    struct sae *s = fit_rows(&o, x, N, 64, 1);
    struct codes c = { .n = 0 };
    bool best = true;
    sae_encode(s, x, N, &c);
    for (size_t r = 0; r < N; r++) {
        double least = INFINITY;
        size_t above = 0;
        for (uint32_t p = c.ptr[r]; p < c.ptr[r + 1]; p++)
            least = fmin(least, c.val[p]);
        for (size_t j = 0; j < D; j++) {
            double score = 0;
            for (size_t i = 0; i < D; i++)
                score += (double)s->w_dec[2 * j * D + i] * ((double)x[r * D + i] - s->b_dec[i]);
            above += fabs(score) > least * (1 + 1e-5);
        }
        best &= c.ptr[r + 1] - c.ptr[r] == K && above < K;
    }
    ok(s->k == K && best, "top-k of |score|");
    codes_free(&c);
    sae_free(s);
    free(x);
}

/* ---- ica, rica ---- */

static void check_ica(void)
{
    enum { N = 20000, D = 32 };
    float *truth = orthonormal(D), *x;
    for (size_t i = 0; i < D; i++)                      /* not orthogonal any more: mixing and unmixing rows differ */
        vec_axpy(truth + i * D, 0.3f, truth + (i + 1) % D * D, D);
    x = sparse_rows(truth, D, D, N, 0.05);
    struct fit_options o = options_of("ica", D, 2 * D);
    struct sae *s = fit_rows(&o, x, N, 1000, 1);
    double found = mmcs(truth, D, s);
    for (size_t i = 0; i < D; i++)
        vec_normalize(truth + i * D, D, 1e-30f);
    found = mmcs(truth, D, s);
    ok(found >= 0.999, "ica, 32 of 32: MMCS %.5f", found);
    ok(unit_rows(s) && fvu(s, x, N) < 1e-9, "all components together lose nothing");
    sae_free(s);

    o = options_of("ica", D, 2 * D + 2);
    ok(!fit_rows(&o, x, N, 1000, 0) && err_status() == ERR_USAGE && strstr(err_text(), "from 2 to 64"),
       "more components than dimensions: %s", err_text());
    o = options_of("ica", D, 20);
    ok(!fit_rows(&o, x, 5, 5, 0) && err_status() == ERR_USAGE && strstr(err_text(), "from 2 to 8"),
       "more than five rows span: %s", err_text());
    free(truth);
    free(x);
}

/* mean |W^T W z - z|^2 of exactly white rows is |W^T W - I|^2, and |W W^T - I|^2 - (k - q). */
static void check_rica_identity(size_t k, size_t q, size_t n)
{
    double *z = wide_normal(n * q), *w = wide_normal(k * q), *cov = mem_zero(q * q, sizeof *cov);
    double *value = mem_alloc(q, sizeof *value), *root = mem_alloc(q * q, sizeof *root);
    double *white = mem_alloc(n * q, sizeof *white), *s = mem_alloc(n * k, sizeof *s), *r = mem_alloc(n * q, sizeof *r);
    double *small = mem_alloc(q * q, sizeof *small), *large = mem_alloc(k * k, sizeof *large), a = 0, b = 0;
    linalg_multiply(true, false, q, q, n, 1 / (double)n, z, z, 0, cov);
    ok(!linalg_eigen(cov, q, value) && linalg_power(cov, value, q, -0.5, 1e-12, root) == q, "white rows");
    linalg_multiply(false, false, n, q, q, 1, z, root, 0, white);
    double loss = rica_loss(w, k, q, white, n, 0.7, 0, s, r, NULL, NULL);
    linalg_multiply(true, false, q, q, k, 1, w, w, 0, small);
    linalg_multiply(false, true, k, k, q, 1, w, w, 0, large);
    for (size_t i = 0; i < q * q; i++)
        a += pow(small[i] - (i / q == i % q), 2);
    for (size_t i = 0; i < k * k; i++)
        b += pow(large[i] - (i / k == i % k), 2);
    is_near(loss / (0.7 * a), 1, 1e-10, "rica %zu of %zu: the first term is |W^T W - I|^2", k, q);
    is_near(loss / (0.7 * (b - (double)k + (double)q)), 1, 1e-10, "and |W W^T - I|^2 less k - q");
    free(z);
    free(w);
    free(cov);
    free(value);
    free(root);
    free(white);
    free(s);
    free(r);
    free(small);
    free(large);
}

static void check_rica_gradient(size_t k, size_t q, size_t n)
{
    double *z = wide_normal(n * q), *w = wide_normal(k * q), *g = mem_alloc(k * q, sizeof *g), worst = 0, h = 1e-5;
    double *s = mem_alloc(n * k, sizeof *s), *r = mem_alloc(n * q, sizeof *r), *row = mem_alloc(n, sizeof *row), sum = 0;
    double loss = rica_loss(w, k, q, z, n, 0.3, 1.7, s, r, g, row);
    for (size_t i = 0; i < n; i++)
        sum += row[i] / (double)n;
    is_near(sum, loss, 1e-12 * loss, "rows add up");
    for (size_t i = 0; i < k * q; i++) {
        double at = w[i];
        w[i] = at + h;
        double up = rica_loss(w, k, q, z, n, 0.3, 1.7, s, r, NULL, NULL);
        w[i] = at - h;
        double down = rica_loss(w, k, q, z, n, 0.3, 1.7, s, r, NULL, NULL);
        w[i] = at;
        worst = fmax(worst, fabs((up - down) / (2 * h) - g[i]) / (1 + fabs(g[i])));
    }
    is_near(worst, 0, 1e-7, "rica %zu of %zu: gradient", k, q);
    free(z);
    free(w);
    free(g);
    free(s);
    free(r);
    free(row);
}

static void check_rica(void)
{
    enum { N = 20000, D = 32 };
    float *truth = orthonormal(D), *x = sparse_rows(truth, D, D, N, 0.05);
    struct fit_options o = options_of("rica", D, 2 * D);
    struct fit *f = fit_new(&o);
    struct fit_tally t = fit_tally_new(D, 2 * D);
    ok(!fit_begin(f, x, N), "rica");
    for (int step = 0; step < 600; step++)
        if (fit_step(f, x + (size_t)(step % 20) * 1000 * D, 1000))
            abort();
    struct sae *s = fit_export(f);
    double found = mmcs(truth, D, s), lost = fvu(s, x, N);
    ok(found >= 0.999, "rica, 32 of 32: MMCS %.5f", found);
    fit_measure(f, x, N, &t);
    is_near(fit_tally_report(&t, N).fvu, lost, 1e-5, "FVU %.4f as it was measured while fitting", lost);
    ok(unit_rows(s), "unit rows");
    sae_free(s);
    fit_free(f);
    fit_tally_free(&t);
    free(truth);
    free(x);
}

/* ---- the others ---- */

static void check_nmf(void)
{
    enum { N = 4000, D = 20, G = 10 };
    float *truth = directions(G, D), *x;
    for (size_t i = 0; i < G * D; i++)
        truth[i] = i % D == i / D || i % D >= G ? fabsf(truth[i]) : 0;      /* each has a dimension to itself */
    for (size_t i = 0; i < G; i++)
        vec_normalize(truth + i * D, D, 1e-30f);
    x = sparse_rows(truth, G, D, N, 0.3);
    for (size_t i = 0; i < N * D; i++)
        x[i] -= 2;
    struct fit_options o = options_of("nmf", D, G);
    struct sae *s = fit_rows(&o, x, N, 1000, 1);
    bool positive = true;
    for (size_t i = 0; i < G * D; i++)
        positive &= s->w_dec[i] >= 0;
    double found = mmcs(truth, G, s), line = fvu(s, x, N);
    ok(positive && unit_rows(s), "nmf: non-negative unit rows");
    ok(found >= 0.98, "MMCS %.4f", found);
    struct fista how = { 0, false, 2000, 1e-4 };
    struct codes c = { .n = 0 };
    float *x_hat = mem_alloc(N * D, sizeof *x_hat);
    double lost = 0, all = 0;
    sae_encode_fista(s, &how, x, N, &c);
    sae_decode(s, &c, x_hat);
    for (size_t i = 0; i < N * D; i++) {
        lost += pow((double)x[i] - x_hat[i], 2);
        all += pow((double)x[i] + 2, 2);
    }
    ok(lost / all < 0.003 && line < 0.03, "left by the exact codes %.5f, by the encoder %.5f", lost / all, line);
    codes_free(&c);
    free(x_hat);
    sae_free(s);
    free(truth);
    free(x);
}

static void check_plain(void)
{
    enum { N = 200, D = 30, M = 90 };
    float *x = normal_rows(N, D), *x_hat = mem_alloc(N * D, sizeof *x_hat);
    struct codes c = { .n = 0 };
    struct fit_options o = options_of("identity", D, 2 * D);
    struct sae *s = fit_rows(&o, x, N, 64, 1);
    sae_encode(s, x, N, &c);
    sae_decode(s, &c, x_hat);
    ok(!memcmp(x, x_hat, N * D * sizeof *x), "identity: x_hat is x, bit for bit");
    sae_free(s);
    o.d_sae = D;
    ok(!fit_rows(&o, x, N, 64, 0) && err_status() == ERR_USAGE, "another size is refused: %s", err_text());

    o = options_of("random", D, M);
    s = fit_rows(&o, x, N, 64, 1);
    double frame = 0;
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < M; j++)
            frame += pow(vec_dot_wide(s->w_dec + i * D, s->w_dec + j * D, D), 2);
    ok(unit_rows(s) && !memcmp(s->w_enc, s->w_dec, M * D * sizeof(float)), "random: unit rows, encoder the same");
    ok(frame >= (double)M * M / D && frame < 1.2 * ((double)M * M / D + M), "frame potential %.1f, at least %.1f", frame,
       (double)M * M / D);
    sae_free(s);
    codes_free(&c);
    free(x);
    free(x_hat);
}

/* A pair of directions with ties and near ties: top-k is exact whatever the screen let through. */
static void check_topk_hooks(void)
{
    enum { N = 150, D = 40, M = 300 };
    struct sae *s = sae_new(kind_find("random"), D, M);
    float *w = directions(M, D), *x = normal_rows(N, D);
    struct codes c = { .n = 0 };
    uint32_t idx[M];
    float val[M];
    for (size_t i = 1; i < M; i += 3)
        memcpy(w + i * D, w + (i - 1) * D, D * sizeof *w);
    memcpy(s->w_enc, w, M * D * sizeof *w);
    for (size_t i = 0; i < M; i++)
        s->b_enc[i] = (float)rng_normal(&rng) * 100;
    for (s->k = 0; s->k <= M; s->k += s->k < 3 ? 1 : 99) {
        bool same = true;
        sae_encode(s, x, N, &c);
        for (size_t r = 0; r < N; r++) {
            size_t n = 0, kept = 0;
            uint32_t n_c = c.ptr[r + 1] - c.ptr[r];
            for (size_t i = 0; i < M; i++) {
                float pi = vec_dot(w + i * D, x + r * D, D) + s->b_enc[i];
                if (pi > 0) {
                    idx[n] = (uint32_t)i;
                    val[n++] = pi;
                }
            }
            for (size_t i = 0; i < n; i++) {
                size_t better = 0;
                for (size_t j = 0; j < n; j++)
                    better += val[j] > val[i] || (val[j] == val[i] && j < i);
                if (s->k && better >= s->k)
                    continue;
                same &= kept < n_c && c.idx[c.ptr[r] + kept] == idx[i] && c.val[c.ptr[r] + kept] == val[i];
                kept++;
            }
            same &= kept == n_c;
        }
        ok(same, "the %zu largest of %d", s->k, M);
    }
    codes_free(&c);
    sae_free(s);
    free(w);
    free(x);
}

/* ---- fista ---- */

static void check_fista(void)
{
    enum { N = 12800, D = 32, G = 48, M = 64 };
    float *truth = directions(G, D), *x = sparse_rows(truth, G, D, N, 0.03);
    struct fit_options o = options_of("fista", D, M);
    o.l1 = 0.1;
    o.center = FIT_CENTER_ZERO;
    o.lr = 1e-2;
    struct sae *s = fit_rows(&o, x, N, 256, 8);
    double found = mmcs(truth, G, s), lost = fvu(s, x, N);
    ok(!s->w_enc && unit_rows(s) && s->l1 == 0.1, "fista: no encoder, unit rows, lambda is kept");
    ok(found >= 0.99 && lost < 0.05, "MMCS %.4f, FVU %.4f", found, lost);
    sae_free(s);
    free(truth);
    free(x);
}

/* The gradient at converged codes is that of the lowest loss there is. */
static void check_fista_gradient(void)
{
    enum { N = 40, D = 8, M = 12 };
    float *truth = directions(M, D), *x = sparse_rows(truth, M, D, N, 0.3), *g[SAE_TENSORS] = { NULL };
    struct fit_options o = options_of("fista", D, M);
    o.l1 = 0.2;
    o.inner_iterations = 4000;
    o.center = FIT_CENTER_MEAN;
    struct fit *f = fit_new(&o);
    ok(!fit_begin(f, x, N), "fista begins");
    g[SAE_W_DEC] = mem_alloc(M * D, sizeof(float));
    g[SAE_B_DEC] = mem_alloc(D, sizeof(float));
    float *dummy[SAE_TENSORS];
    memcpy(dummy, g, sizeof g);
    dummy[SAE_W_DEC] = mem_alloc(M * D, sizeof(float));
    dummy[SAE_B_DEC] = mem_alloc(D, sizeof(float));
    fit_gradient(f, x, N, g);
    double miss = 0, size = 0;
    for (size_t i = 0; i < M * D + D; i++) {
        float *p = i < M * D ? &f->param[SAE_W_DEC].p[i] : &f->param[SAE_B_DEC].p[i - M * D], at = *p, h = 4e-3f;
        *p = at + h;
        double up = fit_gradient(f, x, N, dummy);
        float high = *p;
        *p = at - h;
        double down = fit_gradient(f, x, N, dummy), slope = (up - down) / ((double)high - *p);
        *p = at;
        double want = i < M * D ? 0 : slope, got = i < M * D ? 0 : g[SAE_B_DEC][i - M * D];
        if (i < M * D) {                /* in the plane of the unit sphere: take off what lies along the row */
            size_t row = i / D;
            double along = 0;
            const float *u = f->param[SAE_W_DEC].p + row * D;
            static double free_slope[M * D];
            free_slope[i] = slope;
            if (i % D != D - 1)
                continue;
            for (size_t j = 0; j < D; j++)
                along += free_slope[row * D + j] * u[j];
            for (size_t j = 0; j < D; j++) {
                double w = free_slope[row * D + j] - along * u[j];
                miss += pow(w - g[SAE_W_DEC][row * D + j], 2);
                size += w * w;
            }
            continue;
        }
        miss += pow(want - got, 2);
        size += want * want;
    }
    ok(sqrt(miss / size) < 2e-3, "gradient of the lowest loss, relative difference %.2g", sqrt(miss / size));
    for (int t = 0; t < 2; t++) {
        enum sae_tensor which = t ? SAE_B_DEC : SAE_W_DEC;
        free(g[which]);
        free(dummy[which]);
    }
    fit_free(f);
    free(truth);
    free(x);
}

/* ---- what every one of them must answer ---- */

/* Threads, seeds, few rows, rows of zeros, one feature. */
static void check_edges(const char *kind, size_t m, size_t odd)
{
    enum { N = 600, D = 10 };
    float *x = normal_rows(N, D), *zero = mem_zero(N * D, sizeof *zero);
    struct fit_options o = options_of(kind, D, m);
    struct sae *a = fit_rows(&o, x, N, 256, 2), *b = fit_rows(&o, x, N, 256, 2);
    ok(a && b && !memcmp(a->w_dec, b->w_dec, m * D * sizeof(float)) &&
       (!a->w_enc || !memcmp(a->w_enc, b->w_enc, m * D * sizeof(float))), "%s: the same again", kind);
    sae_free(a);
    sae_free(b);
    a = fit_rows(&o, x, 7, 256, 1);
    ok(a ? a->d_sae == m : err_status() == ERR_USAGE, "seven rows: %s", a ? "fitted" : err_text());
    sae_free(a);
    a = fit_rows(&o, zero, N, 256, 1);
    ok(a ? vec_first_nonfinite(a->w_dec, m * D) < 0 : *err_text() != 0, "rows of zeros: %s", a ? "fitted" : err_text());
    sae_free(a);
    o.d_sae = 1;
    a = fit_rows(&o, x, N, 256, 1);
    ok(odd ? a && a->d_sae == 1 : !a && err_status() == ERR_USAGE, "one feature: %s", a ? "fitted" : err_text());
    sae_free(a);
    free(x);
    free(zero);
}

int main(void)
{
    blas_start();
    par_start(2);
    rng_seed(&rng, 3, 0);
    check_pca();
    check_pca_k();
    check_ica();
    check_rica_identity(8, 8, 200);
    check_rica_identity(5, 9, 200);
    check_rica_identity(40, 16, 500);
    check_rica_gradient(6, 4, 30);
    check_rica_gradient(3, 7, 30);
    check_rica();
    check_nmf();
    check_plain();
    check_topk_hooks();
    check_fista();
    check_fista_gradient();
    check_edges("pca", 20, 0);
    check_edges("ica", 20, 0);
    check_edges("rica", 40, 0);
    check_edges("nmf", 15, 1);
    check_edges("random", 15, 1);
    check_edges("identity", 20, 0);
    check_edges("fista", 15, 1);
    return done_testing();
}
