/* labels: names of features, kept in a file of their own.
 *
 *   feature<TAB>name        one a line; blank lines and lines that begin with # are passed over
 *
 * A later line renames a feature, so that notes can be appended (echo "1201<TAB>French -ance" >>FILE). A name is UTF-8 without
 * control characters. */
/* SPDX-License-Identifier: MIT */
#ifndef LABELS_H
#define LABELS_H

#include "cli/table.h"

/* The option line of a tool: `var` is its const char *. */
#define LABELS_OPTION(where)                                                                                                \
    { OPT_STRING, .name = "labels", .var = (where), .arg = "FILE", .help = "names of features, lines of feature<TAB>name: "  \
      "a column label behind the feature's number", .shown = "" }

struct labels;

/* Read a file (or "-") for features 0 to n - 1. NULL and a sentence with file and line number when it does not name them:
 * no tab, no feature, an empty name, more than 32 MiB. Memory: the file's bytes and 4 n. labels_free() releases it. */
struct labels *labels_load(const char *path, size_t n);
/* The same for a tool: NULL for a NULL path; exits on failure. */
struct labels *labels_open(const char *path, size_t n);
/* The name of a feature, borrowed; NULL when it has none or there are no labels. */
const char *labels_name(const struct labels *l, size_t feature);
/* The next cell of a table: the name, empty where there is none. */
void labels_cell(struct table *t, const struct labels *l, size_t feature);
void labels_free(struct labels *l);

#endif
