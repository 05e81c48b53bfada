/* tablein: a table with one line a row, as act-cat --to tsv writes it of activations, as the batches of a stream: columns x0 x1
 * ... are the numbers, doc ctx pos tok whole numbers, text the token, any other column a text column of its name. */
/* SPDX-License-Identifier: MIT */
#ifndef TABLEIN_H
#define TABLEIN_H

#include "data/stream.h"

struct tablein;

/* Read the first line. path NULL: standard input. NULL and a sentence (with the name) on failure. */
struct tablein *tablein_open(const char *path);
void tablein_close(struct tablein *t);
const char *tablein_name(const struct tablein *t);
size_t tablein_width(const struct tablein *t);
/* The next rows, borrowed until the next call: 1, 0 at the end, -1 and a sentence with name and line. */
int tablein_next(struct tablein *t, struct batch *b) ERR_CHECKED;

#endif
