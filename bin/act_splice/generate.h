/* generate: act-splice --generate: the model writes on behind each context, with an edit held on at every new position. */
/* SPDX-License-Identifier: MIT */
#ifndef GENERATE_H
#define GENERATE_H

#include "model/tokenizer.h"
#include "patch/edit.h"
#include "patch/splice.h"

struct generate_job {
    size_t tokens;              /* to write behind each context */
    double temperature;         /* 0: always the most likely token */
    struct edits *edits;        /* settled; done to the model's own row at each new position; NULL: none */
};

/* Read all contexts of `s`, which is of one stream, and print a line for each. Returns the exit status of main(). */
int generate_main(const struct generate_job *job, const struct lm *m, const struct tokenizer *t, struct splice *s);

#endif
