/* ranges: lists and ranges of whole numbers as every tool reads them: features, positions, ranks, rows.
 *
 *   LIST = ITEM[,ITEM...]      ITEM = N | LO-HI | LO:HI | all         both ends belong to a range; - and : mean the same
 *
 *   3,5-9,12:14  ->  3 5 6 7 8 9 12 13 14 */
/* SPDX-License-Identifier: MIT */
#ifndef RANGES_H
#define RANGES_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
    int64_t lo, hi;                     /* both included */
};

struct ranges {
    struct range *item;                 /* (n) as they were written */
    struct range *sorted;               /* (merged) the same numbers, ascending, no two ranges touch */
    size_t n, cap, merged;
};

/* Read words, a list of numbers from lo to hi (0 <= lo <= hi). `what` is one of them, with its article, for the sentence:
 * "'70' is not a feature from 0 to 63, nor a range LO-HI of them". Returns 0, or -1 and a sentence that quotes the item;
 * either way ranges_free() it. */
int ranges_parse(struct ranges *r, const char *words, const char *what, int64_t lo, int64_t hi) ERR_CHECKED;
void ranges_free(struct ranges *r);

/* Is v one of them? No list at all (n is 0): no. */
bool ranges_has(const struct ranges *r, int64_t v);
/* How many different numbers there are. */
uint64_t ranges_count(const struct ranges *r);
/* All of them, each once, in the order in which they were first written; *n of them. free() it. */
size_t *ranges_list(const struct ranges *r, size_t *n);
/* Set mark[v] for each v of them; mark has room for the hi that was given to ranges_parse(). */
void ranges_mark(const struct ranges *r, bool *mark);

#endif
