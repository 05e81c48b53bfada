/* SPDX-License-Identifier: MIT */
#include "maths/linalg.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/par.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 64 };

/* LAPACK, which comes with the BLAS; the last two are the lengths of the strings. */
extern void dsyevd_(const char *jobz, const char *uplo, const int *n, double *a, const int *lda, double *w,
                    double *work, const int *lwork, int *iwork, const int *liwork, int *info, size_t, size_t);

/* ---- products ---- */

struct product {
    bool ta, tb;
    size_t m, n, k;
    double alpha, beta;
    const double *a, *b;
    double *c;
};

static void product_piece(void *arg, size_t piece, int worker)
{
    const struct product *p = arg;
    size_t from = piece * BLOCK, rows = p->m - from < BLOCK ? p->m - from : BLOCK;
    (void)worker;
    cblas_dgemm(CblasRowMajor, p->ta ? CblasTrans : CblasNoTrans, p->tb ? CblasTrans : CblasNoTrans, (int)rows,
                (int)p->n, (int)p->k, p->alpha, p->a + (p->ta ? from : from * p->k), (int)(p->ta ? p->m : p->k), p->b,
                (int)(p->tb ? p->k : p->n), p->beta, p->c + from * p->n, (int)p->n);
}

void linalg_multiply(bool ta, bool tb, size_t m, size_t n, size_t k, double alpha, const double *a, const double *b,
                     double beta, double *c)
{
    struct product p = { ta, tb, m, n, k, alpha, beta, a, b, c };
    if (m == 0 || n == 0)
        return;
    if (k > 0) {
        par_for((m + BLOCK - 1) / BLOCK, product_piece, &p);
        return;
    }
    for (size_t i = 0; i < m * n; i++)
        c[i] = beta == 0 ? 0 : beta * c[i];
}

/* ---- eigenvectors ---- */

static void point_forward(double *v, size_t n)
{
    size_t at = 0;
    for (size_t j = 1; j < n; j++)
        if (fabs(v[j]) > fabs(v[at]))
            at = j;
    for (size_t j = 0; j < n && v[at] < 0; j++)
        if (j != at)
            v[j] = -v[j];
    v[at] = fabs(v[at]);
}

/* Rows last to first. */
static void turn_over(double *a, size_t rows, size_t width)
{
    for (size_t i = 0; i < rows / 2; i++)
        for (size_t j = 0; j < width; j++) {
            double t = a[i * width + j];
            a[i * width + j] = a[(rows - 1 - i) * width + j];
            a[(rows - 1 - i) * width + j] = t;
        }
}

int linalg_eigen(double *a, size_t n, double *value)
{
    double best;
    int size = (int)n, work_size = -1, list_size = -1, least, info;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < n * n; i++)
        if (!isfinite(a[i]))
            return err_data("a row holds a value that is not finite, or too large to square");
    dsyevd_("V", "L", &size, a, &size, value, &best, &work_size, &least, &list_size, &info, 1, 1);
    work_size = (int)best;
    list_size = least;
    double *work = mem_alloc((size_t)work_size, sizeof *work);
    int *list = mem_alloc((size_t)list_size, sizeof *list);
    dsyevd_("V", "L", &size, a, &size, value, work, &work_size, list, &list_size, &info, 1, 1);
    free(work);
    free(list);
    if (info)
        return err_data("the eigenvectors of a matrix of %zu by %zu could not be found", n, n);
    turn_over(a, n, n);                 /* LAPACK's columns are our rows, the smallest first */
    turn_over(value, n, 1);
    for (size_t i = 0; i < n; i++)
        point_forward(a + i * n, n);
    return 0;
}

size_t linalg_rank(const double *value, size_t n, double least)
{
    size_t rank = 0;
    while (rank < n && value[rank] > 0 && value[rank] > least * value[0])
        rank++;
    return rank;
}

size_t linalg_power(const double *vector, const double *value, size_t n, double power, double least, double *out)
{
    size_t rank = linalg_rank(value, n, least);
    double *scaled = mem_alloc(rank * n, sizeof *scaled);
    for (size_t i = 0; i < rank; i++)
        for (size_t j = 0; j < n; j++)
            scaled[i * n + j] = pow(value[i], power) * vector[i * n + j];
    linalg_multiply(true, false, n, n, rank, 1, vector, scaled, 0, out);
    free(scaled);
    return rank;
}

int linalg_decorrelate(double *w, size_t k, size_t n)
{
    double *gram = mem_alloc(k * k, sizeof *gram), *root = mem_alloc(k * k, sizeof *root);
    double *value = mem_alloc(k, sizeof *value), *copy = mem_alloc(k * n, sizeof *copy);
    linalg_multiply(false, true, k, k, n, 1, w, w, 0, gram);
    int bad = linalg_eigen(gram, k, value);
    if (!bad && linalg_power(gram, value, k, -0.5, 1e-14, root) < k)
        bad = err_data("the components are not independent of each other");
    if (!bad) {
        memcpy(copy, w, k * n * sizeof *copy);
        linalg_multiply(false, false, k, n, k, 1, root, copy, 0, w);
    }
    free(gram);
    free(root);
    free(value);
    free(copy);
    return bad;
}

/* ---- moments ---- */

/* The mean of the rows, and the rows less it. */
static void center(const float *x, size_t n, size_t d, double *mean, double *out)
{
    memset(mean, 0, d * sizeof *mean);
    for (size_t r = 0; r < n; r++)
        for (size_t j = 0; j < d; j++)
            mean[j] += x[r * d + j];
    for (size_t j = 0; j < d; j++)
        mean[j] /= (double)n;
    for (size_t r = 0; r < n; r++)
        for (size_t j = 0; j < d; j++)
            out[r * d + j] = x[r * d + j] - mean[j];
}

/* Batches are cut to so many rows, which bounds the copy in double. */
enum { CHUNK = 1024 };

void linalg_moments_add(struct moments *m, const float *x, size_t n)
{
    size_t d = m->d;
    double *mean = mem_alloc(d, sizeof *mean), *rows = mem_alloc((n < CHUNK ? n : CHUNK) * d, sizeof *rows);
    for (size_t from = 0; from < n; from += CHUNK) {
        size_t some = n - from < CHUNK ? n - from : CHUNK;
        double before = *m->count, all = before + (double)some;
        center(x + from * d, some, d, mean, rows);
        linalg_multiply(true, false, d, d, some, 1, rows, rows, 1, m->outer);
        for (size_t j = 0; j < d; j++)
            mean[j] -= m->mean[j];
        linalg_multiply(true, false, d, d, 1, before * (double)some / all, mean, mean, 1, m->outer);
        for (size_t j = 0; j < d; j++)
            m->mean[j] += mean[j] * (double)some / all;
        *m->count = all;
    }
    free(mean);
    free(rows);
}

void linalg_moments_covariance(const struct moments *m, double *out)
{
    for (size_t i = 0; i < m->d * m->d; i++)
        out[i] = *m->count > 0 ? m->outer[i] / *m->count : 0;
}
