/* shellword: words as a shell would have to be given them, for commands that are printed to be pasted. */
/* SPDX-License-Identifier: MIT */
#ifndef SHELLWORD_H
#define SHELLWORD_H

#include "cli/table.h"

/* Append `word`, quoted where that is needed. in_cell: what is appended goes through the escapes of a table's cell
 * (table.h): a word that those would change is written $'...', in which a shell undoes them. */
void shellword_add(struct text *t, const char *word, bool in_cell);

#endif
