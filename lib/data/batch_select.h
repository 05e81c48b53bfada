/* batch_select: a batch made of chosen rows of another, in any order, with all that travels with them. */
/* SPDX-License-Identifier: MIT */
#ifndef BATCH_SELECT_H
#define BATCH_SELECT_H

#include "data/stream.h"

/* out becomes rows[0..n) of b: numbers (x, or ptr idx val) and every column that travels, copied into memory that
 * batch_select_free() releases. b as a reader gives it. */
void batch_select(struct batch *out, const struct batch *b, const size_t *rows, size_t n);
void batch_select_free(struct batch *out);

/* out becomes a copy of all of b that outlives the next read, the reserved arrays included; batch_select_keep_free() releases it. */
void batch_select_keep(struct batch *out, const struct batch *b);
void batch_select_keep_free(struct batch *out);

#endif
