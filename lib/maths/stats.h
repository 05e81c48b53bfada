/* stats: what is said of rows as a whole: their spread about the mean, and their center.
 *
 * Sums run in double over fixed blocks of rows, added in order: the number of threads cannot be seen in them. */
/* SPDX-License-Identifier: MIT */
#ifndef STATS_H
#define STATS_H

#include <stddef.h>
#include <stdint.h>

/* First and second moment of the rows given so far. */
struct spread {
    size_t d;
    uint64_t n;
    double *sum;        /* (d) */
    double square;      /* sum of |x|^2 */
};

/* No rows yet, of width d; stats_free() releases the sums, stats_reset() sets them to zero again. */
struct spread stats_new(size_t d);
void stats_free(struct spread *s);
void stats_reset(struct spread *s);
/* Count rows x (n,d), each times `scale`. Runs on the pool. */
void stats_add(struct spread *s, const float *x, size_t n, double scale);
/* sum over rows of |x - mean|^2; 0 when there is none. [the denominator of FVU] */
double stats_about_mean(const struct spread *s);

/* The mean of rows x (n,d), to out (d); zero for no rows. */
void stats_mean(const float *x, size_t n, size_t d, float *out);
/* The point with the least sum of distances to the rows: at most 100 rounds from the mean, until one moves it by less
 * than 1e-5 of the mean distance. [Weiszfeld 1937] Runs on the pool. */
void stats_geometric_median(const float *x, size_t n, size_t d, float *out);

#endif
