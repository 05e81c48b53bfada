/* nmf: rows less the smallest value of each dimension are sums of non-negative rows with non-negative weights; found
 * from the first buffer of rows, the others being measured only.
 *
 *   X (n, d) = x - min >= 0:  H <- H * (X W^T) / (H W W^T),  W <- W * (H^T X) / (H^T H W)      [Lee and Seung 2001]
 *   each three times over with the same products of X            [Gillis and Glineur 2012]
 *   d_i = row i of W at unit norm; b_dec = min
 *
 * The weights H of a row have no closed form. The encoder is their least-squares line in x, its negative values
 * dropped; sparse coding with lambda 0 (sae-encode --fista) gives those of a row exactly. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "dict/activation.h"
#include "fit/components.h"
#include "fit/preset.h"
#include "maths/blas.h"
#include "maths/linalg.h"
#include "maths/vec.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 200, REPEATS = 3, ROWS = 256, FEATURES = 32, CHUNK = 4096 };

/* Ten rounds that make the squares left less by a smaller share are the last. */
#define GAIN 3e-3

struct nmf {
    size_t n, d, m;
    float *x, *min;             /* (n, d) what is factored; (d) */
    float *h, *w;               /* (n, m), (m, d) */
    float *inner, *up, *down;   /* (m, m) W W^T or H^T H; numerators and denominators of the factor that is renewed */
};

/* v *= up / down, which leaves 0 where it is. */
static void renew(float *v, const float *up, const float *down, size_t n)
{
    for (size_t i = 0; i < n; i++)
        v[i] *= up[i] / (down[i] + FLT_MIN);
}

static void inner_piece(void *arg, size_t piece, int worker)
{
    struct nmf *c = arg;
    size_t from = piece * FEATURES, rows = c->m - from < FEATURES ? c->m - from : FEATURES;
    (void)worker;
    blas_nt(rows, c->m, c->d, c->w + from * c->d, c->d, c->w, c->d, 0, c->inner + from * c->m, c->m);
}

static void h_piece(void *arg, size_t piece, int worker)
{
    struct nmf *c = arg;
    size_t from = piece * ROWS, rows = c->n - from < ROWS ? c->n - from : ROWS, at = from * c->m;
    (void)worker;
    blas_nt(rows, c->m, c->d, c->x + from * c->d, c->d, c->w, c->d, 0, c->up + at, c->m);
    for (int i = 0; i < REPEATS; i++) {
        blas_nn(rows, c->m, c->m, c->h + at, c->m, c->inner, c->m, 0, c->down + at, c->m);
        renew(c->h + at, c->up + at, c->down + at, rows * c->m);
    }
}

static void w_piece(void *arg, size_t piece, int worker)
{
    struct nmf *c = arg;
    size_t from = piece * FEATURES, rows = c->m - from < FEATURES ? c->m - from : FEATURES;
    (void)worker;
    blas_tn(rows, c->d, c->n, c->h + from, c->m, c->x, c->d, 0, c->up + from * c->d, c->d);
    blas_tn(rows, c->m, c->n, c->h + from, c->m, c->h, c->m, 0, c->inner + from * c->m, c->m);
}

static void down_piece(void *arg, size_t piece, int worker)
{
    struct nmf *c = arg;
    size_t from = piece * FEATURES, rows = c->m - from < FEATURES ? c->m - from : FEATURES;
    (void)worker;
    blas_nn(rows, c->d, c->m, c->inner + from * c->m, c->m, c->w, c->d, 0, c->down + from * c->d, c->d);
}

/* One round. Returns |X - H W|^2, W as it was before its last renewal; `square` is |X|^2. */
static double round_of(struct nmf *c, double square)
{
    size_t features = (c->m + FEATURES - 1) / FEATURES;
    par_for(features, inner_piece, c);
    par_for((c->n + ROWS - 1) / ROWS, h_piece, c);
    par_for(features, w_piece, c);
    for (int i = 0; i < REPEATS; i++) {
        par_for(features, down_piece, c);
        for (size_t j = 0; i == REPEATS - 1 && j < c->m * c->d; j++)
            square += (double)c->w[j] * ((double)c->down[j] - 2.0 * c->up[j]);
        renew(c->w, c->up, c->down, c->m * c->d);
    }
    return square;
}

static void factor(struct nmf *c)
{
    double square = 0, before = INFINITY;
    for (size_t r = 0; r < c->n; r++)
        square += vec_dot_wide(c->x + r * c->d, c->x + r * c->d, c->d);
    for (int round = 1; round <= ROUNDS; round++) {
        double left = round_of(c, square);
        if (round % 10)
            continue;
        if (!(left < before * (1 - GAIN)))
            return;
        before = left;
    }
}

static void subtract_least(struct nmf *c, const float *x)
{
    for (size_t j = 0; j < c->d; j++) {
        c->min[j] = x[j];
        for (size_t r = 1; r < c->n; r++)
            if (!(x[r * c->d + j] >= c->min[j]))
                c->min[j] = x[r * c->d + j];
    }
    for (size_t r = 0; r < c->n; r++)
        vec_sub(c->x + r * c->d, x + r * c->d, c->min, c->d);
}

/* Uniform values whose product has the mean of X. */
static void draw(struct nmf *c, struct rng *rng)
{
    double sum = 0;
    for (size_t i = 0; i < c->n * c->d; i++)
        sum += c->x[i];
    double size = 2 * sqrt(sum / (double)(c->n * c->d) / (double)c->m);
    for (size_t i = 0; i < c->m * c->d; i++)
        c->w[i] = (float)(size * (1 - rng_uniform(rng)));
    for (size_t i = 0; i < c->n * c->m; i++)
        c->h[i] = (float)(size * (1 - rng_uniform(rng)));
}

/* Rows of W at unit norm, H taking what they lose. A row of zeros becomes the dimension of its turn, which H does not
 * use. */
static void normalize(struct nmf *c)
{
    for (size_t i = 0; i < c->m; i++) {
        float size = vec_normalize(c->w + i * c->d, c->d, FLT_MIN);
        if (!(vec_dot_wide(c->w + i * c->d, c->w + i * c->d, c->d) > 0.5)) {
            memset(c->w + i * c->d, 0, c->d * sizeof *c->w);
            c->w[i * c->d + i % c->d] = 1;
            size = 0;
        }
        for (size_t r = 0; r < c->n; r++)
            c->h[r * c->m + i] *= size;
    }
}

/* ---- the encoder ---- */

/* cross (m, d) = sum over rows of (h - its mean)(x - its mean)^T; mean_h (m). */
static void cross_moments(const struct nmf *c, const double *mean_x, double *mean_h, double *cross)
{
    size_t m = c->m, d = c->d;
    double *h = mem_alloc(CHUNK * m, sizeof *h), *x = mem_alloc(CHUNK * d, sizeof *x);
    memset(mean_h, 0, m * sizeof *mean_h);
    memset(cross, 0, m * d * sizeof *cross);
    for (size_t from = 0; from < c->n; from += CHUNK) {
        size_t rows = c->n - from < CHUNK ? c->n - from : CHUNK;
        for (size_t i = 0; i < rows * m; i++) {
            h[i] = c->h[from * m + i];
            mean_h[i % m] += h[i] / (double)c->n;
        }
        for (size_t i = 0; i < rows * d; i++)
            x[i] = c->x[from * d + i] - mean_x[i % d];          /* that of h then adds nothing */
        linalg_multiply(true, false, m, d, rows, 1, h, x, 1, cross);
    }
    free(h);
    free(x);
}

/* E = cov(h, x) cov(x)^-1, b = mean(h) - E mean(x). */
static int regress(const struct nmf *c, float *enc, float *bias)
{
    struct components_spectrum s;
    size_t m = c->m, d = c->d;
    if (components_spectrum(c->x, c->n, d, &s))
        return -1;
    double *mean_h = mem_alloc(m, sizeof *mean_h), *cross = mem_alloc(m * d, sizeof *cross);
    double *inverse = mem_alloc(d * d, sizeof *inverse), *e = mem_alloc(m * d, sizeof *e);
    cross_moments(c, s.mean, mean_h, cross);
    linalg_power(s.vector, s.value, d, -1, 1e-7, inverse);
    linalg_multiply(false, false, m, d, d, 1 / (double)c->n, cross, inverse, 0, e);
    for (size_t i = 0; i < m; i++) {
        double b = mean_h[i];
        for (size_t j = 0; j < d; j++) {
            enc[i * d + j] = (float)e[i * d + j];
            b -= e[i * d + j] * s.mean[j];
        }
        bias[i] = (float)b;
    }
    free(mean_h);
    free(cross);
    free(inverse);
    free(e);
    components_spectrum_free(&s);
    return 0;
}

static int begin(struct fit *f, const float *x, size_t n)
{
    size_t d = f->o.d_model, m = f->o.d_sae, most = n * m > m * d ? n * m : m * d;
    struct nmf c = { .n = n, .d = d, .m = m, .x = mem_alloc(n * d, sizeof(float)), .min = f->param[SAE_B_DEC].p,
                     .h = mem_alloc(n * m, sizeof(float)), .w = f->param[SAE_W_DEC].p,
                     .inner = mem_alloc(m * m, sizeof(float)), .up = mem_alloc(most, sizeof(float)),
                     .down = mem_alloc(most, sizeof(float)) };
    subtract_least(&c, x);
    f->o.apply_b_dec = true;
    draw(&c, &f->rng);
    factor(&c);
    normalize(&c);
    int bad = regress(&c, f->param[SAE_W_ENC].p, f->param[SAE_B_ENC].p);
    free(c.x);
    free(c.h);
    free(c.inner);
    free(c.up);
    free(c.down);
    return bad;
}

static const struct preset usual = { .kind = "nmf", .ratio = 1, .batch = 1024, .center = FIT_CENTER_MEAN,
                                     .apply_b_dec = true };

const struct kind kind_nmf = {
    .name = "nmf",
    .about = "non-negative factors of the first buffer of rows, each dimension less its minimum",
    .saves = WHOLE_TENSORS,
    .learns = WHOLE_TENSORS,
    .accepts = USES_K,
    .defaults = &usual,
    .candidates = activation_candidates_topk,
    .select = activation_select_topk,
    .begin = begin,
    .step = components_step,
    .finish = components_finish,
};
