/* arrayin: rows from elsewhere as the batches of a stream of activations: .npy, a tensor of a safetensors file, f32 without a
 * header; and beside them, from .npy files of whole numbers, whose rows they are.
 *
 * Where ids, documents or positions are given, rows get the columns doc, ctx and pos; with ids tok; with a tokenizer text.
 * Of arrays (documents, positions, width), or ids (documents, positions), the document is the first index and the position
 * the last; rows without such a shape are one document. A context ends where the document changes or the position does not
 * grow. */
/* SPDX-License-Identifier: MIT */
#ifndef ARRAYIN_H
#define ARRAYIN_H

#include "data/stream.h"

enum arrayin_form { ARRAYIN_NPY, ARRAYIN_SAFETENSORS, ARRAYIN_RAW };

struct vocab;

/* One input. Paths are NULL where nothing is given. */
struct arrayin_source {
    enum arrayin_form form;
    const char *path;                   /* NULL: standard input */
    size_t width;                       /* of ARRAYIN_RAW */
    const char *tensor;                 /* of ARRAYIN_SAFETENSORS; NULL: the only one there is */
    const char *ids, *doc, *pos;        /* .npy */
    const struct vocab *vocab;
};

struct arrayin;

/* NULL and a sentence (with the path) on failure. */
struct arrayin *arrayin_open(const struct arrayin_source *from);
void arrayin_close(struct arrayin *a);
const char *arrayin_name(const struct arrayin *a);
/* Numbers in a row; how they are stored in batches (f16 and bf16 stay, the others become f32); rows, or UINT64_MAX. */
size_t arrayin_width(const struct arrayin *a);
enum dtype arrayin_type(const struct arrayin *a);
uint64_t arrayin_rows(const struct arrayin *a);
/* The next rows, borrowed until the next call: 1, 0 at the end, -1 and a sentence (with the name). */
int arrayin_next(struct arrayin *a, struct batch *b) ERR_CHECKED;

#endif
