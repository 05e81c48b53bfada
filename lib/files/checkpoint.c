/* SPDX-License-Identifier: MIT */
#include "files/checkpoint.h"
#include "base/hex.h"
#include "base/mem.h"
#include "data/safetensors.h"
#include "maths/vec.h"

#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char format_name[] = "saetools fit 1", state_mark[] = "state.";

enum { COUNTERS = 12, NUMBERS = 6 };

struct fitstate {
    struct safetensors *file;
};

/* ---- what both directions need ---- */

/* One array of a fit. */
struct part {
    char name[64];
    enum dtype type;
    void *data;
    size_t n;
};

struct parts {
    struct part *list;
    size_t n, cap;
};

static void part_add(struct parts *p, size_t fit, const char *name, enum dtype type, void *data, size_t n)
{
    if (!data)
        return;
    p->list = mem_grow(p->list, &p->cap, p->n + 1, sizeof *p->list);
    struct part *one = &p->list[p->n++];
    *one = (struct part){ .type = type, .data = data, .n = n };
    snprintf(one->name, sizeof one->name, "%zu.%s", fit, name);
}

/* The numbers of a fit that stand by themselves, to arrays and back. */
static void gather(const struct fit *f, uint64_t counters[COUNTERS], double numbers[NUMBERS])
{
    const struct fit_tally *t = &f->tally;
    const uint64_t *r = f->rng.s;
    memcpy(counters, (uint64_t[COUNTERS]){ f->step, f->dead_since, f->resampled, t->rows, t->seen, t->spread.n,
                                           r[0], r[1], r[2], r[3] }, COUNTERS * sizeof *counters);
    memcpy(numbers, (double[NUMBERS]){ f->scale, f->first_loss, t->loss, t->error, t->active, t->spread.square },
           NUMBERS * sizeof *numbers);
}

static void scatter(struct fit *f, const uint64_t counters[COUNTERS], const double numbers[NUMBERS])
{
    struct fit_tally *t = &f->tally;
    f->step = counters[0];
    f->dead_since = counters[1];
    f->resampled = counters[2];
    t->rows = counters[3];
    t->seen = counters[4];
    t->spread.n = counters[5];
    memcpy(f->rng.s, counters + 6, sizeof f->rng.s);
    f->scale = numbers[0];
    f->first_loss = numbers[1];
    t->loss = numbers[2];
    t->error = numbers[3];
    t->active = numbers[4];
    t->spread.square = numbers[5];
}

/* All arrays of fit i. */
static void list_parts(struct parts *p, size_t i, struct fit *f)
{
    char name[64];
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++) {
        struct fit_param *q = &f->param[t];
        size_t items = q->rows * q->width;
        part_add(p, i, sae_tensors[t].name, DTYPE_F32, q->p, items);
        snprintf(name, sizeof name, "%s.m", sae_tensors[t].name);
        part_add(p, i, name, DTYPE_F32, q->m, items);
        snprintf(name, sizeof name, "%s.v", sae_tensors[t].name);
        part_add(p, i, name, DTYPE_F32, q->v, items);
    }
    part_add(p, i, "unit", DTYPE_F32, f->unit, f->o.d_sae * f->o.d_model);
    part_add(p, i, "last", DTYPE_U64, f->tally.last, f->o.d_sae);
    part_add(p, i, "spread", DTYPE_F64, f->tally.spread.sum, f->o.d_model);
    for (size_t k = 0; k < FIT_STATES && f->state[k].p; k++) {
        snprintf(name, sizeof name, "%s%02zu.%s", state_mark, k, f->state[k].name);
        part_add(p, i, name, DTYPE_F64, f->state[k].p, f->state[k].n);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* SHA-256 of the metadata but for the digest, and of the tensors, sorted by name. */
static void digest(const struct tensor *t, size_t n, const json_t *meta, char hex[2 * SHA256_DIGEST_SIZE + 1])
{
    struct sha256_ctx sha;
    uint8_t sum[SHA256_DIGEST_SIZE];
    json_t *rest = json_copy((json_t *)(uintptr_t)meta);
    json_object_del(rest, "digest");
    char *text = json_dumps(rest, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        mem_die(0);
    sha256_init(&sha);
    sha256_update(&sha, strlen(text) + 1, (const uint8_t *)text);
    for (size_t i = 0; i < n; i++) {
        sha256_update(&sha, strlen(t[i].name) + 1, (const uint8_t *)t[i].name);
        sha256_update(&sha, t[i].bytes, t[i].data);
    }
    sha256_digest(&sha, sizeof sum, sum);
    hex_encode(hex, sum, sizeof sum);
    free(text);
    json_decref(rest);
}

static void set(json_t *meta, const char *key, const char *value)
{
    if (json_object_set_new(meta, key, json_string(value)))
        mem_die(0);
}

/* ---- writing ---- */

static int write_parts(const char *path, const struct parts *p, const json_t *meta)
{
    char sum[2 * SHA256_DIGEST_SIZE + 1];
    struct tensor *t = mem_alloc(p->n, sizeof *t);
    for (size_t i = 0; i < p->n; i++)
        t[i] = (struct tensor){ .name = p->list[i].name, .type = p->list[i].type, .rank = 1, .shape = { p->list[i].n },
                                .data = p->list[i].data, .bytes = p->list[i].n * dtype_size(p->list[i].type) };
    qsort(t, p->n, sizeof *t, by_name);
    json_t *all = json_deep_copy(meta);
    if (!all)
        mem_die(0);
    set(all, "format", format_name);
    digest(t, p->n, all, sum);
    set(all, "digest", sum);
    int bad = safetensors_write(path, t, p->n, all);
    json_decref(all);
    free(t);
    return bad;
}

int checkpoint_save(const char *path, struct fit *const *fit, size_t n, const json_t *meta)
{
    struct parts p = { .n = 0 };
    uint64_t (*counters)[COUNTERS] = mem_zero(n, sizeof *counters);
    double (*numbers)[NUMBERS] = mem_zero(n, sizeof *numbers);
    int bad = 0;
    for (size_t i = 0; i < n && !bad; i++) {
        if (!fit[i])
            continue;
        gather(fit[i], counters[i], numbers[i]);
        list_parts(&p, i, fit[i]);
        part_add(&p, i, "counters", DTYPE_U64, counters[i], COUNTERS);
        part_add(&p, i, "numbers", DTYPE_F64, numbers[i], NUMBERS);
        bad = fit_check(fit[i]);
    }
    bad = bad ? bad : write_parts(path, &p, meta);
    free(p.list);
    free(counters);
    free(numbers);
    return bad;
}

/* ---- reading ---- */

static int check_file(const struct safetensors *file)
{
    char sum[2 * SHA256_DIGEST_SIZE + 1];
    const char *format = json_string_value(json_object_get(file->metadata, "format"));
    const char *stated = json_string_value(json_object_get(file->metadata, "digest"));
    if (!format || strcmp(format, format_name))
        return err_data("not a checkpoint of a fit as this release writes them (%s)", format_name);
    digest(file->tensor, file->count, file->metadata, sum);
    if (!stated || strcmp(stated, sum))
        return err_data("damaged: the content does not have the digest that its metadata state");
    return 0;
}

struct fitstate *checkpoint_open(const char *path)
{
    struct safetensors *file = safetensors_open(path);
    if (!file)
        return NULL;
    if (check_file(file)) {
        err_in(path);
        safetensors_close(file);
        return NULL;
    }
    struct fitstate *s = mem_zero(1, sizeof *s);
    s->file = file;
    return s;
}

void checkpoint_close(struct fitstate *s)
{
    if (!s)
        return;
    safetensors_close(s->file);
    free(s);
}

const json_t *checkpoint_meta(const struct fitstate *s)
{
    return s->file->metadata;
}

/* Copy the array of that name. */
static int fetch(const struct fitstate *s, const char *name, enum dtype type, void *to, size_t n)
{
    const struct tensor *t = safetensors_find(s->file, name);
    if (!t || t->type != type || tensor_items(t) != n)
        return err_data("no array %s of %zu items of type %s", name, n, dtype_name(type)), err_in(s->file->path);
    if (t->bytes)
        memcpy(to, t->data, t->bytes);
    return 0;
}

static int fetch_all(const struct fitstate *s, const struct parts *p)
{
    for (size_t i = 0; i < p->n; i++)
        if (fetch(s, p->list[i].name, p->list[i].type, p->list[i].data, p->list[i].n))
            return -1;
    return 0;
}

/* Make the state arrays that the file has for fit i: in their order, which is that of the names. */
static void make_states(const struct fitstate *s, size_t i, struct fit *f)
{
    char prefix[64];
    int len = snprintf(prefix, sizeof prefix, "%zu.%s", i, state_mark);
    for (size_t k = 0; k < s->file->count; k++) {
        const struct tensor *t = &s->file->tensor[k];
        if (!strncmp(t->name, prefix, (size_t)len) && strlen(t->name + len) > 3)
            fit_state_add(f, t->name + len + 3, tensor_items(t));
    }
}

int checkpoint_restore(const struct fitstate *s, size_t i, struct fit *f)
{
    struct parts p = { .n = 0 };
    uint64_t counters[COUNTERS];
    double numbers[NUMBERS];
    char name[64];
    make_states(s, i, f);
    list_parts(&p, i, f);
    snprintf(name, sizeof name, "%zu.counters", i);
    int bad = fetch(s, name, DTYPE_U64, counters, COUNTERS);
    snprintf(name, sizeof name, "%zu.numbers", i);
    bad = bad ? bad : fetch(s, name, DTYPE_F64, numbers, NUMBERS);
    if (!bad)
        scatter(f, counters, numbers);
    bad = bad ? bad : fetch_all(s, &p);
    if (!bad) {
        fit_constrain(f);           /* makes what is derived from the parameters; */
        bad = fetch_all(s, &p);     /* they themselves might be rounded once more by that */
    }
    free(p.list);
    return bad;
}
