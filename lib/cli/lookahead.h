/* lookahead: a stream read one batch ahead, for what depends on what comes next. */
/* SPDX-License-Identifier: MIT */
#ifndef LOOKAHEAD_H
#define LOOKAHEAD_H

#include "data/stream.h"

/* A stream read with the batch behind the one in hand in sight, where `last` must know it. */
struct lookahead {
    struct stream_in *in;               /* the caller's */
    bool look;                          /* is the next batch wanted? */
    struct batch now, then;             /* private, as is the rest */
    bool have, held;
};

/* The next batch of a->in into *b, and the one behind it into *next, NULL at the end or when it is not wanted; both
 * borrowed until the next call. False at the end. Dies as tool_next() does. */
bool lookahead_next(struct lookahead *a, const struct batch **b, const struct batch **next);
void lookahead_free(struct lookahead *a);

#endif
