/* sniff: what a file is that is not what was wanted, from its first bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef SNIFF_H
#define SNIFF_H

#include <stddef.h>

enum { SNIFF_BYTES = 64 };      /* as many of the first bytes as it is any use to have */

/* "a .npy array (act-cat --from npy reads it)": words that may follow "it is"; NULL for bytes that tell nothing. */
const char *sniff_words(const void *first, size_t n);

#endif
