/* Codes, their sums and their transpose against plain loops, on random shapes with 0 and 1 among them. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "maths/sparse.h"
#include "maths/vec.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *normals(struct rng *r, size_t n)
{
    float *p = mem_alloc(n, sizeof *p);
    for (size_t i = 0; i < n; i++)
        p[i] = (float)rng_normal(r);
    return p;
}

/* Each of m features fires with probability p, in n rows. */
static struct codes random_codes(struct rng *r, size_t n, size_t m, double p)
{
    struct codes c = { .n = 0 };
    uint32_t *idx = mem_alloc(m, sizeof *idx);
    float *val = mem_alloc(m, sizeof *val);
    codes_reset(&c, m);
    for (size_t row = 0; row < n; row++) {
        size_t k = 0;
        for (size_t i = 0; i < m; i++)
            if (rng_uniform(r) < p) {
                idx[k] = (uint32_t)i;
                val[k++] = (float)rng_normal(r);
            }
        codes_push(&c, idx, val, k);
    }
    free(idx);
    free(val);
    return c;
}

static void check_decode(struct rng *r, size_t n, size_t m, size_t d, int with_bias)
{
    struct codes c = random_codes(r, n, m, 0.3);
    float *w = normals(r, m * d), *b = normals(r, d), *out = normals(r, n * d);
    double worst = 0;
    codes_decode(&c, w, with_bias ? b : NULL, d, out);
    for (size_t row = 0; row < n; row++)
        for (size_t j = 0; j < d; j++) {
            double sum = with_bias ? b[j] : 0;
            for (uint32_t p = c.ptr[row]; p < c.ptr[row + 1]; p++)
                sum += (double)c.val[p] * w[c.idx[p] * d + j];
            worst = fmax(worst, fabs(sum - out[row * d + j]));
        }
    is_near(worst, 0, 2e-5 * sqrt((double)m + 1), "decode %zu rows, %zu features, width %zu, bias %d", n, m, d,
            with_bias);
    codes_free(&c);
    free(w);
    free(b);
    free(out);
}

static void check_columns(struct rng *r, size_t n, size_t m)
{
    struct codes c = random_codes(r, n, m, 0.4);
    struct codes_by_feature k = { .start = NULL };
    int order = 1, pairs = 1, complete;
    codes_columns(&c, &k);
    complete = k.start[0] == 0 && k.start[m] == c.ptr[n];
    for (size_t i = 0; i < m; i++)
        for (uint32_t p = k.start[i]; p < k.start[i + 1]; p++) {
            order &= p == k.start[i] || k.row[p] > k.row[p - 1];
            pairs &= c.idx[k.at[p]] == i && k.at[p] >= c.ptr[k.row[p]] && k.at[p] < c.ptr[k.row[p] + 1];
        }
    ok(complete && order && pairs, "columns of %zu rows, %zu features", n, m);
    codes_columns(&c, &k);
    ok(k.start[m] == c.ptr[n], "columns again in the same arrays");
    codes_free(&c);
    columns_free(&k);
}

static void check_above(struct rng *r, size_t m, int sized)
{
    float *a = normals(r, m), *b = normals(r, m), *size = normals(r, m), *val = normals(r, m), slack = 0.25f;
    uint32_t *idx = mem_alloc(m, sizeof *idx);
    size_t want = 0, good = 0;
    for (size_t i = 0; i < m; i++) {
        size[i] = fabsf(size[i]);
        if (rng_below(r, 20) == 0)
            a[i] = NAN;
        if (rng_below(r, 5) == 0)
            b[i] = -a[i];           /* a sum of exactly 0 */
    }
    size_t n = sparse_above(a, b, sized ? slack : 0, sized ? size : NULL, m, idx, val);
    for (size_t i = 0; i < m; i++) {
        float sum = a[i] + b[i];
        if (sum <= (sized ? -slack * size[i] : 0))
            continue;
        good += want < n && idx[want] == i && (isnan(sum) ? isnan(val[want]) : val[want] == sum);
        want++;
    }
    ok(n == want && good == want, "%zu of %zu above, sized %d", n, m, sized);
    free(a);
    free(b);
    free(size);
    free(val);
    free(idx);
}

static void check_append(struct rng *r)
{
    struct codes a = random_codes(r, 3, 7, 0.5), b = random_codes(r, 0, 7, 0.5), c = random_codes(r, 4, 7, 0.5);
    struct codes all = { .n = 0 };
    codes_reset(&all, 7);
    codes_append(&all, &a);
    codes_append(&all, &b);
    codes_append(&all, &c);
    size_t pa = a.ptr[3], pc = c.ptr[4];
    ok(all.n == 7 && all.ptr[7] == pa + pc && all.ptr[3] == pa && all.ptr[5] == pa + c.ptr[2],
       "rows follow one another");
    ok(!memcmp(all.idx, a.idx, pa * 4) && !memcmp(all.val + pa, c.val, pc * 4), "with their pairs");
    codes_free(&a);
    codes_free(&b);
    codes_free(&c);
    codes_free(&all);
}

int main(void)
{
    static const size_t shapes[] = { 0, 1, 2, 15, 16, 17, 128, 131, 300 };
    struct rng r;
    rng_seed(&r, 3, 0);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        check_decode(&r, 5, 40, shapes[i], (int)(i & 1));
        check_decode(&r, shapes[i], 1 + shapes[i] / 2, 33, 1);
        check_decode(&r, 2, shapes[i], 144, 0);
        check_columns(&r, shapes[i], 1 + rng_below(&r, 30));
        check_columns(&r, 1 + rng_below(&r, 30), shapes[i]);
        check_above(&r, shapes[i], 0);
        check_above(&r, shapes[i], 1);
    }
    check_above(&r, 1500, 0);
    check_above(&r, 1500, 1);
    check_append(&r);

    float w[12] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 }, x[3] = { 1, -1, 2 }, out[2];
    uint32_t idx[2] = { 1, 3 };
    sparse_dots(idx, 2, w, x, 3, out);
    ok(out[0] == vec_dot(w + 3, x, 3) && out[1] == vec_dot(w + 9, x, 3), "dots of chosen rows are vec_dot");
    return done_testing();
}
