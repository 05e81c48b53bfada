/* fitrows: the rows of a fit: of a stream, up to a number, several times over. */
/* SPDX-License-Identifier: MIT */
#ifndef FITROWS_H
#define FITROWS_H

#include "cli/tool.h"

#include <signal.h>
#include <sys/types.h>

/* The signal that asked for the end, 0 for none: no row is given any more. */
extern volatile sig_atomic_t fitrows_stop;

struct fitrows {
    const char *path;           /* to open again for another epoch */
    int64_t max_rows, epochs;   /* rows of an epoch, -1: all; epochs */
    struct stream_in *in;
    struct batch b;
    size_t at;                  /* next row of b */
    uint64_t used;              /* rows of this epoch */
    int64_t epoch;
};

/* A stream of acts of width d (0: any); exits when it is not. */
struct stream_in *fitrows_open(const char *path, size_t d);

/* Rows there will be in all, 0 when that cannot be known; exact: count those of a file, whose header speaks of its
 * first section only. */
uint64_t fitrows_total(const struct fitrows *s, bool exact);

/* A shuffle_source. */
ssize_t fitrows_next(void *arg, float *out, size_t n);

#endif
