/* shuffle: a buffer of rows that gives them out in random order.
 *
 * It is filled first; then each row given out is a random one of the buffer, and the next row of the input takes its
 * place; at the end of the input the buffer drains. Memory is the buffer; the order follows from the seed and the
 * rows. */
/* SPDX-License-Identifier: MIT */
#ifndef SHUFFLE_H
#define SHUFFLE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Where rows come from: copy at most n of width d to out. Returns how many, 0 at the end, -1 and a sentence on
 * failure. */
typedef ssize_t (*shuffle_source)(void *arg, float *out, size_t n);

struct shuffle;

/* A buffer of up to `rows` rows (at least 1) of width d. Memory grows as rows arrive. */
struct shuffle *shuffle_new(size_t rows, size_t d, uint64_t seed, shuffle_source source, void *arg);
void shuffle_free(struct shuffle *s);

/* Fill the buffer, as far as the input goes. Returns 0 or -1. */
int shuffle_fill(struct shuffle *s) ERR_CHECKED;
/* The rows now in the buffer, *n of them, contiguous. */
const float *shuffle_rows(const struct shuffle *s, size_t *n);
/* Give out n rows, fewer only when there are no more. Returns how many, -1 on failure. */
ssize_t shuffle_take(struct shuffle *s, float *out, size_t n) ERR_CHECKED;

#endif
