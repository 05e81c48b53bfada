/* components: what those kinds share that look at many rows at once rather than go down a gradient.
 *
 * A component that may come with either sign is two features, rows 2j and 2j + 1 of the dictionary:
 *   f_2j = relu(<e_j, x - b_dec>), f_2j+1 = relu(-<e_j, x - b_dec>);  d_2j = d_j, d_2j+1 = -d_j,  |d_j| = 1 */
/* SPDX-License-Identifier: MIT */
#ifndef COMPONENTS_H
#define COMPONENTS_H

#include "base/err.h"
#include "fit/fit.h"

/* The tensors they save and keep as parameters, though none has a gradient. */
#define WHOLE_TENSORS (SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC))

/* The number of components is half of d_sae, which must be even and from 2 to 2 `most`. 0 and a sentence of usage when
 * it is not; `why` says what sets the limit. SIZE_MAX: none. */
size_t components_of(const struct fit *f, size_t most, const char *why);

/* b_dec = mean (d_model), and the encoder sees x - b_dec. */
void components_center(struct fit *f, const double *mean);

/* Rows 2j and 2j + 1 of enc and dec (d_sae, d) from e and dir (d): dir at unit norm, what it loses given to e. */
void components_pair(float *enc, float *dec, size_t d, size_t j, const double *e, const double *dir);

/* Mean of rows x (n, d), and the eigenvectors of their covariance. */
struct components_spectrum {
    size_t d, rank;
    double *mean, *vector, *value;      /* (d); (d, d) one a row, the largest eigenvalue first; (d) */
};
/* Returns 0; -1 and a sentence, with nothing to free, when a row is not finite or all rows are the same. */
int components_spectrum(const float *x, size_t n, size_t d, struct components_spectrum *out) ERR_CHECKED;
void components_spectrum_free(struct components_spectrum *s);
/* The first `count` directions scaled by the square root of their eigenvalues, to out (count, d): by `power` 1 what takes
 * whitened rows back to rows, by -1 what whitens. */
void components_spectrum_scaled(const struct components_spectrum *s, size_t count, double power, double *out);

/* The step hook: rows are only measured. The finish hook: k is part of the dictionary. */
void components_step(struct fit *f);
void components_finish(const struct fit *f, struct sae *out);

#endif
