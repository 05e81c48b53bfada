/* The kinds fitted by gradients. Each loss is written again here, dense and in double, as the function whose true
 * gradient is the one meant: what a stop-gradient holds fixed is taken from a copy of the parameters that does not move. Builds
 * that are wrong in the known ways (unfrozen decoder, kernel on f) have another gradient, and that is shown too. Then
 * options, encoding, threads, and problems whose answers are known. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "dict/deep_encoder.h"
#include "fit/batch_threshold.h"
#include "fit/decoder_overlap.h"
#include "fit/state.h"
#include "fit/step.h"
#include "kinds/kinds.h"
#include "maths/blas.h"
#include "maths/vec.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the plain form ---- */

enum wrong { RIGHT, UNFROZEN };

struct plain {
    const struct fit *f;
    const char *kind;
    size_t d, m, n, items[SAE_TENSORS];
    const float *x;
    double *w[SAE_TENSORS], *held[SAE_TENSORS];     /* that move, and as they were */
    uint32_t *order;                                /* chunks of the orthogonality penalty */
    size_t chunk;
    enum wrong wrong;
};

static struct plain plain_of(const struct fit *f, const float *x, size_t n)
{
    struct plain p = { .f = f, .kind = f->o.kind->name, .d = f->o.d_model, .m = f->o.d_sae, .n = n, .x = x };
    for (size_t t = 0; t < SAE_TENSORS; t++) {
        p.items[t] = sae_tensor_rows(t, p.m) * sae_tensor_width(t, p.d);
        p.w[t] = mem_zero(p.items[t], sizeof(double));
        p.held[t] = mem_zero(p.items[t], sizeof(double));
        for (size_t i = 0; i < p.items[t] && f->param[t].p; i++)
            p.w[t][i] = p.held[t][i] = f->param[t].p[i];
    }
    p.order = mem_alloc(p.m, sizeof *p.order);
    decoder_overlap_chunks(f, p.order, &p.chunk);
    return p;
}

static void plain_free(struct plain *p)
{
    for (size_t t = 0; t < SAE_TENSORS; t++) {
        free(p->w[t]);
        free(p->held[t]);
    }
    free(p->order);
}

static double dot_of(const double *a, const double *b, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += a[j] * b[j];
    return sum;
}

/* Rows divided by their norms, or as they are. */
static double *rows_at(const double *w, size_t m, size_t d, bool unit)
{
    double *out = mem_alloc(m * d, sizeof *out);
    for (size_t i = 0; i < m; i++) {
        double norm = unit ? sqrt(dot_of(w + i * d, w + i * d, d)) : 1;
        for (size_t j = 0; j < d; j++)
            out[i * d + j] = w[i * d + j] / norm;
    }
    return out;
}

static bool is(const struct plain *p, const char *kind)
{
    return !strcmp(p->kind, kind);
}

/* One row through the layers before the last. */
static void plain_inner(const struct plain *p, double *const w[SAE_TENSORS], double *in)
{
    size_t d = p->d;
    double *out = mem_alloc(d, sizeof *out);
    for (size_t l = 0; l + 1 < p->f->o.enc_layers; l++) {
        for (size_t i = 0; i < d; i++) {
            double z = dot_of(w[SAE_W_INNER + 2 * l] + i * d, in, d) + w[SAE_B_INNER + 2 * l][i];
            out[i] = p->f->o.inner == FIT_INNER_GELU ? z * erfc(-z / sqrt(2)) / 2 :
                     p->f->o.inner == FIT_INNER_SOFTPLUS ? log(1 + exp(z)) : fmax(0, z);
        }
        memcpy(in, out, d * sizeof *in);
    }
    free(out);
}

/* pi (n, m) = E (x - b_dec) + bias, from the parameters w. */
static double *products(const struct plain *p, double *const w[SAE_TENSORS], const double *bias)
{
    size_t d = p->d, m = p->m;
    double *pi = mem_alloc(p->n * m, sizeof *pi), *in = mem_alloc(d, sizeof *in);
    double *enc = rows_at(w[SAE_W_ENC], m, d, is(p, "tied"));
    for (size_t row = 0; row < p->n; row++) {
        for (size_t j = 0; j < d; j++)
            in[j] = p->x[row * d + j] - (p->f->o.apply_b_dec ? w[SAE_B_DEC][j] : 0);
        plain_inner(p, w, in);
        for (size_t i = 0; i < m; i++)
            pi[row * m + i] = dot_of(enc + i * d, in, d) + (bias ? bias[i] : 0);
    }
    free(in);
    free(enc);
    return pi;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Zero all but the count largest of `among` (all where it is NULL) of v, no two of which are equal, and what is not
 * above 0. */
static void keep_largest(double *v, size_t n, size_t count, const bool *among, size_t m)
{
    double *above = mem_alloc(n, sizeof *above);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = v[i] > 0 && (!among || among[i % m]) ? v[i] : 0;
        if (v[i] > 0)
            above[k++] = v[i];
    }
    qsort(above, k, sizeof *above, by_size);
    double least = k > count ? above[k - count] : 0;
    for (size_t i = 0; i < n; i++)
        v[i] = v[i] >= least ? v[i] : 0;
    free(above);
}

/* f (n, m) of the parameters w. */
static double *codes_at(const struct plain *p, double *const w[SAE_TENSORS])
{
    size_t m = p->m, all = p->n * m;
    bool gated = is(p, "gated");
    double *f = products(p, w, gated ? w[SAE_B_GATE] : w[SAE_B_ENC]), *dot = products(p, w, NULL);
    for (size_t a = 0; a < all; a++) {
        size_t i = a % m;
        if (gated)
            f[a] = f[a] > 0 ? fmax(0, exp(w[SAE_R_MAG][i]) * dot[a] + w[SAE_B_MAG][i]) : 0;
        else if (is(p, "rescaled"))
            f[a] = exp(w[SAE_R_MAG][i]) * fmax(0, f[a]);
        else if (is(p, "jumprelu"))
            f[a] = f[a] > exp(w[SAE_THRESHOLD][i]) ? f[a] : 0;
        else
            f[a] = fmax(0, f[a]);
    }
    if (is(p, "topk"))
        for (size_t row = 0; row < p->n; row++)
            keep_largest(f + row * m, m, p->f->o.k, NULL, m);
    if (is(p, "batchtopk") || is(p, "matryoshka"))
        keep_largest(f, all, p->f->o.k * p->n, NULL, m);
    free(dot);
    return f;
}

/* r (n, d) = f D + b - x, of the first `prefix` features. */
static double *residual(const struct plain *p, const double *f, const double *dec, const double *b, size_t prefix)
{
    double *r = mem_alloc(p->n * p->d, sizeof *r);
    for (size_t row = 0; row < p->n; row++)
        for (size_t j = 0; j < p->d; j++) {
            double sum = b[j] - p->x[row * p->d + j];
            for (size_t i = 0; i < prefix; i++)
                sum += f[row * p->m + i] * dec[i * p->d + j];
            r[row * p->d + j] = sum;
        }
    return r;
}

static double mean_square(const struct plain *p, double *r)
{
    double sum = dot_of(r, r, p->n * p->d) / (double)p->n;
    free(r);
    return sum;
}

static double sparsity(const struct plain *p, const double *f, const double *dec)
{
    double sum = 0, power = p->f->o.p_start > 0 ? p->f->o.p_start : 1;
    for (size_t a = 0; a < p->n * p->m; a++) {
        const double *d = dec + a % p->m * p->d;
        if (f[a] > 0)
            sum += pow(f[a] * (p->f->o.norm_weighted ? sqrt(dot_of(d, d, p->d)) : 1), power);
    }
    return sum / (double)p->n;
}

static double alike(const struct plain *p, const double *dec)
{
    size_t d = p->d, m = p->m;
    double *u = rows_at(dec, m, d, true), frame = 0, mean = 0, squares = 0, largest = 0, most = -1;
    for (size_t a = 0; a < m; a++) {
        size_t i = p->order[a];
        double best = -1, best_square = 0;
        for (size_t b = 0; b < m; b++) {
            size_t j = p->order[b];
            double c = dot_of(u + i * d, u + j * d, d);
            frame += c * c;
            if (a == b)
                continue;
            mean += c / ((double)m * ((double)m - 1));
            best = fmax(best, c);
            if (a / p->chunk == b / p->chunk)
                best_square = fmax(best_square, c * c);
        }
        largest += best / (double)m;
        squares += best_square / (double)m;
        most = fmax(most, best);
    }
    free(u);
    switch (p->f->o.ortho_kind) {
    case FIT_ORTHO_FRAME:
        return frame;
    case FIT_ORTHO_CHUNKS:
        return squares;
    default:
        return mean + largest + most;
    }
}

/* The dead of AuxK explain what the held parameters leave. */
static double auxiliary(const struct plain *p, const double *dec)
{
    const struct fit *f = p->f;
    bool *dead = mem_alloc(p->m, sizeof *dead), some = false;
    size_t d = p->d;
    for (size_t i = 0; i < p->m; i++)
        some |= dead[i] = f->tally.seen - f->tally.last[i] >= f->o.dead_window;
    if (!f->o.aux_k || !some) {
        free(dead);
        return 0;
    }
    double *const *from = p->wrong == UNFROZEN ? p->w : p->held;
    double *codes = codes_at(p, from), *held_dec = rows_at(from[SAE_W_DEC], p->m, d, true);
    double *r = residual(p, codes, held_dec, from[SAE_B_DEC], p->m), *mean = mem_zero(d, sizeof *mean);
    double *z = products(p, p->w, p->w[SAE_B_ENC]), sum = 0, var = 0;
    for (size_t row = 0; row < p->n; row++) {
        keep_largest(z + row * p->m, p->m, f->o.aux_k, dead, p->m);
        for (size_t j = 0; j < d; j++)
            mean[j] += r[row * d + j] / (double)p->n;
    }
    for (size_t a = 0; a < p->n * d; a++) {
        double left = r[a];
        for (size_t i = 0; i < p->m; i++)
            left += z[a / d * p->m + i] * dec[i * d + a % d];
        sum += left * left;
        var += pow(r[a] - mean[a % d], 2);
    }
    free(dead);
    free(codes);
    free(held_dec);
    free(r);
    free(mean);
    free(z);
    return f->o.aux_weight * sum / var;
}

static double matryoshka(const struct plain *p, const double *f, const double *dec)
{
    double sum = 0, groups = (double)p->f->o.prefixes;
    for (size_t j = 0; j < p->f->o.prefixes; j++)
        sum += mean_square(p, residual(p, f, dec, p->w[SAE_B_DEC], p->m >> j)) / groups;
    return sum;
}

/* The term that teaches the gate: D and b_dec as the decoder's held, b_dec inside the encoder not. */
static double gate_terms(const struct plain *p, const double *dec)
{
    double *gate = products(p, p->w, is(p, "gated") ? p->w[SAE_B_GATE] : p->w[SAE_B_ENC]);
    double *const *from = p->wrong == UNFROZEN ? p->w : p->held;
    double *frozen = rows_at(from[SAE_W_DEC], p->m, p->d, !p->f->o.norm_weighted);
    for (size_t a = 0; a < p->n * p->m; a++)
        gate[a] = fmax(0, gate[a]);
    double sum = step_recon(p->f) * mean_square(p, residual(p, gate, frozen, from[SAE_B_DEC], p->m)) +
                 p->f->o.l1 * sparsity(p, gate, dec);
    free(gate);
    free(frozen);
    return sum;
}

static double plain_loss(const struct plain *p)
{
    const struct fit_options *o = &p->f->o;
    double *dec = rows_at(is(p, "tied") ? p->w[SAE_W_ENC] : p->w[SAE_W_DEC], p->m, p->d, !o->norm_weighted);
    double *f = codes_at(p, p->w);
    double loss = step_recon(p->f) * (is(p, "matryoshka") ? matryoshka(p, f, dec) :
                                      mean_square(p, residual(p, f, dec, p->w[SAE_B_DEC], p->m)));
    if (is(p, "relu") || is(p, "tied"))
        loss += o->l1 * sparsity(p, f, dec);
    if (is(p, "gated") || is(p, "rescaled"))
        loss += gate_terms(p, dec);
    if (is(p, "jumprelu")) {
        double l0 = 0;
        for (size_t a = 0; a < p->n * p->m; a++)
            l0 += (f[a] > 0) / (double)p->n;
        loss += o->l1 * (o->target_l0 > 0 ? pow(l0 / o->target_l0 - 1, 2) : l0);
    }
    if (is(p, "topk") || is(p, "batchtopk") || is(p, "matryoshka"))
        loss += auxiliary(p, dec);
    if (o->ortho > 0)
        loss += o->ortho * alike(p, dec);
    free(f);
    free(dec);
    return loss;
}

/* d L / d eta by the kernel's formula; on_f: the window wrongly on f. */
static double kernel_gradient(const struct plain *p, size_t i, bool on_f)
{
    const struct fit_options *o = &p->f->o;
    size_t d = p->d, m = p->m;
    double *f = codes_at(p, p->w), *pi = products(p, p->w, p->w[SAE_B_ENC]);
    double *dec = rows_at(p->w[SAE_W_DEC], m, d, true);
    double *r = residual(p, f, dec, p->w[SAE_B_DEC], m), theta = exp(p->w[SAE_THRESHOLD][i]), sum = 0, l0 = 0;
    for (size_t a = 0; a < p->n * m; a++)
        l0 += (f[a] > 0) / (double)p->n;
    double each = o->target_l0 > 0 ? 2 * o->l1 * (l0 / o->target_l0 - 1) / o->target_l0 : o->l1;
    for (size_t row = 0; row < p->n; row++)
        if (fabs(((on_f ? f : pi)[row * m + i] - theta) / o->bandwidth) < 0.5)
            sum -= (theta * 2 * step_recon(p->f) * dot_of(dec + i * d, r + row * d, d) + each) / o->bandwidth;
    free(f);
    free(pi);
    free(dec);
    free(r);
    return theta * sum / (double)p->n;
}

/* The gradient meant of item i of a tensor. */
static double slope_at(struct plain *p, size_t t, size_t i)
{
    if (t == SAE_THRESHOLD)
        return kernel_gradient(p, i, p->wrong != RIGHT);
    double keep = p->w[t][i], h = 1e-6;
    p->w[t][i] = keep + h;
    double up = plain_loss(p);
    p->w[t][i] = keep - h;
    double down = plain_loss(p);
    p->w[t][i] = keep;
    return (up - down) / (2 * h);
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
    o.k = 4;
    o.theta0 = 0.08;
    o.bandwidth = 0.1;
    o.prefixes = 3;
    return o;
}

/* A fit some steps from its beginning, and then every parameter moved a little, so that none is where it is by
 * construction. */
static struct fit *warm_fit(const struct fit_options *o, const float *x, size_t n)
{
    struct fit *f = fit_new(o);
    struct rng r;
    rng_seed(&r, 3, 1);
    int bad = fit_begin(f, x, n);
    for (int i = 0; i < 5; i++)
        bad |= fit_step(f, x, n);
    for (size_t t = 0; t < SAE_TENSORS; t++)
        for (size_t i = 0; f->param[t].p && i < f->param[t].rows * f->param[t].width; i++)
            f->param[t].p[i] += 0.05f * (float)rng_normal(&r);
    for (size_t i = 0; i < o->d_sae; i++)
        o->kind->constrain(f, i);
    ok(!bad, "%s: begun", o->kind->name);
    return f;
}

/* ---- gradients ---- */

enum { N = 37, D = 11, M = 24 };

static void gradients_of(struct fit *f, const float *x, size_t n, float *got[SAE_TENSORS], double *loss)
{
    for (size_t t = 0; t < SAE_TENSORS; t++)
        got[t] = f->param[t].p ? mem_zero(f->param[t].rows * f->param[t].width, sizeof(float)) : NULL;
    *loss = fit_gradient(f, x, n, got);
}

/* Largest difference of our gradient from the one of p, relative, with a floor of 1/50 of the largest slope. */
static double worst_of(struct plain *p, size_t t, const float *got, double *most)
{
    double *slope = mem_alloc(p->items[t], sizeof *slope), worst = 0;
    *most = 0;
    for (size_t i = 0; i < p->items[t]; i++) {
        slope[i] = slope_at(p, t, i);
        *most = fmax(*most, fabs(slope[i]));
    }
    for (size_t i = 0; i < p->items[t]; i++)
        worst = fmax(worst, fabs(got[i] - slope[i]) / fmax(fabs(slope[i]), 0.02 * *most));
    free(slope);
    return worst;
}

static void plan_dead(struct fit *f)
{
    f->tally.seen = 5000;
    for (size_t i = 0; i < f->o.d_sae; i++)
        f->tally.last[i] = i % 3 ? 5000 : 100;
}

/* ---- rows that can be probed ---- */

/* Our products are rounded, those written here are not, and how far apart they are depends on the BLAS: some 1e-7 of
 * |e_i| |x|. Where pi is that near to where a slope jumps (0, a threshold, the edge of the kernel's window), the two
 * are on different sides of it; and the slope of f^p, which is infinite at 0, turns a difference of u in f into
 * (1 - p) u / f of itself. A row is left out in which some pi is within CLEAR of such a place: beyond it that is below 1e-4 / 4. */
#define CLEAR 8e-3

static double nearest_kink(const struct plain *p, double pi, double mag, size_t i)
{
    double half = p->f->o.bandwidth / 2, near = fabs(pi);
    if (p->f->param[SAE_B_MAG].p)
        return fmin(near, fabs(mag));
    if (!p->f->param[SAE_THRESHOLD].p)
        return near;
    double theta = exp(p->w[SAE_THRESHOLD][i]), away = fabs(pi - theta);
    return fmin(away, fabs(away - half));
}

/* Move the rows of x (n, d) that can be probed to the front, `wanted` at most: how many. */
static size_t clear_rows(const struct fit *f, float *x, size_t n, size_t wanted)
{
    struct plain p = plain_of(f, x, n);
    size_t d = p.d, m = p.m, kept = 0;
    double *pi = products(&p, p.w, p.w[f->param[SAE_B_GATE].p ? SAE_B_GATE : SAE_B_ENC]);
    double *dot = products(&p, p.w, NULL);
    for (size_t row = 0; row < n && kept < wanted; row++) {
        double near = INFINITY;
        for (size_t i = 0; i < m; i++) {
            double mag = exp(p.w[SAE_R_MAG][i]) * dot[row * m + i] + p.w[SAE_B_MAG][i];
            near = fmin(near, nearest_kink(&p, pi[row * m + i], mag, i));
        }
        if (near < CLEAR)
            continue;
        memmove(x + kept++ * d, x + row * d, d * sizeof *x);
    }
    free(pi);
    free(dot);
    plain_free(&p);
    return kept;
}

static void check_gradient(const char *what, const struct fit_options *o)
{
    size_t pool = N * (2 + o->d_sae / 4);
    float *x = rows_of(1, pool, o->d_model), *got[SAE_TENSORS];
    struct fit *f = warm_fit(o, x, N);
    size_t n = clear_rows(f, x, pool, N);
    double loss, most;
    if (o->aux_k)
        plan_dead(f);
    ok(n == N, "%s, %s: %zu rows are clear of kinks", o->kind->name, what, n);
    gradients_of(f, x, n, got, &loss);
    struct plain p = plain_of(f, x, n);
    double want = plain_loss(&p);
    is_near(loss, want, 1e-5 * want, "%s, %s: the loss itself", o->kind->name, what);
    for (size_t t = 0; t < SAE_TENSORS; t++) {
        if (!got[t])
            continue;
        double worst = worst_of(&p, t, got[t], &most);
        ok(worst <= 1e-4 && most > 1e-4, "%s, %s: d L / d %s, off by %.1e of up to %.2g", o->kind->name, what,
           sae_tensors[t].name, worst, most);
        free(got[t]);
    }
    plain_free(&p);
    fit_free(f);
    free(x);
}

/* The wrong build's gradient of that tensor is another one, by far. */
static void check_wrong(const char *what, const struct fit_options *o, size_t t)
{
    float *x = rows_of(1, N, o->d_model), *got[SAE_TENSORS];
    struct fit *f = warm_fit(o, x, N);
    double loss, most;
    if (o->aux_k)
        plan_dead(f);
    gradients_of(f, x, N, got, &loss);
    struct plain p = plain_of(f, x, N);
    p.wrong = UNFROZEN;
    double worst = worst_of(&p, t, got[t], &most);
    ok(worst > 1e-3, "%s: a build with %s would be seen in %s: %.2g", o->kind->name, what, sae_tensors[t].name, worst);
    for (size_t i = 0; i < SAE_TENSORS; i++)
        free(got[i]);
    plain_free(&p);
    fit_free(f);
    free(x);
}

/* Every option that enters the loss, alone and the odd pair, for one kind. */
static void check_options(const char *kind)
{
    static const char *const ortho[] = { "frame potential", "largest in a chunk", "mean and largest" };
    for (int apply = 0; apply < 2; apply++) {
        struct fit_options o = options(kind, apply, D, M);
        check_gradient(apply ? "b_dec applied" : "b_dec not applied", &o);
    }
    struct fit_options o = options(kind, true, D, M);
    unsigned uses = o.kind->accepts;
    o.recon = 0.3;
    check_gradient("recon 0.3", &o);
    o.recon = 1;
    for (o.ortho_kind = 0; o.ortho_kind < 3; o.ortho_kind++) {
        o.ortho = 0.07;
        check_gradient(ortho[o.ortho_kind], &o);
    }
    o.ortho = 0;
    for (o.inner = 0; uses & USES_LAYERS && o.inner < 3; o.inner++) {
        o.enc_layers = 3;
        check_gradient(deep_encoder_names[o.inner], &o);
    }
    o.enc_layers = 1;
    o.p_start = o.p_end = 0.6;
    if (uses & USES_P)
        check_gradient("f^0.6", &o);
    o.norm_weighted = true;
    o.dec_norm = 0.6;
    if (uses & USES_NORM_WEIGHT) {
        check_gradient("(f |d|)^0.6", &o);
        o.p_start = o.p_end = 1;
        check_gradient("f |d|", &o);
        o.ortho = 0.07;
        for (o.ortho_kind = 0; o.ortho_kind < 3; o.ortho_kind++)
            check_gradient("f |d| and orthogonality", &o);
    }
}

static void check_gradients(void)
{
    static const char *const all[] = { "relu", "tied", "gated", "rescaled", "jumprelu", "topk", "batchtopk",
                                       "matryoshka" };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        check_options(all[i]);
    struct fit_options o = options("jumprelu", true, D, M);
    check_wrong("the kernel on f", &o, SAE_THRESHOLD);
    o.target_l0 = 2.5;
    check_gradient("target L0", &o);
    check_wrong("the kernel on f", &o, SAE_THRESHOLD);
    for (size_t i = 2; i < 4; i++) {
        o = options(all[i], true, D, M);
        check_wrong("nothing frozen", &o, SAE_W_DEC);
        check_wrong("nothing frozen", &o, SAE_B_DEC);
    }
    for (size_t i = 5; i < 8; i++) {
        o = options(all[i], true, D, M);
        o.aux_k = 2;
        o.aux_weight = 0.8;
        check_gradient("AuxK", &o);
        check_wrong("e not held fixed", &o, SAE_W_DEC);
        o.apply_b_dec = false;
        check_gradient("AuxK, b_dec not applied", &o);
        check_wrong("e not held fixed", &o, SAE_B_DEC);
    }
    o = options("relu", true, 5, 130);                  /* enough features for two chunks */
    o.ortho = 0.3;
    o.ortho_kind = FIT_ORTHO_CHUNKS;
    size_t size;
    struct fit *f = fit_new(&o);
    uint32_t order[130];
    ok(decoder_overlap_chunks(f, order, &size) == 2 && size == 65, "130 features make two chunks");
    fit_free(f);
    check_gradient("two chunks", &o);
}

/* Gated with b_mag = e^r b_gate is rescaled: the loss, and by the chain rule all gradients. */
static void check_identity(void)
{
    struct fit_options og = options("gated", true, D, M), os = options("rescaled", true, D, M);
    float *x = rows_of(1, N, D), *gg[SAE_TENSORS], *gs[SAE_TENSORS];
    struct fit *s = warm_fit(&os, x, N), *g = warm_fit(&og, x, N);
    double ls, lg, worst = 0, most = 0;
    for (size_t t = SAE_W_ENC; t <= SAE_B_DEC; t++)
        if (t != SAE_B_ENC)
            memcpy(g->param[t].p, s->param[t].p, s->param[t].rows * s->param[t].width * sizeof(float));
    for (size_t i = 0; i < M; i++) {
        float b = s->param[SAE_B_ENC].p[i], r = s->param[SAE_R_MAG].p[i];
        g->param[SAE_R_MAG].p[i] = r;
        g->param[SAE_B_GATE].p[i] = b;
        g->param[SAE_B_MAG].p[i] = expf(r) * b;
    }
    gradients_of(s, x, N, gs, &ls);
    gradients_of(g, x, N, gg, &lg);
    is_near(lg, ls, 1e-6 * ls, "gated with b_mag = e^r b_gate is rescaled: the loss");
    for (size_t t = SAE_W_ENC; t <= SAE_B_DEC; t++)
        for (size_t i = 0; t != SAE_B_ENC && i < s->param[t].rows * s->param[t].width; i++) {
            worst = fmax(worst, fabs((double)gs[t][i] - gg[t][i]));
            most = fmax(most, fabs((double)gs[t][i]));
        }
    for (size_t i = 0; i < M; i++) {
        double b_mag = g->param[SAE_B_MAG].p[i], r = s->param[SAE_R_MAG].p[i];
        worst = fmax(worst, fabs(gs[SAE_R_MAG][i] - gg[SAE_R_MAG][i] - b_mag * gg[SAE_B_MAG][i]));
        worst = fmax(worst, fabs(gs[SAE_B_ENC][i] - gg[SAE_B_GATE][i] - exp(r) * gg[SAE_B_MAG][i]));
    }
    is_near(worst / most, 0, 1e-6, "gated with b_mag = e^r b_gate is rescaled: all gradients");
    for (size_t t = 0; t < SAE_TENSORS; t++) {
        free(gg[t]);
        free(gs[t]);
    }
    fit_free(s);
    fit_free(g);
    free(x);
}

/* ---- options ---- */

/* The first update's moments are (1 - beta1) of the gradient as Adam saw it. */
static double norm_of_first(struct fit_options o, double clip, const float *x, double *along)
{
    o.clip = clip;
    float *got[SAE_TENSORS];
    struct fit *f = fit_new(&o);
    double square = 0, dot = 0, full = 0, loss;
    if (fit_begin(f, x, N))
        return NAN;
    gradients_of(f, x, N, got, &loss);
    if (fit_step(f, x, N))
        return NAN;
    for (size_t t = 0; t < SAE_TENSORS; t++) {
        for (size_t i = 0; got[t] && i < f->param[t].rows * f->param[t].width; i++) {
            double m = f->param[t].m[i] / (1 - o.beta1);
            square += m * m;
            dot += m * got[t][i];
            full += (double)got[t][i] * got[t][i];
        }
        free(got[t]);
    }
    fit_free(f);
    *along = dot / sqrt(square * full);
    return sqrt(square);
}

static void check_clip(const char *kind)
{
    struct fit_options o = options(kind, true, D, M);
    float *x = rows_of(1, N, D);
    double along, whole = norm_of_first(o, 0, x, &along);
    is_near(along, 1, 1e-6, "%s: not clipped, the gradient itself", kind);
    is_near(norm_of_first(o, 2 * whole, x, &along), whole, 1e-5 * whole, "%s: clipped at more than its norm: as it is",
            kind);
    is_near(norm_of_first(o, whole / 3, x, &along), whole / 3, 1e-5 * whole, "%s: clipped to a third", kind);
    is_near(along, 1, 1e-6, "%s: and still the same direction", kind);
    free(x);
}

static double powers(const struct fit *f, double p)
{
    double sum = 0;
    for (size_t j = 0; j < f->f.ptr[f->n]; j++)
        sum += pow(fmax(f->f.val[j], 1e-6), p);
    return sum;
}

/* p from 1 to 0.2 between steps 10 and 60 of 80: a jump each 5 steps, at which lambda S stays what it was on the
 * batches since the last one. */
static void check_anneal(void)
{
    enum { STEPS = 80 };
    struct fit_options o = options("relu", true, D, M);
    o.steps = STEPS;
    o.p_end = 0.2;
    o.p_from = 10.0 / STEPS;
    o.p_to = 60.0 / STEPS;
    o.lr = 1e-3;
    float *x = rows_of(1, N * STEPS, D);
    struct fit *f = fit_new(&o);
    double now = 0, next = 0, factor = 1, worst = 0, p = 1;
    int bad = fit_begin(f, x, N), jumps = 0;
    for (int step = 0; step < STEPS; step++) {
        int due = step < 10 ? 0 : step >= 60 ? 10 : (step - 10) / 5;
        if (due != jumps) {
            jumps = due;
            factor *= now / next;
            p = 1 - 0.08 * jumps;
            now = next = 0;
        }
        bad |= fit_step(f, x + (size_t)step * N * D, N);
        worst = fmax(worst, fabs(f->l1 / (o.l1 * factor) - 1));
        if (step >= 5) {                                /* the queue holds ten: all since a jump, or the last ten */
            now += powers(f, p);
            next += powers(f, p - 0.08);
        }
        if (step == 70) {
            double sum = 0, all = 0;
            for (size_t row = 0; row < N; row++)
                all += f->loss[row] - f->error[row];
            sum = f->l1 * powers(f, 0.2);
            is_near(all, sum, 1e-5 * sum, "p-annealing: the penalty is lambda sum f^0.2 in the end");
        }
    }
    ok(!bad && jumps == 10, "p-annealing: ten jumps");
    is_near(worst, 0, 1e-4, "p-annealing: lambda keeps the penalty continuous, ends %.3g times", factor);
    ok(fabs(factor - 1) > 0.05, "and had to move for it");
    fit_free(f);
    free(x);
}

/* ---- finished dictionaries ---- */

/* One row's codes by the kind's definition and vec_dot alone. */
static size_t encode_plain(const struct sae *s, const float *x, uint32_t *idx, float *val)
{
    size_t k = 0, d = s->d_model;
    const char *kind = s->kind->name;
    bool fixed = s->k && !s->threshold;
    float *in = mem_alloc(d, sizeof *in), *pi = mem_alloc(s->d_sae, sizeof *pi), *spare = mem_alloc(d, sizeof *spare);
    for (size_t j = 0; j < d; j++)
        in[j] = s->apply_b_dec_to_input ? x[j] - s->b_dec[j] : x[j];
    deep_encoder_encode(s, in, spare);
    for (size_t i = 0; i < s->d_sae; i++) {
        float dot = vec_dot(s->w_enc + i * d, in, d);
        if (!strcmp(kind, "gated")) {
            pi[i] = dot + s->b_gate[i] > 0 ? expf(s->r_mag[i]) * dot + s->b_mag[i] : 0;
            continue;
        }
        pi[i] = dot + s->b_enc[i];
        if (s->threshold && !(pi[i] > s->threshold[i]))
            pi[i] = 0;
    }
    for (size_t i = 0; i < s->d_sae; i++) {
        size_t larger = 0;
        for (size_t j = 0; fixed && j < s->d_sae; j++)
            larger += pi[j] > pi[i] || (pi[j] == pi[i] && j < i);
        if (pi[i] > 0 && (!fixed || larger < s->k)) {
            idx[k] = (uint32_t)i;
            val[k++] = pi[i];
        }
    }
    free(in);
    free(pi);
    free(spare);
    return k;
}

static bool codes_are(struct sae *s, const float *x, size_t n)
{
    struct codes got = { .n = 0 }, want = { .n = 0 };
    uint32_t *idx = mem_alloc(s->d_sae, sizeof *idx);
    float *val = mem_alloc(s->d_sae, sizeof *val);
    codes_reset(&want, s->d_sae);
    for (size_t row = 0; row < n; row++)
        codes_push(&want, idx, val, encode_plain(s, x + row * s->d_model, idx, val));
    sae_encode(s, x, n, &got);
    bool same = got.n == n && !memcmp(got.ptr, want.ptr, (n + 1) * 4) && !memcmp(got.idx, want.idx, want.ptr[n] * 4) &&
                !memcmp(got.val, want.val, want.ptr[n] * 4) && want.ptr[n] > 0;
    codes_free(&got);
    codes_free(&want);
    free(idx);
    free(val);
    return same;
}

/* Move rows along an encoder row until its product is as near to a bound of the kind as f32 gets. */
static void to_the_edge(const struct sae *s, float *x, size_t n, struct rng *r)
{
    size_t d = s->d_model;
    for (size_t row = 0; row < n; row++) {
        size_t i = rng_below(r, s->d_sae), other = rng_below(r, s->d_sae);
        float *at = x + row * d;
        const float *e = s->w_enc + i * d;
        for (int turn = 0; turn < 4; turn++) {
            double pi = 0, want = 0;
            for (size_t j = 0; j < d; j++)
                pi += (double)e[j] * (at[j] - (s->apply_b_dec_to_input ? s->b_dec[j] : 0));
            if (s->b_gate)
                want = row % 2 ? -s->b_gate[i] : -s->b_mag[i] * exp(-s->r_mag[i]);
            else
                want = -s->b_enc[i] + (s->threshold ? s->threshold[i] : 0);
            if (s->k && !s->threshold) {                                 /* a tie with another */
                const float *o = s->w_enc + other * d;
                want = s->b_enc[other] - s->b_enc[i];
                for (size_t j = 0; j < d; j++)
                    want += (double)o[j] * (at[j] - (s->apply_b_dec_to_input ? s->b_dec[j] : 0));
            }
            vec_axpy(at, (float)((want - pi) / vec_dot_wide(e, e, d)), e, d);
        }
    }
}

/* What the file alone encodes and decodes is what was fitted, in the units of the raw rows. */
static void check_export(const char *kind, bool apply, bool free_norms, size_t layers, int inner)
{
    enum { ROWS = 200, W = 20, F = 70 };
    struct fit_options o = options(kind, apply, W, F);
    float *x = rows_of(4, ROWS, W), *x_hat = mem_alloc(ROWS * W, sizeof *x_hat), *edge = rows_of(5, ROWS, W);
    struct codes c = { .n = 0 };
    struct rng r;
    rng_seed(&r, 5, 5);
    o.rms = true;
    o.norm_weighted = free_norms;
    o.dec_norm = 0.5;
    o.enc_layers = layers;
    o.inner = inner;
    o.theta0 = 0.5;
    vec_scale(x, 40, ROWS * W);
    vec_scale(edge, 40, ROWS * W);
    struct fit *f = warm_fit(&o, x, ROWS);
    struct fit_tally t = fit_tally_new(W, F);
    fit_measure(f, x, ROWS, &t);
    struct fit_report report = fit_tally_report(&t, ROWS);
    struct sae *s = fit_export(f);
    double error = 0, most = 0;
    sae_encode(s, x, ROWS, &c);
    sae_decode(s, &c, x_hat);
    for (size_t i = 0; i < ROWS * W; i++)
        error += pow(x_hat[i] - x[i], 2) * f->scale * f->scale / (ROWS * W);
    for (size_t i = 0; i < F; i++)
        most = fmax(most, fabs(sqrt(vec_dot_wide(s->w_dec + i * W, s->w_dec + i * W, W)) - 1));
    is_near(error, report.mse, 2e-4 * report.mse,
            "%s, apply_b_dec %d, free norms %d, %zu layers: the file errs as the fit did", kind, apply, free_norms,
            layers);
    is_near((double)c.ptr[ROWS] / ROWS, report.l0, 0.05, "%s: and fires as often, L0 %.1f", kind, report.l0);
    is_near(most, 0, 1e-5, "%s: unit decoder rows", kind);
    if (layers == 1)
        to_the_edge(s, edge, ROWS, &r);
    ok(codes_are(s, x, ROWS) && codes_are(s, edge, ROWS), "%s: codes are those of one dot at a time, at the edge too",
       kind);
    codes_free(&c);
    sae_free(s);
    fit_tally_free(&t);
    fit_free(f);
    free(x);
    free(edge);
    free(x_hat);
}

/* Equal values: the lower index, in a row and in a batch; and more features asked for than there are. */
static void check_ties(void)
{
    static const float same[8] = { 1, 0, 1, 0, 1, 0, 0, 1 };    /* features 0, 1, 2 alike */
    float x[4] = { 1, 0.5f, 1, 0.5f };
    static const char *const all[] = { "topk", "batchtopk", "matryoshka" };
    for (size_t a = 0; a < 3; a++) {
        struct fit_options o = options(all[a], false, 2, 4);
        o.center = FIT_CENTER_ZERO;
        o.k = 2;
        struct fit *f = fit_new(&o);
        int bad = fit_begin(f, x, 2);
        memcpy(f->param[SAE_W_ENC].p, same, sizeof same);
        memcpy(f->param[SAE_W_DEC].p, same, sizeof same);
        struct fit_tally t = fit_tally_new(2, 4);
        fit_measure(f, x, 2, &t);
        bool right = !bad && f->f.ptr[2] == 4;
        for (uint32_t p = 0; right && p < 4; p++)
            right = a ? f->f.idx[p] == (uint32_t[]){ 0, 1, 2, 0 }[p] : f->f.idx[p] == p % 2;
        ok(right, "%s: of equals the first fire", all[a]);
        f->o.k = 99;
        fit_measure(f, x, 2, &t);
        ok(f->f.ptr[2] == 8, "%s: K above d_sae: all that are above 0", all[a]);
        fit_tally_free(&t);
        fit_free(f);
    }
}

/* The running mean of the smallest kept values is the threshold. */
static void check_threshold(void)
{
    enum { STEPS = 30 };
    struct fit_options o = options("batchtopk", true, D, M);
    float *x = rows_of(1, N * STEPS, D);
    struct fit *f = fit_new(&o);
    int bad = fit_begin(f, x, N), count = 1;
    double sum = 0, weight = 0;
    for (int step = 0; step < STEPS; step++) {
        bad |= fit_step(f, x + (size_t)step * N * D, N);
        float least = INFINITY;
        for (size_t p = 0; p < f->f.ptr[N]; p++)
            least = fminf(least, f->f.val[p]);
        count &= f->f.ptr[N] == o.k * N;
        sum = 0.99 * sum + 0.01 * least;
        weight = 0.99 * weight + 0.01;
    }
    struct sae *s = fit_export(f);
    ok(!bad && count, "batchtopk: K B pairs in every batch");
    is_near(s->threshold[M - 1], sum / weight, 1e-6, "batchtopk: the threshold is the mean smallest value, %.3g",
            sum / weight);
    sae_free(s);
    fit_free(f);
    free(x);
}

/* ---- threads ---- */

/* All parameters after some steps with `threads` threads, in a process of its own: a hash, 0 when it failed. */
static uint64_t run_threads(const struct fit_options *o, int threads)
{
    enum { ROWS = 300 };
    int way[2];
    uint64_t hash = 0;
    if (pipe(way))
        return 0;
    pid_t child = fork();
    if (child == 0) {
        uint64_t h = 0xcbf29ce484222325;
        par_start(threads);
        float *x = rows_of(3, ROWS, o->d_model);
        struct fit *f = fit_new(o);
        int bad = fit_begin(f, x, ROWS);
        for (int i = 0; i < 6; i++) {
            bad |= fit_step(f, x, ROWS);
            if (o->aux_k)
                plan_dead(f);
        }
        for (size_t t = 0; t < SAE_TENSORS; t++)
            for (size_t i = 0; f->param[t].p && i < f->param[t].rows * f->param[t].width; i++) {
                uint32_t bits;
                memcpy(&bits, &f->param[t].p[i], sizeof bits);
                h = (h ^ bits) * 0x100000001b3;
            }
        h = bad ? 0 : h;
        _exit(write(way[1], &h, sizeof h) != sizeof h);
    }
    close(way[1]);
    int status, got = read(way[0], &hash, sizeof hash) == sizeof hash;
    close(way[0]);
    waitpid(child, &status, 0);
    return got && status == 0 ? hash : 0;
}

static void check_threads(const char *kind)
{
    struct fit_options o = options(kind, true, 20, 150);
    o.enc_layers = o.kind->accepts & USES_LAYERS ? 2 : 1;
    o.aux_k = 8;
    o.aux_weight = 0.1;
    for (int more = 0; more < 2; more++) {
        uint64_t one = run_threads(&o, 1);
        ok(one && run_threads(&o, 2) == one && run_threads(&o, 3) == one, "%s%s: the same bytes with 1 to 3 threads", kind,
           more ? ", clipped, orthogonality" : "");
        o.clip = 0.5;
        o.ortho = 0.01;
        o.ortho_kind = FIT_ORTHO_CHUNKS;
    }
}

/* ---- answers that are known ---- */

enum { BATCH = 512 };

struct known {
    double nmse, fvu, gamma, l0, mmcs;
};

/* Fit rows made by `make` and measure; mmcs is to the axes. The fit is left in *keep. */
static struct known fit_known(struct fit_options o, size_t batch, void (*make)(struct rng *, float *, size_t),
                              struct fit **keep)
{
    float *x = mem_alloc(batch * o.d_model, sizeof *x);
    double error = 0, square = 0, hat = 0, both = 0;
    struct fit *f = *keep = fit_new(&o);
    struct rng r;
    rng_seed(&r, 11, 1);
    make(&r, x, batch);
    int bad = fit_begin(f, x, batch);
    while (!bad && f->step < o.steps) {
        bad = fit_step(f, x, batch);
        make(&r, x, batch);
    }
    fit_tally_reset(&f->tally);
    for (int i = 0; i < 30; i++) {
        make(&r, x, batch);
        fit_measure(f, x, batch, &f->tally);
        for (size_t a = 0; a < batch * o.d_model; a++) {
            double y = (double)f->r[a] + x[a];
            error += (double)f->r[a] * f->r[a];
            square += (double)x[a] * x[a];
            hat += y * y;
            both += y * x[a];
        }
    }
    struct fit_report report = fit_tally_report(&f->tally, 10 * batch);
    struct known k = { error / square, report.fvu, hat / both, report.l0, bad ? -1 : 0 };
    for (size_t j = 0; j < o.d_model; j++) {
        double most = -1;
        for (size_t i = 0; i < o.d_sae; i++)
            most = fmax(most, f->dec[i * o.d_model + j]);
        k.mmcs += most / (double)o.d_model;
    }
    free(x);
    return k;
}

/* 32 orthogonal features, each on with probability 0.05, of uniform size; and exactly three at once. */
static void make_bernoulli(struct rng *r, float *x, size_t n)
{
    for (size_t i = 0; i < n * 32; i++)
        x[i] = rng_uniform(r) < 0.05 ? (float)rng_uniform(r) : 0;
}

static void make_three(struct rng *r, float *x, size_t n)
{
    memset(x, 0, n * 32 * sizeof *x);
    for (size_t row = 0; row < n; row++)
        for (int on = 0; on < 3;) {
            float *at = x + row * 32 + rng_below(r, 32);
            if (*at == 0) {
                *at = (float)(1 - rng_uniform(r));
                on++;
            }
        }
}

static struct fit_options known_options(const char *kind, size_t m, double l1)
{
    struct fit_options o = options(kind, false, 32, m);
    o.l1 = l1;
    o.lr = 3e-3;
    o.decay = 0.2;
    o.steps = 3000;
    o.center = FIT_CENTER_ZERO;
    o.k = 3;
    return o;
}

static double median(double *v, size_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return (v[(n - 1) / 2] + v[n / 2]) / 2;
}

/* lambda 0.4, tau = lambda / 2: f = a for a > tau, nMSE tau^3, theta = tau. */
static void check_gated_known(void)
{
    struct fit_options o = known_options("gated", 32, 0.4);
    struct fit *f = NULL;
    struct known k = fit_known(o, BATCH, make_bernoulli, &f);
    double theta[32];
    for (size_t i = 0; i < 32; i++)
        theta[i] = f->param[SAE_B_MAG].p[i] - exp(f->param[SAE_R_MAG].p[i]) * f->param[SAE_B_GATE].p[i];
    printf("# gated: nMSE %.4f gamma %.4f L0 %.3f MMCS %.4f\n", k.nmse, k.gamma, k.l0, k.mmcs);
    is_near(k.nmse, 0.008, 0.0006, "gated, known truth: nMSE");
    is_near(k.gamma, 1, 0.01, "gated, known truth: no shrinkage");
    is_near(k.l0, 1.28, 0.05, "gated, known truth: L0");
    is_near(median(theta, 32), 0.2, 0.01, "gated, known truth: threshold lambda / 2");
    fit_free(f);
}

static void check_jumprelu_known(double l0)
{
    struct fit_options o = known_options("jumprelu", 32, l0);
    o.bandwidth = o.theta0 = 0.05;
    o.beta1 = 0;
    o.steps = 5000;
    struct fit *f = NULL;
    struct known k = fit_known(o, BATCH, make_bernoulli, &f);
    double theta[32];
    for (size_t i = 0; i < 32; i++)
        theta[i] = exp(f->param[SAE_THRESHOLD].p[i]);
    double t = median(theta, 32);
    printf("# jumprelu %.2f: nMSE %.4f gamma %.4f L0 %.3f theta %.4f\n", l0, k.nmse, k.gamma, k.l0, t);
    is_near(t, sqrt(l0), 0.05 * sqrt(l0), "jumprelu, known truth: threshold sqrt(%.2f)", l0);
    is_near(k.nmse, pow(l0, 1.5), 0.15 * pow(l0, 1.5), "jumprelu, known truth: nMSE");
    fit_free(f);
}

static void check_topk_known(const char *kind)
{
    struct fit *f = NULL;
    struct fit_options o = known_options(kind, 64, 0);
    struct known k = fit_known(o, BATCH, make_three, &f);
    printf("# %s: FVU %.6f MMCS %.5f L0 %.2f\n", kind, k.fvu, k.mmcs, k.l0);
    ok(k.mmcs >= 0.999 && k.fvu <= 1e-3, "%s, three of 32 at once: found, MMCS %.5f, FVU %.6f", kind, k.mmcs, k.fvu);
    fit_free(f);
}

int main(void)
{
    static const char *const all[] = { "relu", "tied", "gated", "rescaled", "jumprelu", "topk", "batchtopk",
                                       "matryoshka" };
    blas_start();
    check_gradients();
    check_identity();
    check_anneal();
    check_ties();
    check_threshold();
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        check_clip(all[i]);
        check_threads(all[i]);
        for (int apply = 0; apply < 2; apply++) {
            check_export(all[i], apply, false, 1, 0);
            for (int inner = 0; kind_find(all[i])->accepts & USES_LAYERS && inner < 3; inner++)
                check_export(all[i], apply, false, 3, inner);
            if (kind_find(all[i])->accepts & USES_NORM_WEIGHT)
                check_export(all[i], apply, true, 1, 0);
        }
    }
    check_gated_known();
    check_jumprelu_known(0.04);
    check_jumprelu_known(0.09);
    check_topk_known("topk");
    return done_testing();
}
