/* fitresume: the checkpoints of a run: writing them, ending on a signal with one, going on from one. */
/* SPDX-License-Identifier: MIT */
#ifndef FITRESUME_H
#define FITRESUME_H

#include "sae_fit/fitjob.h"

/* From now on SIGINT and SIGTERM set fitrows_stop; a second one ends the program at once. */
void fitresume_catch(void);
/* Write a checkpoint. */
void fitresume_save(struct fit_run *r);
/* fitrows_stop is set: write a checkpoint, where one is wanted, and end by the signal. */
void fitresume_stop(struct fit_run *r);
/* All steps are done: write a last checkpoint, so that nothing that happens to the results loses the work; after it a
 * signal ends the program at once. */
void fitresume_settle(struct fit_run *r);
/* Reading has failed: what had been done till then may still be wanted. */
void fitresume_die(struct fit_run *r) __attribute__((noreturn));

/* Is there a checkpoint to go on from? */
bool fitresume_wanted(const struct fit_run *r);
/* Take it up: fits, logs, and as many rows from the buffer, by way of x (batch, d), as had been used. */
void fitresume_load(struct fit_run *r, float *x);
/* Count n rows into r->crc. */
void fitresume_count(struct fit_run *r, const float *x, size_t n);

#endif
