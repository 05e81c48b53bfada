/* largest: the k items of largest key among any number, in a heap of k. Equal keys: the smaller order wins. */
/* SPDX-License-Identifier: MIT */
#ifndef LARGEST_H
#define LARGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct largest_item {
    double key;
    uint64_t order;             /* breaks ties; unique among the items */
    void *load;                 /* the caller's */
};

struct largest {
    size_t k, n, cap;
    struct largest_item *item;     /* a heap whose root is the worst; sorted best first by largest_sort() */
};

/* Would an item with this key and order be kept? Cheap: for skipping the making of a load. */
bool largest_wants(const struct largest *t, double key, uint64_t order);
/* Keep it, if it is among the best. Returns the load that is not kept any more: the new one's, that of the item it drove
 * out, or NULL. */
void *largest_push(struct largest *t, double key, uint64_t order, void *load);
/* Give the item that holds this load another load, and a key and order that are better than its own. Looks at all items. */
void largest_raise(struct largest *t, void *load, double key, uint64_t order, void *with);
/* Best first. Nothing may be pushed after it. */
void largest_sort(struct largest *t);
/* Release the heap, not the loads. */
void largest_free(struct largest *t);

/* The same for (idx, val) pairs in place: the k of largest val, NaN being larger than all, equal ones by smaller idx,
 * come to the front, idx ascending; what else there is lies behind them in no order. Returns how many are in front: k, or n
 * when that is less. */
size_t largest_pairs(uint32_t *idx, float *val, size_t n, size_t k);

#endif
