/* tokenstat: on which tokens features fire: how often, and with which values. Memory follows the number of different pairs of
 * feature and token, which has a limit. */
/* SPDX-License-Identifier: MIT */
#ifndef TOKENSTAT_H
#define TOKENSTAT_H

#include "base/keymap.h"
#include "data/stream.h"

enum {
    TOKENSTAT_PAIRS = 1 << 24,          /* about 1 GiB */
    TOKENSTAT_TEXT = 64 << 20,          /* bytes of all tokens' texts together */
};

struct tokenstat_pair {
    uint32_t feature, tok;
    uint64_t count;
    double sum;
    float max;
};

struct tokenstat {                      /* zeroed: empty */
    struct tokenstat_pair *pair;
    struct keymap at, name_at;          /* feature << 32 | tok -> its pair + 1; tok -> its name + 1 */
    struct tokenstat_name {
        size_t from, len;               /* in text */
    } *name;
    char *text;
    size_t n, cap, names, name_cap, bytes, text_cap;
};

/* Count that a feature has this value on row i of b, which has a column tok. Returns 0, or -1 and a sentence when a limit is
 * passed. */
int tokenstat_add(struct tokenstat *s, uint32_t feature, const struct batch *b, size_t i, float value) ERR_CHECKED;
/* Order the pairs by feature, then most frequent first, then by token. Nothing may be added after it. */
void tokenstat_sort(struct tokenstat *s);
/* The pairs of a feature, *n of them, once sorted. */
const struct tokenstat_pair *tokenstat_of(const struct tokenstat *s, uint32_t feature, size_t *n);
/* The text of a token, borrowed; *len bytes. */
const char *tokenstat_text(const struct tokenstat *s, uint32_t tok, size_t *len);
void tokenstat_free(struct tokenstat *s);

#endif
