/* unicode: UTF-8 in and out of a byte buffer, the classes a splitter asks for, and NFC.
 *
 * Bytes that are not UTF-8 are characters of their own, one byte each, with the code point UNICODE_BAD: they are
 * neither space, letter nor number, and NFC leaves them, and what stands on their two sides, apart. */
/* SPDX-License-Identifier: MIT */
#ifndef UNICODE_H
#define UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UNICODE_BAD = -1 };

/* White_Space; general category L*; N*; everything else. */
enum unicode_class { UNICODE_SPACE, UNICODE_LETTER, UNICODE_NUMBER, UNICODE_OTHER };

/* Growing bytes; a zeroed struct is empty; free(s). */
struct unicode_text {
    uint8_t *s;
    size_t n, cap;
};
void unicode_append(struct unicode_text *t, const void *s, size_t n);

/* The character that s (n > 0 bytes) begins with. Returns its length, 1 and UNICODE_BAD for a byte that is no UTF-8,
 * or 0 when only bytes behind s+n can tell. */
size_t unicode_next(const uint8_t *s, size_t n, int32_t *cp);
/* The same where nothing follows s+n: never 0. */
size_t unicode_take(const uint8_t *s, size_t n, int32_t *cp);
/* The character of s[0,n) that ends at 0 < at <= n. Returns its length, or 0 when `at` lies inside a character or only
 * bytes behind s+n can tell. */
size_t unicode_prev(const uint8_t *s, size_t n, size_t at, int32_t *cp);

/* The class of a code point: of ASCII from the table, of any by the Unicode database (utf8proc). */
extern const uint8_t unicode_ascii[128];
enum unicode_class unicode_wide(int32_t cp);
static inline enum unicode_class unicode_class(int32_t cp)
{
    return (uint32_t)cp < 128 ? (enum unicode_class)unicode_ascii[cp] : unicode_wide(cp);
}

/* What a regular expression's \w matches: Alphabetic, marks, decimal numbers, connectors, joiners. */
bool unicode_word(int32_t cp);

/* NFC may be done apart on the two sides of a place with this character behind it [UAX 15, section 9]. */
bool unicode_nfc_border(int32_t cp);
/* Append NFC of s[0,n) to out; time linear in n whatever the text. */
void unicode_nfc(const uint8_t *s, size_t n, struct unicode_text *out);

#endif
