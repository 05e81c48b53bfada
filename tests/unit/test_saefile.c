/* Dictionaries as files: what is written comes back, damage and misfits are refused, files of other tools load. */
/* SPDX-License-Identifier: MIT */
#include "base/io.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/safetensors.h"
#include "dict/kind.h"
#include "files/saefile.h"
#include "kinds/kinds.h"
#include "tap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { D = 5, M = 7 };

static char folder[] = "test_saefile.XXXXXX", path[64];

static struct sae *example(void)
{
    struct sae *s = sae_new(kind_find("relu"), D, M);
    for (size_t i = 0; i < M * D; i++) {
        s->w_enc[i] = (float)i;
        s->w_dec[i] = -(float)i / 8;
    }
    for (size_t i = 0; i < M; i++)
        s->b_enc[i] = (float)i + 0.5f;
    for (size_t i = 0; i < D; i++)
        s->b_dec[i] = (float)i - 2;
    s->apply_b_dec_to_input = true;
    s->l1 = 0.1;
    s->activation_scale = 1.0 / 3;
    json_object_set_new(s->meta, "hook", json_string("blocks.2.hook_resid_post"));
    return s;
}

static const char *meta_of(const struct sae *s, const char *key)
{
    const char *text = json_string_value(json_object_get(s->meta, key));
    return text ? text : "(none)";
}

static void check_round(void)
{
    struct sae *s = example(), *t = NULL;
    ok(saefile_save(path, s) == 0 && (t = saefile_load(path)), "saved and loaded");
    if (!t)
        return;
    ok(t->kind == s->kind && t->d_model == D && t->d_sae == M && t->k == 0, "kind and size");
    ok(!memcmp(s->w_enc, t->w_enc, M * D * 4) && !memcmp(s->w_dec, t->w_dec, M * D * 4), "both matrices");
    ok(!memcmp(s->b_enc, t->b_enc, M * 4) && !memcmp(s->b_dec, t->b_dec, D * 4), "both biases");
    ok(t->l1 == 0.1 && t->activation_scale == 1.0 / 3 && t->apply_b_dec_to_input, "and the numbers");
    ok(!strcmp(meta_of(t, "hook"), "blocks.2.hook_resid_post") &&
       strlen(meta_of(t, "digest")) == 64, "metadata, digest");
    ok(!strcmp(meta_of(t, "format"), "saetools 1") && !strcmp(meta_of(t, "d_sae"), "7"), "its own keys among them");

    struct safetensors *f = safetensors_open(path);
    const struct tensor *w = safetensors_find(f, "W_enc");
    ok(w->shape[0] == D && w->shape[1] == M && ((const float *)w->data)[1] == s->w_enc[D], "W_enc is [d_model, d_sae]");
    safetensors_close(f);

    char *first, *second;
    size_t n1, n2;
    first = io_slurp(path, 1 << 20, &n1);
    ok(saefile_save(path, t) == 0, "saved again");
    second = io_slurp(path, 1 << 20, &n2);
    ok(n1 == n2 && !memcmp(first, second, n1), "the same bytes");
    free(first);
    free(second);
    s->w_dec[3] += 1;
    ok(saefile_save(path, s) == 0, "changed and saved");
    struct sae *u = saefile_load(path);
    ok(u && strcmp(meta_of(u, "digest"), meta_of(t, "digest")), "another digest");
    sae_free(s);
    sae_free(t);
    sae_free(u);
}

/* A dictionary without an encoder has two tensors, in the file and in memory. */
static void check_bare(void)
{
    struct sae *s = sae_new(kind_find("fista"), D, M), *t = NULL;
    for (size_t i = 0; i < M * D; i++)
        s->w_dec[i] = (float)i;
    s->b_dec[2] = 3;
    s->l1 = 0.25;
    ok(saefile_save(path, s) == 0 && (t = saefile_load(path)), "without an encoder: saved and loaded");
    ok(t && t->kind == s->kind && !t->w_enc && !t->b_enc && t->l1 == 0.25 && !memcmp(s->w_dec, t->w_dec, M * D * 4) &&
       t->b_dec[2] == 3, "with what it has");
    struct safetensors *f = safetensors_open(path);
    ok(f && f->count == 2 && !safetensors_find(f, "W_enc"), "as two tensors");
    safetensors_close(f);
    sae_free(s);
    sae_free(t);
}

static void put(const char *bytes, size_t n)
{
    struct io_out *out = io_create(path, 0);
    struct iovec iov = { (void *)(uintptr_t)bytes, n };
    if (!out || io_put(out, &iov, 1) || io_commit(out))
        exit(1);
}

static int same(const struct sae *a, const struct sae *b)
{
    return a->kind == b->kind && a->d_model == b->d_model && a->d_sae == b->d_sae && a->k == b->k && a->l1 == b->l1 &&
           a->apply_b_dec_to_input == b->apply_b_dec_to_input && !memcmp(a->w_enc, b->w_enc, M * D * 4) &&
           !memcmp(a->w_dec, b->w_dec, M * D * 4) && !memcmp(a->b_enc, b->b_enc, M * 4) &&
           !memcmp(a->b_dec, b->b_dec, D * 4);
}

/* Each bit of a file in turn: refused, or the same dictionary. */
static void check_bits(void)
{
    struct sae *s = example();
    size_t n, header = 8, refused = 0, believed = 0, data_believed = 0;
    if (saefile_save(path, s))
        exit(1);
    char *bytes = io_slurp(path, 1 << 20, &n);
    header += (unsigned char)bytes[0] + 256 * (size_t)(unsigned char)bytes[1];
    for (size_t bit = 0; bit < 8 * n; bit++) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        put(bytes, n);
        struct sae *t = saefile_load(path);
        refused += !t;
        believed += t && !same(s, t);
        data_believed += t && bit / 8 >= header;
        sae_free(t);
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    ok(believed == 0, "%zu bits flipped one by one: %zu refused, none believed", 8 * n, refused);
    ok(data_believed == 0, "each bit of the numbers is refused");
    size_t cut_loaded = 0;
    for (size_t len = 0; len < n; len++) {
        put(bytes, len);
        struct sae *t = saefile_load(path);
        cut_loaded += t != NULL;
        sae_free(t);
    }
    ok(cut_loaded == 0, "cut anywhere: refused");
    free(bytes);
    sae_free(s);
}

/* A file of four tensors as another tool writes it, with one thing made wrong: `name` of shape (a, b) and type. */
static void check_foreign(const char *what, const char *name, size_t a, size_t b, float value, json_t *meta, bool loads,
                          const char *says)
{
    static float data[64];
    uint16_t half[64] = { 0 };
    struct tensor t[5] = {
        { .name = "W_enc", .rank = 2, .shape = { D, M } }, { .name = "b_enc", .rank = 1, .shape = { M } },
        { .name = "W_dec", .rank = 2, .shape = { M, D } }, { .name = "b_dec", .rank = 1, .shape = { D } },
        { .name = "other", .rank = 1, .shape = { 2 } },
    };
    for (size_t i = 0; i < 64; i++)
        data[i] = 0.25f * (float)i;
    data[3] = value;
    for (size_t i = 0; i < 5; i++) {
        t[i].data = data;
        if (!strcmp(what, "half")) {
            t[i].type = DTYPE_F16;
            t[i].data = half;
        }
    }
    for (size_t i = 0; name && i < 5; i++)
        if (!strcmp(t[i].name, name)) {
            t[i].shape[0] = a;
            t[i].shape[1] = b;
            if (!strcmp(what, "integers"))
                t[i].type = DTYPE_I32;
            if (!a)
                t[i].name = "gone", t[i].shape[0] = t[i].shape[1] = 1;
        }
    if (!strcmp(what, "threshold"))
        t[4].name = "threshold", t[4].shape[0] = M;
    if (safetensors_write(path, t, 5, meta))
        exit(1);
    struct sae *s = saefile_load(path);
    ok(loads == (s != NULL), "%s: %s", what, loads ? "loads" : s ? "loads, but should not" : err_text());
    if (!loads)
        ok(strstr(err_text(), says) && !strncmp(err_text(), path, strlen(path)), "the message names file and %s", says);
    else if (strcmp(what, "half"))
        ok(s->kind == kind_find("relu") && s->w_enc[1] == data[M] && s->w_dec[1] == data[1], "as kind relu");
    if (loads && !meta)
        ok(s->apply_b_dec_to_input && s->activation_scale == 1, "with the usual meaning of b_dec");
    if (loads && meta)
        ok(!s->apply_b_dec_to_input, "with the meaning its metadata give b_dec");
    sae_free(s);
    json_decref(meta);
}

static json_t *meta1(const char *key, const char *value)
{
    return json_pack("{s:s}", key, value);
}

int main(void)
{
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/a.safetensors", folder);
    check_round();
    check_bare();
    check_bits();
    check_foreign("plain", NULL, 0, 0, 1, NULL, true, NULL);
    check_foreign("half", NULL, 0, 0, 1, NULL, true, NULL);
    check_foreign("with metadata", NULL, 0, 0, 1, meta1("apply_b_dec_to_input", "false"), true, NULL);
    check_foreign("no W_dec", "W_dec", 0, 0, 1, NULL, false, "W_dec");
    check_foreign("no W_enc", "W_enc", 0, 0, 1, NULL, false, "W_enc");
    check_foreign("no b_dec", "b_dec", 0, 0, 1, NULL, false, "b_dec");
    check_foreign("W_enc the other way", "W_enc", M, D, 1, NULL, false, "W_enc");
    check_foreign("b_enc too short", "b_enc", M - 1, 0, 1, NULL, false, "b_enc");
    check_foreign("integers", "b_enc", M, 0, 1, NULL, false, "b_enc");
    check_foreign("threshold", NULL, 0, 0, 1, NULL, false, "threshold");
    check_foreign("not a number", NULL, 0, 0, NAN, NULL, false, "not finite");
    check_foreign("infinite", NULL, 0, 0, INFINITY, NULL, false, "not finite");
    check_foreign("unknown kind", NULL, 0, 0, 1, meta1("kind", "quantum"), false, "quantum");
    check_foreign("another width", NULL, 0, 0, 1, meta1("d_model", "6"), false, "d_model");
    check_foreign("k too large", NULL, 0, 0, 1, meta1("k", "8"), false, "k is 8");
    check_foreign("scale 0", NULL, 0, 0, 1, meta1("activation_scale", "0"), false, "activation_scale");
    check_foreign("l1 no number", NULL, 0, 0, 1, meta1("l1", "0.1x"), false, "l1");
    check_foreign("neither true nor false", NULL, 0, 0, 1, meta1("apply_b_dec_to_input", "yes"), false,
                  "true nor false");
    check_foreign("a later format", NULL, 0, 0, 1, meta1("format", "saetools 2"), false, "saetools 2");
    check_foreign("another digest", NULL, 0, 0, 1, meta1("digest", "00"), false, "digest");
    unlink(path);
    ok(!saefile_load(path) && err_status() == ERR_SYSTEM, "no such file: %s", err_text());
    rmdir(folder);
    return done_testing();
}
