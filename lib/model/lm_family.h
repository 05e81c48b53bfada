/* lm_family: what one family of checkpoints has to say for itself; private to lib/model.
 *
 * A family is one file with one table: how its config.json is read, and the list of operations that a model of it is. Adding
 * a family is such a file and one line in lm.c. */
/* SPDX-License-Identifier: MIT */
#ifndef LM_FAMILY_H
#define LM_FAMILY_H

#include "base/err.h"
#include "model/list.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lm_config {
    size_t n_layer, d_model, n_head, d_mlp, n_vocab, n_ctx;
    int64_t bos;                /* -1: none */
    double eps;                 /* of the layer norms */
    enum nonlin act;
    bool parallel;              /* attention and MLP read the same residual stream */
    bool tied;                  /* the head is the embedding */
    bool attention_bias;        /* the attention's products have biases */
    bool scale_attn;            /* scores are divided by sqrt(d_head) */
    bool scale_by_layer;        /* and by layer + 1 */
    size_t rotary;              /* dimensions of a head that are rotated, 0: none */
    double rope_base;
};

struct lm_family {
    const char *model_type;
    const char *prefix;         /* may stand before the names of tensors, or not */
    int (*read_config)(const json_t *json, struct lm_config *c) ERR_CHECKED;
    void (*build)(struct list *l, const struct lm_config *c);
};

extern const struct lm_family lm_gpt2, lm_neox;

/* For read_config: json[key] as a positive size that must be there; as the name of a nonlinearity; as a token id or
 * none. 0, or -1 and a sentence without the file's name. */
int lm_config_size(const json_t *json, const char *key, size_t *out) ERR_CHECKED;
int lm_config_act(const json_t *json, const char *key, const char *missing, enum nonlin *out) ERR_CHECKED;
int lm_config_bos(const json_t *json, struct lm_config *c) ERR_CHECKED;

#endif
