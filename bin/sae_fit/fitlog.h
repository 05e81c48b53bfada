/* fitlog: what is measured while a dictionary is fitted: lines of a table, held-out rows. */
/* SPDX-License-Identifier: MIT */
#ifndef FITLOG_H
#define FITLOG_H

#include "fit/fit.h"

#include <stdio.h>

struct fitlog {
    FILE *file;                     /* NULL: no table is written */
    const char *path, *eval;        /* eval: stream of held-out rows, NULL for none */
    double began;                   /* tool_clock() at second 0 */
    struct fit_report last;         /* of the last line */
    uint64_t resampled;             /* up to the last line */
};

/* Begin; or, where keep is not negative, go on behind the first `keep` bytes of the table that is there. `seconds` have
 * been spent already. Exits on failure. */
void fitlog_open(struct fitlog *l, const char *path, const char *eval, long keep, double seconds);
/* A line of the batches since the last one; rows used ever. */
void fitlog_line(struct fitlog *l, struct fit *f, uint64_t rows);
/* Bytes written so far. */
long fitlog_bytes(struct fitlog *l);
void fitlog_close(struct fitlog *l);

/* Numbers of the rows of a stream of the fit's width, read anew: their number is not bounded by memory. */
struct fit_report fitlog_evaluate(struct fit *f, const char *eval);

#endif
