/* npy: the header of a NumPy array file; the items behind it are the caller's to read or write, row by row.
 *
 *   "\x93NUMPY" | major minor | u16 (major 1) or u32 LE length | {'descr': '<f4', 'fortran_order': False,
 *   'shape': (3, 4), } padded with spaces and one newline to a multiple of 64 | items, little endian, rows contiguous */
/* SPDX-License-Identifier: MIT */
#ifndef NPY_H
#define NPY_H

#include "base/err.h"
#include "base/io.h"
#include "data/dtype.h"

#include <stddef.h>

enum { NPY_HEADER_MAX = 512 };

struct npy {
    enum dtype type;
    size_t rank, shape[8];      /* the product of the shape times the item size fits a size_t */
};

/* Read the header (versions 1 to 3); `in` is then at the first item. Big-endian and column-major (fortran_order) arrays
 * and types that dtype does not know are refused. Returns 0, or -1 and a sentence (with the input's name). */
int npy_read_header(struct io_in *in, struct npy *h) ERR_CHECKED;

/* Make the header of version 1 for h (type not DTYPE_NONE or DTYPE_BF16, which NumPy lacks; rank at most 8) in buf.
 * Returns its length, a multiple of 64. */
size_t npy_write_header(unsigned char buf[NPY_HEADER_MAX], const struct npy *h);
/* A whole file: an array of no dimension that holds the short string s (at most 99 bytes). Returns its length. */
size_t npy_write_string(unsigned char buf[NPY_HEADER_MAX], const char *s);

#endif
