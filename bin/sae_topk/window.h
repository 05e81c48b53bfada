/* window: the rows around a row of codes, and contexts cut out of them: text with the values of one feature.
 *
 * The last 2 w + 1 rows are held, each with at most WINDOW_TOKEN bytes of each text and those of its codes that somebody asks
 * about, so memory does not follow the size of the batches. */
/* SPDX-License-Identifier: MIT */
#ifndef WINDOW_H
#define WINDOW_H

#include "data/stream.h"

enum {
    WINDOW_TOKEN = 1000,                /* bytes of one token's text that are kept; a longer one ends in "..." */
    WINDOW_FIELDS = 16,
    WINDOW_PAIRS = 1 << 22,             /* codes held at once (32 MiB) */
};

struct window_row {
    uint64_t row;                       /* number over the whole stream */
    uint32_t doc, ctx, pos, len, nnz;
    bool chosen;                        /* the caller's */
    bool has_ctx, has_pos;              /* does the stream say which context it is of, and where in it */
    uint32_t *idx;                      /* (nnz) ascending */
    float *val;
    uint32_t *end;                      /* (1 + fields) where in text the token's and each field's end */
    char *text;                         /* the token's (len), without a text column " TOK"; then those of the fields */
};

struct window {
    size_t width, cap;                  /* rows on each side; 2 width + 1 */
    uint64_t first, end;                /* numbers of the rows held: [first, end) */
    size_t pairs;                       /* codes held */
    const char *const *field;           /* (fields, at most WINDOW_FIELDS) text columns whose bytes are kept with a row; borrowed */
    size_t fields;
    char *scratch;                      /* the texts of one row */
    struct window_row **ring;           /* (cap) row r is ring[r % cap] */
};

/* What stands around a firing of one feature: a piece of memory of its own, free() it. */
struct context {
    float value;
    uint64_t row;
    uint32_t doc, ctx, pos;
    uint32_t tokens, peak;              /* how many, and which of them fires */
    uint32_t bytes, at, len;            /* of the text of all, and where in it the peak's begins and how long it is */
    uint32_t *end;                      /* (tokens) where each one's text ends */
    float *around;                      /* (tokens) the feature's value on each; NULL when not asked for */
    char *text;
    uint32_t *field_end;                /* (fields) of the peak's row: where in field each one's text ends */
    char *field;
    uint64_t key;                       /* the caller's */
};

/* The text of a row as it is kept, into `to` (room for WINDOW_TOKEN): its bytes, without a text column " TOK". Returns how
 * many bytes. */
size_t window_text(const struct batch *b, size_t i, char *to);

/* An empty window of `width` rows on each side that keeps the text columns field (fields of them, borrowed) too;
 * window_free() releases it. */
void window_init(struct window *w, size_t width, const char *const *field, size_t fields);
/* Take row i of b, with those of its codes whose feature is wanted (NULL: none are kept), and let go of the row 2 width + 1
 * before it. Returns 0, or -1 and a sentence when more than WINDOW_PAIRS codes would be held or b lacks a field. */
int window_push(struct window *w, const struct batch *b, size_t i, const bool *wanted) ERR_CHECKED;
/* A row that is held. */
struct window_row *window_at(const struct window *w, uint64_t row);
/* Forget all rows: what follows is not their neighbor. */
void window_clear(struct window *w);
void window_free(struct window *w);

/* The context of a row: the rows around it, at most width on each side, that are joined to it: the same doc and ctx, and
 * positions that follow each other. With `around` the values of the feature on them. */
struct context *window_context(const struct window *w, uint64_t row, uint32_t feature, float value, bool around);

#endif
