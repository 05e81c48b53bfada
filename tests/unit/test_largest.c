/* test_largest: against sorting everything, with many equal keys; loads are handed back exactly once. */
/* SPDX-License-Identifier: MIT */
#include "base/rng.h"
#include "maths/largest.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_key(const void *a, const void *b)
{
    const struct largest_item *x = a, *y = b;
    return x->key != y->key ? (x->key < y->key ? 1 : -1) : x->order < y->order ? -1 : x->order > y->order;
}

/* Returns what is wrong, "" when nothing is. */
static const char *one(struct rng *r, size_t n, size_t k)
{
    struct largest t = { .k = k };
    struct largest_item *all = calloc(n + 1, sizeof *all);
    char *held = calloc(n + 1, 1);
    const char *wrong = "";
    for (size_t i = 0; i < n; i++) {
        all[i] = (struct largest_item){ (double)rng_below(r, n / 3 + 2) - 1, (i * 7919) % (n | 1), &held[i] };
        bool wants = largest_wants(&t, all[i].key, all[i].order);
        held[i] = 1;
        char *back = largest_push(&t, all[i].key, all[i].order, &held[i]);
        if (wants == (back == &held[i]))
            wrong = "topk_wants disagrees with topk_push";
        if (back && !*back)
            wrong = "a load is handed back twice";
        if (back)
            *back = 0;
    }
    qsort(all, n, sizeof *all, by_key);
    largest_sort(&t);
    if (t.n != (n < k ? n : k))
        wrong = "a wrong number of items";
    for (size_t i = 0; i < t.n; i++)
        if (memcmp(&t.item[i], &all[i], sizeof *all))
            wrong = "not the best, or not in order";
    for (size_t i = 0; i < n; i++)
        if (*(char *)all[i].load != (i < t.n))
            wrong = "a load is lost";
    largest_free(&t);
    free(all);
    free(held);
    return wrong;
}

/* Keys that rise while they are held: as if each load had only its best one. */
static const char *raised(struct rng *r, size_t loads, size_t k)
{
    struct largest t = { .k = k };
    struct largest_item *best = calloc(loads, sizeof *best);
    const char *wrong = "";
    for (size_t i = 0; i < loads; i++)
        best[i] = (struct largest_item){ -1, i, &best[i] };
    for (uint64_t order = 0; order < 20 * loads; order++) {
        size_t i = rng_below(r, loads), at = 0;
        double key = (double)rng_below(r, 1000);
        if (key <= best[i].key || !largest_wants(&t, key, order))
            continue;
        best[i] = (struct largest_item){ key, order, &best[i] };
        while (at < t.n && t.item[at].load != &best[i])
            at++;
        if (at < t.n)
            largest_raise(&t, &best[i], key, order, &best[i]);
        else
            largest_push(&t, key, order, &best[i]);
    }
    qsort(best, loads, sizeof *best, by_key);
    largest_sort(&t);
    for (size_t i = 0; i < t.n; i++)
        if (t.item[i].key != best[i].key || t.item[i].order != best[i].order)
            wrong = "not the best, or not in order";
    if (t.n != (loads < k ? loads : k))
        wrong = "a wrong number of items";
    largest_free(&t);
    free(best);
    return wrong;
}

/* Pairs in place, beside a count of who is better. */
static const char *pairs(struct rng *r, size_t n, size_t k, int with_nan)
{
    uint32_t *idx = calloc(n + 1, sizeof *idx);
    float *val = calloc(n + 1, sizeof *val), *of = calloc(3 * n + 1, sizeof *of);
    const char *wrong = "";
    for (size_t i = 0; i < n; i++) {
        idx[i] = (uint32_t)((i * 7919) % (n | 1) * 3);
        val[i] = with_nan && rng_below(r, 9) == 0 ? NAN : (float)rng_below(r, n / 3 + 2) - 1;
        of[idx[i]] = val[i];
    }
    size_t kept = largest_pairs(idx, val, n, k);
    if (kept != (n < k ? n : k))
        wrong = "a wrong number of pairs";
    for (size_t i = 0; i < n; i++) {
        size_t better = 0;
        for (size_t j = 0; j < n; j++) {
            bool nan_i = isnan(val[i]), nan_j = isnan(val[j]);
            better += nan_j != nan_i ? nan_j
                                     : val[j] > val[i] || ((nan_i || val[j] == val[i]) && idx[j] < idx[i]);
        }
        if ((better < k) != (i < kept))
            wrong = "not the best";
        if (i > 0 && i < kept && idx[i] <= idx[i - 1])
            wrong = "not in order";
        if (of[idx[i]] != val[i] && !(isnan(val[i]) && isnan(of[idx[i]])))
            wrong = "a pair was torn apart";
    }
    free(idx);
    free(val);
    free(of);
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
            wrong = pairs(&r, sizes[i], sizes[j], i % 2);
            ok(!*wrong, "of pairs too %s", wrong);
            wrong = raised(&r, sizes[i], sizes[j]);
            ok(!*wrong, "and when keys rise %s", wrong);
        }
    return done_testing();
}
