/* SPDX-License-Identifier: MIT */
#include "data/npz.h"
#include "base/mem.h"

#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COPY = 1 << 20, ZIP_VERSION = 45, DATE = 1 << 5 | 1 };     /* 45: zip64; January 1 1980, the first day there is */

/* Bytes of one part of the file, little endian. */
struct bytes {
    unsigned char p[256];
    size_t n;
};

static void put(struct bytes *b, uint64_t v, size_t size)
{
    for (size_t i = 0; i < size; i++)
        b->p[b->n++] = (unsigned char)(v >> 8 * i);
}

static void put_text(struct bytes *b, const char *s)
{
    for (; *s; s++)
        b->p[b->n++] = (unsigned char)*s;
}

struct entry {
    char name[72];
    unsigned char head[NPY_HEADER_MAX];     /* .npy header, or all of a string */
    size_t head_n;
    uint64_t bytes, at;                     /* of the member; where it begins */
    uint32_t crc;
};

static int send(struct io_out *out, const void *p, size_t n, uint64_t *at)
{
    struct iovec iov = { (void *)(uintptr_t)p, n };
    *at += n;
    return n && io_put(out, &iov, 1) ? -1 : 0;
}

static uint64_t item_bytes(const struct npz_member *m)
{
    uint64_t n = dtype_size(m->shape.type);
    for (size_t i = 0; i < m->shape.rank; i++)
        n *= m->shape.shape[i];
    return n;
}

/* The items of m, piece by piece: to `out` where there is one, and into *crc. */
static int pass_items(const struct npz_member *m, struct io_out *out, uint64_t *at, uint32_t *crc)
{
    uint64_t left = m->text ? 0 : item_bytes(m);
    unsigned char *buf = mem_alloc(COPY, 1);
    int bad = 0;
    for (uint64_t from = 0; left && !bad; ) {
        size_t n = left < COPY ? (size_t)left : COPY;
        const void *p = m->spool ? buf : (const unsigned char *)m->items + from;
        bad = m->spool && spool_read(m->spool, from, buf, n);
        if (!bad && out)
            bad = send(out, p, n, at);
        else if (!bad)
            *crc = libdeflate_crc32(*crc, p, n);
        from += n;
        left -= n;
    }
    free(buf);
    return bad ? -1 : 0;
}

static int measure(const struct npz_member *m, struct entry *e)
{
    uint64_t at = 0;
    snprintf(e->name, sizeof e->name, "%s.npy", m->name);
    e->head_n = m->text ? npy_write_string(e->head, m->text) : npy_write_header(e->head, &m->shape);
    e->bytes = e->head_n + (m->text ? 0 : item_bytes(m));
    e->crc = libdeflate_crc32(0, e->head, e->head_n);
    return pass_items(m, NULL, &at, &e->crc);
}

/* What the local and the central record of a member share. */
static void put_common(struct bytes *b, const struct entry *e, size_t extra)
{
    put(b, ZIP_VERSION, 2);
    put(b, 0, 2);                           /* flags */
    put(b, 0, 2);                           /* stored */
    put(b, 0, 2);                           /* time */
    put(b, DATE, 2);
    put(b, e->crc, 4);
    put(b, UINT32_MAX, 4);                  /* sizes: in the extra field */
    put(b, UINT32_MAX, 4);
    put(b, strlen(e->name), 2);
    put(b, extra, 2);
}

static int put_member(struct io_out *out, const struct npz_member *m, struct entry *e, uint64_t *at)
{
    struct bytes b = { .n = 0 };
    e->at = *at;
    put(&b, 0x04034b50, 4);
    put_common(&b, e, 20);
    put_text(&b, e->name);
    put(&b, 1, 2);
    put(&b, 16, 2);
    put(&b, e->bytes, 8);
    put(&b, e->bytes, 8);
    return send(out, b.p, b.n, at) || send(out, e->head, e->head_n, at) || pass_items(m, out, at, NULL) ? -1 : 0;
}

static int put_central(struct io_out *out, const struct entry *e, uint64_t *at)
{
    struct bytes b = { .n = 0 };
    put(&b, 0x02014b50, 4);
    put(&b, ZIP_VERSION, 2);
    put_common(&b, e, 28);
    put(&b, 0, 2);                          /* no comment */
    put(&b, 0, 2);                          /* first disk */
    put(&b, 0, 6);                          /* attributes */
    put(&b, UINT32_MAX, 4);                 /* offset: in the extra field */
    put_text(&b, e->name);
    put(&b, 1, 2);
    put(&b, 24, 2);
    put(&b, e->bytes, 8);
    put(&b, e->bytes, 8);
    put(&b, e->at, 8);
    return send(out, b.p, b.n, at);
}

/* The end of the directory, which lies in [from, *at): with 64 bits, where that is, and the old form that points nowhere. */
static int put_end(struct io_out *out, size_t n, uint64_t from, uint64_t *at)
{
    struct bytes b = { .n = 0 };
    put(&b, 0x06064b50, 4);
    put(&b, 44, 8);
    put(&b, ZIP_VERSION, 2);
    put(&b, ZIP_VERSION, 2);
    put(&b, 0, 8);                          /* disks */
    put(&b, n, 8);
    put(&b, n, 8);
    put(&b, *at - from, 8);
    put(&b, from, 8);
    put(&b, 0x07064b50, 4);
    put(&b, 0, 4);
    put(&b, *at, 8);
    put(&b, 1, 4);
    put(&b, 0x06054b50, 4);
    put(&b, 0, 4);
    put(&b, n, 2);
    put(&b, n, 2);
    put(&b, UINT32_MAX, 4);
    put(&b, UINT32_MAX, 4);
    put(&b, 0, 2);
    return send(out, b.p, b.n, at);
}

int npz_write(struct io_out *out, const struct npz_member *m, size_t n)
{
    struct entry *e = mem_zero(n, sizeof *e);
    uint64_t at = 0, from;
    int bad = 0;
    for (size_t i = 0; i < n && !bad; i++)
        bad = measure(&m[i], &e[i]) || put_member(out, &m[i], &e[i], &at);
    from = at;
    for (size_t i = 0; i < n && !bad; i++)
        bad = put_central(out, &e[i], &at);
    bad = bad || put_end(out, n, from, &at);
    free(e);
    return bad ? -1 : 0;
}
