/* bpe: byte pair encoding of one piece of text.
 *
 * A piece starts as one symbol a byte; the neighboring pair of lowest rank is merged, the leftmost of several, until
 * none is left. [Sennrich, Haddow and Birch 2016, Neural Machine Translation of Rare Words with Subword Units]
 * O(n log n) in the length of the piece; what a short piece came to is remembered. */
/* SPDX-License-Identifier: MIT */
#ifndef BPE_H
#define BPE_H

#include "model/ids.h"

struct bpe;

/* byte_id: the symbol of each byte. Room for `merges` calls of bpe_merge() and `wholes` of bpe_whole(). */
struct bpe *bpe_new(const uint32_t byte_id[256], size_t merges, size_t wholes);
void bpe_free(struct bpe *b);

/* The pair (left, right) makes `made`; rank 0 is merged first. Of two rules for a pair the later one counts. */
void bpe_merge(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t made);
/* A piece that is exactly s[0,n) is this token, whatever the merges would make of it. s stays the caller's. */
void bpe_whole(struct bpe *b, const uint8_t *s, size_t n, uint32_t id);

/* Append the tokens of the piece s[0,n). */
void bpe_encode(struct bpe *b, const uint8_t *s, size_t n, struct ids *out);

#endif
