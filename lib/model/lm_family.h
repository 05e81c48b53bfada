/* lm_family: what one family of checkpoints has to say for itself; private to lib/model.
 *
 * A family is one file with one table: how its config.json is read, what its tensors are called, which way round its
 * matrices lie. Adding a family is such a file and one line in lm.c. */
/* SPDX-License-Identifier: MIT */
#ifndef LM_FAMILY_H
#define LM_FAMILY_H

#include "ground/err.h"
#include "maths/nonlin.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The tensors of a model, and those that each layer has. */
enum lm_tensor {
    LM_EMBED, LM_POS, LM_NORM_W, LM_NORM_B, LM_HEAD,
    LM_TOP,                     /* how many the model has once; the layers' follow */
    LM_LN1_W = LM_TOP, LM_LN1_B, LM_QKV_W, LM_QKV_B, LM_ATTN_W, LM_ATTN_B,
    LM_LN2_W, LM_LN2_B, LM_UP_W, LM_UP_B, LM_DOWN_W, LM_DOWN_B,
    LM_TENSORS
};
enum { LM_EACH = LM_TENSORS - LM_TOP };

struct lm_config {
    size_t n_layer, d_model, n_head, d_mlp, n_vocab, n_ctx;
    int64_t bos;                /* -1: none */
    double eps;                 /* of the layer norms */
    enum nonlin act;
    bool parallel;              /* attention and MLP read the same residual stream */
    bool tied;                  /* the head is the embedding */
    bool attention_bias;        /* LM_QKV_B and LM_ATTN_B exist */
    bool scale_attn;            /* scores are divided by sqrt(d_head) */
    bool scale_by_layer;        /* and by layer + 1 */
    size_t rotary;              /* dimensions of a head that are rotated, 0: none */
    double rope_base;
};

struct lm_family {
    const char *model_type;
    const char *prefix;         /* may stand before the names, or not */
    bool in_out;                /* matrices are (in, out) rather than (out, in) */
    bool qkv_by_head;           /* outputs of QKV are ordered (head, q/k/v, d_head) rather than (q/k/v, head, d_head) */
    int (*read_config)(const json_t *json, struct lm_config *c) ERR_CHECKED;
    const char *names[LM_TENSORS];      /* '*' stands for the layer; NULL: this family has none */
};

extern const struct lm_family lm_gpt2, lm_neox;

/* For read_config: json[key] as a positive size that must be there; as the name of a nonlinearity; as a token id or
 * none. 0, or -1 and a sentence without the file's name. */
int lm_config_size(const json_t *json, const char *key, size_t *out) ERR_CHECKED;
int lm_config_act(const json_t *json, const char *key, const char *missing, enum nonlin *out) ERR_CHECKED;
int lm_config_bos(const json_t *json, struct lm_config *c) ERR_CHECKED;

#endif
