/* SPDX-License-Identifier: MIT */
#include "cli/arrayin.h"
#include "base/mem.h"
#include "data/npy.h"
#include "data/safetensors.h"
#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

enum { ROWS = 1 << 16 };                 /* in a batch, at most */

/* Whole numbers beside the rows. */
struct side {
    struct io_in *io;                   /* NULL: not given */
    struct npy head;
    void *raw;
    uint32_t *v;                        /* (at_once) */
};

struct arrayin {
    struct arrayin_source from;
    struct io_in *io;
    struct safetensors *file;
    const unsigned char *map;           /* rows of the tensor that are left */
    char *name;
    enum dtype type, stored;
    size_t d, at_once;                  /* at_once: rows in a batch */
    struct npy shape;                   /* of documents and positions, without the row; rank 0 or 1: flat */
    uint64_t rows, left, row;
    void *raw;
    float *x;
    struct side ids, docs, positions;
    uint32_t *doc, *ctx, *pos, *text_end;
    uint8_t *text;
    size_t text_cap;
    uint32_t last_doc, last_pos, last_ctx;
};

/* ---- opening ---- */

static uint64_t items(const struct npy *h)
{
    uint64_t n = 1;
    for (size_t i = 0; i < h->rank; i++)
        n *= h->shape[i];
    return n;
}

/* The shape of the whole array: its last axis is the row, the others say whose. */
static int take_shape(struct arrayin *a, const struct npy *h)
{
    if (h->rank < 2)
        return err_data("an array of rank %zu where (rows, d) is wanted", h->rank);
    if (h->type != DTYPE_F32 && h->type != DTYPE_F16 && h->type != DTYPE_F64 && h->type != DTYPE_BF16)
        return err_data("items are %s where f2, f4 or f8 are wanted", dtype_name(h->type));
    a->type = h->type;
    a->shape = *h;
    a->shape.rank--;
    a->d = h->shape[a->shape.rank];
    a->rows = items(&a->shape);
    return 0;
}

static int open_npy(struct arrayin *a)
{
    struct npy h;
    return npy_read_header(a->io, &h) || (take_shape(a, &h) && err_in(a->name)) ? -1 : 0;
}

static bool is_matrix(const struct tensor *t)
{
    return t->rank >= 2 && (t->type == DTYPE_F32 || t->type == DTYPE_F16 || t->type == DTYPE_BF16 || t->type == DTYPE_F64);
}

/* The tensor that was asked for, or the only one that could be meant. */
static const struct tensor *choose_tensor(const struct arrayin *a)
{
    const struct tensor *found = a->from.tensor ? safetensors_find(a->file, a->from.tensor) : NULL;
    size_t n = 0;
    if (a->from.tensor)
        return found ? found : (err_data("no tensor %s", a->from.tensor), NULL);
    for (size_t i = 0; i < a->file->count; i++)
        if (is_matrix(&a->file->tensor[i])) {
            found = &a->file->tensor[i];
            n++;
        }
    if (n == 1)
        return found;
    err_data(n ? "%zu tensors could be meant (%s is one): name it by --tensor" : "no tensor of rows", n, n ? found->name : "");
    return NULL;
}

static int open_tensor(struct arrayin *a)
{
    a->file = safetensors_open(a->from.path);
    if (!a->file)
        return -1;
    const struct tensor *t = choose_tensor(a);
    if (!t)
        return err_in(a->name);
    struct npy h = { .type = t->type, .rank = t->rank };
    memcpy(h.shape, t->shape, sizeof h.shape);
    if (h.type == DTYPE_NONE)
        return err_data("tensor %s: its items are no numbers that are read", t->name), err_in(a->name);
    a->map = t->data;
    return take_shape(a, &h) ? err_in(t->name), err_in(a->name) : 0;
}

/* Whole numbers for a's rows: as many as these are, in the same shape unless it is flat. */
static int open_side(struct arrayin *a, struct side *s, const char *path)
{
    if (!path)
        return 0;
    s->io = io_open(path);
    if (!s->io || npy_read_header(s->io, &s->head))
        return -1;
    struct npy *h = &s->head;
    if (h->type == DTYPE_F32 || h->type == DTYPE_F16 || h->type == DTYPE_F64)
        return err_data("items are %s where whole numbers are wanted", dtype_name(h->type)), err_in(path);
    bool deep = h->rank > 1 && a->shape.rank > 1, same = h->rank == a->shape.rank;
    for (size_t i = 0; i < h->rank && same; i++)
        same = h->shape[i] == a->shape.shape[i];
    if ((a->rows != UINT64_MAX && items(h) != a->rows) || (deep && !same))
        return err_data("%llu numbers in %zu axes, %s has %llu rows in %zu", (unsigned long long)items(h), h->rank, a->name,
                        (unsigned long long)a->rows, a->shape.rank), err_in(path);
    if (h->rank > 1 || a->rows == UINT64_MAX) {
        a->shape = *h;
        a->rows = items(h);
    }
    s->raw = mem_alloc(a->at_once, dtype_size(h->type));
    s->v = mem_alloc(a->at_once, sizeof *s->v);
    return 0;
}

static int open_rows(struct arrayin *a)
{
    a->type = DTYPE_F32;
    a->rows = UINT64_MAX;
    a->d = a->from.width;
    if (a->from.form == ARRAYIN_SAFETENSORS)
        return open_tensor(a);
    a->io = io_open(a->from.path);
    if (!a->io)
        return -1;
    return a->from.form == ARRAYIN_NPY ? open_npy(a) : 0;
}

static int open_all(struct arrayin *a)
{
    if (open_rows(a))
        return -1;
    if (a->d < 1 || a->d > STREAM_WIDTH)
        return err_data("rows are %zu wide, not 1 to %d", a->d, STREAM_WIDTH), err_in(a->name);
    a->stored = a->type == DTYPE_F16 || a->type == DTYPE_BF16 ? a->type : DTYPE_F32;
    a->at_once = STREAM_PAYLOAD / (dtype_size(a->type) * a->d) + 1;
    a->at_once = a->at_once < ROWS ? a->at_once : ROWS;
    if (open_side(a, &a->ids, a->from.ids) || open_side(a, &a->docs, a->from.doc) ||
        open_side(a, &a->positions, a->from.pos))
        return -1;
    a->left = a->rows;
    a->raw = mem_alloc(a->at_once, dtype_size(a->type) * a->d);
    a->x = mem_alloc(a->at_once * a->d, sizeof *a->x);
    a->doc = mem_alloc(4 * a->at_once, sizeof *a->doc);
    a->ctx = a->doc + a->at_once;
    a->pos = a->ctx + a->at_once;
    a->text_end = a->pos + a->at_once;
    return 0;
}

struct arrayin *arrayin_open(const struct arrayin_source *from)
{
    struct arrayin *a = mem_zero(1, sizeof *a);
    a->from = *from;
    a->name = mem_string(from->path && strcmp(from->path, "-") ? from->path : "<stdin>");
    if (!open_all(a))
        return a;
    arrayin_close(a);
    return NULL;
}

static void side_close(struct side *s)
{
    io_close(s->io);
    free(s->raw);
    free(s->v);
}

void arrayin_close(struct arrayin *a)
{
    if (!a)
        return;
    side_close(&a->ids);
    side_close(&a->docs);
    side_close(&a->positions);
    io_close(a->io);
    safetensors_close(a->file);
    free(a->name);
    free(a->raw);
    free(a->x);
    free(a->doc);
    free(a->text);
    free(a);
}

const char *arrayin_name(const struct arrayin *a)
{
    return a->name;
}

size_t arrayin_width(const struct arrayin *a)
{
    return a->d;
}

enum dtype arrayin_type(const struct arrayin *a)
{
    return a->stored;
}

uint64_t arrayin_rows(const struct arrayin *a)
{
    return a->rows;
}

/* ---- reading ---- */

static int cut_short(const char *name, uint64_t row)
{
    return err_data("cut short in row %llu", (unsigned long long)row), err_in(name);
}

/* Up to at_once rows to a->raw; how many, -1. */
static ssize_t read_rows(struct arrayin *a)
{
    size_t item = dtype_size(a->type) * a->d, most = a->left < a->at_once ? (size_t)a->left : a->at_once;
    if (a->map) {
        memcpy(a->raw, a->map, most * item);
        a->map += most * item;
        a->left -= most;
        return (ssize_t)most;
    }
    ssize_t got = io_read(a->io, a->raw, most * item);
    if (got < 0)
        return -1;
    if ((size_t)got % item || (a->left != UINT64_MAX && (size_t)got < most * item))
        return cut_short(a->name, a->row + (size_t)got / item);
    if (a->left != UINT64_MAX)
        a->left -= (size_t)got / item;
    return got / (ssize_t)item;
}

/* Item i of n whole numbers as one of 32 bits; -1 where it is none. */
static int64_t whole(const void *p, enum dtype t, size_t i)
{
    uint64_t u = t == DTYPE_U8 ? ((const uint8_t *)p)[i] : t == DTYPE_U16 ? ((const uint16_t *)p)[i] :
                 t == DTYPE_U32 ? ((const uint32_t *)p)[i] : t == DTYPE_I32 ? (uint64_t)((const int32_t *)p)[i] :
                 ((const uint64_t *)p)[i];
    return u < UINT32_MAX ? (int64_t)u : -1;
}

static int read_side(struct arrayin *a, struct side *s, size_t n)
{
    if (!s->io)
        return 0;
    size_t item = dtype_size(s->head.type);
    ssize_t got = io_read(s->io, s->raw, n * item);
    if (got < 0)
        return -1;
    if ((size_t)got < n * item)
        return cut_short(io_name(s->io), a->row + (size_t)got / item);
    for (size_t i = 0; i < n; i++) {
        int64_t v = whole(s->raw, s->head.type, i);
        if (v < 0)
            return err_data("row %llu: not a number from 0 to 2^32 - 2", (unsigned long long)(a->row + i)), err_in(io_name(s->io));
        s->v[i] = (uint32_t)v;
    }
    return 0;
}

/* Document, context and position of row i of the batch, which is row a->row + i of all. */
static void place(struct arrayin *a, size_t i)
{
    uint64_t row = a->row + i, wide = a->shape.rank > 1 ? a->shape.shape[a->shape.rank - 1] : 0;
    bool first = row == 0;
    uint32_t doc = a->docs.io ? a->docs.v[i] : wide ? (uint32_t)(row / wide) : 0;
    uint32_t pos = a->positions.io ? a->positions.v[i] : wide ? (uint32_t)(row % wide) : 0;
    if (!a->positions.io && !wide)
        pos = first || doc != a->last_doc ? 0 : a->last_pos + 1;
    bool next = !first && (doc != a->last_doc || pos <= a->last_pos);
    a->last_doc = doc;
    a->last_pos = pos;
    a->last_ctx += next;
    a->doc[i] = a->docs.io || wide ? doc : a->last_ctx;     /* positions alone: each run of them is a document */
    a->ctx[i] = a->last_ctx;
    a->pos[i] = pos;
}

static void add_text(struct arrayin *a, struct batch *b)
{
    size_t n = 0, len;
    for (size_t i = 0; i < b->n; i++) {
        const uint8_t *bytes = vocab_text(a->from.vocab, a->ids.v[i], &len);
        a->text = mem_grow(a->text, &a->text_cap, n + len + 1, 1);
        if (bytes)
            memcpy(a->text + n, bytes, len);
        a->text_end[i] = (uint32_t)(n += len);
    }
    batch_add_text(b, "text", "text_end", a->text, a->text_end);
}

static void add_labels(struct arrayin *a, struct batch *b)
{
    if (!a->ids.io && !a->docs.io && !a->positions.io)
        return;
    for (size_t i = 0; i < b->n; i++)
        place(a, i);
    batch_add(b, "doc", DTYPE_U32, b->n, 0, true, a->doc);
    batch_add(b, "ctx", DTYPE_U32, b->n, 0, true, a->ctx);
    batch_add(b, "pos", DTYPE_U32, b->n, 0, true, a->pos);
    if (a->ids.io)
        batch_add(b, "tok", DTYPE_U32, b->n, 0, true, a->ids.v);
    if (a->ids.io && a->from.vocab)
        add_text(a, b);
}

/* A file that goes on behind its last row is not what it was taken for. */
static int check_end(const struct arrayin *a)
{
    char byte;
    ssize_t n = a->io ? io_peek(a->io, &byte, 1) : 0;
    if (n > 0)
        return err_data("goes on behind its %llu rows", (unsigned long long)a->rows), err_in(a->name);
    return (int)n;
}

int arrayin_next(struct arrayin *a, struct batch *b)
{
    ssize_t n = read_rows(a);
    if (n <= 0)
        return n ? -1 : check_end(a);
    if (read_side(a, &a->ids, (size_t)n) || read_side(a, &a->docs, (size_t)n) || read_side(a, &a->positions, (size_t)n))
        return -1;
    dtype_load(a->x, a->raw, a->type, (size_t)n * a->d);
    *b = (struct batch){ .n = (size_t)n, .row = a->row, .x = a->x };
    batch_add(b, "x", a->stored, b->n, a->d, false, a->type == a->stored ? a->raw : (void *)a->x);
    add_labels(a, b);
    batch_point(b);
    a->row += b->n;
    return 1;
}
