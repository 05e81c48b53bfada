/* SPDX-License-Identifier: MIT */
#include "model/added_tokens.h"
#include "base/mem.h"
#include "model/unicode.h"

#include <stdlib.h>
#include <string.h>

void added_tokens_push(struct added_tokens *set, struct added_token token)
{
    token.s = (uint8_t *)mem_bytes(token.s, token.n);
    set->p = mem_grow(set->p, &set->cap, set->n + 1, sizeof *set->p);
    set->p[set->n++] = token;
}

void added_tokens_free(struct added_tokens *set)
{
    for (size_t i = 0; i < set->n; i++)
        free(set->p[i].s);
    free(set->p);
}

static int by_bytes(const struct added_token *x, const struct added_token *y)
{
    int r = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return r ? r : (x->n > y->n) - (x->n < y->n);
}

static int by_bytes_and_id(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    int r = by_bytes(x, y);
    return r ? r : (x->id > y->id) - (x->id < y->id);
}

void added_tokens_sort(struct added_tokens *set)
{
    if (set->n)
        qsort(set->p, set->n, sizeof *set->p, by_bytes_and_id);
    size_t kept = 0;
    for (size_t i = 0; i < set->n; i++) {
        if (kept && by_bytes(&set->p[kept - 1], &set->p[i]) == 0) {
            free(set->p[i].s);
            continue;
        }
        set->p[kept++] = set->p[i];
    }
    set->n = kept;
    for (size_t i = 0; i < kept; i++) {
        set->first[set->p[i].s[0] + 1]++;
        set->longest = set->p[i].n > set->longest ? set->p[i].n : set->longest;
    }
    for (int b = 0; b < 256; b++)
        set->first[b + 1] += set->first[b];
}

/* The first of p[lo,hi), which agree up to byte k, whose byte k is at least b (up to 256). */
static size_t lower(const struct added_token *p, size_t lo, size_t hi, size_t k, unsigned b)
{
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p[mid].s[k] < b)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* The longest token that s (n > 0 bytes) begins with, or NULL. *open: more bytes could make a longer one. */
static const struct added_token *match(const struct added_tokens *set, const uint8_t *s, size_t n, bool *open)
{
    const struct added_token *hit = NULL;
    size_t lo = set->first[s[0]], hi = set->first[s[0] + 1];
    for (size_t k = 1; lo < hi; k++) {
        if (set->p[lo].n == k)              /* sorted: the one that ends here comes before those that go on */
            hit = &set->p[lo++];
        if (k == n)
            break;
        lo = lower(set->p, lo, hi, k, s[k]);
        hi = lower(set->p, lo, hi, k, s[k] + 1u);
    }
    *open = lo < hi;
    return hit;
}

static bool in_word(const struct added_token *t, const uint8_t *s, size_t n, size_t at)
{
    int32_t cp;
    if (at > 0 && unicode_prev(s, n, at, &cp) && unicode_word(cp))
        return true;
    at += t->n;
    return at < n && unicode_take(s + at, n - at, &cp) && unicode_word(cp);
}

static size_t space_before(const uint8_t *s, size_t n, size_t at)
{
    int32_t cp;
    while (at > 0) {
        size_t len = unicode_prev(s, n, at, &cp);
        if (!len || unicode_class(cp) != UNICODE_SPACE)
            break;
        at -= len;
    }
    return at;
}

static size_t space_behind(const uint8_t *s, size_t n, size_t at)
{
    int32_t cp;
    while (at < n) {
        size_t len = unicode_take(s + at, n - at, &cp);
        if (unicode_class(cp) != UNICODE_SPACE)
            break;
        at += len;
    }
    return at;
}

/* The search goes on behind the bytes of a match, not behind the white space it took: a token inside that white space
 * is found too, and text is then counted from the end of that one. Files in use were made by a library that does so. */
void added_tokens_split(const struct added_tokens *set, const uint8_t *s, size_t n, struct added_sink to)
{
    size_t from = 0, i = 0;
    while (set->n && i < n) {
        bool open;
        const struct added_token *t = set->first[s[i]] < set->first[s[i] + 1] ? match(set, s + i, n - i, &open) : NULL;
        if (!t) {
            i++;
            continue;
        }
        size_t start = i, stop = i + t->n;
        i = stop;
        if (t->single_word && in_word(t, s, n, start))
            continue;
        if (t->lstrip)
            start = space_before(s, n, start);
        if (t->rstrip)
            stop = space_behind(s, n, stop);
        if (from < start)
            to.text(to.arg, s + from, start - from);
        to.token(to.arg, t->id);
        from = stop;
    }
    if (from < n)
        to.text(to.arg, s + from, n - from);
}

bool added_tokens_touches(const struct added_tokens *set, const uint8_t *s, size_t n, size_t at)
{
    if (!set->n)
        return false;
    for (size_t i = at > set->longest ? at - set->longest : 0; i <= at; i++) {
        bool open = true;
        const struct added_token *t = i < n ? match(set, s + i, n - i, &open) : NULL;
        if (open || (t && i + t->n >= at))
            return true;
    }
    return false;
}
