/* SPDX-License-Identifier: MIT */
#include "maths/largest.h"
#include "base/mem.h"

#include <stdlib.h>

static bool better(const struct largest_item *a, const struct largest_item *b)
{
    return a->key > b->key || (a->key == b->key && a->order < b->order);
}

static void swap(struct largest_item *a, struct largest_item *b)
{
    struct largest_item t = *a;
    *a = *b;
    *b = t;
}

static void sink(struct largest_item *item, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(&item[child], &item[child + 1]))
            child++;
        if (!better(&item[i], &item[child]))
            return;
        swap(&item[i], &item[child]);
    }
}

static void rise(struct largest_item *item, size_t i)
{
    for (; i > 0 && better(&item[(i - 1) / 2], &item[i]); i = (i - 1) / 2)
        swap(&item[i], &item[(i - 1) / 2]);
}

bool largest_wants(const struct largest *t, double key, uint64_t order)
{
    struct largest_item new = { key, order, NULL };
    return t->k && (t->n < t->k || better(&new, &t->item[0]));
}

/* Room for one more: few are had at once, many as they come. */
static void make_room(struct largest *t)
{
    enum { FEW = 64 };
    if (!t->item && t->k <= FEW)
        t->item = mem_alloc(t->cap = t->k, sizeof *t->item);
    else
        t->item = mem_grow(t->item, &t->cap, t->n + 1, sizeof *t->item);
}

void *largest_push(struct largest *t, double key, uint64_t order, void *load)
{
    if (!largest_wants(t, key, order))
        return load;
    void *out = NULL;
    if (t->n < t->k) {
        make_room(t);
        t->item[t->n] = (struct largest_item){ key, order, load };
        rise(t->item, t->n++);
    } else {
        out = t->item[0].load;
        t->item[0] = (struct largest_item){ key, order, load };
        sink(t->item, t->n, 0);
    }
    return out;
}

void largest_raise(struct largest *t, void *load, double key, uint64_t order, void *with)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->item[i].load == load) {
            t->item[i] = (struct largest_item){ key, order, with };
            sink(t->item, t->n, i);
            return;
        }
}

void largest_sort(struct largest *t)
{
    for (size_t n = t->n; n > 1; n--) {
        swap(&t->item[0], &t->item[n - 1]);
        sink(t->item, n - 1, 0);
    }
}

void largest_free(struct largest *t)
{
    free(t->item);
    *t = (struct largest){ .k = t->k };
}

/* ---- pairs ---- */

static bool pair_better(const uint32_t *idx, const float *val, size_t a, size_t b)
{
    bool nan_a = val[a] != val[a], nan_b = val[b] != val[b];
    if (nan_a != nan_b)
        return nan_a;
    return val[a] > val[b] || ((nan_a || val[a] == val[b]) && idx[a] < idx[b]);
}

static bool pair_later(const uint32_t *idx, const float *val, size_t a, size_t b)
{
    (void)val;
    return idx[a] > idx[b];
}

static void pair_swap(uint32_t *idx, float *val, size_t a, size_t b)
{
    uint32_t i = idx[a];
    float v = val[a];
    idx[a] = idx[b];
    val[a] = val[b];
    idx[b] = i;
    val[b] = v;
}

typedef bool (*pair_above)(const uint32_t *idx, const float *val, size_t a, size_t b);

/* A heap of n pairs in which no child is above(child, parent). */
static void pair_sink(uint32_t *idx, float *val, size_t n, size_t i, pair_above above)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && above(idx, val, child + 1, child))
            child++;
        if (!above(idx, val, child, i))
            return;
        pair_swap(idx, val, i, child);
    }
}

static void pair_heap(uint32_t *idx, float *val, size_t n, pair_above above)
{
    for (size_t i = n / 2; i-- > 0;)
        pair_sink(idx, val, n, i, above);
}

static bool pair_worse(const uint32_t *idx, const float *val, size_t a, size_t b)
{
    return pair_better(idx, val, b, a);
}

size_t largest_pairs(uint32_t *idx, float *val, size_t n, size_t k)
{
    if (k == 0)
        return 0;
    if (k < n) {
        pair_heap(idx, val, k, pair_worse);
        for (size_t i = k; i < n; i++)
            if (pair_better(idx, val, i, 0)) {
                pair_swap(idx, val, i, 0);
                pair_sink(idx, val, k, 0, pair_worse);
            }
        n = k;
    }
    pair_heap(idx, val, n, pair_later);
    for (size_t left = n; left > 1; left--) {
        pair_swap(idx, val, 0, left - 1);
        pair_sink(idx, val, left - 1, 0, pair_later);
    }
    return n;
}
