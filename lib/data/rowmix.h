/* rowmix: rows in random order.
 *
 * All of them, uniformly: each row goes to one of 64 parts by lot, and the parts, each in a random order of its own, are
 * given out one behind the other; a part too large for memory is divided again. (That gives every order the same chance:
 * Sanders 1998, Random permutations on distributed, external and hierarchical memory.) Parts wait in a temporary file as
 * large as the rows; memory stays near `memory` bytes, however many they are.
 *
 * Or within a window: so many rows are held, and each new one pushes out a random one of them. */
/* SPDX-License-Identifier: MIT */
#ifndef ROWMIX_H
#define ROWMIX_H

#include "data/stream.h"

struct rowmix;

enum { ROWMIX_MEMORY = 128 << 20 };

/* window 0: all rows, in `memory` bytes (a window takes what its rows take). The order follows from these and the rows. */
struct rowmix *rowmix_new(uint64_t seed, uint64_t window, size_t memory);
void rowmix_free(struct rowmix *m);
/* Take the rows of b: all must have the same columns. What does not travel with rows is left out. */
int rowmix_add(struct rowmix *m, const struct batch *b) ERR_CHECKED;
/* Give out rows as a batch of about STREAM_PAYLOAD bytes, to be released by batch_select_free(): 1, 0 when there are none (now, or
 * at all, after the `last` row has been added), -1. */
int rowmix_take(struct rowmix *m, bool last, struct batch *out) ERR_CHECKED;

#endif
