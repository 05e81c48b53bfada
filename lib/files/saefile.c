/* SPDX-License-Identifier: MIT */
#include "files/saefile.h"
#include "base/mem.h"
#include "dict/deep_encoder.h"
#include "files/sae_tensors.h"
#include "files/saelens.h"
#include "kinds/kinds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *text_of(const json_t *meta, const char *key)
{
    return json_string_value(json_object_get(meta, key));
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

/* The activation of layers before the last. */
static int read_inner(const json_t *meta, int *out)
{
    const char *name = text_of(meta, "inner");
    for (*out = 0; name && deep_encoder_names[*out]; ++*out)
        if (!strcmp(deep_encoder_names[*out], name))
            return 0;
    return name ? err_data("metadata: inner is %.40s, an activation which this release does not know", name) : 0;
}

static int check_format(const json_t *meta)
{
    const char *format = text_of(meta, "format");
    if (format && !strncmp(format, "saetools ", 9) && strcmp(format, TENSORS_FORMAT))
        return err_data("metadata: format is %.40s, this release reads %s", format, TENSORS_FORMAT);
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
    double d = 0, m = 0;
    if (sae_tensors_size(file, d_model, d_sae) || read_number(file->metadata, "d_model", 0, (double)*d_model, &d) ||
        read_number(file->metadata, "d_sae", 0, (double)*d_sae, &m))
        return -1;
    if (d != (double)*d_model || m != (double)*d_sae)
        return err_data("W_dec is %zu by %zu, the metadata say d_sae %.0f and d_model %.0f", *d_sae, *d_model, m, d);
    return 0;
}

/* The digest in the metadata is that of the content (sum) and, behind a space, of the metadata; release 0.1.0 wrote the first
 * alone. A file of another writer may have none. */
static int check_digest(const struct safetensors *file, char sum[TENSORS_HEX], bool *sealed)
{
    char seal[TENSORS_HEX];
    const char *stated = text_of(file->metadata, "digest");
    sae_tensors_digest(file->tensor, file->count, file->metadata, sum);
    sae_tensors_seal(file->metadata, seal);
    *sealed = stated && strlen(stated) == 2 * TENSORS_HEX - 1;
    const char *rest = stated && !strncmp(stated, sum, TENSORS_HEX - 1) ? stated + TENSORS_HEX - 1 : NULL;
    if (stated && !(rest && (*sealed ? *rest == ' ' && !strcmp(rest + 1, seal) : !*rest)))
        return err_data("damaged: the content does not have the digest that its metadata state");
    return 0;
}

static struct sae *read_sae(const struct safetensors *file)
{
    char sum[TENSORS_HEX];
    const json_t *meta = file->metadata;
    size_t d_model = 0, d_sae = 0;
    double k = 0, l1 = 0, scale = 1;
    bool apply = true, sealed = false;
    int inner = 0;
    const struct kind *kind = check_format(meta) ? NULL : find_kind(meta);
    if (!kind || find_size(file, &d_model, &d_sae) || sae_tensors_check(file, kind, d_model, d_sae) ||
        read_number(meta, "k", 0, 0, &k) || read_number(meta, "l1", 0, 0, &l1) ||
        read_number(meta, "activation_scale", 0, 1, &scale) ||
        read_choice(meta, "apply_b_dec_to_input", true, &apply) || read_inner(meta, &inner))
        return NULL;
    if (k > (double)d_sae || scale == 0) {
        err_data("metadata: k is %g of %zu features, activation_scale %g", k, d_sae, scale);
        return NULL;
    }
    if (check_digest(file, sum, &sealed))
        return NULL;
    struct sae *s = sae_new(kind, d_model, d_sae);
    s->k = (size_t)k;
    s->l1 = l1;
    s->activation_scale = scale;
    s->apply_b_dec_to_input = apply;
    s->inner = inner;
    s->unsealed = text_of(meta, "digest") && !sealed;
    if (json_object_update(s->meta, file->metadata) || json_object_set_new(s->meta, "digest", json_string(sum)))
        mem_die(0);
    if (sae_tensors_read(s, file)) {
        sae_free(s);
        return NULL;
    }
    return s;
}

struct sae *saefile_load(const char *path)
{
    struct stat st;
    if (!stat(path, &st) && S_ISDIR(st.st_mode))
        return saelens_load(path);
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

int saefile_save(const char *path, const struct sae *s)
{
    struct tensor tensor[SAE_TENSORS];
    float *turned;
    size_t n = sae_tensors_list(s, tensor, &turned);
    char seal[TENSORS_HEX];
    json_t *meta = sae_tensors_metadata(s, tensor, n);
    if (json_object_update_missing(meta, s->meta))
        mem_die(0);
    sae_tensors_seal(meta, seal);
    if (json_object_set_new(meta, "digest", json_sprintf("%s %s", text_of(meta, "digest"), seal)))
        mem_die(0);
    int bad = safetensors_write(path, tensor, n, meta);
    json_decref(meta);
    free(turned);
    return bad;
}
