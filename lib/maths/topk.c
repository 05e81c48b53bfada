/* SPDX-License-Identifier: MIT */
#include "maths/topk.h"
#include "ground/mem.h"

#include <stdlib.h>

static bool better(const struct topk_item *a, const struct topk_item *b)
{
    return a->key > b->key || (a->key == b->key && a->order < b->order);
}

static void swap(struct topk_item *a, struct topk_item *b)
{
    struct topk_item t = *a;
    *a = *b;
    *b = t;
}

static void sink(struct topk_item *item, size_t n, size_t i)
{
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && better(&item[child], &item[child + 1]))
            child++;
        if (!better(&item[i], &item[child]))
            return;
        swap(&item[i], &item[child]);
    }
}

static void rise(struct topk_item *item, size_t i)
{
    for (; i > 0 && better(&item[(i - 1) / 2], &item[i]); i = (i - 1) / 2)
        swap(&item[i], &item[(i - 1) / 2]);
}

bool topk_wants(const struct topk *t, double key, uint64_t order)
{
    struct topk_item new = { key, order, NULL };
    return t->k && (t->n < t->k || better(&new, &t->item[0]));
}

void *topk_push(struct topk *t, double key, uint64_t order, void *load)
{
    if (!topk_wants(t, key, order))
        return load;
    if (!t->item)
        t->item = mem_alloc(t->k, sizeof *t->item);
    void *out = NULL;
    if (t->n < t->k) {
        t->item[t->n] = (struct topk_item){ key, order, load };
        rise(t->item, t->n++);
    } else {
        out = t->item[0].load;
        t->item[0] = (struct topk_item){ key, order, load };
        sink(t->item, t->n, 0);
    }
    return out;
}

void topk_sort(struct topk *t)
{
    for (size_t n = t->n; n > 1; n--) {
        swap(&t->item[0], &t->item[n - 1]);
        sink(t->item, n - 1, 0);
    }
}

void topk_free(struct topk *t)
{
    free(t->item);
    *t = (struct topk){ .k = t->k };
}
