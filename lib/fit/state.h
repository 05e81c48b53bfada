/* state: what a fit and the pieces of its step ask of it: options, rate, numbers kept by name, whether it is sound. */
/* SPDX-License-Identifier: MIT */
#ifndef STATE_H
#define STATE_H

#include "fit/fit.h"

/* Options with every extra off, to be filled in. */
struct fit_options fit_options_usual(void);

/* Room for n numbers, zeroed, that the fit keeps, checkpoints and frees; made in the kind's init or begin hook, the
 * same ones in the same order each time. The name is cut to what fits; a second call with a name gives the first's, or,
 * if n is another, an array anew. */
double *fit_state_add(struct fit *f, const char *name, size_t n);

/* The learning rate of update `step`, from 0. */
double fit_rate(const struct fit *f, uint64_t step);

/* The loss of the batch is finite and has not grown beyond all measure. */
bool fit_is_sound(const struct fit *f);

#endif
