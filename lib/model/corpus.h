/* corpus: text operands as a run of contexts of token ids.
 *
 *      files -> documents -> tokens -> contexts        doc  0  0  0 | 1 | 2  2
 *                                                      ctx  0  1  2 | 3 | 4  5
 *
 * A document is a file or what lies between separators in it (text), a line (lines, ids), or the `text` field of the
 * object on a line (jsonl); it ends with its file. One that has no token yields nothing and takes no number: so a
 * separator before the first document does no harm, and the n-th document that has tokens is document n-1. A context
 * never holds two documents. Memory does not grow with the files (jsonl: with the longest line). */
/* SPDX-License-Identifier: MIT */
#ifndef CORPUS_H
#define CORPUS_H

#include "model/tokenizer.h"

enum corpus_input { CORPUS_TEXT, CORPUS_LINES, CORPUS_JSONL, CORPUS_IDS };

struct context {
    uint32_t doc, ctx;          /* both count from 0 over the whole run */
    const uint32_t *tok;        /* n ids, valid until the next corpus_next() */
    size_t n;
    bool bos;                   /* tok[0] was put there and is not in the text */
    bool first, last;           /* of its document; so a caller can follow a document of any length */
    const char *fields;         /* what corpus_fields() asked for, of its document, joined: field i is */
    const uint32_t *field_end;  /* fields[field_end[i-1], field_end[i]) */
};

struct corpus;

/* Read the n files at paths (none: standard input), zstd or not, one after the other. split NULL, or what separates
 * documents in a file (text only; it becomes no token). t may be NULL for ids. Contexts are ctx_len tokens long, the
 * last of a document shorter; bos -1, or the id every context begins with, which counts in ctx_len. Ids from n_vocab on
 * are refused. The arguments stay the caller's and must outlive the corpus. NULL and a sentence on failure. */
struct corpus *corpus_open(char **paths, size_t n, enum corpus_input input, const char *split, struct tokenizer *t,
                           size_t ctx_len, int64_t bos, size_t n_vocab);
void corpus_close(struct corpus *c);

/* A value in a field of a JSON object is at most so long (bytes). */
enum { CORPUS_FIELD = 1 << 16 };
/* Have the contexts of CORPUS_JSONL carry these n fields of their document's object (borrowed); before the first
 * corpus_next(). A path is a key, or keys joined by dots. A string is carried as its bytes; numbers, true, false, lists
 * and objects as JSON; null and a field that is not there as the empty text. */
void corpus_fields(struct corpus *c, const char *const *paths, size_t n);
/* Has any document so far had field i? */
bool corpus_had_field(const struct corpus *c, size_t i);

/* The next context. 1; 0 at the end; -1 and a sentence naming the file. No byte in any file is an error. */
int corpus_next(struct corpus *c, struct context *out) ERR_CHECKED;

#endif
