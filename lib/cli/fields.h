/* fields: what rows carry beside the reserved columns, such as the label of the document a row comes from, as values and as
 * the cells of a table. A field is a text column of a stream, or a column of rows with one number each. */
/* SPDX-License-Identifier: MIT */
#ifndef FIELDS_H
#define FIELDS_H

#include "cli/table.h"
#include "data/stream.h"

/* A row's value is at most this long when it is a number. */
enum { FIELDS_NUMBER = 32 };

struct fields {
    size_t n;
    char *name[STREAM_COLUMNS];
};

/* The names of the fields of b, in its order, to f (zeroed before the first call). fields_free() releases them. */
void fields_find(struct fields *f, const struct batch *b);
void fields_free(struct fields *f);
/* The field of b of that name; NULL when b has no such field. */
const struct column *fields_column(const struct batch *b, const char *name);
/* The value of c, a field of b, in row i: bytes of the text, or a number printed to `number`. */
const char *fields_value(const struct batch *b, const struct column *c, size_t i, char number[FIELDS_NUMBER], size_t *len);
/* Row i of b as f->n cells of t; a field that b lacks is an empty cell. */
void fields_print(const struct fields *f, struct table *t, const struct batch *b, size_t i);
/* The name a field has in a table whose other columns are named `taken` (n of them): its own, or "row." and that. A string of
 * the caller's. */
char *fields_title(const char *name, const char *const *taken, size_t n);

#endif
