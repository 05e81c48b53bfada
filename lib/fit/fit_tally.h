/* fit_tally: what a fit measures on its rows, as it goes along. */
/* SPDX-License-Identifier: MIT */
#ifndef FIT_TALLY_H
#define FIT_TALLY_H

#include "maths/stats.h"

#include <stddef.h>
#include <stdint.h>

/* What was measured on the rows of some batches. */
struct fit_tally {
    uint64_t rows;
    double loss, error, active;         /* sums over the rows: L, |x_hat - s x|^2, features that fire */
    struct spread spread;               /* of s x */
    uint64_t seen, *last;               /* rows ever; (features) row count when each last fired, 0: never */
    size_t features;
};

/* The same as numbers. loss, mse (per component) and fvu are those of s x; fvu is error / spread about the mean. */
struct fit_report {
    uint64_t rows;
    double loss, mse, fvu, l0;
    size_t dead;                        /* features not fired in the last `window` rows */
};

/* Nothing measured yet, of rows of width d_model and d_sae features; fit_tally_free() releases it. */
struct fit_tally fit_tally_new(size_t d_model, size_t d_sae);
void fit_tally_free(struct fit_tally *t);
/* Numbers of all rows since the last reset. */
struct fit_report fit_tally_report(const struct fit_tally *t, uint64_t window);
/* Begin anew; the firing record is kept. */
void fit_tally_reset(struct fit_tally *t);

#endif
