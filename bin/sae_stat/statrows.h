/* statrows: the rows that sae-stat measures: a stream of activations through one dictionary or several, or a stream of
 * codes as it is, each row with what goes along with it.
 *
 *   x --> codes f (of each dictionary, or from a file beside) --> x_hat --> maths/measure.h */
/* SPDX-License-Identifier: MIT */
#ifndef STATROWS_H
#define STATROWS_H

#include "data/row_selector.h"
#include "dict/sae.h"
#include "maths/geometry.h"
#include "maths/measure.h"

struct statrows_of {
    const char *path;
    struct sae *sae;                    /* NULL: codes that nobody claims */
    const struct geometry *shape;       /* of sae */
    const uint32_t *truth;              /* (d_sae) for slopes on true codes; or NULL */
    size_t truths;
    struct measure *rows;               /* out; measure_free() it */
};

struct statrows {
    const char *coded, *codes;          /* files that go along: the codes of x; the true codes; or NULL */
    struct row_selector where;                 /* which rows count */
    bool neurons;                       /* measure correlations with neurons */
};

/* Is this operand a stream, told by what it holds? A pipe is; a file that is neither a stream nor a dictionary is when it
 * is not the only operand, so that it is refused as the stream it should be. */
bool statrows_is_stream(const char *path, bool only);
/* Read all of `in`, acts of the width of all n dictionaries or codes of the only one, and measure the rows that count.
 * Exits on failure, and when there are no rows. */
void statrows_read(const struct statrows *how, struct statrows_of *of, size_t n, struct stream_in *in);

#endif
