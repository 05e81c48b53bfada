/* SPDX-License-Identifier: MIT */
#include "base/utf8.h"

#include <stdbool.h>
#include <stdint.h>

static size_t announced(unsigned char first)
{
    return first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
}

size_t utf8_length(const void *text, size_t n)
{
    const unsigned char *p = text;
    size_t len = announced(p[0]);
    if (!len || len > n)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool beyond = (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf4 && p[1] >= 0x90);
    return overlong || beyond ? 0 : len;
}

static uint32_t code_point(const unsigned char *p, size_t len)
{
    uint32_t cp = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        cp = cp << 6 | (p[i] & 0x3fu);
    return cp;
}

static bool within(uint32_t cp, uint32_t lo, uint32_t hi)
{
    return cp >= lo && cp <= hi;
}

/* Does it steer a terminal, or reorder or break the line it stands in? */
static bool steers(uint32_t cp)
{
    return cp < 0x20 || within(cp, 0x7f, 0x9f) || cp == 0x61c || within(cp, 0x200e, 0x200f) || within(cp, 0x2028, 0x202e) ||
           within(cp, 0x2066, 0x206f) || within(cp, 0xfff9, 0xfffb) || within(cp, 0xe0000, 0xe007f);
}

size_t utf8_printable(const void *text, size_t n)
{
    size_t len = utf8_length(text, n);
    return len && steers(code_point(text, len)) ? 0 : len;
}
