/* SPDX-License-Identifier: MIT */
#include "data/safetensors.h"
#include "base/io.h"
#include "base/mem.h"
#include "data/jsonfile.h"
#include "data/sniff.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 100000000, RANK_MAX = 8 };

/* Item sizes are in bits, since some of the types that we only carry are smaller than a byte. */
static const struct {
    const char *name;
    size_t bits;
    enum dtype type;
} types[] = {
    { "F32", 32, DTYPE_F32 }, { "F16", 16, DTYPE_F16 }, { "BF16", 16, DTYPE_BF16 }, { "F64", 64, DTYPE_F64 },
    { "U8", 8, DTYPE_U8 }, { "U16", 16, DTYPE_U16 }, { "U32", 32, DTYPE_U32 }, { "U64", 64, DTYPE_U64 },
    { "I32", 32, DTYPE_I32 }, { "I64", 64, DTYPE_I64 },
    { "BOOL", 8, DTYPE_NONE }, { "I8", 8, DTYPE_NONE }, { "I16", 16, DTYPE_NONE }, { "C64", 64, DTYPE_NONE },
    { "F8_E4M3", 8, DTYPE_NONE }, { "F8_E5M2", 8, DTYPE_NONE }, { "F8_E8M0", 8, DTYPE_NONE },
    { "F6_E2M3", 6, DTYPE_NONE }, { "F6_E3M2", 6, DTYPE_NONE }, { "F4", 4, DTYPE_NONE },
};
enum { TYPES = sizeof types / sizeof *types };

/* ---- reading ---- */

static int read_shape(struct tensor *t, const json_t *shape)
{
    if (!json_is_array(shape))
        return err_data("tensor %.80s: no shape", t->name);
    t->rank = json_array_size(shape);
    if (t->rank > RANK_MAX)
        return err_data("tensor %.80s: %zu dimensions, at most %d are read", t->name, t->rank, RANK_MAX);
    for (size_t i = 0; i < t->rank; i++) {
        json_t *v = json_array_get(shape, i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return err_data("tensor %.80s: a dimension is not a whole number", t->name);
        t->shape[i] = (size_t)json_integer_value(v);
    }
    return 0;
}

/* Bytes that dtype and shape ask for. */
static int wanted_bytes(const struct tensor *t, size_t bits, size_t *bytes)
{
    size_t n = bits;
    for (size_t i = 0; i < t->rank; i++)
        if (t->shape[i] == 0)
            return *bytes = 0, 0;
    for (size_t i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(n, t->shape[i], &n))
            return err_data("tensor %.80s: its shape is too large", t->name);
    if (n % 8)
        return err_data("tensor %.80s: does not end on a whole byte", t->name);
    *bytes = n / 8;
    return 0;
}

static int read_offsets(const json_t *pair, size_t limit, size_t *begin, size_t *end)
{
    json_t *a = json_array_get(pair, 0), *b = json_array_get(pair, 1);
    if (!json_is_array(pair) || json_array_size(pair) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return -1;
    json_int_t x = json_integer_value(a), y = json_integer_value(b);
    if (x < 0 || y < x || (uint64_t)y > limit)
        return -1;
    *begin = (size_t)x;
    *end = (size_t)y;
    return 0;
}

static int read_tensor(struct tensor *t, const json_t *entry, const char *data, size_t limit)
{
    size_t begin, end, want, i = 0;
    const char *type = jsonfile_string(entry, "dtype", NULL);
    while (type && i < TYPES && strcmp(types[i].name, type))
        i++;
    if (!type || i == TYPES)
        return err_data("tensor %.80s: unknown dtype %.20s", t->name, type ? type : "(none)");
    t->type = types[i].type;
    if (read_shape(t, json_object_get(entry, "shape")) || wanted_bytes(t, types[i].bits, &want))
        return -1;
    if (read_offsets(json_object_get(entry, "data_offsets"), limit, &begin, &end))
        return err_data("tensor %.80s: its data_offsets are not two places within the %zu bytes of data", t->name,
                        limit);
    t->data = data + begin;
    t->bytes = end - begin;
    if (t->bytes != want)
        return err_data("tensor %.80s: %zu bytes present, dtype and shape ask for %zu", t->name, t->bytes, want);
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct tensor *x = a, *y = b;
    if (x->data != y->data)
        return (const char *)x->data < (const char *)y->data ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->name, ((const struct tensor *)b)->name);
}

/* The tensors must cover the data from its first byte to its last, one behind the other. */
static int check_tiling(struct safetensors *s, const char *data, size_t limit)
{
    size_t at = 0;
    if (s->count)
        qsort(s->tensor, s->count, sizeof *s->tensor, by_place);
    for (size_t i = 0; i < s->count; i++) {
        const struct tensor *t = &s->tensor[i];
        size_t begin = (size_t)((const char *)t->data - data);
        if (begin != at)
            return err_data("tensor %.80s: begins at byte %zu of the data, the one before it ends at %zu", t->name,
                            begin, at);
        at += t->bytes;
    }
    if (at != limit)
        return err_data("the tensors end at byte %zu of %zu bytes of data", at, limit);
    return 0;
}

static int check_metadata(json_t *meta)
{
    const char *key;
    json_t *value;
    if (!json_is_object(meta))
        return err_data("__metadata__ is not a JSON object");
    json_object_foreach(meta, key, value)
        if (!json_is_string(value))
            return err_data("__metadata__: %.80s is not a string", key);
    return 0;
}

static int read_header(struct safetensors *s, json_t *root, const char *data, size_t limit)
{
    const char *name;
    json_t *entry;
    s->tensor = mem_zero(json_object_size(root), sizeof *s->tensor);
    json_object_foreach(root, name, entry) {
        if (!strcmp(name, "__metadata__")) {
            if (check_metadata(entry))
                return -1;
            s->metadata = json_incref(entry);
            continue;
        }
        struct tensor *t = &s->tensor[s->count++];
        t->name = mem_string(name);
        if (!json_is_object(entry))
            return err_data("tensor %.80s: its entry is not a JSON object", name);
        if (read_tensor(t, entry, data, limit))
            return -1;
    }
    if (check_tiling(s, data, limit))
        return -1;
    if (s->count)
        qsort(s->tensor, s->count, sizeof *s->tensor, by_name);
    if (!s->metadata && !(s->metadata = json_object()))
        mem_die(0);
    return 0;
}

static int read_file(struct safetensors *s)
{
    const unsigned char *p = s->map;
    uint64_t n = 0;
    if (s->len < 8)
        return err_data("too short for a safetensors file");
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    const char *words = s->len > 8 && p[8] == '{' ? NULL : sniff_words(p, s->len);
    if (words)
        return err_data("not a safetensors file: it is %s", words);
    if (n > HEADER_MAX)
        return err_data("not a safetensors file: its header would be larger than %d bytes", HEADER_MAX);
    if (n > s->len - 8)
        return err_data("cut short: a header of %llu bytes claimed, %zu present", (unsigned long long)n, s->len - 8);
    const char *text = (const char *)p + 8, *data = text + n;
    if (n == 0 || *text != '{')
        return err_data("not a safetensors file: its header does not begin with {");
    json_t *root = jsonfile_parse(text, n);
    if (!root)
        return -1;
    int bad = read_header(s, root, data, s->len - 8 - n);
    json_decref(root);
    return bad;
}

struct safetensors *safetensors_open(const char *path)
{
    struct safetensors *s = mem_zero(1, sizeof *s);
    s->path = mem_string(path);
    s->map = io_map(path, &s->len);
    if (s->map && read_file(s) == 0)
        return s;
    if (s->map)
        err_in(path);
    safetensors_close(s);
    return NULL;
}

void safetensors_close(struct safetensors *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->count; i++)
        free((char *)(uintptr_t)s->tensor[i].name);
    free(s->tensor);
    json_decref(s->metadata);
    io_unmap(s->map, s->len);
    free(s->path);
    free(s);
}

const struct tensor *safetensors_find(const struct safetensors *s, const char *name)
{
    struct tensor key = { .name = name };
    return s->count ? bsearch(&key, s->tensor, s->count, sizeof *s->tensor, by_name) : NULL;
}

size_t tensor_items(const struct tensor *t)
{
    size_t n = 1;
    for (size_t i = 0; i < t->rank; i++)
        if (t->shape[i] == 0)
            return 0;
    for (size_t i = 0; i < t->rank; i++)
        n *= t->shape[i];
    return n;
}

/* ---- writing ---- */

static json_t *checked(json_t *j)
{
    if (!j)
        mem_die(0);
    return j;
}

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, checked(value)))
        mem_die(0);
}

static void append(json_t *array, size_t n)
{
    if (json_array_append_new(array, checked(json_integer((json_int_t)n))))
        mem_die(0);
}

/* The entry of t, whose data begin at *at; moves *at behind them. */
static json_t *make_entry(const struct tensor *t, size_t *at)
{
    json_t *entry = checked(json_object()), *shape = checked(json_array()), *place = checked(json_array());
    size_t i = 0;
    while (types[i].type != t->type)
        i++;
    for (size_t r = 0; r < t->rank; r++)
        append(shape, t->shape[r]);
    append(place, *at);
    *at += tensor_items(t) * dtype_size(t->type);
    append(place, *at);
    set(entry, "dtype", json_string(types[i].name));
    set(entry, "shape", shape);
    set(entry, "data_offsets", place);
    return entry;
}

/* Length, JSON and spaces up to a multiple of 8 bytes; the caller frees. */
static char *make_header(const struct tensor *t, size_t n, const json_t *metadata, size_t *len)
{
    json_t *root = checked(json_object());
    size_t at = 0;
    if (metadata && json_object_size(metadata))
        set(root, "__metadata__", json_deep_copy(metadata));
    for (size_t i = 0; i < n; i++)
        set(root, t[i].name, make_entry(&t[i], &at));
    size_t text = json_dumpb(root, NULL, 0, JSON_COMPACT), padded = (text + 7) / 8 * 8;
    char *header = mem_alloc(8 + padded, 1);
    for (int i = 0; i < 8; i++)
        header[i] = (char)(padded >> 8 * i);
    if (text == 0 || json_dumpb(root, header + 8, text, JSON_COMPACT) != text)
        mem_die(0);
    memset(header + 8 + text, ' ', padded - text);
    json_decref(root);
    *len = 8 + padded;
    return header;
}

int safetensors_write(const char *path, const struct tensor *t, size_t n, const json_t *metadata)
{
    for (size_t i = 0; i < n; i++)
        if (t[i].type == DTYPE_NONE)
            return err_data("tensor %.80s: its number type is not written here", t[i].name);
    struct io_out *out = io_create(path, 0);
    if (!out)
        return -1;
    size_t len;
    char *header = make_header(t, n, metadata, &len);
    struct iovec *part = mem_alloc(n + 1, sizeof *part);
    part[0] = (struct iovec){ header, len };
    for (size_t i = 0; i < n; i++)
        part[i + 1] = (struct iovec){ (void *)(uintptr_t)t[i].data, tensor_items(&t[i]) * dtype_size(t[i].type) };
    int bad = io_put(out, part, (int)n + 1);
    free(part);
    free(header);
    if (bad)
        io_abort(out);
    else
        bad = io_commit(out);
    return bad;
}
