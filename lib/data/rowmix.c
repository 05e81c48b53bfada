/* SPDX-License-Identifier: MIT */
#include "data/rowmix.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/rowpack.h"
#include "data/spool.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 64 };

/* Rows of one part: chunks in the spool, and the last of them in memory. */
struct part {
    struct rowpack_bytes tail;
    struct chunk {
        uint64_t at;
        size_t bytes;
    } *chunk;
    size_t chunks, cap;
    uint64_t bytes, rows;
};

/* Parts that are given out one after the other; those of a part that was too large lie above it. */
struct level {
    struct part part[PARTS];
    size_t at;
    struct level *below;
};

struct rowmix {
    struct rng rng;
    struct rowpack pack;
    uint64_t window;
    size_t held, loadable;              /* bytes of a part's tail; of a part that is loaded whole */
    struct level *top;
    struct spool *spool;                /* made when first needed */
    struct rowpack_bytes loaded;        /* rows of one part, to go out in the order of row[at, rows) */
    uint8_t **row;                      /* in a window: one allocation each, ready to go out up to `at` */
    size_t rows, cap, at;
};

/* ---- parts ---- */

static struct level *level_new(struct level *below)
{
    struct level *l = mem_zero(1, sizeof *l);
    l->below = below;
    return l;
}

static void part_free(struct part *p)
{
    free(p->tail.p);
    free(p->chunk);
    *p = (struct part){ .rows = 0 };
}

static void level_pop(struct rowmix *m)
{
    struct level *l = m->top;
    for (size_t i = 0; i < PARTS; i++)
        part_free(&l->part[i]);
    m->top = l->below;
    free(l);
}

static int part_flush(struct rowmix *m, struct part *p)
{
    if (!m->spool && !(m->spool = spool_new()))
        return -1;
    p->chunk = mem_grow(p->chunk, &p->cap, p->chunks + 1, sizeof *p->chunk);
    p->chunk[p->chunks++] = (struct chunk){ spool_size(m->spool), p->tail.n };
    if (spool_add(m->spool, p->tail.p, p->tail.n))
        return -1;
    p->tail.n = 0;
    return 0;
}

/* The part that the lot gives the next row to; *before: bytes of its tail without it. */
static struct part *draw_part(struct rowmix *m, size_t *before)
{
    struct part *p = &m->top->part[rng_below(&m->rng, PARTS)];
    *before = p->tail.n;
    p->rows++;
    return p;
}

static int grown(struct rowmix *m, struct part *p, size_t before)
{
    p->bytes += p->tail.n - before;
    return p->tail.n >= m->held ? part_flush(m, p) : 0;
}

/* All rows of part p, one behind the other. */
static int load(struct rowmix *m, const struct part *p)
{
    struct rowpack_bytes *to = &m->loaded;
    to->n = 0;
    to->p = mem_grow(to->p, &to->cap, (size_t)p->bytes, 1);
    for (size_t i = 0; i < p->chunks; to->n += p->chunk[i++].bytes)
        if (spool_read(m->spool, p->chunk[i].at, to->p + to->n, p->chunk[i].bytes))
            return -1;
    if (p->tail.n)
        memcpy(to->p + to->n, p->tail.p, p->tail.n);
    to->n += p->tail.n;
    return 0;
}

static void shuffle(struct rowmix *m)
{
    for (size_t i = m->rows; i > 1; i--) {
        size_t k = (size_t)rng_below(&m->rng, i);
        uint8_t *swap = m->row[i - 1];
        m->row[i - 1] = m->row[k];
        m->row[k] = swap;
    }
}

/* Part p as the rows that go out next. */
static int begin_part(struct rowmix *m, const struct part *p)
{
    if (load(m, p))
        return -1;
    m->rows = m->at = 0;
    for (size_t at = 0; at < m->loaded.n; at += rowpack_length(m->loaded.p + at)) {
        m->row = mem_grow(m->row, &m->cap, m->rows + 1, sizeof *m->row);
        m->row[m->rows++] = m->loaded.p + at;
    }
    shuffle(m);
    return 0;
}

/* The rows in these bytes, each to a part of the level on top. */
static int deal(struct rowmix *m, const uint8_t *p, size_t n)
{
    for (size_t at = 0, len, before; at < n; at += len) {
        struct part *to = draw_part(m, &before);
        len = rowpack_length(p + at);
        to->tail.p = mem_grow(to->tail.p, &to->tail.cap, before + len, 1);
        memcpy(to->tail.p + before, p + at, len);
        to->tail.n += len;
        if (grown(m, to, before))
            return -1;
    }
    return 0;
}

/* Divide part p among a new level. */
static int divide(struct rowmix *m, struct part *p)
{
    uint8_t *bytes = NULL;
    size_t cap = 0;
    int bad = 0;
    m->top = level_new(m->top);
    for (size_t i = 0; i < p->chunks && !bad; i++) {
        bytes = mem_grow(bytes, &cap, p->chunk[i].bytes, 1);
        bad = spool_read(m->spool, p->chunk[i].at, bytes, p->chunk[i].bytes) || deal(m, bytes, p->chunk[i].bytes);
    }
    bad = bad || deal(m, p->tail.p, p->tail.n);
    free(bytes);
    part_free(p);
    return bad ? -1 : 0;
}

/* Have the next part's rows ready: 1, 0 when there is none, -1. */
static int next_part(struct rowmix *m)
{
    while (m->top) {
        struct part *p = &m->top->part[m->top->at];
        if (m->top->at == PARTS) {
            level_pop(m);
            continue;
        }
        m->top->at++;
        if (p->bytes > m->loadable && p->rows > 1) {
            if (divide(m, p))
                return -1;
        } else if (p->rows) {
            int r = begin_part(m, p);
            part_free(p);
            return r ? -1 : 1;
        }
    }
    return 0;
}

/* ---- a window: row[0, at) go out next, row[at, rows) are held ---- */

static void exchange(struct rowmix *m, const struct batch *b, size_t i)
{
    struct rowpack_bytes one = { .p = NULL };
    rowpack_add(&m->pack, b, i, &one);
    m->row = mem_grow(m->row, &m->cap, m->rows + 1, sizeof *m->row);
    m->row[m->rows++] = one.p;
    if (m->rows - m->at <= m->window)
        return;
    size_t k = m->at + (size_t)rng_below(&m->rng, m->rows - 1 - m->at);
    uint8_t *out = m->row[k];
    m->row[k] = m->row[m->at];
    m->row[m->at++] = out;
}

/* ---- in and out ---- */

struct rowmix *rowmix_new(uint64_t seed, uint64_t window, size_t memory)
{
    struct rowmix *m = mem_zero(1, sizeof *m);
    rng_seed(&m->rng, seed, 0);
    m->window = window;
    m->held = memory / PARTS / 4;           /* growing arrays may be twice as large as what they hold */
    m->loadable = memory / 2;
    m->top = window ? NULL : level_new(NULL);
    return m;
}

void rowmix_free(struct rowmix *m)
{
    if (!m)
        return;
    while (m->top)
        level_pop(m);
    for (size_t i = 0; i < m->rows && m->window; i++)
        free(m->row[i]);
    rowpack_free(&m->pack);
    spool_free(m->spool);
    free(m->loaded.p);
    free(m->row);
    free(m);
}

int rowmix_add(struct rowmix *m, const struct batch *b)
{
    if (rowpack_match(&m->pack, b))
        return -1;
    for (size_t i = 0, before; i < b->n; i++) {
        if (m->window) {
            exchange(m, b, i);
            continue;
        }
        struct part *p = draw_part(m, &before);
        rowpack_add(&m->pack, b, i, &p->tail);
        if (grown(m, p, before))
            return -1;
    }
    return 0;
}

/* How many of `most` rows from row[at] on make a batch. */
static size_t batch_rows(const struct rowmix *m, size_t at, size_t most)
{
    size_t bytes = 0, n = 0;
    while (n < most && bytes < STREAM_PAYLOAD)
        bytes += rowpack_length(m->row[at + n++]);
    return n;
}

static int take_window(struct rowmix *m, bool last, struct batch *out)
{
    if (last && m->at < m->rows) {
        uint8_t **all = m->row;
        size_t held = m->rows - m->at, at = m->at;
        m->row += at, m->rows = held;
        shuffle(m);
        m->row = all, m->rows = m->at = at + held;
    }
    size_t n = batch_rows(m, 0, m->at);
    if (!n || (!last && n == m->at))            /* less than a batch can wait */
        return 0;
    rowpack_batch(&m->pack, (const uint8_t *const *)m->row, n, out);
    for (size_t i = 0; i < n; i++)
        free(m->row[i]);
    m->rows -= n;
    m->at -= n;
    memmove(m->row, m->row + n, m->rows * sizeof *m->row);
    return 1;
}

int rowmix_take(struct rowmix *m, bool last, struct batch *out)
{
    if (m->window)
        return take_window(m, last, out);
    if (!last)
        return 0;
    if (m->at == m->rows) {
        int r = next_part(m);
        if (r <= 0)
            return r;
    }
    size_t n = batch_rows(m, m->at, m->rows - m->at);
    rowpack_batch(&m->pack, (const uint8_t *const *)m->row + m->at, n, out);
    m->at += n;
    return 1;
}
