/* SPDX-License-Identifier: MIT */
#include "data/rowpack.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

static bool is_packed(const struct column *c)
{
    return c->rule == COLUMN_ROW || c->rule == COLUMN_TEXT || c->rule == COLUMN_PAIRS;
}

static bool is_ragged(const struct column *c)
{
    return c->rule == COLUMN_TEXT || c->rule == COLUMN_PAIRS;
}

/* ---- the columns ---- */

static size_t travelling(const struct batch *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->cols; i++)
        n += b->col[i].rule != COLUMN_BATCH;
    return n;
}

static bool same_column(const struct column *a, const struct column *b)
{
    return b && a->type == b->type && a->rank == b->rank && a->rule == b->rule && column_entry(a) == column_entry(b);
}

static void adopt(struct rowpack *p, const struct batch *b)
{
    for (size_t i = 0; i < b->cols; i++)
        if (b->col[i].rule != COLUMN_BATCH) {
            p->col[p->cols] = b->col[i];
            p->col[p->cols++].name = mem_string(b->col[i].name);
        }
}

int rowpack_match(struct rowpack *p, const struct batch *b)
{
    if (!p->cols)
        adopt(p, b);
    for (size_t i = 0; i < p->cols; i++)
        if (!same_column(&p->col[i], batch_column(b, p->col[i].name)))
            return err_data("no column %s, or another kind of it: all rows must have the same columns", p->col[i].name);
    if (travelling(b) != p->cols)
        return err_data("columns that earlier rows have not: all rows must have the same columns");
    return 0;
}

void rowpack_free(struct rowpack *p)
{
    while (p->cols)
        free((void *)(uintptr_t)p->col[--p->cols].name);
}

/* ---- rows as bytes ---- */

static void append(struct rowpack_bytes *to, const void *p, size_t n)
{
    to->p = mem_grow(to->p, &to->cap, to->n + n, 1);
    if (n)
        memcpy(to->p + to->n, p, n);
    to->n += n;
}

void rowpack_add(const struct rowpack *p, const struct batch *b, size_t i, struct rowpack_bytes *to)
{
    size_t start = to->n, from, n;
    uint32_t bytes = 0;
    append(to, &bytes, sizeof bytes);
    for (size_t k = 0; k < p->cols; k++) {
        const struct column *c = batch_column(b, p->col[k].name);
        if (!is_packed(c))
            continue;
        batch_entries(b, c, i, i + 1, &from, &n);
        uint32_t count = (uint32_t)n;
        if (is_ragged(c))
            append(to, &count, sizeof count);
        append(to, (const char *)c->data + from * column_entry(c), n * column_entry(c));
    }
    bytes = (uint32_t)(to->n - start - sizeof bytes);
    memcpy(to->p + start, &bytes, sizeof bytes);
}

static uint32_t take_u32(const uint8_t **at)
{
    uint32_t v;
    memcpy(&v, *at, sizeof v);
    *at += sizeof v;
    return v;
}

size_t rowpack_length(const uint8_t *row)
{
    return take_u32(&row) + sizeof(uint32_t);
}

/* ---- and back: column by column, each row remembering how far it is read ---- */

static void read_column(struct column *c, const uint8_t **at, size_t n, uint32_t *end)
{
    struct rowpack_bytes all = { .p = NULL };
    size_t entry = column_entry(c);
    c->shape[0] = n;
    for (size_t i = 0; i < n; i++) {
        size_t count = is_ragged(c) ? take_u32(&at[i]) : 1;
        append(&all, at[i], count * entry);
        at[i] += count * entry;
        end[i] = (uint32_t)(all.n / entry);
    }
    if (is_ragged(c))
        c->shape[0] = n ? end[n - 1] : 0;
    c->data = all.p ? all.p : mem_alloc(0, 1);
}

/* The column of offsets that belongs to ragged column c: its ends, or ptr. */
static struct column *offsets_of(struct batch *b, const struct column *c)
{
    char *name = c->rule == COLUMN_PAIRS ? mem_string("ptr") : mem_format("%s_end", c->name);
    const struct column *found = batch_column(b, name);
    free(name);
    return (struct column *)(uintptr_t)found;
}

static void put_offsets(struct column *c, const uint32_t *end, size_t n)
{
    size_t first = c->rule == COLUMN_STARTS;
    uint32_t *out = mem_alloc(n + 1, sizeof *out);
    out[0] = 0;
    memcpy(out + first, end, n * sizeof *out);
    free((void *)(uintptr_t)c->data);           /* idx and val have one ptr */
    c->data = out;
    c->shape[0] = n + first;
}

void rowpack_batch(const struct rowpack *p, const uint8_t *const *row, size_t n, struct batch *out)
{
    const uint8_t **at = mem_alloc(n, sizeof *at);
    uint32_t *end = mem_alloc(n, sizeof *end);
    for (size_t i = 0; i < n; i++)
        at[i] = row[i] + sizeof(uint32_t);
    *out = (struct batch){ .n = n, .cols = p->cols };
    for (size_t k = 0; k < p->cols; k++) {
        out->col[k] = p->col[k];
        out->col[k].data = NULL;
    }
    for (size_t k = 0; k < p->cols; k++) {
        if (!is_packed(&out->col[k]))
            continue;
        read_column(&out->col[k], at, n, end);
        if (is_ragged(&out->col[k]))
            put_offsets(offsets_of(out, &out->col[k]), end, n);
    }
    free(at);
    free(end);
}
