/* tokenizer: byte-level BPE from a Hugging Face tokenizer.json (GPT-2, GPT-NeoX/Pythia and their like).
 *
 * Order of work: added tokens that are not normalized, cut from the raw text; NFC where the file asks for it; added
 * tokens that are normalized; the GPT-2 splitter; bytes; merges by rank. Bytes that are not UTF-8 are symbols of their
 * own kind (neither space, letter nor number) and pass through unharmed. */
/* SPDX-License-Identifier: MIT */
#ifndef TOKENIZER_H
#define TOKENIZER_H

#include "base/err.h"
#include "model/ids.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

/* Load DIR/tokenizer.json. NULL and a sentence (with the path) on failure. */
struct tokenizer *tokenizer_load(const char *dir);
/* The same where a model may do without: 0 with *out NULL when DIR has no tokenizer.json; -1 and a sentence when there is one
 * that cannot be read or used. */
int tokenizer_find(const char *dir, struct tokenizer **out) ERR_CHECKED;
void tokenizer_free(struct tokenizer *t);

/* One more than the largest id, added tokens included. */
size_t tokenizer_size(const struct tokenizer *t);
/* The bytes a token stands for and their number; NULL for an id nobody has. */
const uint8_t *tokenizer_text(const struct tokenizer *t, uint32_t id, size_t *len);
/* The id of an added token with this content; -1 when there is none. */
int64_t tokenizer_added(const struct tokenizer *t, const char *content);

/* The byte that character c of a byte-level token's name stands for; -1 when it stands for none. */
int tokenizer_byte(int32_t c);

/* Tokenize a document that arrives in pieces: append to out what is settled, keep what the next bytes could change.
 * `last` ends the document and settles everything. Pieces may cut a character anywhere; the ids do not depend on where
 * the cuts are. Memory follows the longest stretch that cannot be cut (a run of letters, of digits, of white space), not the
 * document: some fifty bytes a byte. One of more than 1 MiB is an error: -1 and a sentence; then the tokenizer is of no use
 * any more. */
int tokenizer_feed(struct tokenizer *t, const void *bytes, size_t n, bool last, struct ids *out) ERR_CHECKED;

#endif
