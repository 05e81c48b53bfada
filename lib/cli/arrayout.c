/* SPDX-License-Identifier: MIT */
#include "cli/arrayout.h"
#include "base/mem.h"
#include "cli/tool.h"
#include "data/npz.h"

#include <stdlib.h>
#include <string.h>

enum { COPY = 1 << 20, LABELS = 4 };

static const char *const label_names[LABELS] = { "doc", "ctx", "pos", "tok" };

struct arrayout {
    enum arrayout_form form;
    enum dtype type;
    size_t d;
    struct io_out *out;
    uint64_t rows, pairs;
    struct spool *x;                    /* .npy: rows, whose number its header must know */
    struct spool *val, *idx, *ptr;      /* .npz */
    struct spool *label[LABELS];        /* NULL: not every batch had it */
};

static struct spool *new_spool(void)
{
    struct spool *s = spool_new();
    if (!s)
        tool_die();
    return s;
}

static void spool(struct spool *s, const void *p, size_t n)
{
    if (spool_add(s, p, n))
        tool_die();
}

struct arrayout *arrayout_create(enum arrayout_form form, enum dtype type, size_t d)
{
    struct arrayout *a = mem_zero(1, sizeof *a);
    a->form = form;
    a->type = type;
    a->d = d;
    a->out = io_create(opt.output, (int)opt.zlevel);
    if (!a->out)
        tool_die();
    if (form == ARRAYOUT_NPY)
        a->x = new_spool();
    if (form != ARRAYOUT_NPZ)
        return a;
    a->val = new_spool();
    a->idx = new_spool();
    a->ptr = new_spool();
    for (size_t i = 0; i < LABELS; i++)
        a->label[i] = new_spool();
    spool(a->ptr, (int64_t[]){ 0 }, sizeof(int64_t));
    return a;
}

static void put_codes(struct arrayout *a, const struct batch *b)
{
    const struct column *val = batch_column(b, "val"), *idx = batch_column(b, "idx");
    const uint32_t *start = batch_column(b, "ptr")->data;
    float *v = mem_alloc(val->shape[0], sizeof *v);
    int64_t *end = mem_alloc(b->n, sizeof *end);
    dtype_load(v, val->data, val->type, val->shape[0]);
    for (size_t i = 0; i < b->n; i++)
        end[i] = (int64_t)(a->pairs + start[i + 1]);
    spool(a->val, v, val->shape[0] * sizeof *v);
    spool(a->idx, idx->data, column_bytes(idx));
    spool(a->ptr, end, b->n * sizeof *end);
    a->pairs += val->shape[0];
    free(v);
    free(end);
    for (size_t i = 0; i < LABELS; i++) {
        const struct column *c = batch_column(b, label_names[i]);
        if (c && a->label[i])
            spool(a->label[i], c->data, column_bytes(c));
        else {
            spool_free(a->label[i]);
            a->label[i] = NULL;
        }
    }
}

void arrayout_put(struct arrayout *a, const struct batch *b)
{
    if (a->form == ARRAYOUT_NPZ) {
        put_codes(a, b);
    } else {
        const struct column *x = batch_column(b, "x");
        struct iovec iov = { (void *)(uintptr_t)x->data, column_bytes(x) };
        if (a->x)
            spool(a->x, x->data, iov.iov_len);
        else if (io_put(a->out, &iov, 1))
            tool_die();
    }
    a->rows += b->n;
}

/* ---- .npy ---- */

static void send(struct arrayout *a, void *p, size_t n)
{
    struct iovec iov = { p, n };
    if (n && io_put(a->out, &iov, 1))
        tool_die();
}

static void finish_npy(struct arrayout *a)
{
    unsigned char *buf = mem_alloc(COPY, 1);
    struct npy h = { a->type, 2, { a->rows, a->d } };
    send(a, buf, npy_write_header(buf, &h));
    for (uint64_t at = 0, size = spool_size(a->x); at < size;) {
        size_t n = size - at < COPY ? (size_t)(size - at) : COPY;
        if (spool_read(a->x, at, buf, n))
            tool_die();
        send(a, buf, n);
        at += n;
    }
    free(buf);
}

/* ---- .npz: the members of scipy.sparse.save_npz, and whose rows they are ---- */

static struct npz_member vector(const char *name, enum dtype type, uint64_t n, struct spool *s)
{
    return (struct npz_member){ .name = name, .shape = { type, 1, { n } }, .spool = s };
}

static void finish_npz(struct arrayout *a)
{
    int64_t shape[] = { (int64_t)a->rows, (int64_t)a->d };
    struct npz_member m[5 + LABELS] = {
        vector("indices", DTYPE_I32, a->pairs, a->idx), vector("indptr", DTYPE_I64, a->rows + 1, a->ptr),
        { .name = "format", .text = "csr" }, vector("shape", DTYPE_I64, 2, NULL), vector("data", DTYPE_F32, a->pairs, a->val),
    };
    size_t n = 5;
    m[3].items = shape;
    for (size_t i = 0; i < LABELS; i++)
        if (a->label[i] && a->rows)
            m[n++] = vector(label_names[i], DTYPE_U32, a->rows, a->label[i]);
    if (npz_write(a->out, m, n))
        tool_die();
}

int arrayout_finish(struct arrayout *a)
{
    if (a->form == ARRAYOUT_NPY)
        finish_npy(a);
    if (a->form == ARRAYOUT_NPZ)
        finish_npz(a);
    if (io_commit(a->out))
        tool_die();
    spool_free(a->x);
    spool_free(a->val);
    spool_free(a->idx);
    spool_free(a->ptr);
    for (size_t i = 0; i < LABELS; i++)
        spool_free(a->label[i]);
    free(a);
    return 0;
}
