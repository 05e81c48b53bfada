/* Encoding: the codes are those of vec_dot, feature by feature, bit for bit, however the rows are batched. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "dict/kind.h"
#include "kinds/kinds.h"
#include "maths/blas.h"
#include "maths/vec.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct rng r;

static void fill(float *p, size_t n, double size)
{
    for (size_t i = 0; p && i < n; i++)
        p[i] = (float)(size * rng_normal(&r));
}

static struct sae *random_sae(const char *kind, size_t d, size_t m, bool apply)
{
    struct sae *s = sae_new(kind_find(kind), d, m);
    fill(s->w_enc, m * d, 1);
    fill(s->w_dec, m * d, 1);
    fill(s->b_enc, m, 2);
    fill(s->b_dec, d, 1);
    s->apply_b_dec_to_input = apply;
    return s;
}

/* Rows some of whose pre-activations are within rounding of 0: x is moved along e_i until pi_i is as near as it
 * gets. */
static float *rows_near_zero(const struct sae *s, size_t n)
{
    size_t d = s->d_model;
    float *x = mem_alloc(n * d, sizeof *x), *in = mem_alloc(d, sizeof *in);
    fill(x, n * d, 1);
    for (size_t row = 0; row < n && s->d_sae && d; row++) {
        const float *e = s->w_enc + rng_below(&r, s->d_sae) * d;
        float b = s->b_enc[(size_t)(e - s->w_enc) / d], *at = x + row * d;
        for (int turn = 0; turn < 3; turn++) {
            for (size_t j = 0; j < d; j++)
                in[j] = at[j] - (s->apply_b_dec_to_input ? s->b_dec[j] : 0);
            vec_axpy(at, (float)(-(vec_dot_wide(e, in, d) + b) / vec_dot_wide(e, e, d)), e, d);
        }
    }
    free(in);
    return x;
}

/* The codes of one row, without any product of matrices. */
static size_t encode_plain(const struct sae *s, const float *x, uint32_t *idx, float *val)
{
    size_t k = 0, d = s->d_model;
    float *in = mem_alloc(d, sizeof *in);
    for (size_t j = 0; j < d; j++)
        in[j] = s->apply_b_dec_to_input ? x[j] - s->b_dec[j] : x[j];
    for (size_t i = 0; i < s->d_sae; i++) {
        float pi = vec_dot(s->w_enc + i * d, in, d) + s->b_enc[i];
        if (pi > 0) {
            idx[k] = (uint32_t)i;
            val[k++] = pi;
        }
    }
    free(in);
    return k;
}

static void check(const char *kind, size_t n, size_t d, size_t m, bool apply)
{
    struct sae *s = random_sae(kind, d, m, apply);
    struct codes all = { .n = 0 }, part = { .n = 0 }, want = { .n = 0 };
    uint32_t *idx = mem_alloc(m, sizeof *idx);
    float *x = rows_near_zero(s, n), *val = mem_alloc(m, sizeof *val), *x_hat = mem_alloc(n * d, sizeof *x_hat);
    codes_reset(&want, m);
    for (size_t row = 0; row < n; row++)
        codes_push(&want, idx, val, encode_plain(s, x + row * d, idx, val));
    sae_encode(s, x, n, &all);
    size_t pairs = want.ptr[n];
    ok(all.n == n && !memcmp(all.ptr, want.ptr, (n + 1) * 4) && !memcmp(all.idx, want.idx, pairs * 4) &&
       !memcmp(all.val, want.val, pairs * 4),
       "%s: %zu rows of %zu, %zu features, apply_b_dec %d: as one dot at a time", kind, n, d, m, apply);
    int same = 1;
    for (size_t from = 0; from < n;) {
        size_t step = 1 + rng_below(&r, 3) * 70, rows = n - from < step ? n - from : step;
        sae_encode(s, x + from * d, rows, &part);
        uint32_t at = all.ptr[from], k = all.ptr[from + rows] - at;
        same &= part.n == rows && part.ptr[rows] == k && !memcmp(part.idx, all.idx + at, k * 4) &&
                !memcmp(part.val, all.val + at, k * 4);
        from += rows;
    }
    ok(same, "and in pieces of any size");
    double worst = 0;
    sae_decode(s, &all, x_hat);
    for (size_t row = 0; row < n; row++)
        for (size_t j = 0; j < d; j++) {
            double sum = s->b_dec[j];
            for (uint32_t p = all.ptr[row]; p < all.ptr[row + 1]; p++)
                sum += (double)all.val[p] * s->w_dec[all.idx[p] * d + j];
            worst = fmax(worst, fabs(sum - x_hat[row * d + j]) / (1 + fabs(sum)));
        }
    is_near(worst, 0, 1e-5 * sqrt((double)m + 1), "decoded");
    codes_free(&all);
    codes_free(&part);
    codes_free(&want);
    sae_free(s);
    free(idx);
    free(val);
    free(x);
    free(x_hat);
}

/* A value that is not finite is not taken for silence; one past the range of f32 products is not lost. */
static void check_extremes(void)
{
    struct sae *s = random_sae("relu", 4, 40, false);
    float x[4] = { 1, NAN, 0, 0 }, big[4] = { 1e30f, 1e30f, -1e30f, 1e30f }, tiny[4] = { 1e-30f, 0, 1e-30f, 1e-38f };
    struct codes c = { .n = 0 };
    uint32_t idx[40];
    float val[40];
    sae_encode(s, x, 1, &c);
    ok(c.ptr[1] == 40 && isnan(c.val[0]), "NaN in, NaN out");
    sae_encode(s, big, 1, &c);
    ok(c.ptr[1] == encode_plain(s, big, idx, val) && !memcmp(c.val, val, c.ptr[1] * 4), "very large rows");
    memset(s->b_enc, 0, 40 * sizeof(float));
    vec_scale(s->w_enc, 1e-10f, 160);
    free(s->enc_norm);
    s->enc_norm = NULL;
    sae_encode(s, tiny, 1, &c);
    ok(c.ptr[1] == encode_plain(s, tiny, idx, val) && !memcmp(c.val, val, c.ptr[1] * 4), "products that underflow");
    codes_free(&c);
    sae_free(s);
}

int main(void)
{
    static const size_t sizes[] = { 0, 1, 3, 127, 129, 300 };
    blas_start();
    rng_seed(&r, 6, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check("relu", sizes[i], 64, 100, true);
        check("relu", 40, sizes[i], 50, false);
        check("tied", 40, 33, sizes[i], true);
    }
    check("relu", 500, 256, 700, true);
    check_extremes();

    int listed = 0;
    for (size_t i = 0; kinds[i]; i++)
        listed += !strcmp(kinds[i]->name, kind_names[i]) && kind_find(kind_names[i]) == kinds[i];
    ok(listed >= 2 && !kind_names[listed] && !kind_find("no such kind"), "%d kinds in the table", listed);
    return done_testing();
}
