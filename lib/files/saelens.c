/* SPDX-License-Identifier: MIT */
#include "files/saelens.h"
#include "base/mem.h"
#include "data/jsonfile.h"
#include "files/sae_tensors.h"
#include "kinds/kinds.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CFG_BYTES = 4 << 20 };

/* ---- cfg.json ---- */

struct cfg {
    const struct kind *kind;
    size_t d_in, d_sae, k;
    bool apply_b_dec, by_norm;      /* by_norm: the k largest of pi_i |d_i| are kept */
    bool scaled, scaled_said;       /* finetuning_scaling_factor */
};

/* The string under the first of the keys (ending with NULL) that is there, at the top or in metadata; or NULL. */
static const char *text_of(const json_t *cfg, const char *const *keys)
{
    const json_t *places[] = { cfg, json_object_get(cfg, "metadata") };
    for (; *keys; keys++)
        for (int p = 0; p < 2; p++) {
            const char *text = json_string_value(json_object_get(places[p], *keys));
            if (text)
                return text;
        }
    return NULL;
}

static int read_kind(const json_t *cfg, struct cfg *out)
{
    static const struct { const char *architecture, *kind; } table[] = {
        { "standard", "relu" }, { "topk", "topk" }, { "jumprelu", "jumprelu" }, { "gated", "gated" },
    };
    const char *name = jsonfile_string(cfg, "architecture", "standard"), *kind = NULL;
    const char *activation = text_of(cfg, (const char *const[]){ "activation_fn_str", "activation_fn", NULL });
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].architecture, name))
            kind = table[i].kind;
    if (!kind)
        return err_data("architecture is %.40s, not standard, topk, jumprelu or gated", name);
    if (activation && !strcmp(activation, "topk") && !strcmp(name, "standard"))
        kind = "topk";
    else if (activation && strcmp(activation, "relu") && strcmp(activation, name))
        return err_data("activation_fn is %.40s, not relu or topk", activation);
    out->kind = kind_find(kind);
    return out->kind ? 0 : err_data("a dictionary of kind %s, which this release does not know", kind);
}

static int read_normalization(const json_t *cfg)
{
    const json_t *v = json_object_get(cfg, "normalize_activations");
    const char *text = json_is_true(v) ? "expected_average_only_in" : json_is_string(v) ? json_string_value(v) : "none";
    if (strcmp(text, "none"))
        return err_data("normalize_activations is %.40s: it wants rows normalised first, only none is read; SAELens's final "
                        "save folds expected_average_only_in", text);
    return 0;
}

static int read_cfg(const json_t *cfg, struct cfg *out)
{
    const json_t *said = json_object_get(cfg, "finetuning_scaling_factor");
    const json_t *kwargs = json_object_get(cfg, "activation_fn_kwargs");
    size_t k = 0;
    if (read_kind(cfg, out) || read_normalization(cfg) || jsonfile_size(cfg, "d_in", 0, &out->d_in) ||
        jsonfile_size(cfg, "d_sae", 0, &out->d_sae) || jsonfile_size(kwargs, "k", 0, &k) ||
        jsonfile_size(cfg, "k", k, &out->k) || jsonfile_bool(cfg, "apply_b_dec_to_input", true, &out->apply_b_dec) ||
        jsonfile_bool(cfg, "rescale_acts_by_decoder_norm", false, &out->by_norm) ||
        jsonfile_bool(cfg, "finetuning_scaling_factor", false, &out->scaled))
        return -1;
    out->scaled_said = said && !json_is_null(said);
    bool topk = !strcmp(out->kind->name, "topk");
    if (topk && !out->k)
        return err_data("top-k, but no k");
    if (!topk)
        out->k = 0, out->by_norm = false;
    return 0;
}

/* ---- what is folded ---- */

/* f_i = pi_i |d_i| and d_i / |d_i|, the same reconstruction with the k largest f. A zero row stays as it is. */
static void fold_norms(struct sae *s)
{
    for (size_t i = 0; i < s->d_sae; i++) {
        float *row = s->w_dec + i * s->d_model;
        double norm = sqrt(vec_dot_wide(row, row, s->d_model));
        if (norm == 0)
            continue;
        vec_scale(s->w_enc + i * s->d_model, (float)norm, s->d_model);
        vec_scale(row, (float)(1 / norm), s->d_model);
        s->b_enc[i] = (float)(s->b_enc[i] * norm);
    }
}

/* x_hat = (f scaling_factor) W_dec + b_dec: SAELens's codes are f, so it is the decoder's rows that are scaled. */
static int fold_factor(struct sae *s, const struct safetensors *file, const struct cfg *cfg)
{
    const struct tensor *t = safetensors_find(file, "scaling_factor");
    if (!t)
        return 0;
    if (t->rank != 1 || t->shape[0] != s->d_sae || t->type < DTYPE_F32 || t->type > DTYPE_F64)
        return err_data("scaling_factor is not [%zu] of floating-point numbers", s->d_sae);
    float *factor = mem_alloc(s->d_sae, sizeof *factor);
    size_t others = 0;
    dtype_load(factor, t->data, t->type, s->d_sae);
    for (size_t i = 0; i < s->d_sae; i++)
        others += factor[i] != 1;
    bool finite = vec_first_nonfinite(factor, s->d_sae) < 0, contradicted = others && cfg->scaled_said && !cfg->scaled;
    for (size_t i = 0; finite && !contradicted && i < s->d_sae; i++)
        vec_scale(s->w_dec + i * s->d_model, factor[i], s->d_model);
    free(factor);
    if (contradicted)
        return err_data("scaling_factor is not 1, but cfg.json says that there is none");
    return finite ? 0 : err_data("scaling_factor holds a value that is not finite");
}

/* ---- the whole ---- */

static void set(json_t *meta, const char *key, char *value)
{
    if (json_object_set_new(meta, key, json_string(value)))
        mem_die(0);
    free(value);
}

/* Where it comes from, all that cfg.json says, and what a file of ours with the same codes would. */
static void set_metadata(struct sae *s, const json_t *cfg)
{
    const char *hook = text_of(cfg, (const char *const[]){ "hook_name", "hook_point", NULL });
    const char *model = text_of(cfg, (const char *const[]){ "model_name", NULL });
    struct tensor tensor[SAE_TENSORS];
    float *turned;
    size_t n = sae_tensors_list(s, tensor, &turned);
    json_t *ours = sae_tensors_metadata(s, tensor, n);
    if (json_object_update(s->meta, ours))
        mem_die(0);
    json_decref(ours);
    free(turned);
    if (hook)
        set(s->meta, "hook", mem_string(hook));
    if (model)
        set(s->meta, "model", mem_string(model));
    set(s->meta, "saelens", json_dumps(cfg, JSON_COMPACT | JSON_SORT_KEYS));
}

static struct sae *make(const json_t *json, const struct safetensors *file)
{
    struct cfg cfg = { 0 };
    size_t d_model = 0, d_sae = 0;
    if (read_cfg(json, &cfg) || sae_tensors_size(file, &d_model, &d_sae) || sae_tensors_check(file, cfg.kind, d_model, d_sae))
        return NULL;
    if ((cfg.d_in && cfg.d_in != d_model) || (cfg.d_sae && cfg.d_sae != d_sae) || cfg.k > d_sae) {
        err_data("W_dec is %zu by %zu, cfg.json says d_sae %zu, d_in %zu and k %zu", d_sae, d_model, cfg.d_sae, cfg.d_in,
                 cfg.k);
        return NULL;
    }
    struct sae *s = sae_new(cfg.kind, d_model, d_sae);
    s->k = cfg.k;
    s->apply_b_dec_to_input = cfg.apply_b_dec;
    if (sae_tensors_read(s, file) || fold_factor(s, file, &cfg)) {
        sae_free(s);
        return NULL;
    }
    if (cfg.by_norm)
        fold_norms(s);
    set_metadata(s, json);
    return s;
}

/* A directory that another program has filled is named for what it is. Returns 0 or -1. */
static int check_directory(const char *dir)
{
    static const struct { const char *file, *words; } others[] = {
        { "sae.safetensors", "EleutherAI's sparsify" },
        { "ae.pt", "dictionary_learning" },
        { "params.npz", "Gemma Scope" },
    };
    char *weights = mem_format("%s/sae_weights.safetensors", dir);
    const char *words = NULL;
    for (size_t i = 0; access(weights, F_OK) && i < sizeof others / sizeof *others && !words; i++) {
        char *path = mem_format("%s/%s", dir, others[i].file);
        words = access(path, F_OK) ? NULL : others[i].words;
        free(path);
    }
    free(weights);
    return words ? err_data("%s: a directory of %s, which this release does not read; it reads SAELens's", dir, words) : 0;
}

struct sae *saelens_load(const char *dir)
{
    if (check_directory(dir))
        return NULL;
    char *cfg_path = mem_format("%s/cfg.json", dir), *weights = mem_format("%s/sae_weights.safetensors", dir);
    json_t *cfg = jsonfile_load(cfg_path, CFG_BYTES);
    struct safetensors *file = cfg ? safetensors_open(weights) : NULL;
    struct sae *s = file ? make(cfg, file) : NULL;
    if (file && !s)
        err_in(dir);
    safetensors_close(file);
    json_decref(cfg);
    free(cfg_path);
    free(weights);
    return s;
}
