/* test_topk: against sorting everything, with many equal keys; loads are handed back exactly once. */
/* SPDX-License-Identifier: MIT */
#include "ground/rng.h"
#include "maths/topk.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static int by_key(const void *a, const void *b)
{
    const struct topk_item *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? 1 : -1) : x->order < y->order ? -1 : x->order > y->order;
}

/* Returns what is wrong, "" when nothing is. */
static const char *one(struct rng *r, size_t n, size_t k)
{
    struct topk t = { .k = k };
    struct topk_item *all = calloc(n + 1, sizeof *all);
    char *held = calloc(n + 1, 1);
    const char *wrong = "";
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct topk_item){ (double)rng_below(r, n / 3 + 2) - 1, (i * 7919) % (n | 1), &held[i] };
        bool wants = topk_wants(&t, all[i].key, all[i].order);
        held[i] = 1;
        char *back = topk_push(&t, all[i].key, all[i].order, &held[i]);
        if (wants == (back == &held[i]))
            wrong = "topk_wants disagrees with topk_push";
        if (back && !*back)
            wrong = "a load is handed back twice";
        if (back)
            *back = 0;
    }
    qsort(all, n, sizeof *all, by_key);
    topk_sort(&t);
    if (t.n != (n < k ? n : k))
        wrong = "a wrong number of items";
    for (size_t i = 0; i < t.n; i++)
        if (memcmp(&t.item[i], &all[i], sizeof *all))
            wrong = "not the best, or not in order";
    for (size_t i = 0; i < n; i++)
        if (*(char *)all[i].load != (i < t.n))
            wrong = "a load is lost";
    topk_free(&t);
    free(all);
    free(held);
    return wrong;
}

int main(void)
{
    struct rng r;
    rng_seed(&r, 11, 0);
    static const size_t sizes[] = { 0, 1, 2, 3, 10, 1000 };
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 6; j++) {
            const char *wrong = one(&r, sizes[i], sizes[j]);
            ok(!*wrong, "the best %zu of %zu %s", sizes[j], sizes[i], wrong);
        }
    return done_testing();
}
