/* added_tokens: the added tokens of a tokenizer, found in text by leftmost-longest search.
 *
 * The tokens lie sorted by their bytes; a search narrows the range that agrees with the text, byte by byte, so nothing
 * is needed beyond the tokens themselves. */
/* SPDX-License-Identifier: MIT */
#ifndef ADDED_TOKENS_H
#define ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct added_token {
    uint8_t *s;                 /* n > 0 bytes of UTF-8 */
    size_t n;
    uint32_t id;
    bool single_word;           /* not between characters of words */
    bool lstrip, rstrip;        /* takes the white space before / behind it */
};

struct added_tokens {
    struct added_token *p;            /* sorted, no two alike, once added_tokens_sort() has run */
    size_t n, cap, longest;
    size_t first[257];          /* tokens that begin with byte b: p[first[b]] to before p[first[b + 1]] */
};

/* Put a token with a copy of s[0,n) into a zeroed or growing set; then sort once (of two alike the lower id stays). */
void added_tokens_push(struct added_tokens *set, struct added_token token);
void added_tokens_sort(struct added_tokens *set);
void added_tokens_free(struct added_tokens *set);

/* Cut s[0,n) at its added tokens: text() for what lies between them, never empty, and token() in order. */
struct added_sink {
    void (*text)(void *arg, const uint8_t *s, size_t n);
    void (*token)(void *arg, uint32_t id);
    void *arg;
};
void added_tokens_split(const struct added_tokens *set, const uint8_t *s, size_t n, struct added_sink to);

/* Could a token overlap or adjoin position at <= n of s[0,n), now or when more bytes follow? Where none can, and the
 * character before `at` is no white space, splitting on the two sides apart finds the same tokens. */
bool added_tokens_touches(const struct added_tokens *set, const uint8_t *s, size_t n, size_t at);

#endif
