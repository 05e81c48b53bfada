/* streamtable: the rows of a stream as a table: of activations a line a row, of codes a line for each value. In front stand the
 * columns doc ctx pos tok text and the fields, as far as the first batch has them; what a later batch lacks is an empty
 * cell. All die on failure. */
/* SPDX-License-Identifier: MIT */
#ifndef STREAMTABLE_H
#define STREAMTABLE_H

#include "cli/labels.h"
#include "data/stream.h"

struct streamtable;

/* b: the first batch, or one without columns where there is none. d: width. labels: names of features, or NULL. */
struct streamtable *streamtable_create(const struct batch *b, enum stream_kind kind, size_t d, const struct labels *labels);
/* The rows of b, the first of which is row `at` of all. */
void streamtable_put(struct streamtable *s, const struct batch *b, uint64_t at);
/* A column of b that the table has no place for, or NULL. */
const char *streamtable_lacks(const struct streamtable *s, const struct batch *b);
/* Returns the exit status of main(). */
int streamtable_finish(struct streamtable *s);

#endif
