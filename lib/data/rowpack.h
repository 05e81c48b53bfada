/* rowpack: a row of a batch with all that travels with it as one run of bytes, and batches made of such rows, in any order.
 *
 *   row = u32 bytes behind this | for each column its entries, behind their number (u32) where rows differ in it */
/* SPDX-License-Identifier: MIT */
#ifndef ROWPACK_H
#define ROWPACK_H

#include "data/stream.h"

struct rowpack {
    size_t cols;                        /* 0: none has been seen */
    struct column col[STREAM_COLUMNS];  /* of the first batch, but for their data */
};

struct rowpack_bytes {
    uint8_t *p;
    size_t n, cap;
};

/* Take the columns of the first batch, and hold later ones to them: -1 and a sentence where b has others. rowpack_free()
 * releases it. */
int rowpack_match(struct rowpack *p, const struct batch *b) ERR_CHECKED;
void rowpack_free(struct rowpack *p);
/* Append row i of b, which matches, to `to`. */
void rowpack_add(const struct rowpack *p, const struct batch *b, size_t i, struct rowpack_bytes *to);
/* Bytes of the row that begins at `row`, its length included. */
size_t rowpack_length(const uint8_t *row);
/* out becomes a batch of these n rows; batch_select_free() releases it. */
void rowpack_batch(const struct rowpack *p, const uint8_t *const *row, size_t n, struct batch *out);

#endif
