/* SPDX-License-Identifier: MIT */
#include "model/unicode.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define S UNICODE_SPACE
#define L UNICODE_LETTER
#define N UNICODE_NUMBER
#define O UNICODE_OTHER
const uint8_t unicode_ascii[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef S
#undef L
#undef N
#undef O

void unicode_append(struct unicode_text *t, const void *s, size_t n)
{
    if (!n)
        return;
    t->s = mem_grow(t->s, &t->cap, t->n + n, 1);
    memcpy(t->s + t->n, s, n);
    t->n += n;
}

/* ---- UTF-8 ---- */

/* How many bytes a character with this first byte has; 0: none begins so. */
static size_t width(uint8_t lead)
{
    return lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
}

/* The second byte rules out overlong forms, surrogates and what lies beyond U+10FFFF. */
static bool second_fits(uint8_t lead, uint8_t b)
{
    uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return b >= low && b <= high;
}

size_t unicode_next(const uint8_t *s, size_t n, int32_t *cp)
{
    size_t w = width(s[0]);
    *cp = UNICODE_BAD;
    if (w < 2) {
        *cp = w ? s[0] : UNICODE_BAD;
        return 1;
    }
    int32_t c = s[0] & (0x7f >> w);
    for (size_t i = 1; i < w; i++) {
        if (i == n)
            return 0;
        if (i == 1 ? !second_fits(s[0], s[1]) : (s[i] & 0xc0) != 0x80)
            return 1;
        c = c << 6 | (s[i] & 0x3f);
    }
    *cp = c;
    return w;
}

size_t unicode_take(const uint8_t *s, size_t n, int32_t *cp)
{
    size_t len = unicode_next(s, n, cp);
    return len ? len : 1;
}

size_t unicode_prev(const uint8_t *s, size_t n, size_t at, int32_t *cp)
{
    size_t q = at - 1;
    while (q > 0 && at - q < 4 && (s[q] & 0xc0) == 0x80)
        q--;
    size_t len = unicode_next(s + q, n - q, cp);
    if (len == 0 || q + len > at)
        return 0;
    if (q + len == at)
        return len;
    *cp = UNICODE_BAD;          /* trailing bytes that belong to nothing */
    return 1;
}

/* ---- classes ---- */

static bool is_space(int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

enum unicode_class unicode_wide(int32_t cp)
{
    if (cp < 0)
        return UNICODE_OTHER;
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return UNICODE_LETTER;
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_NO:
        return UNICODE_NUMBER;
    default:
        return is_space(cp) ? UNICODE_SPACE : UNICODE_OTHER;
    }
}

bool unicode_word(int32_t cp)
{
    if (cp < 0)
        return false;
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU: case UTF8PROC_CATEGORY_LL: case UTF8PROC_CATEGORY_LT: case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: case UTF8PROC_CATEGORY_MN: case UTF8PROC_CATEGORY_MC: case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND: case UTF8PROC_CATEGORY_NL: case UTF8PROC_CATEGORY_PC:
        return true;
    default:                    /* joiners, and the symbols of Other_Alphabetic: letters in circles and squares */
        return cp == 0x200c || cp == 0x200d || (cp >= 0x24b6 && cp <= 0x24e9) || (cp >= 0x1f130 && cp <= 0x1f149) ||
               (cp >= 0x1f150 && cp <= 0x1f169) || (cp >= 0x1f170 && cp <= 0x1f189);
    }
}

/* ---- NFC ---- */

enum { LONGEST = 4 };           /* code points of a canonical decomposition */

/* NFC of a character with a canonical decomposition is that character again: no singleton, no composition exclusion. */
static bool recomposes(int32_t cp)
{
    int32_t part[LONGEST], kind = UTF8PROC_BOUNDCLASS_START;
    utf8proc_ssize_t n = utf8proc_decompose_char(cp, part, LONGEST, UTF8PROC_DECOMPOSE, &kind);
    return utf8proc_normalize_utf32(part, n, UTF8PROC_COMPOSE | UTF8PROC_STABLE) == 1 && part[0] == cp;
}

/* comb_index from 0x8000 on (0xffff: none) marks a character that composes with one before it; Hangul vowels and finals
 * do so by arithmetic and have no such mark. */
bool unicode_nfc_border(int32_t cp)
{
    if (cp < 0x300)
        return true;
    const utf8proc_property_t *p = utf8proc_get_property(cp);
    bool second = (p->comb_index >= 0x8000 && p->comb_index != UINT16_MAX) || (cp >= 0x1160 && cp <= 0x11ff);
    bool decomposes = p->decomp_seqindex != UINT16_MAX && p->decomp_type == 0;
    return p->combining_class == 0 && !second && (!decomposes || recomposes(cp));
}

static unsigned mark_class(int32_t cp)
{
    return utf8proc_get_property(cp)->combining_class;
}

/* Canonical order: within a run of marks by class, first come first. Counted, so that a long run stays linear. */
static void order_marks(int32_t *cp, size_t n, int32_t *scratch)
{
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && mark_class(cp[end]); end++)
            ;
        if (end - i > 1) {
            size_t at[257] = { 0 };
            for (size_t k = i; k < end; k++)
                at[mark_class(cp[k]) + 1]++;
            for (size_t c = 0; c < 256; c++)
                at[c + 1] += at[c];
            for (size_t k = i; k < end; k++)
                scratch[at[mark_class(cp[k])]++] = cp[k];
            memcpy(cp + i, scratch, (end - i) * sizeof *cp);
        }
        end += end < n;         /* the starter behind the run */
    }
}

/* NFC of whole characters s[0,n), all of them UTF-8. work holds the code points, twice. */
static void compose(const uint8_t *s, size_t n, int32_t **work, size_t *cap, struct unicode_text *out)
{
    size_t k = 0;
    *work = mem_grow(*work, cap, 2 * LONGEST * n, sizeof **work);
    int32_t *cp = *work;
    for (size_t i = 0; i < n;) {
        int32_t c, kind = UTF8PROC_BOUNDCLASS_START;
        i += unicode_take(s + i, n - i, &c);
        k += (size_t)utf8proc_decompose_char(c, cp + k, LONGEST, UTF8PROC_DECOMPOSE, &kind);
    }
    order_marks(cp, k, cp + LONGEST * n);
    utf8proc_ssize_t left = utf8proc_normalize_utf32(cp, (utf8proc_ssize_t)k, UTF8PROC_COMPOSE | UTF8PROC_STABLE);
    for (utf8proc_ssize_t i = 0; i < left; i++) {
        uint8_t bytes[4];
        unicode_append(out, bytes, (size_t)utf8proc_encode_char(cp[i], bytes));
    }
}

static size_t skip_ascii(const uint8_t *s, size_t n)
{
    size_t i = 0;
    for (uint64_t w; i + sizeof w <= n; i += sizeof w) {
        memcpy(&w, s + i, sizeof w);
        if (w & UINT64_C(0x8080808080808080))
            break;
    }
    while (i < n && s[i] < 0x80)
        i++;
    return i;
}

void unicode_nfc(const uint8_t *s, size_t n, struct unicode_text *out)
{
    int32_t *work = NULL;
    size_t cap = 0, done = 0, base = 0, i = 0;  /* base: where the last border character begins */
    while (i < n) {
        size_t plain = skip_ascii(s + i, n - i);
        if (plain) {
            i += plain;
            base = i - 1;
            continue;
        }
        int32_t cp;
        size_t len = unicode_take(s + i, n - i, &cp);
        if (unicode_nfc_border(cp)) {
            base = cp == UNICODE_BAD ? i + len : i;
            i += len;
            continue;
        }
        do {                    /* from the character before the first mark to the next border */
            i += len;
            len = i < n ? unicode_take(s + i, n - i, &cp) : 0;
        } while (len && !unicode_nfc_border(cp));
        unicode_append(out, s + done, base - done);
        compose(s + base, i - base, &work, &cap, out);
        done = base = i;
    }
    unicode_append(out, s + done, n - done);
    free(work);
}
