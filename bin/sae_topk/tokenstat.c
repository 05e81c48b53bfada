/* SPDX-License-Identifier: MIT */
#include "sae_topk/tokenstat.h"
#include "base/mem.h"
#include "sae_topk/window.h"

#include <stdlib.h>
#include <string.h>

static uint64_t key_of(uint32_t feature, uint32_t tok)
{
    return (uint64_t)feature << 32 | tok;
}

/* The first text that a token comes with is its name. */
static int name_token(struct tokenstat *s, const struct batch *b, size_t i)
{
    char text[WINDOW_TOKEN];
    if (keymap_get(&s->name_at, b->tok[i]))
        return 0;
    size_t len = window_text(b, i, text);
    if (s->bytes + len > TOKENSTAT_TEXT)
        return err_data("the texts of its tokens are more than %d bytes", TOKENSTAT_TEXT);
    s->text = mem_grow(s->text, &s->text_cap, s->bytes + len, 1);
    s->name = mem_grow(s->name, &s->name_cap, s->names + 1, sizeof *s->name);
    memcpy(s->text + s->bytes, text, len);
    s->name[s->names++] = (struct tokenstat_name){ s->bytes, len };
    s->bytes += len;
    keymap_set(&s->name_at, b->tok[i], s->names);
    return 0;
}

int tokenstat_add(struct tokenstat *s, uint32_t feature, const struct batch *b, size_t i, float value)
{
    uint64_t key = key_of(feature, b->tok[i]), at = keymap_get(&s->at, key);
    if (!at) {
        if (s->n == TOKENSTAT_PAIRS)
            return err_data("more than %d different pairs of feature and token: ask for fewer features with -f",
                            TOKENSTAT_PAIRS);
        if (name_token(s, b, i))
            return -1;
        s->pair = mem_grow(s->pair, &s->cap, s->n + 1, sizeof *s->pair);
        s->pair[s->n] = (struct tokenstat_pair){ .feature = feature, .tok = b->tok[i], .max = value };
        keymap_set(&s->at, key, at = ++s->n);
    }
    struct tokenstat_pair *p = &s->pair[at - 1];
    p->count++;
    p->sum += value;
    p->max = value > p->max ? value : p->max;
    return 0;
}

static int in_order(const void *a, const void *b)
{
    const struct tokenstat_pair *x = a, *y = b;
    if (x->feature != y->feature)
        return x->feature < y->feature ? -1 : 1;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->tok < y->tok ? -1 : x->tok > y->tok;
}

void tokenstat_sort(struct tokenstat *s)
{
    if (s->n)
        qsort(s->pair, s->n, sizeof *s->pair, in_order);
}

/* The first pair whose feature is not below this one. */
static size_t first_of(const struct tokenstat *s, uint64_t feature)
{
    size_t lo = 0, hi = s->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->pair[mid].feature < feature)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

const struct tokenstat_pair *tokenstat_of(const struct tokenstat *s, uint32_t feature, size_t *n)
{
    size_t lo = first_of(s, feature);
    *n = first_of(s, (uint64_t)feature + 1) - lo;
    return *n ? s->pair + lo : NULL;
}

const char *tokenstat_text(const struct tokenstat *s, uint32_t tok, size_t *len)
{
    const struct tokenstat_name *name = &s->name[keymap_get(&s->name_at, tok) - 1];
    *len = name->len;
    return s->text + name->from;
}

void tokenstat_free(struct tokenstat *s)
{
    keymap_free(&s->at);
    keymap_free(&s->name_at);
    free(s->pair);
    free(s->name);
    free(s->text);
}
