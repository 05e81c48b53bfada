/* SPDX-License-Identifier: MIT */
#include "data/stream.h"
#include "base/mem.h"
#include "data/sniff.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1 };

static const char *const kind_names[] = { "acts", "codes" };

/* ---- reserved columns ---- */

static const struct reserved {
    const char *name;
    enum dtype type;                        /* DTYPE_NONE: the header's */
    enum column_rule rule;
    bool numbers;                           /* what the stream is about, not whose rows they are */
    size_t at;                              /* the array in struct batch that points to it; 0: none */
} reserved[] = {
    { "x", DTYPE_NONE, COLUMN_ROW, true, 0 },
    { "ptr", DTYPE_U32, COLUMN_STARTS, true, offsetof(struct batch, ptr) },
    { "idx", DTYPE_U32, COLUMN_PAIRS, true, offsetof(struct batch, idx) },
    { "val", DTYPE_NONE, COLUMN_PAIRS, true, 0 },
    { "doc", DTYPE_U32, COLUMN_ROW, false, offsetof(struct batch, doc) },
    { "ctx", DTYPE_U32, COLUMN_ROW, false, offsetof(struct batch, ctx) },
    { "pos", DTYPE_U32, COLUMN_ROW, false, offsetof(struct batch, pos) },
    { "tok", DTYPE_U32, COLUMN_ROW, false, offsetof(struct batch, tok) },
    { "text", DTYPE_U8, COLUMN_TEXT, false, offsetof(struct batch, text) },
    { "text_end", DTYPE_U32, COLUMN_ENDS, false, offsetof(struct batch, text_end) },
};
enum { RESERVED = sizeof reserved / sizeof *reserved };

static const struct reserved *reserved_find(const char *name)
{
    for (size_t i = 0; i < RESERVED; i++)
        if (!strcmp(reserved[i].name, name))
            return &reserved[i];
    return NULL;
}

static bool good_name(const char *name)
{
    size_t n = strlen(name);
    return n >= 1 && n <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") == n;
}

bool column_name_free(const char *name)
{
    return good_name(name) && !reserved_find(name);
}

bool column_reserved(const struct column *c)
{
    return c->rule == COLUMN_ENDS || reserved_find(c->name);
}

static bool is_number_column(const char *name)
{
    const struct reserved *r = reserved_find(name);
    return r && r->numbers;
}

void batch_point(struct batch *b)
{
    for (size_t i = 0; i < RESERVED; i++) {
        const struct column *c = batch_column(b, reserved[i].name);
        const void *data = c ? c->data : NULL;
        if (reserved[i].at)
            memcpy((char *)b + reserved[i].at, &data, sizeof data);
    }
}

/* ---- batches ---- */

static struct column *new_column(struct batch *b)
{
    if (b->cols == STREAM_COLUMNS)
        mem_limit("more columns than a batch may have");
    return &b->col[b->cols++];
}

void batch_add(struct batch *b, const char *name, enum dtype type, size_t items, size_t width, bool row,
               const void *data)
{
    const struct reserved *r = reserved_find(name);
    *new_column(b) = (struct column){ .name = name, .type = type, .rank = width ? 2 : 1, .shape = { items, width },
                                      .rule = r ? r->rule : row ? COLUMN_ROW : COLUMN_BATCH, .row = row, .data = data };
}

void batch_add_text(struct batch *b, const char *name, const char *name_end, const void *bytes, const uint32_t *end)
{
    *new_column(b) = (struct column){ .name = name, .type = DTYPE_U8, .rank = 1, .shape = { b->n ? end[b->n - 1] : 0 },
                                      .rule = COLUMN_TEXT, .data = bytes };
    *new_column(b) = (struct column){ .name = name_end, .type = DTYPE_U32, .rank = 1, .shape = { b->n },
                                      .rule = COLUMN_ENDS, .data = end };
}

const struct column *batch_column(const struct batch *b, const char *name)
{
    for (size_t i = 0; i < b->cols; i++)
        if (!strcmp(b->col[i].name, name))
            return &b->col[i];
    return NULL;
}

size_t column_entry(const struct column *c)
{
    size_t n = dtype_size(c->type);
    for (size_t i = 1; i < c->rank; i++)
        n *= c->shape[i];
    return n;
}

size_t column_bytes(const struct column *c)
{
    return column_entry(c) * (c->rank ? c->shape[0] : 1);
}

static size_t column_items(const struct column *c)
{
    return column_bytes(c) / dtype_size(c->type);
}

/* The column that holds the ends of text column c, or NULL. */
static const struct column *ends_of(const struct batch *b, const struct column *c)
{
    size_t n = strlen(c->name);
    for (size_t i = 0; i < b->cols; i++)
        if (!strncmp(b->col[i].name, c->name, n) && !strcmp(b->col[i].name + n, "_end"))
            return &b->col[i];
    return NULL;
}

void batch_entries(const struct batch *b, const struct column *c, size_t lo, size_t hi, size_t *from, size_t *n)
{
    *from = lo;
    *n = hi - lo + (c->rule == COLUMN_STARTS);
    if (c->rule == COLUMN_TEXT) {
        const uint32_t *end = ends_of(b, c)->data;
        *from = lo ? end[lo - 1] : 0;
        *n = (hi ? end[hi - 1] : 0) - *from;
    } else if (c->rule == COLUMN_PAIRS) {
        const uint32_t *start = batch_column(b, "ptr")->data;
        *from = start[lo];
        *n = start[hi] - start[lo];
    }
}

int batch_carry(struct batch *dst, const struct batch *src, bool all)
{
    for (size_t i = 0; i < src->cols; i++) {
        if (is_number_column(src->col[i].name) || (!all && src->col[i].rule == COLUMN_BATCH))
            continue;
        if (dst->cols == STREAM_COLUMNS)
            return err_data("its columns and those of the result are more than %d", STREAM_COLUMNS);
        dst->col[dst->cols++] = src->col[i];
    }
    return 0;
}

/* Offsets c of rows [lo, lo + n) as offsets into what these rows have: to `out`; returns how many there are. */
static size_t rebase(struct column *c, size_t lo, size_t n, uint32_t *out)
{
    const uint32_t *from = (const uint32_t *)c->data + lo;
    size_t count = n + (c->rule == COLUMN_STARTS);
    uint32_t base = c->rule == COLUMN_STARTS ? from[0] : lo ? from[-1] : 0;
    for (size_t i = 0; i < count; i++)
        out[i] = from[i] - base;
    c->data = out;
    c->shape[0] = count;
    return count;
}

static bool is_offsets(const struct column *c)
{
    return c->rule == COLUMN_ENDS || c->rule == COLUMN_STARTS;
}

void batch_cut(struct batch *b, size_t lo, size_t hi, struct batch_cuts *buf)
{
    const struct batch whole = *b;
    size_t used = 0, offsets = 0, from;
    if (lo == 0 && hi == b->n)
        return;
    for (size_t i = 0; i < whole.cols; i++)
        offsets += is_offsets(&whole.col[i]);
    buf->offsets = mem_grow(buf->offsets, &buf->cap, offsets * (hi - lo + 1), sizeof *buf->offsets);
    b->cols = 0;
    b->n = hi - lo;
    b->row += lo;
    for (size_t i = 0; i < whole.cols; i++) {
        struct column c = whole.col[i];
        if (is_offsets(&c)) {
            used += rebase(&c, lo, b->n, buf->offsets + used);
        } else if (c.rule != COLUMN_BATCH) {
            batch_entries(&whole, &whole.col[i], lo, hi, &from, &c.shape[0]);
            c.data = (const char *)c.data + from * column_entry(&c);
        }
        if (c.rule != COLUMN_BATCH || lo == 0)
            b->col[b->cols++] = c;
    }
}

void batch_cuts_free(struct batch_cuts *buf)
{
    free(buf->offsets);
}

const uint8_t *column_text(const struct batch *b, const struct column *c, size_t i, size_t *len)
{
    size_t from;
    batch_entries(b, c, i, i + 1, &from, len);
    return (const uint8_t *)c->data + from;
}

const uint8_t *batch_text(const struct batch *b, size_t i, size_t *len)
{
    if (!b->text_end) {
        *len = 0;
        return (const uint8_t *)"";
    }
    uint32_t from = i ? b->text_end[i - 1] : 0;
    *len = b->text_end[i] - from;
    return b->text + from;
}

/* ---- reading ---- */

struct stream_reading {
    struct frame frame;
    json_t *end;
    struct batch whole;                 /* the record in hand; slices of it are handed out */
    size_t at;                          /* rows of it already handed out */
    size_t nnz;
    uint64_t batches, pairs;            /* of this section */
    float *x, *val;                     /* converted to f32 */
    size_t x_cap, val_cap;
    struct batch_cuts cuts;
    bool in_section;
};

/* Put "record N: " and the stream's name before the sentence; returns -1. */
static int bad_record(struct stream_in *s)
{
    char where[40];
    const char *name = io_name(s->io);
    size_t n = strlen(name);
    if (err_status() == ERR_SYSTEM || (!strncmp(err_text(), name, n) && err_text()[n] == ':'))
        return -1;                      /* io has named the input */
    snprintf(where, sizeof where, "record %llu", (unsigned long long)s->record);
    err_in(where);
    return err_in(name);
}

static int read_header(struct stream_in *s)
{
    const json_t *h = s->private->frame.meta;
    const char *kind = json_string_value(json_object_get(h, "kind"));
    const char *dtype = json_string_value(json_object_get(h, "dtype"));
    json_int_t v = json_integer_value(json_object_get(h, "v")), d = json_integer_value(json_object_get(h, "d"));
    if (v < 1 || v > VERSION)
        return err_data("format version %lld, this program reads up to %d", (long long)v, VERSION);
    if (!kind || (strcmp(kind, "acts") && strcmp(kind, "codes")))
        return err_data("kind '%s' is neither acts nor codes", kind ? kind : "");
    enum dtype t = dtype ? dtype_find(dtype) : DTYPE_NONE;
    if (t != DTYPE_F32 && t != DTYPE_F16 && t != DTYPE_BF16)
        return err_data("dtype '%s' is not f32, f16 or bf16", dtype ? dtype : "");
    if (d < 1 || d > STREAM_WIDTH)
        return err_data("d %lld is not from 1 to %d", (long long)d, STREAM_WIDTH);
    enum stream_kind k = !strcmp(kind, "codes");
    if (s->head) {
        const json_t *was = json_object_get(s->head, "hook"), *is = json_object_get(h, "hook");
        if (k != s->kind || t != s->dtype || (size_t)d != s->d || (was && is && !json_equal(was, is)))
            return err_data("a section of %s, d %lld, %s behind one of %s, d %zu, %s", kind, (long long)d, dtype,
                            kind_names[s->kind], s->d, dtype_name(s->dtype));
    }
    json_decref(s->head);
    s->head = s->private->frame.meta;
    s->private->frame.meta = NULL;
    s->kind = k;
    s->dtype = t;
    s->d = (size_t)d;
    s->row = s->private->batches = s->private->pairs = 0;
    s->private->in_section = true;
    return 0;
}

static int read_first(struct stream_in *s)
{
    unsigned char first[SNIFF_BYTES];
    ssize_t n = io_peek(s->io, first, sizeof first);
    if (n < 0)
        return -1;
    if (n == 0)
        return err_data("empty: no stream at all"), err_in(io_name(s->io));
    if (n < 6 || (first[0] & 0xf0) != 0x90 || memcmp(first + 1, "\xa4SAES", 5)) {
        const char *words = sniff_words(first, (size_t)n);
        err_data(words ? "not a stream of activations or codes: it is %s" : "not a stream of activations or codes", words);
        return err_in(io_name(s->io));
    }
    if (frame_read(s->io, &s->private->frame) != 1 || read_header(s))
        return bad_record(s);
    return 0;
}

struct stream_in *stream_read(struct io_in *io)
{
    struct stream_in *s = mem_zero(1, sizeof *s);
    s->io = io;
    s->private = mem_zero(1, sizeof *s->private);
    if (read_first(s)) {
        stream_close(s);
        return NULL;
    }
    return s;
}

struct stream_in *stream_open(const char *path)
{
    struct io_in *io = io_open(path);
    return io ? stream_read(io) : NULL;
}

void stream_close(struct stream_in *s)
{
    if (!s)
        return;
    struct stream_reading *p = s->private;
    frame_free(&p->frame);
    json_decref(p->end);
    free(p->x);
    free(p->val);
    batch_cuts_free(&p->cuts);
    free(p);
    json_decref(s->head);
    io_close(s->io);
    free(s);
}

const char *stream_name(const struct stream_in *s)
{
    return io_name(s->io);
}

const json_t *stream_end(const struct stream_in *s)
{
    return s->private->end;
}

/* The last word of an entry of cols: "row", "text", or anything that a later version may say. */
static int read_rule(const struct batch *b, struct column *c, const json_t *word)
{
    const struct reserved *r = reserved_find(c->name);
    const char *rule = json_is_string(word) ? json_string_value(word) : "";
    c->row = !strcmp(rule, "row");
    c->rule = r ? r->rule : c->row ? COLUMN_ROW : !strcmp(rule, "text") ? COLUMN_TEXT : COLUMN_BATCH;
    if (c->row && (c->rank < 1 || c->shape[0] != b->n))
        return err_data("column %s: %zu rows in a batch of %zu", c->name, c->rank ? c->shape[0] : 0, b->n);
    return 0;
}

/* One entry of cols, [name, dtype, shape] with or without a word behind them, and the payload it describes. */
static int read_column(struct stream_in *s, const json_t *entry, size_t i)
{
    struct stream_reading *p = s->private;
    struct column *c = &p->whole.col[i];
    const char *name = json_string_value(json_array_get(entry, 0)), *type = json_string_value(json_array_get(entry, 1));
    const json_t *shape = json_array_get(entry, 2);
    *c = (struct column){ .name = name, .type = type ? dtype_find(type) : DTYPE_NONE, .rank = json_array_size(shape) };
    if (!name || !good_name(name))
        return err_data("column %zu has no proper name", i);
    p->whole.cols = i;
    if (batch_column(&p->whole, name))
        return err_data("column %s occurs twice", name);
    if (c->type == DTYPE_NONE)
        return err_data("column %s: unknown type '%s'", name, type ? type : "");
    if (!json_is_array(shape) || c->rank > 4)
        return err_data("column %s: bad shape", name);
    size_t bytes = dtype_size(c->type);
    for (size_t k = 0; k < c->rank; k++) {
        json_t *v = json_array_get(shape, k);
        json_int_t n = json_integer_value(v);
        if (!json_is_integer(v) || n < 0 || __builtin_mul_overflow(bytes, (size_t)n, &bytes))
            return err_data("column %s: bad shape", name);
        c->shape[k] = (size_t)n;
    }
    if (bytes != p->frame.bin[i].bytes)
        return err_data("column %s: %zu bytes claimed, %zu present", name, bytes, p->frame.bin[i].bytes);
    c->data = p->frame.bin[i].data;
    p->whole.cols = i + 1;
    return read_rule(&p->whole, c, json_array_get(entry, 3));
}

/* Is column c of type `type` (DTYPE_NONE: the header's) and of the shape that its rule asks for? */
static int check_column(const struct stream_in *s, const struct column *c, enum dtype type)
{
    size_t n = s->private->whole.n, width = !strcmp(c->name, "x") ? s->d : 0;
    bool ragged = c->rule == COLUMN_TEXT || c->rule == COLUMN_PAIRS;
    type = type == DTYPE_NONE ? s->dtype : type;
    if (c->type != type || c->rank != (width ? 2u : 1u) || (width && c->shape[1] != width) ||
        (!ragged && c->shape[0] != n + (c->rule == COLUMN_STARTS)))
        return err_data("column %s: not %s of the expected shape", c->name, dtype_name(type));
    return 0;
}

static int check_ends(const uint32_t *end, size_t n, size_t limit, const char *name)
{
    uint32_t last = 0;
    for (size_t i = 0; i < n; i++) {
        if (end[i] < last || end[i] > limit)
            return err_data("column %s: row %zu: %u is out of order or range", name, i, end[i]);
        last = end[i];
    }
    return 0;
}

/* The texts of the rows are all of the text. */
static int check_text(struct stream_in *s, const struct column *c)
{
    struct batch *b = &s->private->whole;
    struct column *ends = (struct column *)(uintptr_t)ends_of(b, c);
    if (!ends)
        return err_data("columns %s and %s_end come together or not at all", c->name, c->name);
    ends->rule = COLUMN_ENDS;
    if (check_column(s, c, DTYPE_U8) || check_column(s, ends, DTYPE_U32))
        return -1;
    const uint32_t *end = ends->data;
    if (check_ends(end, b->n, c->shape[0], ends->name))
        return -1;
    if (c->shape[0] != (b->n ? end[b->n - 1] : 0))
        return err_data("column %s: %zu bytes, the last row's end at %u", c->name, c->shape[0], b->n ? end[b->n - 1] : 0);
    return 0;
}

static int check_codes(struct stream_in *s, const uint32_t *ptr, const uint32_t *idx, size_t nnz)
{
    size_t n = s->private->whole.n;
    if (nnz > STREAM_PAIRS)
        return err_data("%zu pairs in a batch, at most %d", nnz, STREAM_PAIRS);
    if (ptr[0] != 0 || ptr[n] != nnz)
        return err_data("column ptr does not run from 0 to %zu", nnz);
    if (check_ends(ptr, n + 1, nnz, "ptr"))
        return -1;
    for (size_t r = 0; r < n; r++)
        for (uint32_t j = ptr[r]; j < ptr[r + 1]; j++)
            if (idx[j] >= s->d || (j > ptr[r] && idx[j] <= idx[j - 1]))
                return err_data("row %zu: index %u is out of order or not below %zu", r, idx[j], s->d);
    return 0;
}

/* Reserved columns and texts have the types and shapes that they must have, and the arrays of the batch point to them. */
static int resolve(struct stream_in *s)
{
    struct stream_reading *p = s->private;
    struct batch *b = &p->whole;
    for (size_t i = 0; i < RESERVED; i++) {
        const struct column *c = batch_column(b, reserved[i].name);
        if (c && check_column(s, c, reserved[i].type))
            return -1;
    }
    for (size_t i = 0; i < b->cols; i++)
        if (b->col[i].rule == COLUMN_TEXT && check_text(s, &b->col[i]))
            return -1;
    batch_point(b);
    b->x = b->val = NULL;
    if (b->text_end && !b->text)
        return err_data("columns text and text_end come together or not at all");
    const struct column *x = batch_column(b, "x"), *val = batch_column(b, "val");
    if (s->kind == STREAM_ACTS && (b->ptr || b->idx || val))
        return err_data("acts with columns of codes");
    if (s->kind == STREAM_ACTS)
        return x ? 0 : err_data("acts without a column x");
    if (!b->ptr || !b->idx || !val)
        return err_data("codes without the columns ptr, idx and val");
    p->nnz = batch_column(b, "idx")->shape[0];
    if (val->shape[0] != p->nnz)
        return err_data("columns idx and val differ in length");
    p->pairs += p->nnz;
    return check_codes(s, b->ptr, b->idx, p->nnz);
}

/* obj[key], or -1 where there is no such number. */
static json_int_t whole_number(const json_t *obj, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static int read_batch(struct stream_in *s)
{
    struct stream_reading *p = s->private;
    const json_t *m = p->frame.meta, *cols = json_object_get(m, "cols"), *n = json_object_get(m, "n");
    json_int_t rows = json_integer_value(n), row = whole_number(m, "row");
    p->at = 0;
    p->whole = (struct batch){ .n = (size_t)rows, .row = s->row, .section = s->section, .record = s->record,
                               .head = s->head };
    if (!json_is_integer(n) || rows < 0 || rows > STREAM_ROWS)
        return err_data("%lld rows in a batch, at most %d", (long long)rows, STREAM_ROWS);
    if (row < 0 || (uint64_t)row != s->row)
        return err_data("row %lld where row %llu should follow: a batch is lost or repeated", (long long)row,
                        (unsigned long long)s->row);
    if (!json_is_array(cols) || json_array_size(cols) != p->frame.bins)
        return err_data("%zu columns claimed, %zu present", json_array_size(cols), p->frame.bins);
    for (size_t i = 0; i < p->frame.bins; i++)
        if (read_column(s, json_array_get(cols, i), i))
            return -1;
    if (resolve(s))
        return -1;
    s->row += p->whole.n;
    s->total_rows += p->whole.n;
    s->total_batches++;
    p->batches++;
    return 0;
}

static int read_end(struct stream_in *s)
{
    struct stream_reading *p = s->private;
    const json_t *m = p->frame.meta, *nnz = json_object_get(m, "nnz");
    json_int_t rows = whole_number(m, "rows"), batches = whole_number(m, "batches");
    if (rows < 0 || (uint64_t)rows != s->row || batches < 0 || (uint64_t)batches != p->batches)
        return err_data("the end record counts %lld rows in %lld batches, %llu in %llu came", (long long)rows,
                        (long long)batches, (unsigned long long)s->row, (unsigned long long)p->batches);
    if (s->kind == STREAM_CODES && nnz && (uint64_t)json_integer_value(nnz) != p->pairs)
        return err_data("the end record counts %lld pairs, %llu came", (long long)json_integer_value(nnz),
                        (unsigned long long)p->pairs);
    json_decref(p->end);
    p->end = p->frame.meta;
    p->frame.meta = NULL;
    p->in_section = false;
    if (s->on_end)
        s->on_end(s, s->on_end_arg);
    return 0;
}

/* Read records up to the next one with rows: 1, 0 at the end, -1. */
static int read_record(struct stream_in *s)
{
    struct stream_reading *p = s->private;
    for (;;) {
        s->record++;
        int r = frame_read(s->io, &p->frame);
        if (r == 0 && p->in_section)
            return err_data("cut short: no end record"), bad_record(s);
        if (r == 0)
            return 0;
        if (r < 0)
            return bad_record(s);
        bool header = !strcmp(p->frame.tag, "SAES"), batch = !strcmp(p->frame.tag, "B");
        bool end = !strcmp(p->frame.tag, "E");
        if ((header && p->in_section) || (!header && !p->in_section))
            return err_data(header ? "a header before the end record" : "data after the end record"), bad_record(s);
        if (header) {
            s->section++;
            r = read_header(s);
        } else if (batch) {
            r = read_batch(s);
        } else if (end) {
            r = read_end(s);
        }
        if (r < 0)
            return bad_record(s);
        if (batch && p->whole.n)
            return 1;
    }
}

static const float *as_f32(const struct column *c, float **buf, size_t *cap)
{
    size_t n = column_items(c);
    if (c->type == DTYPE_F32)
        return c->data;
    *buf = mem_grow(*buf, cap, n, sizeof **buf);
    dtype_load(*buf, c->data, c->type, n);
    return *buf;
}

/* The index of the first value that is not finite, n when all are. */
static size_t first_bad(const float *x, size_t n)
{
    uint32_t most = 0, u;                   /* largest magnitude as bits: vectorizes where isfinite() would not */
    for (size_t i = 0; i < n; i++) {
        memcpy(&u, x + i, 4);
        u &= 0x7fffffff;
        most = u > most ? u : most;
    }
    if (most < 0x7f800000)
        return n;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return i;
    return n;
}

static int not_finite(uint64_t row)
{
    return err_data("row %llu: a value that is not finite", (unsigned long long)row);
}

static int check_finite(struct stream_in *s, const struct batch *b)
{
    size_t n = b->x ? b->n * s->d : b->ptr[b->n], bad = first_bad(b->x ? b->x : b->val, n), row = 0;
    if (bad == n)
        return 0;
    if (b->x)
        row = bad / s->d;
    else
        while (b->ptr[row + 1] <= bad)
            row++;
    return not_finite(b->row + row);
}

static int hand_out(struct stream_in *s, struct batch *b)
{
    struct stream_reading *p = s->private;
    size_t lo = p->at, n = p->whole.n - lo;
    *b = p->whole;
    if (s->max_rows && n > s->max_rows)
        n = s->max_rows;
    batch_cut(b, lo, lo + n, &p->cuts);
    p->at = lo + n;
    batch_point(b);
    if (s->kind == STREAM_ACTS)
        b->x = as_f32(batch_column(b, "x"), &p->x, &p->x_cap);
    else
        b->val = as_f32(batch_column(b, "val"), &p->val, &p->val_cap);
    return s->allow_nan ? 0 : check_finite(s, b);
}

int stream_next(struct stream_in *s, struct batch *b)
{
    if (s->private->at == s->private->whole.n) {
        int r = read_record(s);
        if (r <= 0)
            return r;
    }
    return hand_out(s, b) ? bad_record(s) : 1;
}

/* ---- writing ---- */

struct stream_writing {
    enum stream_kind kind;
    size_t d;
    uint64_t rows, batches, pairs;
    double norm, square;                    /* sums over rows of |x| and |x|^2 */
};

json_t *stream_head(enum stream_kind kind, size_t d, enum dtype dtype)
{
    json_t *h = json_pack("{s:i,s:s,s:I,s:s}", "v", VERSION, "kind", kind_names[kind], "d", (json_int_t)d, "dtype",
                          dtype_name(dtype));
    if (!h)
        mem_die(0);
    return h;
}

static int begin_section(struct stream_out *s, const json_t *head)
{
    struct stream_writing *p = s->private;
    *p = (struct stream_writing){ .d = (size_t)json_integer_value(json_object_get(head, "d")),
        .kind = !strcmp(json_string_value(json_object_get(head, "kind")), "codes") ? STREAM_CODES : STREAM_ACTS };
    return frame_write(s->io, "SAES", head, NULL, 0);
}

static int end_section(struct stream_out *s)
{
    const struct stream_writing *p = s->private;
    json_t *m = json_pack("{s:I,s:I}", "rows", (json_int_t)p->rows, "batches", (json_int_t)p->batches);
    if (m && p->kind == STREAM_CODES)
        json_object_set_new(m, "nnz", json_integer((json_int_t)p->pairs));
    if (m && p->kind == STREAM_ACTS && p->rows && isfinite(p->square))
        json_object_set_new(m, "stats", json_pack("{s:f,s:f}", "mean_norm", p->norm / (double)p->rows, "mean_sq",
                                                  p->square / (double)p->rows));
    if (!m)
        mem_die(0);
    int r = frame_write(s->io, "E", m, NULL, 0);
    json_decref(m);
    return r;
}

struct stream_out *stream_create(struct io_out *io, const json_t *head)
{
    struct stream_out *s = mem_zero(1, sizeof *s);
    s->io = io;
    s->private = mem_zero(1, sizeof *s->private);
    if (begin_section(s, head)) {
        stream_abort(s);
        return NULL;
    }
    return s;
}

int stream_section(struct stream_out *s, const json_t *head)
{
    return end_section(s) || begin_section(s, head) ? -1 : 0;
}

static json_t *describe(const struct batch *b, uint64_t row)
{
    json_t *cols = json_array(), *m;
    for (size_t i = 0; i < b->cols; i++) {
        const struct column *c = &b->col[i];
        json_t *shape = json_array();
        for (size_t k = 0; k < c->rank; k++)
            json_array_append_new(shape, json_integer((json_int_t)c->shape[k]));
        json_t *entry = json_pack("[s,s,o]", c->name, dtype_name(c->type), shape);
        if (c->row || (c->rule == COLUMN_TEXT && !reserved_find(c->name)))
            json_array_append_new(entry, json_string(c->row ? "row" : "text"));
        json_array_append_new(cols, entry);
    }
    m = json_pack("{s:I,s:I,s:o}", "n", (json_int_t)b->n, "row", (json_int_t)row, "cols", cols);
    if (!m)
        mem_die(0);
    return m;
}

/* |x|^2 of a row in eight lanes, so that it costs little beside the writing. */
static double square_of(const void *row, enum dtype t, size_t d, float *scratch)
{
    double lane[8] = { 0 };
    dtype_load(scratch, row, t, d);
    for (size_t i = 0; i < d / 8 * 8; i += 8)
        for (size_t k = 0; k < 8; k++)
            lane[k] += (double)scratch[i + k] * (double)scratch[i + k];
    for (size_t i = d / 8 * 8; i < d; i++)
        lane[i % 8] += (double)scratch[i] * (double)scratch[i];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

static int take_row_stats(struct stream_out *s, const struct column *x, size_t n)
{
    struct stream_writing *p = s->private;
    float *scratch = mem_alloc(p->d, sizeof *scratch);
    int bad = 0;
    for (size_t r = 0; r < n && !bad; r++) {
        double q = square_of((const char *)x->data + r * p->d * dtype_size(x->type), x->type, p->d, scratch);
        p->square += q;
        p->norm += sqrt(q);
        if (!isfinite(q) && !s->allow_nan)
            bad = not_finite(p->rows + r);
    }
    free(scratch);
    return bad;
}

static int take_code_stats(struct stream_out *s, const struct column *ptr, const struct column *val)
{
    size_t n = val->shape[0], row = 0;
    s->private->pairs += n;
    if (s->allow_nan)
        return 0;
    float *scratch = mem_alloc(n, sizeof *scratch);
    dtype_load(scratch, val->data, val->type, n);
    size_t bad = first_bad(scratch, n);
    free(scratch);
    if (bad == n)
        return 0;
    while (((const uint32_t *)ptr->data)[row + 1] <= bad)
        row++;
    return not_finite(s->private->rows + row);
}

/* Totals for the end record; -1 and a sentence where a number is not finite and may not be. */
static int take_stats(struct stream_out *s, const struct batch *b)
{
    const struct column *x = batch_column(b, "x"), *val = batch_column(b, "val");
    return x ? take_row_stats(s, x, b->n) : val ? take_code_stats(s, batch_column(b, "ptr"), val) : 0;
}

int stream_put(struct stream_out *s, const struct batch *b)
{
    struct stream_writing *p = s->private;
    struct iovec bin[STREAM_COLUMNS];
    for (size_t i = 0; i < b->cols; i++) {
        const struct column *c = &b->col[i];
        bin[i] = (struct iovec){ (void *)(uintptr_t)c->data, column_bytes(c) };
    }
    if (take_stats(s, b))
        return err_in(io_out_name(s->io));
    json_t *m = describe(b, p->rows);
    int r = frame_write(s->io, "B", m, bin, b->cols);
    json_decref(m);
    p->rows += b->n;
    p->batches++;
    return r;
}

static void release(struct stream_out *s)
{
    free(s->private);
    free(s);
}

int stream_finish(struct stream_out *s)
{
    struct io_out *io = s->io;
    int r = end_section(s);
    release(s);
    if (r) {
        io_abort(io);
        return -1;
    }
    return io_commit(io);
}

void stream_abort(struct stream_out *s)
{
    if (!s)
        return;
    io_abort(s->io);
    release(s);
}
