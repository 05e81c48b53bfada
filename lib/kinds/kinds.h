/* kinds: the table of all kinds. */
/* SPDX-License-Identifier: MIT */
#ifndef KINDS_H
#define KINDS_H

#include "dict/kind.h"

/* All kinds, ending with NULL; and their names in the same order. */
extern const struct kind *const kinds[];
extern const char *const kind_names[];
/* NULL when there is none of that name. */
const struct kind *kind_find(const char *name);

#endif
