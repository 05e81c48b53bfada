/* npz: arrays by name in one file, as numpy.savez writes it: a zip of .npy members, stored as they are. Every size and offset
 * has 64 bits (zip64), so nothing is too large. The same arrays give the same bytes. */
/* SPDX-License-Identifier: MIT */
#ifndef NPZ_H
#define NPZ_H

#include "data/npy.h"
#include "data/spool.h"

/* A member: an array whose items are in a spool; or, where spool is NULL, in memory; or the string `text`. */
struct npz_member {
    const char *name;                   /* without .npy */
    struct npy shape;
    struct spool *spool;
    const void *items;
    const char *text;
};

/* Write n members to `out`, which stays open. Returns 0, or -1 and a sentence. */
int npz_write(struct io_out *out, const struct npz_member *m, size_t n) ERR_CHECKED;

#endif
