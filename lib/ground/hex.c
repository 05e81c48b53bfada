/* SPDX-License-Identifier: MIT */
#include "ground/hex.h"

#include <stdint.h>

void hex_encode(char *out, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *byte = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[byte[i] >> 4];
        out[2 * i + 1] = digits[byte[i] & 15];
    }
    out[2 * n] = 0;
}
