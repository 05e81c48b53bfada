/* SPDX-License-Identifier: MIT */
#include "base/ranges.h"
#include "base/mem.h"
#include "base/opt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* "N", of len bytes. */
static int number(const char *s, size_t len, int64_t *out)
{
    char text[32];
    if (len >= sizeof text || len == 0 || *s < '0' || *s > '9')
        return -1;
    memcpy(text, s, len);
    text[len] = 0;
    return opt_count(text, out);
}

/* "N", "LO-HI", "LO:HI" or "all", of len bytes, without limits but those of `legal` for all. */
static int item(const char *s, size_t len, const struct range *legal, struct range *out)
{
    size_t first = strcspn(s, "-:,");
    if (len == 3 && !strncmp(s, "all", 3)) {
        *out = *legal;
        return 0;
    }
    if (number(s, first, &out->lo))
        return -1;
    out->hi = out->lo;
    return first < len ? number(s + first + 1, len - first - 1, &out->hi) : 0;
}

static int by_lo(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

/* The items in ascending order, those that touch made one. */
static void sort(struct ranges *r)
{
    r->sorted = mem_alloc(r->n, sizeof *r->sorted);
    memcpy(r->sorted, r->item, r->n * sizeof *r->sorted);
    qsort(r->sorted, r->n, sizeof *r->sorted, by_lo);
    for (size_t i = 0; i < r->n; i++) {
        struct range *last = r->merged ? &r->sorted[r->merged - 1] : NULL, one = r->sorted[i];
        if (last && one.lo - 1 <= last->hi)
            last->hi = one.hi > last->hi ? one.hi : last->hi;
        else
            r->sorted[r->merged++] = one;
    }
}

int ranges_parse(struct ranges *r, const char *words, const char *what, int64_t lo, int64_t hi)
{
    const struct range legal = { lo, hi };
    *r = (struct ranges){ .n = 0 };
    for (const char *at = words;; at++) {
        size_t len = strcspn(at, ",");
        int shown = (int)(len < 60 ? len : 60);
        struct range one;
        if (item(at, len, &legal, &one) || one.lo < lo || one.hi > hi || one.lo > hi || one.hi < lo)
            return err_usage("'%.*s' is not %s from %" PRId64 " to %" PRId64 ", nor a range LO-HI of them", shown, at, what,
                             lo, hi);
        if (one.hi < one.lo)
            return err_usage("'%.*s' runs backwards", shown, at);
        r->item = mem_grow(r->item, &r->cap, r->n + 1, sizeof *r->item);
        r->item[r->n++] = one;
        at += len;
        if (!*at)
            break;
    }
    sort(r);
    return 0;
}

void ranges_free(struct ranges *r)
{
    free(r->item);
    free(r->sorted);
    *r = (struct ranges){ .n = 0 };
}

bool ranges_has(const struct ranges *r, int64_t v)
{
    size_t lo = 0, hi = r->merged;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->sorted[mid].hi < v)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->merged && r->sorted[lo].lo <= v;
}

uint64_t ranges_count(const struct ranges *r)
{
    uint64_t n = 0;
    for (size_t i = 0; i < r->merged; i++)
        n += (uint64_t)(r->sorted[i].hi - r->sorted[i].lo) + 1;
    return n;
}

size_t *ranges_list(const struct ranges *r, size_t *n)
{
    int64_t most = r->merged ? r->sorted[r->merged - 1].hi : -1;
    size_t *list = mem_alloc((size_t)ranges_count(r), sizeof *list);
    bool *seen = mem_zero((size_t)(most + 1), sizeof *seen);
    *n = 0;
    for (size_t i = 0; i < r->n; i++)
        for (int64_t v = r->item[i].lo; v <= r->item[i].hi; v++)
            if (!seen[v]) {
                seen[v] = true;
                list[(*n)++] = (size_t)v;
            }
    free(seen);
    return list;
}

void ranges_mark(const struct ranges *r, bool *mark)
{
    for (size_t i = 0; i < r->merged; i++)
        memset(mark + r->sorted[i].lo, 1, (size_t)(r->sorted[i].hi - r->sorted[i].lo) + 1);
}
