/* SPDX-License-Identifier: MIT */
#include "files/saefile.h"
#include "data/safetensors.h"
#include "ground/mem.h"
#include "kinds/kind.h"
#include "maths/vec.h"

#include <errno.h>
#include <math.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "saetools 1";

/* ---- what both directions need ---- */

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
    if (t == SAE_W_ENC)
        shape[0] = d_model, shape[1] = d_sae;
    return rank;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

static const char *text_of(const json_t *meta, const char *key)
{
    return json_string_value(json_object_get(meta, key));
}

static void hash(struct sha256_ctx *sha, const char *text)
{
    sha256_update(sha, strlen(text) + 1, (const uint8_t *)text);
}

/* SHA-256 of all that says what the codes are: of kind, k, l1, apply_b_dec_to_input and activation_scale as the
 * metadata spell them, then of the tensors in the order of their names: name, type, shape, data. */
static void digest(const struct tensor *t, size_t n, const json_t *meta, char hex[2 * SHA256_DIGEST_SIZE + 1])
{
    static const char *const keys[] = { "kind", "k", "l1", "apply_b_dec_to_input", "activation_scale" };
    struct sha256_ctx sha;
    uint8_t sum[SHA256_DIGEST_SIZE];
    struct tensor *sorted = mem_alloc(n, sizeof *sorted);
    sha256_init(&sha);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = text_of(meta, keys[i]);
        hash(&sha, value ? value : "");
    }
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
    for (size_t i = 0; i < sizeof sum; i++)
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
}

/* ---- reading ---- */

/* The number meta[key], `missing` where there is none. */
static int read_number(const json_t *meta, const char *key, double lo, double missing, double *out)
{
    const char *text = text_of(meta, key);
    char *end;
    if (!text)
        return *out = missing, 0;
    *out = strtod(text, &end);
    if (!*text || *end || !isfinite(*out) || *out < lo)
        return err_data("metadata: %s is %.40s, not a number of its kind", key, text);
    return 0;
}

static int read_choice(const json_t *meta, const char *key, bool missing, bool *out)
{
    const char *text = text_of(meta, key);
    if (text && strcmp(text, "true") && strcmp(text, "false"))
        return err_data("metadata: %s is %.40s, neither true nor false", key, text);
    *out = text ? !strcmp(text, "true") : missing;
    return 0;
}

static int check_format(const json_t *meta)
{
    const char *format = text_of(meta, "format");
    if (format && !strncmp(format, "saetools ", 9) && strcmp(format, format_name))
        return err_data("metadata: format is %.40s, this release reads %s", format, format_name);
    return 0;
}

static const struct kind *find_kind(const json_t *meta)
{
    const char *name = text_of(meta, "kind");
    const struct kind *kind = kind_find(name ? name : "relu");
    if (!kind)
        err_data("a dictionary of kind %.40s, which this release does not know", name);
    return kind;
}

/* Width and number of features, from W_dec; checked against the metadata. */
static int find_size(const struct safetensors *file, size_t *d_model, size_t *d_sae)
{
    const struct tensor *w = safetensors_find(file, sae_tensors[SAE_W_DEC].name);
    double d = 0, m = 0;
    if (!w)
        return err_data("no tensor W_dec: not a dictionary");
    if (w->rank != 2 || !w->shape[0] || !w->shape[1])
        return err_data("W_dec is not a matrix of features by inputs");
    *d_sae = w->shape[0];
    *d_model = w->shape[1];
    if (read_number(file->metadata, "d_model", 0, (double)*d_model, &d) ||
        read_number(file->metadata, "d_sae", 0, (double)*d_sae, &m))
        return -1;
    if (d != (double)*d_model || m != (double)*d_sae)
        return err_data("W_dec is %zu by %zu, the metadata say d_sae %.0f and d_model %.0f", *d_sae, *d_model, m, d);
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

static int read_tensors(struct sae *s, const struct safetensors *file)
{
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const struct tensor *src = safetensors_find(file, sae_tensors[t].name);
        float *dst = *sae_tensor(s, t);
        if (!dst)
            continue;
        size_t items = tensor_items(src);
        if (t == SAE_W_ENC) {
            float *flat = mem_alloc(items, sizeof *flat);
            dtype_load(flat, src->data, src->type, items);
            transpose(dst, flat, s->d_model, s->d_sae);
            free(flat);
        } else {
            dtype_load(dst, src->data, src->type, items);
        }
        if (vec_first_nonfinite(dst, items) >= 0)
            return err_data("%s holds a value that is not finite", src->name);
    }
    return 0;
}

/* What is there agrees with the kind: all it needs, and nothing that would change what it means. */
static int check_tensors(const struct safetensors *file, const struct kind *kind, size_t d_model, size_t d_sae)
{
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const struct tensor *found = safetensors_find(file, sae_tensors[t].name);
        if (kind->saves & SAE_HAS(t) ? check_tensor(found, t, d_model, d_sae)
                                     : found && err_data("has a tensor %s, which kind %s does not", found->name,
                                                         kind->name))
            return -1;
    }
    return 0;
}

static struct sae *read_sae(const struct safetensors *file)
{
    char sum[2 * SHA256_DIGEST_SIZE + 1];
    const json_t *meta = file->metadata;
    const char *stated = text_of(meta, "digest");
    size_t d_model = 0, d_sae = 0;
    double k = 0, l1 = 0, scale = 1;
    bool apply = true;
    const struct kind *kind = check_format(meta) ? NULL : find_kind(meta);
    if (!kind || find_size(file, &d_model, &d_sae) || check_tensors(file, kind, d_model, d_sae) ||
        read_number(meta, "k", 0, 0, &k) || read_number(meta, "l1", 0, 0, &l1) ||
        read_number(meta, "activation_scale", 0, 1, &scale) || read_choice(meta, "apply_b_dec_to_input", true, &apply))
        return NULL;
    if (k > (double)d_sae || scale == 0) {
        err_data("metadata: k is %g of %zu features, activation_scale %g", k, d_sae, scale);
        return NULL;
    }
    digest(file->tensor, file->count, meta, sum);
    if (stated && strcmp(stated, sum)) {
        err_data("damaged: the content does not have the digest that its metadata state");
        return NULL;
    }
    struct sae *s = sae_new(kind, d_model, d_sae);
    s->k = (size_t)k;
    s->l1 = l1;
    s->activation_scale = scale;
    s->apply_b_dec_to_input = apply;
    if (json_object_update(s->meta, file->metadata) || json_object_set_new(s->meta, "digest", json_string(sum)))
        mem_die(0);
    if (read_tensors(s, file)) {
        sae_free(s);
        return NULL;
    }
    return s;
}

struct sae *saefile_load(const char *path)
{
    struct safetensors *file = safetensors_open(path);
    if (!file)
        return NULL;
    struct sae *s = read_sae(file);
    if (!s)
        err_in(path);
    safetensors_close(file);
    return s;
}

/* ---- writing ---- */

static void set(json_t *meta, const char *key, char *value)
{
    if (json_object_set_new(meta, key, json_string(value)))
        mem_die(0);
    free(value);
}

/* Our keys first, then the rest of s->meta. */
static json_t *metadata(const struct sae *s, const struct tensor *tensor, size_t n)
{
    char sum[2 * SHA256_DIGEST_SIZE + 1];
    json_t *meta = json_object();
    set(meta, "format", mem_string(format_name));
    set(meta, "kind", mem_string(s->kind->name));
    set(meta, "d_model", mem_format("%zu", s->d_model));
    set(meta, "d_sae", mem_format("%zu", s->d_sae));
    set(meta, "k", mem_format("%zu", s->k));
    set(meta, "l1", mem_format("%.17g", s->l1));
    set(meta, "apply_b_dec_to_input", mem_string(s->apply_b_dec_to_input ? "true" : "false"));
    set(meta, "activation_scale", mem_format("%.17g", s->activation_scale));
    digest(tensor, n, meta, sum);
    set(meta, "digest", mem_string(sum));
    if (json_object_update_missing(meta, s->meta))
        mem_die(0);
    return meta;
}

int saefile_save(const char *path, const struct sae *s)
{
    struct tensor tensor[SAE_TENSORS];
    float *turned = NULL;
    size_t n = 0;
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        const float *data = *sae_tensor((struct sae *)(uintptr_t)s, t);
        if (!data)
            continue;
        struct tensor *out = &tensor[n++];
        *out = (struct tensor){ .name = sae_tensors[t].name, .type = DTYPE_F32, .data = data };
        out->rank = file_shape(t, s->d_model, s->d_sae, out->shape);
        out->bytes = tensor_items(out) * sizeof(float);
        if (t == SAE_W_ENC) {
            out->data = turned = mem_alloc(s->d_model * s->d_sae, sizeof *turned);
            transpose(turned, data, s->d_sae, s->d_model);
        }
    }
    json_t *meta = metadata(s, tensor, n);
    int bad = safetensors_write(path, tensor, n, meta);
    json_decref(meta);
    free(turned);
    return bad;
}
