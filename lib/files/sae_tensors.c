/* SPDX-License-Identifier: MIT */
#include "files/sae_tensors.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/opt.h"
#include "dict/deep_encoder.h"
#include "maths/vec.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* out (cols, rows) = the transpose of in (rows, cols), a band of rows at a time so that writes are not scattered. */
static void transpose(float *out, const float *in, size_t rows, size_t cols)
{
    enum { BAND = 16 };
    for (size_t from = 0; from < rows; from += BAND)
        for (size_t c = 0; c < cols; c++)
            for (size_t r = from; r < rows && r < from + BAND; r++)
                out[c * rows + r] = in[r * cols + c];
}

/* The shape of a tensor in the file: W_enc stands on its side. */
static size_t file_shape(enum sae_tensor t, size_t d_model, size_t d_sae, size_t shape[2])
{
    const struct sae_tensor_info *i = &sae_tensors[t];
    size_t rank = 0;
    if (i->per_feature)
        shape[rank++] = d_sae;
    if (i->per_input)
        shape[rank++] = d_model;
    if (i->square)
        shape[rank++] = d_model;
    if (t == SAE_W_ENC)
        shape[0] = d_model, shape[1] = d_sae;
    return rank;
}

/* ---- reading ---- */

int sae_tensors_size(const struct safetensors *file, size_t *d_model, size_t *d_sae)
{
    const struct tensor *w = safetensors_find(file, sae_tensors[SAE_W_DEC].name);
    if (!w)
        return err_data("no tensor W_dec: not a dictionary");
    if (w->rank != 2 || !w->shape[0] || !w->shape[1])
        return err_data("W_dec is not a matrix of features by inputs");
    *d_sae = w->shape[0];
    *d_model = w->shape[1];
    return 0;
}

static int check_tensor(const struct tensor *t, enum sae_tensor which, size_t d_model, size_t d_sae)
{
    size_t shape[2] = { 0 }, rank = file_shape(which, d_model, d_sae, shape);
    const char *name = sae_tensors[which].name;
    if (!t)
        return err_data("no tensor %s", name);
    if (t->rank != rank || t->shape[0] != shape[0] || (rank == 2 && t->shape[1] != shape[1])) {
        char got[200] = "";
        for (size_t i = 0, n = 0; i < t->rank && n < 160; i++)
            n += (size_t)snprintf(got + n, sizeof got - n, i ? ", %zu" : "%zu", t->shape[i]);
        return rank == 2 ? err_data("%s is [%s], not [%zu, %zu]", name, got, shape[0], shape[1])
                         : err_data("%s is [%s], not [%zu]", name, got, shape[0]);
    }
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16 && t->type != DTYPE_F64)
        return err_data("%s is not of floating-point numbers", name);
    return 0;
}

int sae_tensors_check(const struct safetensors *file, const struct kind *kind, size_t d_model, size_t d_sae)
{
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const struct tensor *found = safetensors_find(file, sae_tensors[t].name);
        bool layer = sae_tensors[t].inner && kind->saves & SAE_HAS(SAE_W_ENC) &&
                     safetensors_find(file, sae_tensors[SAE_W_INNER + (t - SAE_W_INNER) / 2 * 2].name);
        if (layer && t > SAE_B_INNER && !safetensors_find(file, sae_tensors[t - 2].name))
            return err_data("has a tensor %s, but not %s", sae_tensors[t].name, sae_tensors[t - 2].name);
        if (kind->saves & SAE_HAS(t) || layer ? check_tensor(found, t, d_model, d_sae)
                                     : found && err_data("has a tensor %s, which kind %s does not", found->name,
                                                         kind->name))
            return -1;
    }
    return 0;
}

int sae_tensors_read(struct sae *s, const struct safetensors *file)
{
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const struct tensor *src = safetensors_find(file, sae_tensors[t].name);
        if (src && sae_tensors[t].inner)
            *sae_tensor(s, t) = mem_zero(tensor_items(src), sizeof(float));
        float *dst = *sae_tensor(s, t);
        if (!dst)
            continue;
        size_t items = tensor_items(src);
        if (t == SAE_W_ENC || sae_tensors[t].square) {
            float *flat = mem_alloc(items, sizeof *flat);
            dtype_load(flat, src->data, src->type, items);
            transpose(dst, flat, s->d_model, t == SAE_W_ENC ? s->d_sae : s->d_model);
            free(flat);
        } else {
            dtype_load(dst, src->data, src->type, items);
        }
        if (vec_first_nonfinite(dst, items) >= 0)
            return err_data("%s holds a value that is not finite", src->name);
    }
    return 0;
}

/* ---- writing ---- */

size_t sae_tensors_list(const struct sae *s, struct tensor out[SAE_TENSORS], float **turned)
{
    size_t n = 0, d = s->d_model, layers = deep_encoder_layers(s);
    float *at = *turned = s->w_enc ? mem_alloc(d * s->d_sae + layers * d * d, sizeof *at) : NULL;
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const float *data = *sae_tensor((struct sae *)(uintptr_t)s, t);
        if (!data)
            continue;
        out[n] = (struct tensor){ .name = sae_tensors[t].name, .type = DTYPE_F32, .data = data };
        out[n].rank = file_shape(t, s->d_model, s->d_sae, out[n].shape);
        out[n].bytes = tensor_items(&out[n]) * sizeof(float);
        if (t == SAE_W_ENC || sae_tensors[t].square) {
            transpose(at, data, t == SAE_W_ENC ? s->d_sae : d, d);
            out[n].data = at;
            at += tensor_items(&out[n]);
        }
        n++;
    }
    return n;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static void hash(struct sha256_ctx *sha, const char *text)
{
    sha256_update(sha, strlen(text) + 1, (const uint8_t *)text);
}

void sae_tensors_digest(const struct tensor *t, size_t n, const json_t *meta, char hex[TENSORS_HEX])
{
    static const char *const keys[] = { "kind", "k", "l1", "apply_b_dec_to_input", "activation_scale" };
    struct sha256_ctx sha;
    uint8_t sum[SHA256_DIGEST_SIZE];
    struct tensor *sorted = mem_alloc(n, sizeof *sorted);
    sha256_init(&sha);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = json_string_value(json_object_get(meta, keys[i]));
        hash(&sha, value ? value : "");
    }
    if (json_string_value(json_object_get(meta, "inner")))
        hash(&sha, json_string_value(json_object_get(meta, "inner")));
    for (size_t i = 0; i < n; i++)
        sorted[i] = t[i];
    qsort(sorted, n, sizeof *sorted, by_name);
    for (size_t i = 0; i < n; i++) {
        char dimension[32];
        hash(&sha, sorted[i].name);
        hash(&sha, sorted[i].type == DTYPE_NONE ? "?" : dtype_name(sorted[i].type));
        for (size_t r = 0; r < sorted[i].rank; r++) {
            snprintf(dimension, sizeof dimension, "%zu", sorted[i].shape[r]);
            hash(&sha, dimension);
        }
        sha256_update(&sha, sorted[i].bytes, sorted[i].data);
    }
    free(sorted);
    sha256_digest(&sha, sizeof sum, sum);
    hex_encode(hex, sum, sizeof sum);
}

void sae_tensors_seal(const json_t *meta, char hex[TENSORS_HEX])
{
    struct sha256_ctx sha;
    uint8_t sum[SHA256_DIGEST_SIZE];
    const char *key;
    json_t *value;
    size_t n = 0;
    struct tensor *sorted = mem_alloc(json_object_size(meta) + 1, sizeof *sorted);     /* for by_name(): name and text */
    json_object_foreach((json_t *)(uintptr_t)meta, key, value)
        if (strcmp(key, "digest"))
            sorted[n++] = (struct tensor){ .name = key, .data = json_string_value(value) };
    if (n)
        qsort(sorted, n, sizeof *sorted, by_name);
    sha256_init(&sha);
    for (size_t i = 0; i < n; i++) {
        hash(&sha, sorted[i].name);
        hash(&sha, sorted[i].data ? sorted[i].data : "");
    }
    free(sorted);
    sha256_digest(&sha, sizeof sum, sum);
    hex_encode(hex, sum, sizeof sum);
}

static void set(json_t *meta, const char *key, char *value)
{
    if (json_object_set_new(meta, key, json_string(value)))
        mem_die(0);
    free(value);
}

json_t *sae_tensors_metadata(const struct sae *s, const struct tensor *tensor, size_t n)
{
    char sum[TENSORS_HEX];
    json_t *meta = json_object();
    set(meta, "format", mem_string(TENSORS_FORMAT));
    set(meta, "kind", mem_string(s->kind->name));
    set(meta, "d_model", mem_format("%zu", s->d_model));
    set(meta, "d_sae", mem_format("%zu", s->d_sae));
    set(meta, "k", mem_format("%zu", s->k));
    set(meta, "l1", opt_real_words(s->l1));
    set(meta, "apply_b_dec_to_input", mem_string(s->apply_b_dec_to_input ? "true" : "false"));
    set(meta, "activation_scale", opt_real_words(s->activation_scale));
    if (s->w_inner[0])
        set(meta, "inner", mem_string(deep_encoder_names[s->inner]));
    sae_tensors_digest(tensor, n, meta, sum);
    set(meta, "digest", mem_string(sum));
    return meta;
}
