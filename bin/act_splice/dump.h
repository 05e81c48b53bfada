/* dump: act-splice --dump: the rows at a hook point of the pass that has rows spliced in. */
/* SPDX-License-Identifier: MIT */
#ifndef DUMP_H
#define DUMP_H

#include "model/tokenizer.h"
#include "patch/splice.h"

struct rows_job {
    const struct lm_hook *hook;
    bool (*counts)(const struct splice_group *g, size_t c, size_t i);   /* is there a row for token i of context c */
};

/* Read all contexts of `s` and write the stream. t: NULL when there is no text to be had. Returns the exit status of
 * main(). */
int dump_main(const struct rows_job *job, const struct lm *m, const struct tokenizer *t, struct splice *s,
                     char **inputs, size_t n);

#endif
