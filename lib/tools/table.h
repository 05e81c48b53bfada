/* table: rows of named cells on an output, tab-separated with one header line, or with --json one object a line.
 *
 * Tabs, newlines and backslashes in text become \t \n \\, bytes that are not UTF-8 \xHH, in both forms. */
/* SPDX-License-Identifier: MIT */
#ifndef TABLE_H
#define TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table;

/* On -o or standard output, as the common options say. Names are borrowed until the end. Exits on failure. */
struct table *table_create(const char *const *names, size_t columns);
/* The same on a file of its own, not compressed. */
struct table *table_create_at(const char *path, const char *const *names, size_t columns);
/* The next cell of the row in hand; a row ends when its last cell is filled. %.9g for reals, nan spelled so. */
void table_count(struct table *t, uint64_t v);
void table_real(struct table *t, double v);
void table_text(struct table *t, const char *s);
void table_empty(struct table *t);
/* Flush and commit. Returns the exit status of main(). */
int table_finish(struct table *t);

/* Append the printable form of n bytes to a growing string. */
struct text {
    char *s;
    size_t n, cap;
};
void text_bytes(struct text *t, const uint8_t *p, size_t n);    /* escaped as above */
void text_plain(struct text *t, const char *s);                 /* as it is */

#endif
