/* lm_backward: the gradient of a number computed from the logits, at a hook point: a forward pass that keeps the residual stream
 * at each layer's input, then layer by layer backwards, each layer's inside computed again from its input.
 *
 *   tokens -> ... -> [hook, spliced] -> ... -> residual stream -> norm -> logits -> number
 *                      gradient   <- ... <-        <-          <-      <-  */
/* SPDX-License-Identifier: MIT */
#ifndef LM_BACKWARD_H
#define LM_BACKWARD_H

#include "model/lm.h"

/* A number: the sum of one part for each of some rows of the batch. */
struct lm_objective {
    const size_t *row;          /* n rows, ascending */
    size_t n;
    /* The part of row `row`, whose logits (n_vocab) become their gradient. */
    double (*fn)(void *arg, size_t row, float *logits);
    void *arg;
};

/* Buffers of one thread; they grow to the largest batch they have seen. */
struct lm_backward;
struct lm_backward *lm_backward_new(const struct lm *m);
void lm_backward_free(struct lm_backward *w);

/* The number, and where grad is not NULL its gradient (n, width) at hook `at`, with respect to the values that the rest of
 * the pass uses. Taps may overwrite rows; they are at `at` or before it, and those in its layer may be called a second time.
 * Every hook but the logits; 0, or -1 and a sentence for those. Single-threaded, like lm_forward(). */
int lm_backward_gradient(const struct lm *m, struct lm_backward *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps,
                const struct lm_hook *at, const struct lm_objective *number, double *value, float *grad) ERR_CHECKED;

#endif
