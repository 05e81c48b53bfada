/* lm_inside: the model as lm.c opens it, lm_hook.c names its points and lm_pass.c runs it; private to lib/model. */
/* SPDX-License-Identifier: MIT */
#ifndef LM_INSIDE_H
#define LM_INSIDE_H

#include "data/safetensors.h"
#include "model/lm.h"
#include "model/lm_family.h"

#include <pthread.h>

/* Which point of the pass a hook is at, in the order of the pass; the first two before the layers, the last two behind. */
enum lm_site {
    SITE_EMBED, SITE_POS_EMBED,
    SITE_RESID_PRE, SITE_LN1, SITE_Q, SITE_K, SITE_V, SITE_ROT_Q, SITE_ROT_K, SITE_Z, SITE_ATTN_OUT, SITE_RESID_MID,
    SITE_LN2, SITE_PRE, SITE_POST, SITE_MLP_OUT, SITE_RESID_POST,
    SITE_LN_FINAL, SITE_LOGITS,
    SITES
};

struct weight {
    const struct tensor *t;     /* NULL: the model has none */
    const float *f32;           /* its values, once lm_load() has been there */
    float *own;                 /* f32 where it could not be the mapped file */
};

struct lm {
    char *dir;
    const struct lm_family *family;
    struct lm_config c;
    struct lm_shape shape;
    struct safetensors **file;
    size_t files;
    json_t *map;                /* tensor name -> file name of a sharded checkpoint, else NULL */
    struct weight *weight;      /* LM_TOP, then LM_EACH for each layer */
    struct lm_hook *hook;
    size_t hooks;
    pthread_mutex_t *lock;      /* held while weights are converted */
    char digest[65];
};

/* The tensor `id` of a layer (of the model, where id < LM_TOP; the layer is then ignored). */
struct weight *lm_weight(const struct lm *m, size_t layer, enum lm_tensor id);
/* Its values, converted at the first call if need be; NULL where the model has none. Any thread may call it. */
const float *lm_load(const struct lm *m, size_t layer, enum lm_tensor id);

/* The rotary table of the last pass, (position, rotary/2): cosines, and sines in *sine. */
const float *lm_cosines(const struct lm_work *w, const float **sine);

/* Fill m->hook. */
void lm_make_hooks(struct lm *m);

#endif
