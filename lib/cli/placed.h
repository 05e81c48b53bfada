/* placed: rows that were computed at tokens of a group of contexts, as records of a stream: with doc, ctx, pos, tok, text
 * and the text columns that the first stream carries. */
/* SPDX-License-Identifier: MIT */
#ifndef PLACED_H
#define PLACED_H

#include "model/tokenizer.h"
#include "patch/splice.h"

/* Write a record of the n rows x (n, width) that are tokens at[] of contexts context[] of g. Text that no stream gives
 * is that of t, where it is not NULL. */
void placed_put(struct stream_out *out, const struct stream_in *in, const struct splice_group *g,
                const struct tokenizer *t, const size_t *at, const size_t *context, size_t n, const float *x, size_t width);

#endif
