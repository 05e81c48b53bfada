/* Opening a checkpoint: config, files, the tensors that its list asks for. Nothing is converted before all of it fits. */
/* SPDX-License-Identifier: MIT */
#include "base/hex.h"
#include "base/mem.h"
#include "data/jsonfile.h"
#include "model/lm_internal.h"

#include <inttypes.h>
#include <math.h>
#include <errno.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Parsed JSON takes some twenty times its text: real configs and indices are far smaller than this. */
enum { JSON_MAX = 2 << 20, SIZE_TOP = 1 << 28 };

static const struct lm_family *const families[] = { &lm_gpt2, &lm_neox };

/* ---- config.json ---- */

int lm_config_size(const json_t *json, const char *key, size_t *out)
{
    size_t n;
    if (jsonfile_size(json, key, 0, &n))
        return -1;
    if (n == 0)
        return err_data("%s is missing or 0", key);
    if (n > SIZE_TOP)
        return err_data("%s is %zu, more than any model has", key, n);
    *out = n;
    return 0;
}

int lm_config_act(const json_t *json, const char *key, const char *missing, enum nonlin *out)
{
    const char *name = json_object_get(json, key) ? jsonfile_string(json, key, "(not a name)") : missing;
    int f = nonlin_find(name);
    if (f < 0)
        return err_data("%s %.40s is not supported", key, name);
    *out = (enum nonlin)f;
    return 0;
}

/* Configs of small models often keep the default id of a larger vocabulary: that names no token. */
int lm_config_bos(const json_t *json, struct lm_config *c)
{
    size_t id;
    if (jsonfile_size(json, "bos_token_id", SIZE_MAX, &id))
        return -1;
    c->bos = id < c->n_vocab ? (int64_t)id : -1;
    return 0;
}

static int check_config(const struct lm_config *c)
{
    if (c->d_model % c->n_head)
        return err_data("%zu heads do not divide a width of %zu", c->n_head, c->d_model);
    if (c->d_mlp == 0 || c->d_mlp > SIZE_TOP || c->d_model > SIZE_TOP / 4)
        return err_data("no model is %zu wide with %zu neurons a layer", c->d_model, c->d_mlp);
    if (!(c->eps >= 0 && c->eps < 1))
        return err_data("a layer norm epsilon of %g", c->eps);
    if (c->rotary % 2 || (c->rotary && !(c->rope_base >= 1 && isfinite(c->rope_base))))
        return err_data("rotary positions over %zu dimensions with base %g", c->rotary, c->rope_base);
    return 0;
}

static int parse_config(struct lm *m, const json_t *json)
{
    const char *type = jsonfile_string(json, "model_type", NULL);
    if (!type)
        return err_data("no model_type");
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i]->model_type, type))
            m->family = families[i];
    if (!m->family)
        return err_data("model_type %.40s is not supported (gpt2 and gpt_neox are)", type);
    return m->family->read_config(json, &m->c) || check_config(&m->c) ? -1 : 0;
}

static int read_config(struct lm *m)
{
    char *path = mem_format("%s/config.json", m->dir);
    json_t *json = jsonfile_load(path, JSON_MAX);
    int bad = !json ? -1 : parse_config(m, json) ? err_in(path) : 0;
    json_decref(json);
    free(path);
    return bad;
}

/* ---- the files ---- */

static struct safetensors *open_file(struct lm *m, const char *name)
{
    for (size_t i = 0; i < m->files; i++)
        if (!strcmp(m->file[i]->path + strlen(m->dir) + 1, name))
            return m->file[i];
    char *path = mem_format("%s/%s", m->dir, name);
    struct safetensors *s = safetensors_open(path);
    free(path);
    if (!s)
        return NULL;
    m->file = realloc(m->file, (m->files + 1) * sizeof *m->file);
    if (!m->file)
        mem_die(0);
    return m->file[m->files++] = s;
}

/* A shard lies beside its index: a name that leads elsewhere is not followed. */
static int check_shard(const json_t *value)
{
    const char *name = json_string_value(value);
    if (!name || !*name || strchr(name, '/') || strstr(name, ".."))
        return err_data("weight_map names a file that is not in this folder: %.80s", name ? name : "(not a string)");
    return 0;
}

static int open_shards(struct lm *m, const char *path)
{
    const char *key;
    json_t *value, *root = jsonfile_load(path, JSON_MAX);
    if (!root)
        return -1;
    m->map = json_incref(json_object_get(root, "weight_map"));
    json_decref(root);
    if (!json_is_object(m->map))
        return err_data("no weight_map"), err_in(path);
    json_object_foreach(m->map, key, value)
        if (check_shard(value))
            return err_in(path);
    json_object_foreach(m->map, key, value)
        if (!open_file(m, json_string_value(value)))
            return -1;
    return 0;
}

static int open_files(struct lm *m)
{
    char *single = mem_format("%s/model.safetensors", m->dir), *index = mem_format("%s.index.json", single);
    int bad = 0;
    if (access(single, F_OK) == 0)
        bad = open_file(m, "model.safetensors") ? 0 : -1;
    else if (access(index, F_OK) == 0)
        bad = open_shards(m, index);
    else
        errno = ENOENT, bad = err_sys("%s: neither model.safetensors nor model.safetensors.index.json", m->dir);
    free(single);
    free(index);
    return bad;
}

/* ---- the tensors ---- */

static const struct tensor *find_named(const struct lm *m, const char *name)
{
    if (!m->map)
        return safetensors_find(m->file[0], name);
    const char *shard = json_string_value(json_object_get(m->map, name));
    for (size_t i = 0; shard && i < m->files; i++)
        if (!strcmp(m->file[i]->path + strlen(m->dir) + 1, shard))
            return safetensors_find(m->file[i], name);
    return NULL;
}

/* The name without prefix, '*' replaced by the layer. */
static void tensor_name(const struct weight *w, char *out, size_t size)
{
    const char *star = strchr(w->name, '*');
    if (star)
        snprintf(out, size, "%.*s%d%s.%s", (int)(star - w->name), w->name, w->layer, star + 1, w->part);
    else
        snprintf(out, size, "%s.%s", w->name, w->part);
}

static void show_shape(char *out, size_t size, const size_t *shape, size_t rank)
{
    size_t n = (size_t)snprintf(out, size, "[");
    for (size_t i = 0; i < rank && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%s%zu", i ? "," : "", shape[i]);
    if (n < size)
        snprintf(out + n, size - n, "]");
}

/* Find a tensor and hold its shape against the one the list asks for. */
static int take(struct lm *m, struct weight *w)
{
    char name[128], full[160], got[200], want[64];
    tensor_name(w, name, sizeof name);
    snprintf(full, sizeof full, "%s%s", m->family->prefix, name);
    const struct tensor *t = find_named(m, full);
    t = t ? t : find_named(m, name);
    if (!t)
        return err_data("%s: tensor %s is missing", m->dir, name);
    if (t->rank != w->rank || memcmp(t->shape, w->shape, w->rank * sizeof *t->shape)) {
        show_shape(got, sizeof got, t->shape, t->rank);
        show_shape(want, sizeof want, w->shape, w->rank);
        return err_data("%s: tensor %s is %s, config.json asks for %s", m->dir, name, got, want);
    }
    if (t->type != DTYPE_F32 && t->type != DTYPE_F16 && t->type != DTYPE_BF16 && t->type != DTYPE_F64)
        return err_data("%s: tensor %s is not of a floating type", m->dir, name);
    size_t n = tensor_items(t);
    w->t = t;
    m->shape.params += n;
    m->shape.params_non_embedding += w->embedding ? 0 : n;
    return 0;
}

static int build(struct lm *m)
{
    size_t present = 0;
    for (size_t i = 0; i < m->files; i++)
        present += m->file[i]->count;
    if (m->c.n_layer > present)
        return err_data("%s: config.json says %zu layers, but there are only %zu tensors", m->dir, m->c.n_layer, present);
    m->list.layer = -1;
    m->family->build(&m->list, &m->c);
    for (size_t i = 0; i < m->list.weights; i++)
        if (take(m, &m->list.weight[i]))
            return -1;
    return 0;
}

const float *lm_load(const struct lm *m, int weight)
{
    struct weight *w = &m->list.weight[weight - 1];
    if (!weight)
        return NULL;
    pthread_mutex_lock(m->lock);
    if (!w->f32 && w->t->type == DTYPE_F32 && (uintptr_t)w->t->data % _Alignof(float) == 0) {
        w->f32 = w->t->data;
    } else if (!w->f32) {
        size_t n = tensor_items(w->t);
        w->f32 = w->own = mem_align(n, sizeof *w->own);
        dtype_load(w->own, w->t->data, w->t->type, n);
    }
    pthread_mutex_unlock(m->lock);
    return w->f32;
}

/* ---- the whole ---- */

static void fill_shape(struct lm *m)
{
    struct lm_shape *s = &m->shape;
    s->arch = m->family->model_type;
    s->n_layer = m->c.n_layer;
    s->d_model = m->c.d_model;
    s->n_head = m->c.n_head;
    s->d_head = m->c.d_model / m->c.n_head;
    s->d_mlp = m->c.d_mlp;
    s->n_vocab = m->c.n_vocab;
    s->n_ctx = m->c.n_ctx;
    s->bos = m->c.bos;
}

struct lm *lm_open(const char *dir)
{
    struct lm *m = mem_zero(1, sizeof *m);
    m->dir = mem_string(dir);
    m->lock = mem_zero(1, sizeof *m->lock);
    pthread_mutex_init(m->lock, NULL);
    if (read_config(m) || open_files(m) || build(m)) {
        lm_close(m);
        return NULL;
    }
    fill_shape(m);
    lm_make_hooks(m);
    return m;
}

void lm_close(struct lm *m)
{
    if (!m)
        return;
    list_free(&m->list);
    for (size_t i = 0; i < m->files; i++)
        safetensors_close(m->file[i]);
    json_decref(m->map);
    pthread_mutex_destroy(m->lock);
    free(m->lock);
    free(m->file);
    free(m->hook);
    free(m->dir);
    free(m);
}

const struct lm_shape *lm_shape(const struct lm *m)
{
    return &m->shape;
}

static void hash_text(struct sha256_ctx *h, const char *text)
{
    sha256_update(h, strlen(text) + 1, (const uint8_t *)text);
}

/* What the pass computes with, not the bytes of config.json: other writers order and spell that file differently. */
static void hash_config(struct sha256_ctx *h, const struct lm *m)
{
    const struct lm_config *c = &m->c;
    char *text = mem_format("%s %zu %zu %zu %zu %zu %zu %.17g %d %d %d %d %d %d %zu %.17g", m->family->model_type,
                            c->n_layer, c->d_model, c->n_head, c->d_mlp, c->n_vocab, c->n_ctx, c->eps, (int)c->act,
                            c->parallel, c->tied, c->attention_bias, c->scale_attn, c->scale_by_layer, c->rotary,
                            c->rotary ? c->rope_base : 0);
    hash_text(h, text);
    free(text);
}

static void hash_tensor(struct sha256_ctx *h, const struct weight *w)
{
    char name[128];
    tensor_name(w, name, sizeof name);
    hash_text(h, name);
    hash_text(h, dtype_name(w->t->type));
    sha256_update(h, w->t->bytes, w->t->data);
}

/* The tensors that are not of a layer come first. */
const char *lm_digest(struct lm *m)
{
    struct sha256_ctx h;
    uint8_t sum[SHA256_DIGEST_SIZE];
    if (m->digest[0])
        return m->digest;
    sha256_init(&h);
    hash_config(&h, m);
    for (int of_layer = 0; of_layer < 2; of_layer++)
        for (size_t i = 0; i < m->list.weights; i++)
            if ((m->list.weight[i].layer >= 0) == of_layer)
                hash_tensor(&h, &m->list.weight[i]);
    sha256_digest(&h, sizeof sum, sum);
    hex_encode(m->digest, sum, sizeof sum);
    return m->digest;
}
