/* fitrun: several fits fed the same rows, from the first to their dictionaries.
 *
 *   rows --> shuffle buffer --> batches --> fit_step() of each fit ... at the end --> its SAE file
 *                 |                 `--> every log_every steps: a line of its log
 *                 `--> where resampling is due: rows for dead features       every `every` rows: a checkpoint */
/* SPDX-License-Identifier: MIT */
#ifndef FITRUN_H
#define FITRUN_H

#include "sae_fit/fitjob.h"

/* Do it all; inputs (n): operands, for the history. Returns the exit status of main(). */
int fitrun(struct fit_run *r, char **inputs, size_t n);

#endif
