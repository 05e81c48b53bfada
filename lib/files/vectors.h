/* vectors: rows of one width out of a matrix in a file, to begin a dictionary from.
 *
 *   NAME.npy                    an array of two dimensions, or of one: one row
 *   FILE.safetensors:TENSOR     a tensor of two dimensions, of a model for instance; FILE.safetensors:TENSOR^T its
 *                               columns
 *
 * The vectors along the side that has the width are meant: of a matrix (d, n) whose n is not d the columns are taken
 * without being asked for. */
/* SPDX-License-Identifier: MIT */
#ifndef VECTORS_H
#define VECTORS_H

#include "base/io.h"

#include <stdbool.h>
#include <stddef.h>

/* Does the name have one of these forms? */
bool vectors_names(const char *name);

/* The vectors of width d as rows (*n, d), all finite; free() them. NULL and a sentence (with the name) on failure. */
float *vectors_load(const char *name, size_t d, size_t *n);
/* The only vector there is: more than one are refused. From a name; from an .npy that begins where `in` stands. */
float *vectors_load_one(const char *name, size_t d);
float *vectors_read_one(struct io_in *in, size_t d);

#endif
