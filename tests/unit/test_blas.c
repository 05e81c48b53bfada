/* The three products against a triple loop in double, on random shapes with 0 and 1 among them and padded rows. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "maths/blas.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float *matrix(struct rng *r, size_t rows, size_t ld)
{
    float *p = mem_alloc(rows * ld, sizeof *p);
    for (size_t i = 0; i < rows * ld; i++)
        p[i] = (float)rng_normal(r);
    return p;
}

/* kind 0: A B^T, 1: A B, 2: A^T B. */
static void check(struct rng *r, int kind, size_t m, size_t n, size_t k, float beta)
{
    size_t a_rows = kind == 2 ? k : m, a_cols = kind == 2 ? m : k, b_rows = kind ? k : n, b_cols = kind ? n : k;
    size_t lda = a_cols + 1 + rng_below(r, 5), ldb = b_cols + 1 + rng_below(r, 5), ldc = n + 1 + rng_below(r, 5);
    float *a = matrix(r, a_rows, lda), *b = matrix(r, b_rows, ldb), *c = matrix(r, m, ldc);
    float *old = mem_alloc(m * ldc, sizeof *old);
    memcpy(old, c, m * ldc * sizeof *c);
    if (beta == 0)
        for (size_t i = 0; i < m; i++)
            for (size_t j = 0; j < n; j++)
                c[i * ldc + j] = NAN;               /* beta = 0 must not read C */
    (kind == 0 ? blas_nt : kind == 1 ? blas_nn : blas_tn)(m, n, k, a, lda, b, ldb, beta, c, ldc);
    double worst = 0;
    int kept = 1;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = beta == 0 ? 0 : old[i * ldc + j];
            for (size_t p = 0; p < k; p++)
                sum += (double)a[kind == 2 ? p * lda + i : i * lda + p] * b[kind ? p * ldb + j : j * ldb + p];
            double off = fabs(c[i * ldc + j] - sum);
            worst = fmax(worst, isnan(off) ? INFINITY : off);
        }
        for (size_t j = n; j < ldc; j++)
            kept &= c[i * ldc + j] == old[i * ldc + j];
    }
    is_near(worst, 0, 1e-5 * sqrt((double)k + 1), "product %d of %zu x %zu over %zu, beta %g", kind, m, n, k, beta);
    ok(kept, "nothing written between the rows");
    free(a);
    free(b);
    free(c);
    free(old);
}

int main(void)
{
    static const size_t small[] = { 0, 1, 2, 5 };
    struct rng r;
    const char *slow = "";
    rng_seed(&r, 2, 0);
    blas_start();
    ok(*blas_core(&slow) && (!slow || *slow) && blas_core(NULL), "the BLAS has a name");
    for (int kind = 0; kind < 3; kind++) {
        for (int i = 0; i < 64; i++)
            check(&r, kind, small[i & 3], small[i >> 2 & 3], small[i >> 4], (float)(i & 1));
        for (int i = 0; i < 12; i++)
            check(&r, kind, 1 + rng_below(&r, 90), 1 + rng_below(&r, 90), 1 + rng_below(&r, 200), (float)(i & 1));
    }
    return done_testing();
}
