/* metric: a number read off the predictions, with its gradient at the logits.
 *
 *   nll             -log softmax(logits)[next token], in nats
 *   logit:T         the logit of token T
 *   diff:T:U        the logit of T less that of U
 *   -METRIC         its negative
 *
 * A token is its number, or its text with the escapes of tables (\n \t \\ \xHH); \: is a colon, \7 the digit 7. */
/* SPDX-License-Identifier: MIT */
#ifndef METRIC_H
#define METRIC_H

#include "model/tokenizer.h"

#include <stdbool.h>

struct metric {
    enum metric_kind { METRIC_NLL, METRIC_LOGIT, METRIC_DIFF } kind;
    double sign;                /* 1 or -1 */
    uint32_t a, b;
};

/* From words. t may be NULL: then tokens are numbers. 0, or -1 and a sentence that quotes the word. */
int metric_parse(struct metric *m, const char *words, const struct tokenizer *t, size_t n_vocab) ERR_CHECKED;

/* The number of one row of logits (n_vocab), which become its gradient. `next` is used by nll only. */
double metric_row(const struct metric *m, float *logits, size_t n_vocab, uint32_t next);

#endif
