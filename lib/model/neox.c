/* neox: GPT-NeoX and Pythia: parallel (or sequential) blocks, rotary positions, a head of its own; matrices stored
 * (out, in), the rows of query_key_value ordered (head, q/k/v, d_head). */
/* SPDX-License-Identifier: MIT */
#include "data/jsonfile.h"
#include "model/lm_family.h"

#include <math.h>
#include <string.h>

/* Older configs have rotary_pct and rotary_emb_base, newer ones an object rope_parameters. */
static int read_rope(const json_t *j, struct lm_config *c)
{
    const json_t *rope = json_object_get(j, "rope_parameters"), *scaling = json_object_get(j, "rope_scaling");
    double part;
    if (rope && !json_is_object(rope) && !json_is_null(rope))
        return err_data("rope_parameters is not an object");
    if (jsonfile_real(j, "rotary_pct", 0.25, &part) || jsonfile_real(j, "rotary_emb_base", 10000, &c->rope_base) ||
        jsonfile_real(rope, "rope_theta", c->rope_base, &c->rope_base) ||
        jsonfile_real(rope, "partial_rotary_factor", part, &part))
        return -1;
    const char *type = json_object_get(rope, "rope_type") ? jsonfile_string(rope, "rope_type", "?") : "default";
    if (strcmp(type, "default"))
        return err_data("rope_type %.40s is not supported", type);
    if (scaling && !json_is_null(scaling))
        return err_data("rope_scaling is not supported");
    if (!(part >= 0 && part <= 1))
        return err_data("the rotary part of a head is %g, not between 0 and 1", part);
    c->rotary = (size_t)((double)(c->d_model / c->n_head) * part);
    return 0;
}

static int read_config(const json_t *j, struct lm_config *c)
{
    c->scale_attn = true;
    if (lm_config_size(j, "num_hidden_layers", &c->n_layer) || lm_config_size(j, "hidden_size", &c->d_model) ||
        lm_config_size(j, "num_attention_heads", &c->n_head) || lm_config_size(j, "vocab_size", &c->n_vocab) ||
        lm_config_size(j, "max_position_embeddings", &c->n_ctx) ||
        jsonfile_size(j, "intermediate_size", 4 * c->d_model, &c->d_mlp) ||
        jsonfile_real(j, "layer_norm_eps", 1e-5, &c->eps) ||
        jsonfile_bool(j, "use_parallel_residual", true, &c->parallel) ||
        jsonfile_bool(j, "attention_bias", true, &c->attention_bias) ||
        jsonfile_bool(j, "tie_word_embeddings", false, &c->tied))
        return -1;
    return lm_config_act(j, "hidden_act", "gelu", &c->act) || read_rope(j, c) ? -1 : lm_config_bos(j, c);
}

/* In a parallel block the MLP reads the residual stream that the attention reads, and both are added behind it. */
static void layer(struct list *l, const struct lm_config *c, int rope)
{
    list_next_layer(l);
    list_hook(l, RESID, "hook_resid_pre");
    list_norm(l, RESID, "ln1.hook_normalized", "layers.*.input_layernorm", c->eps);
    list_linear(l, GAINED, QKV, 3 * c->d_model, "layers.*.attention.query_key_value", c->attention_bias);
    list_split(l, c->n_head);
    list_attend(l, c->n_head, rope, 1 / sqrt((double)(c->d_model / c->n_head)));
    list_linear(l, Z, ATTN, c->d_model, "layers.*.attention.dense", c->attention_bias);
    list_hook(l, ATTN, "hook_attn_out");
    if (!c->parallel) {
        list_add(l, RESID, ATTN);
        list_hook(l, RESID, "hook_resid_mid");
    }
    list_norm(l, RESID, "ln2.hook_normalized", "layers.*.post_attention_layernorm", c->eps);
    list_mlp(l, "layers.*.mlp.dense_h_to_4h", "layers.*.mlp.dense_4h_to_h", c->d_mlp, c->act);
    if (c->parallel)
        list_add(l, RESID, ATTN);
    list_add(l, RESID, MLP);
    list_hook(l, RESID, "hook_resid_post");
}

static void build(struct list *l, const struct lm_config *c)
{
    list_embed(l, "embed_in", c->n_vocab, c->d_model);
    int rope = c->rotary ? list_rope(l, c->rotary, c->rope_base) : 0;
    for (size_t i = 0; i < c->n_layer; i++)
        layer(l, c, rope);
    list_next_layer(l);
    list_norm(l, RESID, "ln_final.hook_normalized", "final_layer_norm", c->eps);
    list_logits(l, c->tied ? NULL : "embed_out", c->n_vocab);
}

const struct lm_family lm_neox = { "gpt_neox", "gpt_neox.", read_config, build };
