/* utf8: is this a character? For whatever prints bytes that may be anything. */
/* SPDX-License-Identifier: MIT */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>

/* The length of the well-formed UTF-8 character that the n (> 0) bytes at p begin with; 0 when there is none. */
size_t utf8_length(const void *p, size_t n);

#endif
