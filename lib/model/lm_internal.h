/* lm_internal: the model as lm.c opens it, lm_hook.c names its points and lm_pass.c runs it; private to lib/model. */
/* SPDX-License-Identifier: MIT */
#ifndef LM_INTERNAL_H
#define LM_INTERNAL_H

#include "model/lm.h"
#include "model/lm_family.h"

#include <pthread.h>

struct lm {
    char *dir;
    const struct lm_family *family;
    struct lm_config c;
    struct lm_shape shape;
    struct safetensors **file;
    size_t files;
    json_t *map;                /* tensor name -> file name of a sharded checkpoint, else NULL */
    struct list list;
    struct lm_hook *hook;
    size_t hooks;
    pthread_mutex_t *lock;      /* held while weights are converted */
    char digest[65];
};

/* The values of a tensor of the list, converted at the first call if need be; NULL for 0. Any thread may call it. */
const float *lm_load(const struct lm *m, int weight);

/* Fill m->hook from the list. */
void lm_make_hooks(struct lm *m);

/* ---- a pass ---- */

struct rows {                   /* a buffer that grows */
    float *p;
    size_t items;
};
/* Room for items; what was there is lost when it grows. */
float *lm_room(struct rows *r, size_t items);

/* The buffers of a pass: values by slot, gradients by GRAD + slot, and so on; behind the last, copies for the way back. */
enum { GRAD = SLOTS, SCORES = GRAD + SLOTS, DSCORES, INVERSE, TURNS };

struct lm_work {
    struct rows *buf;           /* TURNS: (ropes) of cosines (context, half), then sines */
    size_t buffers, next;       /* next: the first without a copy */
    size_t context;             /* the longest so far */
    unsigned live;              /* the set of slots with a gradient */
    bool *runs;                 /* (ops): which operations the pass in hand needs */
    const float *(*kept)[3];    /* (ops): what they read, for the way back: in the slot or a copy */
};

struct pass {
    const struct lm *m;
    struct lm_work *w;
    const struct lm_batch *b;
    const struct lm_tap *taps;
    size_t n_taps, n;           /* n: rows */
    size_t keep;                /* the first operation whose backward will want what it read; SIZE_MAX: none */
    float *stream;              /* forward the residual stream in front of layers from `first` on, before any tap there, */
    int first;                  /* goes to this (n_layer - first, n, d_model); NULL: nowhere */
};

/* Run those of the operations [from, to) that are needed for the slot `want` (or NONE) behind them; where nothing is kept, for
 * what the taps see, too; else, for what is kept. */
void lm_pass_run(struct pass *p, size_t from, size_t to, int want);
/* Tables for contexts as long as the batch's. */
void lm_pass_reserve(struct pass *p);

#endif
