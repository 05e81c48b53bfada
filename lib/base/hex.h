/* hex: bytes as lower-case hexadecimal digits, as digests and msgpack's bin are written. */
/* SPDX-License-Identifier: MIT */
#ifndef HEX_H
#define HEX_H

#include <stddef.h>

/* out (2n + 1 chars) = the digits of the n bytes at p, and a zero. */
void hex_encode(char *out, const void *p, size_t n);
/* The value of a hexadecimal digit of either case, -1 where c is none. */
int hex_digit(char c);

#endif
