/* arrayout: the numbers of rows as files that other programs read: .npy, bare rows, and codes as a sparse matrix of SciPy
 * (.npz in CSR form). On -o or standard output, as the common options say. All die on failure. */
/* SPDX-License-Identifier: MIT */
#ifndef ARRAYOUT_H
#define ARRAYOUT_H

#include "data/stream.h"

enum arrayout_form { ARRAYOUT_NPY, ARRAYOUT_RAW, ARRAYOUT_NPZ };

struct arrayout;

/* type: of the items; d: width of a row. NPZ takes codes, whose values become f32, the others activations. */
struct arrayout *arrayout_create(enum arrayout_form form, enum dtype type, size_t d);
void arrayout_put(struct arrayout *a, const struct batch *b);
/* Write what had to wait for the number of rows, and commit. Returns the exit status of main(). */
int arrayout_finish(struct arrayout *a);

#endif
