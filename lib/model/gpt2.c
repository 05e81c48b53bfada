/* gpt2: sequential blocks, learned positions, a tied head; matrices stored (in, out). */
/* SPDX-License-Identifier: MIT */
#include "data/jsonfile.h"
#include "model/lm_family.h"

#include <math.h>

static int read_config(const json_t *j, struct lm_config *c)
{
    const char *context = json_object_get(j, "n_positions") ? "n_positions" : "n_ctx";
    c->attention_bias = true;
    if (lm_config_size(j, "n_layer", &c->n_layer) || lm_config_size(j, "n_embd", &c->d_model) ||
        lm_config_size(j, "n_head", &c->n_head) || lm_config_size(j, "vocab_size", &c->n_vocab) ||
        lm_config_size(j, context, &c->n_ctx) || jsonfile_size(j, "n_inner", 4 * c->d_model, &c->d_mlp) ||
        jsonfile_real(j, "layer_norm_epsilon", 1e-5, &c->eps) ||
        jsonfile_bool(j, "scale_attn_weights", true, &c->scale_attn) ||
        jsonfile_bool(j, "scale_attn_by_inverse_layer_idx", false, &c->scale_by_layer) ||
        jsonfile_bool(j, "tie_word_embeddings", true, &c->tied))
        return -1;
    return lm_config_act(j, "activation_function", "gelu_new", &c->act) ? -1 : lm_config_bos(j, c);
}

/* The i-th layer, from 0. */
static void layer(struct list *l, const struct lm_config *c, size_t i)
{
    double scale = c->scale_attn ? 1 / sqrt((double)(c->d_model / c->n_head)) : 1;
    list_next_layer(l);
    list_hook(l, RESID, "hook_resid_pre");
    list_norm(l, RESID, "ln1.hook_normalized", "h.*.ln_1", c->eps);
    list_linear(l, GAINED, QKV, 3 * c->d_model, "h.*.attn.c_attn", true);
    list_split(l, 1);
    list_attend(l, c->n_head, 0, c->scale_by_layer ? scale / (double)(i + 1) : scale);
    list_linear(l, Z, ATTN, c->d_model, "h.*.attn.c_proj", true);
    list_hook(l, ATTN, "hook_attn_out");
    list_add(l, RESID, ATTN);
    list_hook(l, RESID, "hook_resid_mid");
    list_norm(l, RESID, "ln2.hook_normalized", "h.*.ln_2", c->eps);
    list_mlp(l, "h.*.mlp.c_fc", "h.*.mlp.c_proj", c->d_mlp, c->act);
    list_add(l, RESID, MLP);
    list_hook(l, RESID, "hook_resid_post");
}

static void build(struct list *l, const struct lm_config *c)
{
    l->in_out = true;
    list_embed(l, "wte", c->n_vocab, c->d_model);
    list_positions(l, "wpe", c->n_ctx);
    for (size_t i = 0; i < c->n_layer; i++)
        layer(l, c, i);
    list_next_layer(l);
    list_norm(l, RESID, "ln_final.hook_normalized", "ln_f", c->eps);
    list_logits(l, c->tied ? NULL : "lm_head", c->n_vocab);
}

const struct lm_family lm_gpt2 = { "gpt2", "transformer.", read_config, build };
