/* edit: what sae-patch does to the codes of a row.
 *
 * Every edit is an affine map of one feature's value, f' = scale f + shift, and edits one after the other compose to one
 * such map a feature: zero (0,0), set V (0,V), scale A (A,0), add V (1,V); keep zeroes all others. */
/* SPDX-License-Identifier: MIT */
#ifndef EDIT_H
#define EDIT_H

#include "ground/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct edits {
    size_t m;                   /* features */
    float *scale, *shift;       /* (m): 1 and 0 where nothing is done */
    uint32_t *list;             /* features for which something is done, ascending; made by edits_settle() */
    size_t n;
};

void edits_begin(struct edits *e, size_t m);
void edits_free(struct edits *e);

/* Add an edit in words: "zero F", "set F V", "scale F A", "add F V", "keep F", "mean F FILE". F is `all`, or numbers and
 * ranges LO-HI (both ends included) separated by commas. FILE is a stream of codes of the same dictionary, whose means
 * are taken over all its rows. Returns 0, or -1 and a sentence that quotes the edit. */
int edits_add(struct edits *e, const char *words) ERR_CHECKED;
/* One edit a line; blank lines and lines that begin with # are passed over. The sentence names file and line. */
int edits_add_file(struct edits *e, const char *path) ERR_CHECKED;
/* After the last edit, before the first use. */
void edits_settle(struct edits *e);

/* The change f' - f of feature i whose value is f. */
float edits_change(const struct edits *e, uint32_t i, float f);

#endif
