/* resample: dead features begin anew as rows that are badly reconstructed. [Bricken 2023, Neuron Resampling]
 *
 *   steps  ..|..... every ....|..... every ....|.. last      event: features that have not fired in the half before it
 *               watched ------^    watched ----^             are drawn rows x, p ~ loss^2, without replacement:
 *                                                            d_i = x / |x|, e_i = 0.2 mean|e_alive| d_i, b_i = 0,
 *                                                            and the moments of all that changed are 0 */
/* SPDX-License-Identifier: MIT */
#ifndef RESAMPLE_H
#define RESAMPLE_H

#include "fit/fit.h"

/* Draw k of n things one after another without replacement, each time with a chance in proportion to its weight, into
 * out. Returns how many: fewer than k when fewer have a weight above 0. [exponential races: Efraimidis 2006] */
size_t resample_draw(struct rng *rng, const double *weight, size_t n, size_t k, size_t *out);

/* What an event did. */
struct resampled {
    size_t dead, n, rows;           /* dead features, those of them resampled, rows to draw from */
    uint32_t *feature;              /* (n) */
    size_t *row;                    /* (n) which of the rows given each was drawn */
    double *loss;                   /* (n) its loss */
    double before;                  /* mean loss of the rows */
};

/* Is there an event after the step just done? */
bool resample_due(const struct fit *f);
/* The event, drawing from o.resample_rows of the rows x (n, d_model), or all of them. */
struct resampled resample_run(struct fit *f, const float *x, size_t n);
void resample_free(struct resampled *r);

#endif
