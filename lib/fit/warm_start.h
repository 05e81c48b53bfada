/* warm_start: a fit that begins from rows one has, or goes on from a dictionary, instead of at random. Called behind
 * fit_begin(); features that are not given keep what that drew. */
/* SPDX-License-Identifier: MIT */
#ifndef WARM_START_H
#define WARM_START_H

#include "fit/fit.h"

/* Features 0 to n - 1, n <= d_sae, begin as the directions of rows (n, d_model); a row of zeros is passed over. The
 * encoder's rows are their copies where o.tied_init says so. */
void warm_start_rows(struct fit *f, const float *rows, size_t n);

/* The same from all features of a dictionary with s->d_model and d_sae <= the fit's: of the tensors that both have, in
 * the units of the fit. What depends on apply_b_dec is converted. */
void warm_start_sae(struct fit *f, const struct sae *s);

#endif
