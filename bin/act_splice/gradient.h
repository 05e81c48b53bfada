/* gradient: act-splice --grad and --attack: from a metric of the predictions back to the rows at a hook. */
/* SPDX-License-Identifier: MIT */
#ifndef GRADIENT_H
#define GRADIENT_H

#include "model/tokenizer.h"
#include "patch/splice.h"

struct grad_job {
    const char *metric;         /* patch/metric.h */
    const char *at;             /* where the metric is read: POS, LO:HI or last; NULL: nll everywhere, else last */
    /* Does token i of the group (of its context c) take part? NULL: all do. Those left out are not read by nll where `at`
     * is NULL, and not moved by an attack. */
    bool (*counts)(const struct splice_group *g, size_t c, size_t i);
    bool attack;                /* search a vector rather than write the gradient */
    const char *attack_at;      /* rows it is added to: as `at`; NULL: all */
    double norm;                /* of the vector */
    int64_t iterations;         /* of the search, at most */
};

/* Write the gradient of the metric, summed over each context, at the rows of the one stream that `s` reads, as a stream of
 * the same rows to -o; or search the vector, write it to -o as .npy, and print what it does. t may be NULL. `inputs` are
 * the streams' names for the history. Returns the exit status of main(). */
int gradient_main(const struct grad_job *job, struct lm *m, const struct tokenizer *t, struct splice *s,
                     const struct lm_hook *hook, char **inputs, size_t n);

#endif
