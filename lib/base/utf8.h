/* utf8: is this a character? For whatever prints bytes that may be anything. */
/* SPDX-License-Identifier: MIT */
#ifndef UTF8_H
#define UTF8_H

#include <stddef.h>

/* The length of the well-formed UTF-8 character that the n (> 0) bytes at p begin with; 0 when there is none. */
size_t utf8_length(const void *p, size_t n);

/* The same for a character that may go to a terminal; 0 also for one that steers it or changes the order or lines of the text
 * around it: controls (U+0000-1F, U+007F-9F), line and paragraph separators, marks, embeddings, overrides and isolates of
 * direction (U+061C, U+200E-F, U+202A-E, U+2066-9), the deprecated U+206A-F, U+FFF9-B and tags (U+E0000-7F). Whoever
 * prints text from a file prints what has a length here and escapes or masks every other byte. */
size_t utf8_printable(const void *p, size_t n);

#endif
