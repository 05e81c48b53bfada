/* lockstep: a second stream that goes along with the first, row by row: the same tokens, other numbers.
 *
 *   ACTS   doc 0 pos 1 | doc 0 pos 2 | doc 1 pos 1 ...
 *   FILE   doc 0 pos 1 | doc 0 pos 2 | doc 1 pos 1 ...     doc, ctx and pos must agree where both streams have them */
/* SPDX-License-Identifier: MIT */
#ifndef LOCKSTEP_H
#define LOCKSTEP_H

#include "data/stream.h"
#include "maths/sparse.h"

struct lockstep {
    char *path;
    struct stream_in *in;
    struct batch batch;                 /* in hand; rows from `at` on are still to come */
    size_t at;
    struct codes codes;                 /* of codes: the rows asked for last */
    float *x;                           /* of acts: the same, (n, d) */
    size_t x_cap;
};

/* Open path, which must hold rows of this kind and width. Returns 0, or -1 and a sentence (with the name). */
int lockstep_open(struct lockstep *p, const char *path, enum stream_kind kind, size_t d) ERR_CHECKED;
/* Open codes of the dictionary of this digest (NULL: not known): d features wide and, where both say whose they are, of it
 * and of no other. */
int lockstep_open_codes(struct lockstep *p, const char *path, size_t d, const char *digest) ERR_CHECKED;
/* Are the codes of a stream with this header those of that dictionary, as far as both say so? 0, or -1 and a sentence. */
int lockstep_whose(const json_t *head, const char *digest) ERR_CHECKED;
/* Fetch the rows that go with those of b, whose stream has the header b->head where it is known. -1 and a sentence when
 * they are rows of another hook, or of other documents, contexts or positions, or too few. */
int lockstep_rows(struct lockstep *p, const struct batch *b) ERR_CHECKED;
/* After the last rows: -1 and a sentence when there are more. */
int lockstep_end(struct lockstep *p) ERR_CHECKED;
void lockstep_close(struct lockstep *p);

#endif
