/* splice_eval: what putting rows into a model does to its predictions, token by token: a clean forward pass, the spliced one, and
 * those with zeros or means in the same places; each of a piece of contexts on one thread of the pool. */
/* SPDX-License-Identifier: MIT */
#ifndef SPLICE_EVAL_H
#define SPLICE_EVAL_H

#include "patch/splice.h"

enum score_pass { SCORE_SPLICED, SCORE_ZERO, SCORE_MEAN, SCORE_PASSES };

struct score {
    bool next;                              /* a next token is known: not the last one of its context */
    double nll_clean, nll[SCORE_PASSES];    /* of the next token, nats; NaN where it is not known */
    double kl[SCORE_PASSES];                /* KL(clean || that pass), nats */
    bool changed;                           /* the spliced pass has another most likely token */
};

/* The tokens whose logits changed most: the first `ups` of 2 k rose, falling in size; those from k on, `downs`, fell. */
struct score_moved {
    size_t ups, downs;
};

struct splice_eval {
    const struct lm *m;
    bool zero, mean;                    /* passes wanted besides the spliced one */
    float *const *means;                /* with mean: a row for each port */
    size_t k, likely;                   /* most changed tokens wanted; most likely ones, at most n_vocab; 0: none */
    /* What came out, one entry a token of the group; only where wanted. */
    bool *wanted;                       /* the caller's, before score_run() */
    struct score *score;
    struct score_moved *moved;
    uint32_t *moved_tok;                /* (tokens, 2 k) */
    float *moved_by;
    uint32_t *likely_tok;               /* (tokens, 2, likely) next tokens of the clean and of the spliced pass, falling */
    float *likely_p;                    /* and their probabilities */
    size_t wanted_cap, score_cap, moved_cap, moved_tok_cap, moved_by_cap, likely_tok_cap, likely_p_cap;
    struct lm_work **work;              /* private: one for each thread, as are these */
    float **clean, **resid;
    size_t *clean_cap, *resid_cap;
};

/* For m; the fields above the first remark are the caller's to set then. */
void splice_eval_begin(struct splice_eval *s, const struct lm *m);
void splice_eval_free(struct splice_eval *s);
/* Make room for g's tokens; all are wanted until the caller says otherwise. */
void splice_eval_reserve(struct splice_eval *s, const struct splice_group *g);
/* Run pieces [lo, hi) of g. */
void splice_eval_run(struct splice_eval *s, const struct splice_group *g, size_t lo, size_t hi);

#endif
