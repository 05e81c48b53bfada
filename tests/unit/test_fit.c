/* Fitting: gradients against central differences of a loss in double, the sparse step against a dense one, threads, the
 * scale and its folding, what is measured, what ends a fit, and a problem whose answer is known. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "fit/fit.h"
#include "fit/resample.h"
#include "fit/state.h"
#include "kinds/kinds.h"
#include "maths/blas.h"
#include "maths/optim.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the plain form: parameters in double, every product dense ---- */

struct plain {
    bool tied, apply;
    size_t d, m;
    double l1, *w[4], *mom[4], *var[4];         /* W_enc, b_enc, W_dec, b_dec as enum sae_tensor has them */
};

static size_t plain_items(const struct plain *p, size_t t)
{
    return (size_t[]){ p->m * p->d, p->m, p->m * p->d, p->d }[t];
}

static struct plain plain_of(const struct fit *f, bool tied)
{
    struct plain p = { .tied = tied, .apply = f->o.apply_b_dec, .d = f->o.d_model, .m = f->o.d_sae, .l1 = f->o.l1 };
    for (size_t t = 0; t < 4; t++) {
        size_t n = plain_items(&p, t);
        p.w[t] = mem_zero(n, sizeof(double));
        p.mom[t] = mem_zero(n, sizeof(double));
        p.var[t] = mem_zero(n, sizeof(double));
        for (size_t i = 0; i < n && f->param[t].p; i++)
            p.w[t][i] = f->param[t].p[i];
    }
    return p;
}

static void plain_free(struct plain *p)
{
    for (size_t t = 0; t < 4; t++) {
        free(p->w[t]);
        free(p->mom[t]);
        free(p->var[t]);
    }
}

static double norm_of(const double *w, size_t d)
{
    double square = 0;
    for (size_t j = 0; j < d; j++)
        square += w[j] * w[j];
    return sqrt(square);
}

/* Decoder rows at unit norm, and the encoder rows: the same when tied. */
static void plain_rows(const struct plain *p, double *dec, double *enc)
{
    const double *from = p->tied ? p->w[0] : p->w[2];
    for (size_t i = 0; i < p->m; i++) {
        double norm = norm_of(from + i * p->d, p->d);
        for (size_t j = 0; j < p->d; j++)
            dec[i * p->d + j] = from[i * p->d + j] / norm;
    }
    memcpy(enc, p->tied ? dec : p->w[0], p->m * p->d * sizeof *enc);
}

/* L of rows x (n,d); with grad (in the unit rows, not the parameters) unless NULL. */
static double plain_loss(const struct plain *p, const float *x, size_t n, double *const grad[4])
{
    size_t d = p->d, m = p->m;
    double *dec = mem_alloc(m * d, sizeof *dec), *enc = mem_alloc(m * d, sizeof *enc), *f = mem_alloc(m, sizeof *f);
    double *r = mem_alloc(d, sizeof *r), *in = mem_alloc(d, sizeof *in), loss = 0;
    plain_rows(p, dec, enc);
    for (size_t t = 0; grad && t < 4; t++)
        memset(grad[t], 0, plain_items(p, t) * sizeof(double));
    for (size_t row = 0; row < n; row++) {
        for (size_t j = 0; j < d; j++) {
            in[j] = x[row * d + j] - (p->apply ? p->w[3][j] : 0);
            r[j] = p->w[3][j] - x[row * d + j];
        }
        for (size_t i = 0; i < m; i++) {
            f[i] = p->w[1][i];
            for (size_t j = 0; j < d; j++)
                f[i] += enc[i * d + j] * in[j];
            f[i] = f[i] > 0 ? f[i] : 0;
            for (size_t j = 0; j < d; j++)
                r[j] += f[i] * dec[i * d + j];
            loss += p->l1 * f[i];
        }
        for (size_t j = 0; j < d; j++)
            loss += r[j] * r[j];
        for (size_t i = 0; grad && i < m; i++) {
            double g = p->l1;
            for (size_t j = 0; j < d; j++)
                g += 2 * dec[i * d + j] * r[j];
            g = f[i] > 0 ? g : 0;
            grad[1][i] += g / (double)n;
            for (size_t j = 0; j < d; j++) {
                grad[0][i * d + j] += g * in[j] / (double)n;
                grad[2][i * d + j] += 2 * f[i] * r[j] / (double)n;
                grad[3][j] -= p->apply ? g * enc[i * d + j] / (double)n : 0;
            }
        }
        for (size_t j = 0; grad && j < d; j++)
            grad[3][j] += 2 * r[j] / (double)n;
    }
    free(dec);
    free(enc);
    free(f);
    free(r);
    free(in);
    return loss / (double)n;
}

/* Take the part along row i of w out of row i of g. */
static void project(double *g, const double *w, size_t d)
{
    double norm = norm_of(w, d), along = 0;
    for (size_t j = 0; j < d; j++)
        along += g[j] * w[j] / norm;
    for (size_t j = 0; j < d; j++)
        g[j] -= along * w[j] / norm;
}

static void plain_step(struct plain *p, const float *x, size_t n, double lr, uint64_t t)
{
    double *grad[4];
    for (size_t k = 0; k < 4; k++)
        grad[k] = mem_alloc(plain_items(p, k), sizeof(double));
    plain_loss(p, x, n, grad);
    for (size_t i = 0; i < p->m; i++) {
        double *ge = grad[0] + i * p->d, *gd = grad[2] + i * p->d, *w = p->w[0] + i * p->d;
        if (!p->tied) {
            project(gd, p->w[2] + i * p->d, p->d);
            continue;
        }
        for (size_t j = 0; j < p->d; j++)
            ge[j] += gd[j];
        project(ge, w, p->d);
        for (size_t j = 0; j < p->d; j++)
            ge[j] /= norm_of(w, p->d);
    }
    for (size_t k = 0; k < (p->tied ? 2u : 4u); k++)
        for (size_t i = 0; i < plain_items(p, k); i++) {
            double g = grad[k][i], *mom = &p->mom[k][i], *var = &p->var[k][i];
            *mom = 0.9 * *mom + 0.1 * g;
            *var = 0.999 * *var + 0.001 * g * g;
            p->w[k][i] -= lr * (*mom / (1 - pow(0.9, (double)t))) / (sqrt(*var / (1 - pow(0.999, (double)t))) + 1e-8);
        }
    for (size_t i = 0; !p->tied && i < p->m; i++) {
        double norm = norm_of(p->w[2] + i * p->d, p->d);
        for (size_t j = 0; j < p->d; j++)
            p->w[2][i * p->d + j] /= norm;
    }
    for (size_t k = 0; k < 4; k++)
        free(grad[k]);
}

/* ---- material ---- */

/* Sparse non-negative sums of a few random directions, off the origin. */
static float *rows_of(uint64_t seed, size_t n, size_t d)
{
    enum { G = 24 };
    struct rng r;
    float *x = mem_alloc(n * d, sizeof *x), *dir = mem_alloc(G * d, sizeof *dir);
    rng_seed(&r, seed, 0);
    for (size_t i = 0; i < G * d; i++)
        dir[i] = (float)(rng_normal(&r) / sqrt((double)d));
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < d; j++)
            x[i * d + j] = 0.2f + 0.02f * (float)rng_normal(&r);
        for (size_t g = 0; g < G; g++) {
            float a = rng_uniform(&r) < 0.15 ? (float)rng_uniform(&r) : 0;
            for (size_t j = 0; j < d; j++)
                x[i * d + j] += a * dir[g * d + j];
        }
    }
    free(dir);
    return x;
}

static struct fit_options options(const char *kind, bool apply, size_t d, size_t m)
{
    struct fit_options o = fit_options_usual();
    o.kind = kind_find(kind);
    o.d_model = d;
    o.d_sae = m;
    o.l1 = 0.05;
    o.lr = 1e-2;
    o.center = FIT_CENTER_MEDIAN;
    o.apply_b_dec = apply;
    o.dead_window = 1000;
    o.seed = 7;
    return o;
}

/* fit_begin(), for kinds that cannot refuse. */
static void begin(struct fit *f, const float *x, size_t n)
{
    if (fit_begin(f, x, n))
        ok(0, "begin: %s", err_text());
}

/* A fit some steps from its beginning, biases moved. */
static struct fit *warm_fit(const struct fit_options *o, const float *x, size_t n)
{
    struct fit *f = fit_new(o);
    begin(f, x, n);
    for (int i = 0; i < 5; i++)
        if (fit_step(f, x, n))
            return NULL;
    return f;
}

/* ---- tests ---- */

static void check_gradient(const char *kind, bool apply, bool away)
{
    enum { N = 37, D = 11, M = 23 };
    struct fit_options o = options(kind, apply, D, M);
    float *x = rows_of(1, N, D), *got[SAE_TENSORS] = { NULL };
    struct fit *f = warm_fit(&o, x, N);
    bool tied = !strcmp(kind, "tied");
    for (size_t i = 0; i < M * D && tied && away; i++)     /* norms far from 1: the norm is part of the function */
        f->param[SAE_W_ENC].p[i] *= i / D % 2 ? 3.0f : 0.3f;
    for (size_t i = 0; i < M; i++)
        o.kind->constrain(f, i);
    for (size_t t = 0; t < 4; t++)
        if (f->param[t].p)
            got[t] = mem_zero(f->param[t].rows * f->param[t].width, sizeof(float));
    struct plain p = plain_of(f, tied);
    double loss = fit_gradient(f, x, N, got), want = plain_loss(&p, x, N, NULL);
    is_near(loss, want, 1e-5 * want, "%s, apply_b_dec %d: the loss itself", kind, apply);
    for (size_t t = 0; t < 4; t++) {
        double worst = 0, most = 0;
        if (!got[t])
            continue;
        for (int pass = 0; pass < 2; pass++)
            for (size_t i = 0; i < plain_items(&p, t); i++) {
                double keep = p.w[t][i], h = 1e-6;
                p.w[t][i] = keep + h;
                double up = plain_loss(&p, x, N, NULL);
                p.w[t][i] = keep - h;
                double slope = (up - plain_loss(&p, x, N, NULL)) / (2 * h);
                p.w[t][i] = keep;
                if (pass)
                    worst = fmax(worst, fabs(got[t][i] - slope) / fmax(fabs(slope), 0.02 * most));
                else
                    most = fmax(most, fabs(slope));
            }
        ok(most > 1e-4, "%s has a gradient", sae_tensors[t].name);
        is_near(worst, 0, 1e-4, "%s, apply_b_dec %d, away %d: d L / d %s", kind, apply, away, sae_tensors[t].name);
        free(got[t]);
    }
    plain_free(&p);
    fit_free(f);
    free(x);
}

/* Few enough activations that none lies so near to 0 that rounding decides whether it fires. */
static void check_dense(const char *kind, bool apply)
{
    enum { N = 24, D = 10, M = 14, STEPS = 100 };
    struct fit_options o = options(kind, apply, D, M);
    o.lr = 1e-3;
    float *x = rows_of(2, N * STEPS, D);
    struct fit *f = fit_new(&o);
    bool tied = !strcmp(kind, "tied");
    begin(f, x, N);
    struct plain p = plain_of(f, tied);
    int failed = 0;
    double start = plain_loss(&p, x, N, NULL);
    for (uint64_t t = 1; t <= STEPS; t++) {
        failed |= fit_step(f, x + (t - 1) * N * D, N);
        plain_step(&p, x + (t - 1) * N * D, N, o.lr, t);
    }
    ok(!failed && f->step == STEPS && plain_loss(&p, x, N, NULL) < 0.9 * start, "%s: %d steps, the loss falls", kind,
       STEPS);
    for (size_t t = 0; t < 4; t++) {
        double worst = 0, most = 0;
        for (size_t i = 0; i < plain_items(&p, t) && f->param[t].p; i++) {
            worst = fmax(worst, fabs(f->param[t].p[i] - p.w[t][i]));
            most = fmax(most, fabs(p.w[t][i]));
        }
        if (f->param[t].p)
            is_near(worst / most, 0, 1e-5, "%s, apply_b_dec %d: sparse step = dense step, %s", kind, apply,
                    sae_tensors[t].name);
    }
    plain_free(&p);
    fit_free(f);
    free(x);
}

/* All parameters after some steps with `threads` threads, in a process of its own: 0, or -1. */
static int run_threads(const char *kind, int threads, float *out, size_t items)
{
    enum { N = 300, D = 20, M = 77 };
    int way[2];
    if (pipe(way))
        return -1;
    pid_t child = fork();
    if (child == 0) {
        struct fit_options o = options(kind, true, D, M);
        o.rms = true;
        par_start(threads);
        float *x = rows_of(3, N, D);
        struct fit *f = warm_fit(&o, x, N);
        for (size_t t = 0; f && t < SAE_TENSORS; t++)
            for (size_t i = 0; f->param[t].p && i < f->param[t].rows * f->param[t].width; i++)
                if (write(way[1], &f->param[t].p[i], sizeof(float)) != sizeof(float))
                    _exit(1);
        _exit(!f || par_threads() != threads);
    }
    close(way[1]);
    size_t got = 0;
    for (ssize_t n; got < items * sizeof *out && (n = read(way[0], (char *)out + got, items * sizeof *out - got)) > 0;)
        got += (size_t)n;
    close(way[0]);
    int status;
    waitpid(child, &status, 0);
    return status == 0 && got == items * sizeof *out ? 0 : -1;
}

static void check_threads(const char *kind, size_t items)
{
    float *one = mem_zero(items, sizeof *one), *more = mem_zero(items, sizeof *more);
    ok(run_threads(kind, 1, one, items) == 0, "%s: one thread", kind);
    for (int threads = 2; threads <= 3; threads++) {
        memset(more, 0, items * sizeof *more);
        ok(run_threads(kind, threads, more, items) == 0 && !memcmp(one, more, items * sizeof *one),
           "%s: %d threads, the same bytes", kind, threads);
    }
    free(one);
    free(more);
}

/* The dictionary of raw rows gives s times the reconstruction and 1/s the codes of the fit of scaled rows. */
static void check_scale(const char *kind)
{
    enum { N = 60, D = 12, M = 30 };
    struct fit_options o = options(kind, true, D, M);
    float *x = rows_of(4, N, D), *x_hat = mem_alloc(N * D, sizeof *x_hat);
    struct codes c = { .n = 0 };
    double square = 0, error = 0;
    for (size_t i = 0; i < N * D; i++)
        x[i] *= 40;
    o.rms = true;
    struct fit *f = warm_fit(&o, x, N);
    for (size_t i = 0; i < N * D; i++)
        square += (double)x[i] * x[i] * f->scale * f->scale;
    is_near(square / N, D, 1e-4, "%s: E|s x|^2 = d_model", kind);
    struct fit_tally t = fit_tally_new(D, M);
    fit_measure(f, x, N, &t);
    struct fit_report r = fit_tally_report(&t, N);
    struct sae *s = fit_export(f);
    sae_encode(s, x, N, &c);
    sae_decode(s, &c, x_hat);
    for (size_t i = 0; i < N * D; i++)
        error += pow(x_hat[i] - x[i], 2);
    is_near(s->activation_scale, f->scale, 0, "%s: the scale is recorded", kind);
    is_near(error * f->scale * f->scale / (N * D), r.mse, 1e-4 * r.mse,
            "%s: the folded dictionary errs as the fit did", kind);
    is_near((double)c.ptr[N] / N, r.l0, 0.05, "%s: and fires as often", kind);
    double most = 0;
    for (size_t i = 0; i < M; i++) {
        double norm = 0;
        for (size_t j = 0; j < D; j++)
            norm += pow(s->w_dec[i * D + j], 2);
        most = fmax(most, fabs(sqrt(norm) - 1));
    }
    is_near(most, 0, 1e-5, "%s: unit decoder rows", kind);
    codes_free(&c);
    sae_free(s);
    fit_tally_free(&t);
    fit_free(f);
    free(x);
    free(x_hat);
}

static void check_measure(void)
{
    enum { N = 50, D = 8, M = 20 };
    struct fit_options o = options("relu", true, D, M);
    float *x = rows_of(5, N, D), *x_hat = mem_alloc(N * D, sizeof *x_hat);
    struct fit *f = warm_fit(&o, x, N);
    f->param[SAE_B_ENC].p[3] = f->param[SAE_B_ENC].p[9] = -100;     /* two that cannot fire */
    struct sae *s = fit_export(f);
    struct codes c = { .n = 0 };
    double error = 0, l1 = 0, about = 0, mean[D] = { 0 };
    size_t silent = 0;
    bool fires[M] = { false };
    sae_encode(s, x, N, &c);
    sae_decode(s, &c, x_hat);
    for (size_t i = 0; i < N * D; i++) {
        error += pow(x_hat[i] - x[i], 2);
        mean[i % D] += x[i] / N;
    }
    for (size_t i = 0; i < N * D; i++)
        about += pow(x[i] - mean[i % D], 2);
    for (size_t p = 0; p < c.ptr[N]; p++) {
        l1 += c.val[p];
        fires[c.idx[p]] = true;
    }
    for (size_t i = 0; i < M; i++)
        silent += !fires[i];
    struct fit_tally t = fit_tally_new(D, M);
    uint64_t step = f->step;
    float first = f->param[SAE_W_ENC].p[0];
    fit_measure(f, x, 20, &t);
    fit_measure(f, x + 20 * D, N - 20, &t);
    struct fit_report r = fit_tally_report(&t, N);
    is_near(r.loss, (error + o.l1 * l1) / N, 1e-5 * r.loss, "loss");
    is_near(r.mse, error / N / D, 1e-5 * r.mse, "mse");
    is_near(r.fvu, error / about, 1e-4 * r.fvu, "fvu");
    is_near(r.l0, (double)c.ptr[N] / N, 0.05, "l0");
    ok(r.dead == silent && silent >= 2 && r.rows == N, "dead: %zu never fired", silent);
    ok(f->step == step && f->param[SAE_W_ENC].p[0] == first, "measuring changes nothing");
    ok(fit_tally_report(&t, N + 1).dead == 0, "fewer rows than the window: nothing is dead yet");
    fit_tally_reset(&t);
    ok(fit_tally_report(&t, N).rows == 0 && fit_tally_report(&t, N).dead == silent, "a reset keeps who fired");
    fit_tally_free(&t);
    codes_free(&c);
    sae_free(s);
    fit_free(f);
    free(x);
    free(x_hat);
}

/* Two features, each the other's axis; the second fires in row 2 of 5 alone. */
static void check_window(void)
{
    struct fit_options o = options("relu", false, 2, 2);
    float x[10] = { 1, 0, 1, 0, 1, 1, 1, 0, 1, 0 }, rows[4] = { 1, 0, 0, 1 };
    struct fit *f = fit_new(&o);
    begin(f, x, 5);
    memset(f->param[SAE_B_DEC].p, 0, 2 * sizeof(float));
    memcpy(f->param[SAE_W_ENC].p, rows, sizeof rows);
    memcpy(f->param[SAE_W_DEC].p, rows, sizeof rows);
    struct fit_tally t = fit_tally_new(2, 2);
    fit_measure(f, x, 5, &t);
    ok(fit_tally_report(&t, 2).dead == 1, "silent for two rows: dead in a window of 2");
    ok(fit_tally_report(&t, 3).dead == 0, "and not in one of 3");
    ok(fit_tally_report(&t, 1).dead == 1, "one that fired in the last row is never dead");
    fit_tally_free(&t);
    fit_free(f);
}

static void check_schedules(void)
{
    enum { N = 30, D = 8, M = 16 };
    struct fit_options o = options("relu", true, D, M);
    o.warmup = 4;
    o.decay = 0.5;
    o.steps = 8;
    o.l1_warmup = 2;
    float *x = rows_of(6, N, D);
    struct fit *f = fit_new(&o);
    begin(f, x, N);
    is_near(fit_rate(f, f->step), o.lr / 4, 1e-12, "the rate begins low");
    ok(fit_step(f, x, N) == 0, "a step");
    is_near(f->l1, o.l1 / 2, 1e-12, "and so does lambda");
    for (int i = 0; i < 6; i++)
        ok(fit_step(f, x, N) == 0, "a step");
    is_near(f->l1, o.l1, 1e-12, "full lambda");
    is_near(fit_rate(f, f->step), o.lr / 4, 1e-12, "the rate ends low");
    f->o.cosine = true;
    is_near(fit_rate(f, f->step), o.lr * (1 - cos(3.14159265358979 / 4)) / 2, 1e-12, "or along a cosine");
    f->o.cosine = false;
    fit_free(f);
    free(x);
}

static void check_center(void)
{
    enum { N = 90, D = 8, M = 16 };
    struct fit_options o = options("relu", true, D, M);
    float *x = rows_of(8, N, D), want[D];
    for (enum fit_center c = FIT_CENTER_ZERO; c <= FIT_CENTER_MEDIAN; c++) {
        o.center = c;
        struct fit *f = fit_new(&o);
        begin(f, x, N);
        memset(want, 0, sizeof want);
        if (c)
            (c == FIT_CENTER_MEAN ? stats_mean : stats_geometric_median)(x, N, D, want);
        ok(!memcmp(f->param[SAE_B_DEC].p, want, sizeof want), "b_dec begins at centre %d", (int)c);
        fit_free(f);
    }
    free(x);
}

static void check_ends(void)
{
    enum { N = 30, D = 8, M = 16 };
    struct fit_options o = options("relu", true, D, M);
    float *x = rows_of(9, N, D);
    struct fit *f = fit_new(&o);
    begin(f, x, N);
    float first = f->param[SAE_W_ENC].p[0];
    x[5] = NAN;
    ok(fit_step(f, x, N) == -1 && strstr(err_text(), "not finite"), "rows that are not finite: %s", err_text());
    ok(f->param[SAE_W_ENC].p[0] == first && f->step == 0, "and nothing is updated");
    fit_free(f);
    x[5] = 0;
    o.lr = 1e4;
    f = fit_new(&o);
    begin(f, x, N);
    int bad = 0;
    for (int i = 0; i < 50 && !bad; i++)
        bad = fit_step(f, x, N);
    ok(bad && strstr(err_text(), "lower --lr"), "an absurd rate: %s", err_text());
    f->param[SAE_B_DEC].p[0] = INFINITY;
    ok(!fit_export(f) && strstr(err_text(), "b_dec"), "no dictionary of infinities: %s", err_text());
    fit_free(f);
    free(x);
}

/* Orthonormal truth, each of 32 features on with probability 0.05 and uniform size, lambda 0.2: the best tied
 * dictionary has f = relu(a - 0.1), so gamma, FVU and biases are known. */
static void check_known(void)
{
    enum { D = 32, B = 512, STEPS = 1500 };
    struct fit_options o = options("tied", false, D, D);
    o.l1 = 0.2;
    o.lr = 3e-3;
    o.decay = 0.2;
    o.steps = STEPS;
    struct rng r;
    struct fit *f = fit_new(&o);
    float *x = mem_alloc(B * D, sizeof *x);
    rng_seed(&r, 11, 0);
    for (int step = 0; step < STEPS + 40; step++) {
        for (size_t i = 0; i < B * D; i++)
            x[i] = rng_uniform(&r) < 0.05 ? (float)rng_uniform(&r) : 0;
        if (!step)
            begin(f, x, B);
        if (step == STEPS)
            fit_tally_reset(&f->tally);
        if (step < STEPS && fit_step(f, x, B))
            break;
        if (step >= STEPS)
            fit_measure(f, x, B, &f->tally);
    }
    struct fit_report got = fit_tally_report(&f->tally, 10000);
    is_near(got.fvu, 0.0291, 0.003, "known truth: FVU");
    is_near(got.l0, 1.44, 0.08, "known truth: L0");
    double least = 1, bias = 0;
    for (size_t i = 0; i < D; i++) {
        double most = 0;
        for (size_t j = 0; j < D; j++)
            most = fmax(most, f->unit[i * D + j]);
        least = fmin(least, most);
        bias += f->param[SAE_B_ENC].p[i] / D;
    }
    ok(least > 0.99, "known truth: every row is one of the directions, least cosine %.4f", least);
    is_near(bias, -0.1, 0.01, "known truth: bias -lambda/2");
    free(x);
    fit_free(f);
}

/* ---- resampling ---- */

static double norm_f(const float *w, size_t d)
{
    double square = 0;
    for (size_t j = 0; j < d; j++)
        square += (double)w[j] * w[j];
    return sqrt(square);
}

/* A fit past its warm-up, in the middle of the watch for its first event; every fourth feature cannot fire. */
static struct fit *planted(const char *kind, struct fit_options *o, const float *x, size_t n)
{
    o->kind = kind_find(kind);
    o->resample_every = 20;
    o->resample_last = 40;
    struct fit *f = fit_new(o);
    begin(f, x, n);
    for (size_t i = 0; i < o->d_sae; i += 4) {
        float *bias = f->param[SAE_B_ENC].p ? f->param[SAE_B_ENC].p : f->param[SAE_B_GATE].p;
        bias[i] = -1000;
    }
    for (int step = 0; step < 20; step++)
        if (fit_step(f, x, n))
            ok(0, "a step: %s", err_text());
    return f;
}

static void check_resample(const char *kind, double size)
{
    enum { N = 64, D = 16, M = 32, BATCHES = 16 };
    struct fit_options o = options(kind, true, D, M);
    o.rms = true;
    o.k = 6;
    float *x = rows_of(12, N * BATCHES, D);
    struct fit *f = planted(kind, &o, x, N);
    bool alive[M];
    double mean = 0, count = 0, worst_dec = 0, worst_enc = 0, other = 0;
    ok(resample_due(f), "%s: an event after step 20", kind);
    for (size_t i = 0; i < M; i++) {
        alive[i] = f->tally.last[i] > f->dead_since;
        mean += alive[i] ? norm_f(f->param[SAE_W_ENC].p + i * D, D) : 0;
        count += alive[i];
    }
    mean /= count;
    struct resampled r = resample_run(f, x, N * BATCHES);
    ok(r.dead == M - (size_t)count && r.n == r.dead && r.dead >= M / 4 && r.rows == N * BATCHES,
       "%s: %zu of %zu dead features resampled", kind, r.n, r.dead);
    for (size_t k = 0; k < r.n; k++) {
        size_t i = r.feature[k];
        const float *row = x + r.row[k] * D, *dec = f->dec + i * D;
        ok(!alive[i], "%s: feature %zu was dead", kind, i);
        for (size_t j = 0; j < D; j++)
            worst_dec = fmax(worst_dec, fabs(dec[j] - row[j] / norm_f(row, D)));
        worst_enc = fmax(worst_enc, fabs(norm_f(f->param[SAE_W_ENC].p + i * D, D) / (size * mean) - 1));
        for (size_t j = 0; j < D; j++)
            worst_enc = fmax(worst_enc, fabs(f->param[SAE_W_ENC].p[i * D + j] / (size * mean) - dec[j]));
        for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
            const struct fit_param *p = &f->param[t];
            for (size_t j = 0; p->p && sae_tensors[t].per_feature && j < p->width; j++)
                other += fabsf(p->m[i * p->width + j]) + fabsf(p->v[i * p->width + j]);
            if (p->p && sae_tensors[t].per_feature && p->width == 1)
                other += fabsf(p->p[i]);
        }
    }
    is_near(worst_dec, 0, 1e-6, "%s: d_i = x / |x|, in the weights", kind);
    is_near(worst_enc, 0, 1e-6, "%s: e_i along it, %g of the mean norm of those alive", kind, size);
    is_near(other, 0, 0, "%s: biases and moments are 0", kind);
    size_t silent = 0;
    uint64_t at = f->tally.seen;
    for (int step = 0; step < 1000; step++)
        if (fit_step(f, x + (size_t)(step % BATCHES) * N * D, N))
            ok(0, "a step: %s", err_text());
    for (size_t k = 0; k < r.n; k++)
        silent += f->tally.last[r.feature[k]] <= at;
    ok(silent == 0, "%s: all of them fire within 1000 steps, but for %zu", kind, silent);
    resample_free(&r);
    fit_free(f);
    free(x);
}

/* chi^2 of counts against shares. */
static double chi_square(const size_t *count, const double *share, size_t n, size_t draws)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        double want = share[i] * (double)draws;
        sum += ((double)count[i] - want) * ((double)count[i] - want) / want;
    }
    return sum;
}

/* The first and the second row drawn in each of many events, two features being dead. */
static void check_draws(void)
{
    enum { N = 20, D = 6, M = 8, EVENTS = 100000 };
    struct fit_options o = options("relu", true, D, M);
    float *x = rows_of(13, N, D);
    struct fit *f = planted("relu", &o, x, N);
    size_t first[N] = { 0 }, second[N] = { 0 }, odd = 0;
    double loss[N], p[N], q[N] = { 0 }, plain[N], squares = 0, losses = 0;
    struct fit_tally t = fit_tally_new(D, M);
    fit_measure(f, x, N, &t);
    for (size_t i = 0; i < N; i++) {
        loss[i] = f->loss[i];
        losses += loss[i];
        squares += loss[i] * loss[i];
    }
    struct fit_param *enc = &f->param[SAE_W_ENC], *dec = &f->param[SAE_W_DEC];
    float keep_enc[M * D], keep_dec[M * D];
    memcpy(keep_enc, enc->p, sizeof keep_enc);
    memcpy(keep_dec, dec->p, sizeof keep_dec);
    for (size_t e = 0; e < EVENTS; e++) {
        struct resampled r = resample_run(f, x, N);
        if (r.n < 2 || r.row[0] == r.row[1])
            odd++;
        first[r.row[0]]++;
        second[r.row[1]]++;
        for (size_t k = 0; k < r.n; k++)
            f->param[SAE_B_ENC].p[r.feature[k]] = -1000;        /* dead again */
        memcpy(enc->p, keep_enc, sizeof keep_enc);
        memcpy(dec->p, keep_dec, sizeof keep_dec);
        resample_free(&r);
    }
    for (size_t i = 0; i < N; i++) {
        p[i] = loss[i] * loss[i] / squares;
        plain[i] = loss[i] / losses;
    }
    for (size_t i = 0; i < N; i++)
        for (size_t j = 0; j < N; j++)
            q[j] += i == j ? 0 : p[i] * p[j] / (1 - p[i]);
    double limit = 36.19;               /* of chi^2 with 19 degrees of freedom, p = .01 */
    double one = chi_square(first, p, N, EVENTS), two = chi_square(second, q, N, EVENTS);
    ok(odd == 0, "no row is drawn twice in an event");
    ok(one < limit, "the first row drawn: p ~ loss^2, chi^2 %.1f", one);
    ok(two < limit, "the second: the same without the first, chi^2 %.1f", two);
    ok(chi_square(first, plain, N, EVENTS) > 10 * limit, "p ~ loss would be seen");
    fit_tally_free(&t);
    fit_free(f);
    free(x);
}

/* What counts is the half before the event: feature 0 fires before it only, feature 1 within it only. */
static void check_watch(void)
{
    struct fit_options o = options("relu", false, 2, 2);
    float early[2] = { 1, 0 }, late[2] = { 0, 1 }, rows[4] = { 1, 0, 0, 1 };
    o.lr = 0;
    o.center = FIT_CENTER_ZERO;
    o.resample_every = 10;
    o.resample_last = 20;
    struct fit *f = fit_new(&o);
    begin(f, early, 1);
    memcpy(f->param[SAE_W_ENC].p, rows, sizeof rows);
    memcpy(f->param[SAE_W_DEC].p, rows, sizeof rows);
    int events = 0;
    for (int step = 1; step <= 40; step++) {
        if (fit_step(f, step <= 5 ? early : late, 1))
            ok(0, "a step: %s", err_text());
        if (!resample_due(f))
            continue;
        events++;
        struct resampled r = resample_run(f, late, step == 10 ? 1 : 0);
        if (step == 10)
            ok(r.dead == 1 && r.feature[0] == 0, "dead is what has not fired in the half before the event");
        else
            ok(step == 20 && r.n == 0 && r.rows == 0, "an event without rows changes nothing");
        resample_free(&r);
    }
    ok(events == 2, "two events, none behind the last");
    fit_free(f);
}

int main(void)
{
    blas_start();
    check_gradient("tied", false, false);
    check_gradient("tied", false, true);
    check_gradient("relu", true, false);
    check_gradient("relu", false, false);
    check_dense("tied", false);
    check_dense("relu", true);
    check_dense("relu", false);
    check_threads("tied", 77 * 20 + 77);
    check_threads("relu", 2 * 77 * 20 + 77 + 20);
    check_scale("tied");
    check_scale("relu");
    check_measure();
    check_window();
    check_schedules();
    check_center();
    check_ends();
    check_resample("relu", 0.2);
    check_resample("gated", 0.2);
    check_resample("rescaled", 0.2);
    check_resample("topk", 1);
    check_resample("tied", 1);
    check_draws();
    check_watch();
    check_known();
    return done_testing();
}
