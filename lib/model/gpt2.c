/* gpt2: sequential blocks, learned positions, a tied head; matrices stored (in, out). */
/* SPDX-License-Identifier: MIT */
#include "data/jsonfile.h"
#include "model/lm_family.h"

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

const struct lm_family lm_gpt2 = {
    .model_type = "gpt2",
    .prefix = "transformer.",
    .in_out = true,
    .read_config = read_config,
    .names = {
        [LM_EMBED] = "wte.weight", [LM_POS] = "wpe.weight",
        [LM_NORM_W] = "ln_f.weight", [LM_NORM_B] = "ln_f.bias", [LM_HEAD] = "lm_head.weight",
        [LM_LN1_W] = "h.*.ln_1.weight", [LM_LN1_B] = "h.*.ln_1.bias",
        [LM_QKV_W] = "h.*.attn.c_attn.weight", [LM_QKV_B] = "h.*.attn.c_attn.bias",
        [LM_ATTN_W] = "h.*.attn.c_proj.weight", [LM_ATTN_B] = "h.*.attn.c_proj.bias",
        [LM_LN2_W] = "h.*.ln_2.weight", [LM_LN2_B] = "h.*.ln_2.bias",
        [LM_UP_W] = "h.*.mlp.c_fc.weight", [LM_UP_B] = "h.*.mlp.c_fc.bias",
        [LM_DOWN_W] = "h.*.mlp.c_proj.weight", [LM_DOWN_B] = "h.*.mlp.c_proj.bias",
    },
};
