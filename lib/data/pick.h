/* pick: a batch made of chosen rows of another, in any order, with all that travels with them. */
/* SPDX-License-Identifier: MIT */
#ifndef PICK_H
#define PICK_H

#include "data/stream.h"

/* out becomes rows[0..n) of b: numbers (x, or ptr idx val) and every column that travels, copied into memory that
 * batch_unpick() releases. b as a reader gives it. */
void batch_pick(struct batch *out, const struct batch *b, const size_t *rows, size_t n);
void batch_unpick(struct batch *out);

/* out becomes a copy of all of b that outlives the next read, the reserved arrays included; batch_unkeep() releases it. */
void batch_keep(struct batch *out, const struct batch *b);
void batch_unkeep(struct batch *out);

#endif
