/* The Gaussian vector behind correlated activity: with random correlations, or with blocks of one correlation.
 *
 * Random: C = (V + V^T) / 2, V uniform on [0,1); C - 1.001 lambda_min I, where lambda_min < 0, is positive definite; it
 * is scaled to a unit diagonal, R. [Toy data of Sharkey et al. 2022; the scaling is what makes every marginal exact] */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "maths/vec.h"
#include "toy/toy_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANDOM_MOST = 2048 };

double normal_cdf(double x)
{
    return 0.5 * erfc(-x * 0.70710678118654752440);
}

double normal_quantile(double p)
{
    double lo = -40, hi = 40;
    for (int i = 0; i < 80; i++) {
        double mid = 0.5 * (lo + hi);
        if (normal_cdf(mid) < p)
            lo = mid;
        else
            hi = mid;
    }
    return 0.5 * (lo + hi);
}

/* c (n,n) becomes its lower Cholesky root, in place; false where there is none. */
static bool root_in_place(float *c, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *row = c + i * n;
        for (size_t j = 0; j < i; j++)
            row[j] = (float)((row[j] - vec_dot_wide(row, c + j * n, j)) / c[j * n + j]);
        double left = row[i] - vec_dot_wide(row, row, i);
        if (!(left > 0))
            return false;
        row[i] = (float)sqrt(left);
        memset(row + i + 1, 0, (n - i - 1) * sizeof *row);
    }
    return true;
}

static bool has_root(const float *c, size_t n, double shift, float *scratch)
{
    memcpy(scratch, c, n * n * sizeof *c);
    for (size_t i = 0; i < n; i++)
        scratch[i * n + i] += (float)shift;
    return root_in_place(scratch, n);
}

/* The shift that makes the least eigenvalue 0, or 0 where it is above: a matrix is positive definite when it has a
 * root. */
static double least_shift(const float *c, size_t n, float *scratch)
{
    double lo = 0, hi = 1;
    if (has_root(c, n, 0, scratch))
        return 0;
    while (!has_root(c, n, hi, scratch))
        lo = hi, hi *= 2;
    while (hi - lo > 1e-4 * hi)
        *(has_root(c, n, 0.5 * (lo + hi), scratch) ? &hi : &lo) = 0.5 * (lo + hi);
    return hi;
}

static float *random_coupling(size_t n, uint64_t seed)
{
    float *c = mem_align(n * n, sizeof *c), *scratch = mem_align(n * n, sizeof *scratch);
    double *size = mem_alloc(n, sizeof *size);
    struct rng r = toy_rng(seed, TOY_OF_COUPLING, 0);
    for (size_t i = 0; i < n * n; i++)
        c[i] = (float)rng_uniform(&r);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++)
            c[i * n + j] = c[j * n + i] = 0.5f * (c[i * n + j] + c[j * n + i]);
    double shift = 1.001 * least_shift(c, n, scratch);
    for (size_t i = 0; i < n; i++)
        size[i] = sqrt(c[i * n + i] + shift);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            c[i * n + j] = i == j ? 1 : (float)(c[i * n + j] / (size[i] * size[j]));
    free(scratch);
    free(size);
    return c;
}

int copula_make(struct copula *c, size_t events, size_t block, double rho, uint64_t seed)
{
    *c = (struct copula){ .events = events, .block = block, .rho = rho };
    if (block)
        return 0;
    if (events > RANDOM_MOST)
        return err_usage("random correlations of %zu features: at most %d, or give --coupling K:RHO", events,
                         RANDOM_MOST);
    c->root = random_coupling(events, seed);
    if (!root_in_place(c->root, events))
        return err_usage("the random correlations are not positive definite: take another seed");
    return 0;
}

void copula_free(struct copula *c)
{
    free(c->root);
    c->root = NULL;
}

void copula_draw(const struct copula *c, struct rng *r, float *z, float *u)
{
    float common = 0;
    for (size_t i = 0; i < c->events; i++) {
        if (c->block && i % c->block == 0)
            common = (float)(sqrt(c->rho) * rng_normal(r));
        z[i] = (float)rng_normal(r);
        u[i] = c->block ? common + (float)sqrt(1 - c->rho) * z[i] : vec_dot(c->root + i * c->events, z, i + 1);
    }
}
