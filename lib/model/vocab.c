/* SPDX-License-Identifier: MIT */
#include "model/vocab.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "data/jsonfile.h"
#include "model/tokenizer.h"
#include "model/unicode.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 256 << 20, IDS_MAX = 1 << 24 };

struct entry {                          /* a token: its bytes are pool[at, at+n) */
    uint32_t id;
    size_t at, n;
};

struct vocab {
    struct entry *entry;                /* sorted by id */
    size_t n, cap;
    struct unicode_text pool;
    bool byte_level;
};

/* ---- names of tokens as bytes ---- */

static void add_byte(struct vocab *v, int byte)
{
    uint8_t b = (uint8_t)byte;
    unicode_append(&v->pool, &b, 1);
}

/* A name each of whose characters stands for a byte; one with other characters stands for itself. */
static void add_byte_level(struct vocab *v, const uint8_t *s, size_t n)
{
    size_t start = v->pool.n;
    int32_t c;
    for (size_t i = 0; i < n;) {
        i += unicode_take(s + i, n - i, &c);
        if (tokenizer_byte(c) < 0) {
            v->pool.n = start;
            unicode_append(&v->pool, s, n);
            return;
        }
        add_byte(v, tokenizer_byte(c));
    }
}

/* A name in which U+2581 stands for a blank; <0xHH> for a byte. */
static void add_pieces(struct vocab *v, const char *s, size_t n)
{
    if (n == 6 && !strncmp(s, "<0x", 3) && s[5] == '>' && hex_digit(s[3]) >= 0 && hex_digit(s[4]) >= 0) {
        add_byte(v, hex_digit(s[3]) << 4 | hex_digit(s[4]));
        return;
    }
    for (size_t i = 0; i < n; i++)
        if (!strncmp(s + i, "\xe2\x96\x81", 3)) {
            add_byte(v, ' ');
            i += 2;
        } else {
            add_byte(v, s[i]);
        }
}

static int add(struct vocab *v, const json_t *id, const char *name, bool literal)
{
    json_int_t number = json_integer_value(id);
    if (!json_is_integer(id) || number < 0 || number >= IDS_MAX)
        return err_data("the id of token \"%.64s\" is not a whole number below %d", name, IDS_MAX);
    struct entry e = { .id = (uint32_t)number, .at = v->pool.n };
    if (literal)
        unicode_append(&v->pool, (const uint8_t *)name, strlen(name));
    else if (v->byte_level)
        add_byte_level(v, (const uint8_t *)name, strlen(name));
    else
        add_pieces(v, name, strlen(name));
    e.n = v->pool.n - e.at;
    v->entry = mem_grow(v->entry, &v->cap, v->n + 1, sizeof *v->entry);
    v->entry[v->n++] = e;
    return 0;
}

/* ---- the file ---- */

/* Is there a part of this type in a pre-tokenizer or decoder, or in a sequence of them? */
static bool has_type(const json_t *part, const char *type)
{
    static const char *const lists[] = { "pretokenizers", "decoders" };
    if (!strcmp(jsonfile_string(part, "type", ""), type))
        return true;
    for (size_t k = 0; k < 2; k++) {
        const json_t *list = json_object_get(part, lists[k]);
        for (size_t i = 0; i < json_array_size(list); i++)
            if (!strcmp(jsonfile_string(json_array_get(list, i), "type", ""), type))
                return true;
    }
    return false;
}

/* Unigram: a list of [name, score], the id being the place in it. */
static int load_list(struct vocab *v, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(json_array_get(list, i), 0));
        json_t *id = json_integer((json_int_t)i);
        int bad = name ? add(v, id, name, false) : err_data("model.vocab: entry %zu has no name", i);
        json_decref(id);
        if (bad)
            return -1;
    }
    return 0;
}

static int load_names(struct vocab *v, json_t *names)
{
    const char *name;
    json_t *id;
    if (json_is_array(names))
        return load_list(v, names);
    if (!json_is_object(names))
        return err_data("model.vocab is neither an object nor a list");
    json_object_foreach(names, name, id)
        if (add(v, id, name, false))
            return -1;
    return 0;
}

static int load_added(struct vocab *v, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *token = json_array_get(list, i);
        const char *name = jsonfile_string(token, "content", NULL);
        if (!name)
            return err_data("added_tokens: an entry without a content string");
        if (add(v, json_object_get(token, "id"), name, true))
            return -1;
    }
    return 0;
}

/* By id; of two with one id, an added token and its entry in the vocabulary, the added one is last. */
static int by_id(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->id != y->id ? (x->id > y->id) - (x->id < y->id) : (x->at > y->at) - (x->at < y->at);
}

static int load(struct vocab *v, const json_t *root)
{
    v->byte_level = has_type(json_object_get(root, "pre_tokenizer"), "ByteLevel") ||
                    has_type(json_object_get(root, "decoder"), "ByteLevel");
    if (load_names(v, json_object_get(json_object_get(root, "model"), "vocab")) ||
        load_added(v, json_object_get(root, "added_tokens")))
        return -1;
    if (v->n)
        qsort(v->entry, v->n, sizeof *v->entry, by_id);
    return 0;
}

struct vocab *vocab_load(const char *dir)
{
    char *path = mem_format("%s/tokenizer.json", dir);
    json_t *root = jsonfile_load(path, FILE_LIMIT);
    struct vocab *v = root ? mem_zero(1, sizeof *v) : NULL;
    if (v && load(v, root)) {
        err_in(path);
        vocab_free(v);
        v = NULL;
    }
    json_decref(root);
    free(path);
    return v;
}

void vocab_free(struct vocab *v)
{
    if (!v)
        return;
    free(v->entry);
    free(v->pool.s);
    free(v);
}

size_t vocab_size(const struct vocab *v)
{
    return v->n ? v->entry[v->n - 1].id + 1 : 0;
}

const uint8_t *vocab_text(const struct vocab *v, uint32_t id, size_t *len)
{
    size_t lo = 0, hi = v->n;
    while (lo < hi) {                       /* the last entry of this id lies before hi */
        size_t mid = lo + (hi - lo) / 2;
        if (v->entry[mid].id <= id)
            lo = mid + 1;
        else
            hi = mid;
    }
    *len = lo && v->entry[lo - 1].id == id ? v->entry[lo - 1].n : 0;
    return lo && v->entry[lo - 1].id == id ? v->pool.s + v->entry[lo - 1].at : NULL;
}
