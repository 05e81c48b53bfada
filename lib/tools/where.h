/* where: which rows are meant: those at a position of their context, the last ones, those of some documents or contexts,
 * those whose token is one string. */
/* SPDX-License-Identifier: MIT */
#ifndef WHERE_H
#define WHERE_H

#include "data/stream.h"

struct where {
    bool by_pos, last, by_doc, by_ctx, by_token;        /* all must hold; none: every row */
    int64_t pos[2], doc[2], ctx[2];     /* from, to, both included */
    char *token;                        /* bytes */
    size_t token_len;
};

/* Narrow w to "POS", "LO:HI" or "last"; returns 0, or -1 and a sentence. */
int where_at(struct where *w, const char *at) ERR_CHECKED;
/* Narrow w to several of them, separated by blanks: the same, doc=N, doc=LO:HI, ctx=N, ctx=LO:HI, and as the last one
 * token=STR, all that is left. words is taken apart. */
int where_words(struct where *w, char *words) ERR_CHECKED;
/* Narrow w to rows whose token is this, given as tables print it: \n, \t, \\, \xHH. */
void where_token(struct where *w, const char *printed);
void where_free(struct where *w);

/* The name of a column that w asks about and b lacks, or NULL. */
const char *where_lacks(const struct where *w, const struct batch *b);
/* Is row i of b meant? `next` holds the first row behind b, NULL at the end of the stream: `last` is decided by it. */
bool where_selects(const struct where *w, const struct batch *b, const struct batch *next, size_t i);

#endif
