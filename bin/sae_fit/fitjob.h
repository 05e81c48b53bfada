/* fitjob: the fits of a run, each by its name: what they are fed from, how one begins, how one fails. */
/* SPDX-License-Identifier: MIT */
#ifndef FITJOB_H
#define FITJOB_H

#include "data/shuffle.h"
#include "fit/fit.h"
#include "sae_fit/fitlog.h"
#include "sae_fit/fitrows.h"

/* One fit of those that share the rows. */
struct fit_job {
    double l1;                  /* as given, in --l1-units */
    char *word;                 /* the same, spelled as on the command line */
    char *output, *log_path;
    struct fit_options options;
    struct fit *fit;            /* NULL: not begun, or ended early, and why: */
    char *failed;
    struct fitlog log;
};

struct fit_run {
    /* ---- set by the caller ---- */
    struct fitrows src;
    struct fit_job *job;
    size_t jobs;
    size_t batch, buffer;
    uint64_t log_every, every, total;       /* total: rows there will be, 0: not known */
    const char *eval, *init, *checkpoint, *resume;
    const char *command;        /* as given, quoted for a shell */
    struct opt_reals *l1;       /* the option: narrowed to the fit's own while its history is written */

    /* ---- the run ---- */
    struct shuffle *rows;
    uint64_t used;              /* rows so far */
    uint32_t crc;               /* of those used, in their order */
    bool begun, saved;          /* there is something to save; a checkpoint of it is there */
    float *start;               /* (starts, d_model) unit decoder rows that init gave, NULL for none */
    size_t starts;
};

/* "--l1 0.3: " before what is said of a job among several, "" for a single one. */
const char *fitjob_name(const struct fit_run *r, const struct fit_job *j);
/* A fit cannot go on, for the reason that stands in err: with it ends the program, unless there are others. */
void fitjob_fail(struct fit_run *r, struct fit_job *j);
/* Set what --init gives; resumed: only remember it, for the comparison at the end. */
void fitjob_adopt(struct fit_run *r, bool resumed);

#endif
