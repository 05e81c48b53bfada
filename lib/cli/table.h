/* table: rows of named cells on an output, tab-separated with one header line, or with --json one object a line.
 *
 * Text is bytes that may be anything. In a table tab, newline and backslash become \t \n \\, and each byte that is of no UTF-8
 * character or of one that steers a terminal (utf8_printable) becomes \xHH. In JSON there are JSON's own escapes only: such
 * characters are \uHHHH, and each byte that is not UTF-8 becomes U+FFFD. */
/* SPDX-License-Identifier: MIT */
#ifndef TABLE_H
#define TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct table;

/* On -o or standard output, as the common options say. Names are borrowed until the end. Exits on failure. */
struct table *table_create(const char *const *names, size_t columns);
/* The same on a file of its own, not compressed. */
struct table *table_create_at(const char *path, const char *const *names, size_t columns);
/* A table whose first column (text, each row another) names what the row says: with --json all of it is one object, whose
 * values are the second cells, or with more than two columns objects of the others. */
struct table *table_create_keyed(const char *const *names, size_t columns);

/* The next cell of the row in hand; a row ends when its last cell is filled. %.9g for reals, nan spelled so (JSON: null). */
void table_count(struct table *t, uint64_t v);
void table_signed(struct table *t, int64_t v);
void table_real(struct table *t, double v);
void table_text(struct table *t, const char *s);
void table_bytes(struct table *t, const void *p, size_t n);
void table_empty(struct table *t);

/* A cell that is a list: its items are the cells filled until table_list_end(). In a table they are separated by blanks, and
 * blanks in an item are \x20; in JSON it is an array. */
void table_list(struct table *t);
void table_list_end(struct table *t);
/* With --json only, an item of a list that is an object: the cells up to table_object_end() are its members, called
 * names[0] and so on. */
void table_object(struct table *t, const char *const *names);
void table_object_end(struct table *t);

/* Flush and commit. Returns the exit status of main(). */
int table_finish(struct table *t);

/* A growing string of bytes, for cells that are put together; s is NULL until something was added, then s[n] is 0. */
struct text {
    char *s;
    size_t n, cap;
};
void table_text_bytes(struct text *t, const uint8_t *p, size_t n);
void table_text_plain(struct text *t, const char *s);
/* JSON as jansson prints it, with each character that steers a terminal as \uHHHH. */
void table_text_json(struct text *t, const char *json);

#endif
