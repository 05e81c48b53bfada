/* edit: what sae-patch does to a row: edits of its codes f, and of the row itself.
 *
 *   x' = x + sum_i (f'_i - f_i) d_i          f = encode(x); of the codes, every edit is f'_i = scale f_i + shift
 *        + V v                               vector
 *        - projection on some directions     remove
 *        + e' - (x - x_hat)                  error: the reconstruction error of another stream
 *
 * They work one after the other, each on what those before it left, each only in the rows it names. */
/* SPDX-License-Identifier: MIT */
#ifndef EDIT_H
#define EDIT_H

#include "data/lockstep.h"
#include "data/row_selector.h"
#include "dict/sae.h"

struct edit {
    enum edit_act { EDIT_MAP, EDIT_COPY, EDIT_VECTOR, EDIT_REMOVE, EDIT_ERROR } act;
    struct row_selector where;
    bool afresh;                        /* map: of f as it came, whatever was done to it before */
    bool named;                         /* map: its features are those that were named, not the others */
    uint32_t *feature;                  /* map, copy: (n) ascending */
    float *scale, *shift;               /* map: (n) */
    size_t n;
    float *row;                         /* vector: (1, d_model) V v; remove: (n, d_model) orthonormal */
    size_t stream;                      /* copy, error: which of the streams that go along */
};

struct edits {
    struct sae *sae;                    /* borrowed */
    struct row_selector where;                 /* of all edits; the caller's to narrow */
    const char *of;                     /* what sentences about the rows call them; NULL: nothing */
    struct edit *list;
    struct lockstep *stream;
    size_t n, cap, streams, stream_cap;
    uint32_t *feature, *place;          /* (features) those that any edit touches, ascending; (d_sae) where in that list */
    size_t features;
    bool last;                          /* some edit asks which row is the last of its context */
    struct edit_work *work;             /* private */
};

/* Start an empty list of edits for a dictionary, borrowed until edit_free(), which releases what the list holds. */
void edit_begin(struct edits *e, struct sae *sae);
void edit_free(struct edits *e);

/* Add an edit in words:
 *
 *   zero F | set F V | scale F A | add F V | keep F | mean F CODES | copy F CODES | silence F
 *   vector V FILE | remove F | remove FILE | error ACTS            each may end in ` @ WHERE`
 *
 * F is a list of features (base/ranges.h), WHERE as in data/row_selector.h. sae-patch(1) says what each does. Returns 0, or
 * -1 and a sentence that quotes the edit. */
int edit_add(struct edits *e, const char *words) ERR_CHECKED;
/* One edit a line; blank lines and lines that begin with # are passed over. The sentence names file and line. */
int edit_add_file(struct edits *e, const char *path) ERR_CHECKED;
/* After the last edit, before the first row. */
void edit_ready(struct edits *e);

/* Features that an edit names and sets to 0 and that can fire again when x' is encoded: x - f d has pi = f (1 - <e, d>), plus what
 * other features did. Returns how many have 1 - <e, d> above 0.001, and the one with most of it. 0 where the encoder is not
 * one matrix. */
size_t edit_return(const struct edits *e, uint32_t *feature, double *share);

/* The rows of b with all edits done, x (n, d_model); changed (n) says which differ from b->x. With `replace` every row
 * begins as its reconstruction. next: the first row behind b (NULL: none; not looked at unless e->last). Runs on the
 * pool. Returns 0, or -1 and a sentence. */
int edit_rows(struct edits *e, const struct batch *b, const struct batch *next, bool replace, float *x,
               bool *changed) ERR_CHECKED;
/* After the last rows: -1 and a sentence when a stream that goes along has more. */
int edit_end(struct edits *e) ERR_CHECKED;

#endif
