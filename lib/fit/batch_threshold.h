/* batch_threshold: the selection of batchtopk and matryoshka. While fitting the k B largest values of a batch of B rows fire. A
 * dictionary must encode a row by itself: it keeps what is above one threshold, a running mean over batches of the
 * smallest value that was kept. [Bussmann 2024, section 3] */
/* SPDX-License-Identifier: MIT */
#ifndef BATCH_THRESHOLD_H
#define BATCH_THRESHOLD_H

#include "fit/auxk.h"

/* Fill f->f: the k n largest of the batch; when measuring, what is above the threshold, as soon as there is one. */
void batch_threshold_encode(struct fit *f);
/* Last thing in a step: the threshold follows. */
void batch_threshold_end(struct fit *f);
/* The threshold; 0 before the first update. */
double batch_threshold(const struct fit *f);
/* The same for every feature of a finished dictionary. */
void batch_threshold_finish(const struct fit *f, struct sae *out);

#endif
