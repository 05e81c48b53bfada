/* SPDX-License-Identifier: MIT */
#include "data/frame.h"
#include "base/hex.h"
#include "base/mem.h"

#include <libdeflate.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

/* ---- msgpack to JSON and back ---- */

static uint8_t *bytes_of(const char *hex, size_t *n)
{
    *n = strlen(hex) / 2;
    uint8_t *p = mem_alloc(*n, 1);
    for (size_t i = 0; i < *n; i++) {
        unsigned v = 0;
        for (int k = 0; k < 2; k++) {
            char c = hex[2 * i + (size_t)k];
            v = v << 4 | (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        p[i] = (uint8_t)v;
    }
    return p;
}

static json_t *keep(json_t *j)
{
    if (!j)
        mem_die(0);
    return j;
}

/* msgpack-c leaves no place to point to where an empty string has a long form. */
static const char *start_of(const msgpack_object_str *s)
{
    return s->size ? s->ptr : "";
}

static json_t *to_json(const msgpack_object *o);

static json_t *map_to_json(const msgpack_object_map *m)
{
    json_t *j = keep(json_object());
    for (uint32_t i = 0; i < m->size; i++) {
        const msgpack_object *k = &m->ptr[i].key;
        if (k->type != MSGPACK_OBJECT_STR || memchr(start_of(&k->via.str), 0, k->via.str.size)) {
            err_data("a map key is not a string");
            goto bad;
        }
        char *key = mem_bytes(start_of(&k->via.str), k->via.str.size);
        json_t *v = to_json(&m->ptr[i].val);
        bool twice = json_object_get(j, key) != NULL;
        int r = v && !twice ? json_object_set_new(j, key, v) : -1;   /* refuses keys that are not UTF-8 */
        if (twice)
            json_decref(v);
        free(key);
        if (v && r)
            err_data("a map key occurs twice or is not UTF-8");
        if (r)
            goto bad;
    }
    return j;
bad:
    json_decref(j);
    return NULL;
}

static json_t *array_to_json(const msgpack_object_array *a)
{
    json_t *j = keep(json_array());
    for (uint32_t i = 0; i < a->size; i++) {
        json_t *v = to_json(&a->ptr[i]);
        if (!v || json_array_append_new(j, v)) {
            json_decref(j);
            return NULL;
        }
    }
    return j;
}

static json_t *wrapped(const char *key, const char *p, size_t n, const json_int_t *type)
{
    char *hex = mem_alloc(2 * n + 1, 1);
    hex_encode(hex, p, n);
    json_t *j = type ? json_pack("{s:[I,s]}", key, *type, hex) : json_pack("{s:s}", key, hex);
    free(hex);
    return keep(j);
}

static json_t *to_json(const msgpack_object *o)
{
    json_t *j = NULL;
    json_int_t type;
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        return json_null();
    case MSGPACK_OBJECT_BOOLEAN:
        return json_boolean(o->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        if (o->via.u64 >= (uint64_t)1 << 53)
            return err_data("a number in a map is 2^53 or more"), NULL;
        return keep(json_integer((json_int_t)o->via.u64));
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return keep(json_integer((json_int_t)o->via.i64));
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        j = json_real(o->via.f64);
        return j ? j : (err_data("a number in a map is not finite"), NULL);
    case MSGPACK_OBJECT_STR:
        j = json_stringn(start_of(&o->via.str), o->via.str.size);
        return j ? j : (err_data("a string in a map is not UTF-8"), NULL);
    case MSGPACK_OBJECT_ARRAY:
        return array_to_json(&o->via.array);
    case MSGPACK_OBJECT_MAP:
        return map_to_json(&o->via.map);
    case MSGPACK_OBJECT_BIN:
        return wrapped("$bin", o->via.bin.ptr, o->via.bin.size, NULL);
    default:
        type = o->via.ext.type;
        return wrapped("$ext", o->via.ext.ptr, o->via.ext.size, &type);
    }
}

static void pack(msgpack_packer *p, const json_t *j);

static bool pack_wrapped(msgpack_packer *p, const json_t *j)
{
    const json_t *bin = json_object_get(j, "$bin"), *ext = json_object_get(j, "$ext");
    const char *hex = json_string_value(bin ? bin : json_array_get(ext, 1));
    size_t n = hex ? strlen(hex) : 1;
    if (json_object_size(j) != 1 || n % 2 || strspn(hex, "0123456789abcdef") != n)
        return false;
    uint8_t *bytes = bytes_of(hex, &n);
    if (bin)
        msgpack_pack_bin_with_body(p, bytes, n);
    else
        msgpack_pack_ext_with_body(p, bytes, n, (int8_t)json_integer_value(json_array_get(ext, 0)));
    free(bytes);
    return true;
}

static void pack(msgpack_packer *p, const json_t *j)
{
    const char *key;
    json_t *v;
    size_t i;
    switch (json_typeof(j)) {
    case JSON_NULL:
        msgpack_pack_nil(p);
        break;
    case JSON_TRUE:
        msgpack_pack_true(p);
        break;
    case JSON_FALSE:
        msgpack_pack_false(p);
        break;
    case JSON_INTEGER:
        msgpack_pack_int64(p, json_integer_value(j));
        break;
    case JSON_REAL:
        msgpack_pack_double(p, json_real_value(j));
        break;
    case JSON_STRING:
        msgpack_pack_str_with_body(p, json_string_value(j), json_string_length(j));
        break;
    case JSON_ARRAY:
        msgpack_pack_array(p, json_array_size(j));
        json_array_foreach(j, i, v)
            pack(p, v);
        break;
    case JSON_OBJECT:
        if (pack_wrapped(p, j))
            break;
        msgpack_pack_map(p, json_object_size(j));
        json_object_foreach((json_t *)(uintptr_t)j, key, v) {
            msgpack_pack_str_with_body(p, key, strlen(key));
            pack(p, v);
        }
        break;
    }
}

/* ---- reading ---- */

/* The bytes of one record as they arrive: all are checksummed and counted against the limit. */
struct source {
    struct io_in *in;
    uint32_t crc;
    size_t bytes;
};

static int take(struct source *s, void *buf, size_t n)
{
    if (n > FRAME_BYTES - s->bytes)
        return err_data("record larger than %d bytes", FRAME_BYTES);
    ssize_t r = io_read(s->in, buf, n);
    if (r < 0)
        return -1;
    s->crc = libdeflate_crc32(s->crc, buf, (size_t)r);
    s->bytes += (size_t)r;
    return (size_t)r < n ? err_data("cut short") : 0;
}

static int take_number(struct source *s, size_t width, uint64_t *out)
{
    uint8_t b[8];
    if (take(s, b, width))
        return -1;
    *out = 0;
    for (size_t i = 0; i < width; i++)
        *out = *out << 8 | b[i];
    return 0;
}

/* A map being gathered, with the bounds msgpack-c does not keep: it would allocate for every declared item. */
struct gather {
    struct source *s;
    struct frame *f;
    size_t n, limit, items;
};

static uint8_t *gather_room(struct gather *g, size_t n)
{
    if (n > g->limit - g->n) {
        err_data("map larger than %zu bytes", g->limit);
        return NULL;
    }
    g->f->map = mem_grow(g->f->map, &g->f->map_cap, g->n + n, 1);
    return g->f->map + g->n;
}

/* Append n bytes; *number (when wanted) is their big-endian value. Memory grows with what arrives. */
static int gather_bytes(struct gather *g, size_t n, uint64_t *number)
{
    if (n > g->limit - g->n)
        return err_data("map larger than %zu bytes", g->limit);
    uint64_t v = 0;
    while (n) {
        size_t k = n < 4096 ? n : 4096;
        uint8_t *p = gather_room(g, k);
        if (!p || take(g->s, p, k))
            return -1;
        for (size_t i = 0; i < k && number; i++)
            v = v << 8 | p[i];
        g->n += k;
        n -= k;
    }
    if (number)
        *number = v;
    return 0;
}

/* What a type byte announces: `extra` bytes of size or value behind it, then bytes or items. */
enum content { VALUE, BYTES, ARRAY, MAP, EXT, BAD };

static enum content classify(uint8_t t, size_t *extra, uint64_t *size)
{
    static const uint8_t wide[32] = { /* 0xc0.. */
        0, 0, 0, 0, 1, 2, 4, 1, 2, 4, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 16, 1, 2, 4, 2, 4, 2, 4 };
    *extra = 0;
    *size = 0;
    if (t < 0x80 || t >= 0xe0)
        return VALUE;
    if (t < 0xa0)
        return *size = t & 15, t < 0x90 ? MAP : ARRAY;
    if (t < 0xc0)
        return *size = t & 31, BYTES;
    *extra = wide[t - 0xc0];
    if (t == 0xc1)
        return BAD;
    if ((t >= 0xc4 && t <= 0xc6) || (t >= 0xd9 && t <= 0xdb))
        return BYTES;
    if (t >= 0xc7 && t <= 0xc9)
        return EXT;
    if (t >= 0xd4 && t <= 0xd8) {                   /* fixext: type byte and 1, 2, 4, 8, 16 bytes */
        *extra = 0;
        return *size = ((uint64_t)1 << (t - 0xd4)) + 1, BYTES;
    }
    return t == 0xdc || t == 0xdd ? ARRAY : t >= 0xde ? MAP : VALUE;
}

static int gather_value(struct gather *g, int depth, bool map_only)
{
    uint64_t type, size, told = 0;
    size_t extra;
    if (++g->items > FRAME_ITEMS)
        return err_data("map of more than %d values", FRAME_ITEMS);
    if (gather_bytes(g, 1, &type))
        return -1;
    enum content c = classify((uint8_t)type, &extra, &size);
    if (c == BAD || (map_only && c != MAP))
        return err_data(map_only ? "a record's second part is not a map" : "not msgpack");
    if (extra && gather_bytes(g, extra, &told))
        return -1;
    if (c == VALUE)
        return 0;
    size = extra ? told : size;
    if (c == BYTES || c == EXT)
        return gather_bytes(g, size + (c == EXT), NULL);
    if (depth >= FRAME_DEPTH)
        return err_data("map nested deeper than %d", FRAME_DEPTH);
    if (size > FRAME_ITEMS)
        return err_data("map of more than %d values", FRAME_ITEMS);
    for (uint64_t i = 0; i < size * (c == MAP ? 2 : 1); i++)
        if (gather_value(g, depth + 1, false))
            return -1;
    return 0;
}

static int read_map(struct source *s, struct frame *f)
{
    struct gather g = { .s = s, .f = f, .limit = strcmp(f->tag, "SAES") ? FRAME_META : FRAME_HEADER };
    if (gather_value(&g, 1, true))
        return -1;
    msgpack_unpacked u;
    msgpack_unpacked_init(&u);
    size_t at = 0;
    msgpack_unpack_return r = msgpack_unpack_next(&u, (const char *)f->map, g.n, &at);
    if (r == MSGPACK_UNPACK_NOMEM_ERROR)
        mem_die(g.n);
    f->meta = r == MSGPACK_UNPACK_SUCCESS && at == g.n ? to_json(&u.data) : (err_data("not msgpack"), NULL);
    msgpack_unpacked_destroy(&u);
    return f->meta ? 0 : -1;
}

/* Room for n more bytes at an aligned place; existing payloads move, so pointers are set when all have come. */
static void bin_room(struct frame *f, size_t n)
{
    if (f->used + n <= f->cap)
        return;
    size_t cap = f->cap ? f->cap : 1 << 16;
    while (cap < f->used + n)
        cap *= 2;
    uint8_t *buf = mem_align(cap, 1);
    if (f->used)
        memcpy(buf, f->buf, f->used);
    free(f->buf);
    f->buf = buf;
    f->cap = cap;
}

static int read_bin(struct source *s, struct frame *f, uint8_t type, size_t *offset)
{
    uint64_t size;
    if (type < 0xc4 || type > 0xc6)
        return err_data("a record's payload is not binary");
    if (take_number(s, (size_t)1 << (type - 0xc4), &size))
        return -1;
    if (size > FRAME_BYTES)
        return err_data("record larger than %d bytes", FRAME_BYTES);
    *offset = f->used = (f->used + 63) / 64 * 64;
    for (size_t left = size; left;) {               /* never more room than twice what has arrived */
        size_t k = f->cap > f->used ? f->cap - f->used : 1 << 16;
        k = k < left ? k : left;
        bin_room(f, k);
        if (take(s, f->buf + f->used, k))
            return -1;
        f->used += k;
        left -= k;
    }
    f->bin[f->bins++].bytes = size;
    return 0;
}

static int read_tag(struct source *s, struct frame *f)
{
    uint64_t type;
    if (take_number(s, 1, &type))
        return -1;
    size_t n = type & 31;
    if ((type & 0xe0) != 0xa0 || n >= sizeof f->tag)
        return err_data("not a record");
    if (take(s, f->tag, n))
        return -1;
    f->tag[n] = 0;
    return 0;
}

static int read_parts(struct source *s, struct frame *f, size_t parts)
{
    size_t offset[FRAME_BINS];
    uint64_t type, crc;
    if (parts < 3 || parts > FRAME_BINS + 3)
        return err_data("a record of %zu parts", parts);
    if (read_tag(s, f) || read_map(s, f))
        return -1;
    for (size_t i = 3; i < parts; i++)
        if (take_number(s, 1, &type) || read_bin(s, f, (uint8_t)type, &offset[i - 3]))
            return -1;
    for (size_t i = 0; i < f->bins; i++)
        f->bin[i].data = f->buf + offset[i];
    uint32_t want = s->crc;
    if (take_number(s, 1, &type) || take_number(s, 4, &crc))
        return -1;
    if (type != 0xce || crc != want)
        return err_data("checksum does not match: the data is damaged");
    f->bytes = s->bytes;
    return 0;
}

int frame_read(struct io_in *in, struct frame *f)
{
    struct source s = { .in = in };
    uint8_t first;
    uint64_t parts;
    json_decref(f->meta);
    f->meta = NULL;
    f->bins = f->used = 0;
    ssize_t r = io_read(in, &first, 1);
    if (r <= 0)
        return (int)r;
    s.crc = libdeflate_crc32(0, &first, 1);
    s.bytes = 1;
    if ((first & 0xf0) == 0x90)
        parts = first & 15;
    else if (first != 0xdc)
        return err_data("not a record");
    else if (take_number(&s, 2, &parts))
        return -1;
    return read_parts(&s, f, parts) ? -1 : 1;
}

void frame_free(struct frame *f)
{
    json_decref(f->meta);
    free(f->buf);
    free(f->map);
    *f = (struct frame){ .bins = 0 };
}

/* ---- writing ---- */

struct heads {
    char *p;
    size_t n, cap;
};

static int put_head(void *data, const char *p, size_t n)
{
    struct heads *h = data;
    h->p = mem_grow(h->p, &h->cap, h->n + n, 1);
    memcpy(h->p + h->n, p, n);
    h->n += n;
    return 0;
}

/* One buffer holds every head; the payloads stay where they are. */
int frame_write(struct io_out *out, const char *tag, const json_t *meta, const struct iovec *bin, size_t n)
{
    struct iovec iov[2 * FRAME_BINS + 2];
    size_t end[FRAME_BINS + 1], parts = 0, total = 0, at = 0;
    uint32_t crc = 0;
    struct heads h = { .n = 0 };
    msgpack_packer p;
    msgpack_packer_init(&p, &h, put_head);
    msgpack_pack_array(&p, n + 3);
    msgpack_pack_str_with_body(&p, tag, strlen(tag));
    pack(&p, meta);
    for (size_t i = 0; i < n; i++) {
        msgpack_pack_bin(&p, bin[i].iov_len);
        end[i] = h.n;
        total += bin[i].iov_len;
    }
    if (total + h.n + 5 > FRAME_BYTES) {
        free(h.p);
        return err_data("a record would be larger than %d bytes", FRAME_BYTES), err_in(io_out_name(out));
    }
    for (size_t i = 0; i < n; i++) {
        iov[parts++] = (struct iovec){ h.p + at, end[i] - at };
        iov[parts++] = bin[i];
        at = end[i];
    }
    if (n == 0)
        iov[parts++] = (struct iovec){ h.p, h.n };
    for (size_t i = 0; i < parts; i++)
        if (iov[i].iov_len)                         /* libdeflate takes a NULL buffer for a fresh start */
            crc = libdeflate_crc32(crc, iov[i].iov_base, iov[i].iov_len);
    uint8_t tail[5] = { 0xce, (uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc };
    iov[parts++] = (struct iovec){ tail, 5 };
    int r = io_put(out, iov, (int)parts);
    free(h.p);
    return r;
}
