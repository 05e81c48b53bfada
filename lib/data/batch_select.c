/* SPDX-License-Identifier: MIT */
#include "data/batch_select.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* The entries of c that belong to the chosen rows, one row's behind the other's; *total of them. */
static void *pick_entries(const struct column *c, const struct batch *b, const size_t *rows, size_t n, size_t *total)
{
    size_t item = column_entry(c), at = 0, from, len;
    *total = 0;
    for (size_t i = 0; i < n; i++)
        batch_entries(b, c, rows[i], rows[i] + 1, &from, &len), *total += len;
    char *out = mem_alloc(*total, item);
    for (size_t i = 0; i < n; i++, at += len * item) {
        batch_entries(b, c, rows[i], rows[i] + 1, &from, &len);
        memcpy(out + at, (const char *)c->data + from * item, len * item);
    }
    return out;
}

/* Ends (n of them), or starts and the end (n + 1), of the chosen rows' parts. */
static uint32_t *pick_offsets(const struct column *c, const size_t *rows, size_t n)
{
    const uint32_t *was = c->data;
    uint32_t *out = mem_alloc(n + 1, sizeof *out), at = 0;
    bool starts = c->rule == COLUMN_STARTS;
    out[0] = 0;
    for (size_t i = 0; i < n; i++) {
        size_t r = rows[i];
        at += starts ? was[r + 1] - was[r] : was[r] - (r ? was[r - 1] : 0);
        out[starts ? i + 1 : i] = at;
    }
    return out;
}

void batch_select(struct batch *out, const struct batch *b, const size_t *rows, size_t n)
{
    *out = (struct batch){ .n = n, .section = b->section, .head = b->head };
    for (size_t i = 0; i < b->cols; i++) {
        const struct column *was = &b->col[i];
        struct column c = *was;
        if (c.rule == COLUMN_BATCH)
            continue;
        if (c.rule == COLUMN_ENDS || c.rule == COLUMN_STARTS) {
            c.data = pick_offsets(was, rows, n);
            c.shape[0] = n + (c.rule == COLUMN_STARTS);
        } else {
            c.data = pick_entries(was, b, rows, n, &c.shape[0]);
        }
        out->col[out->cols++] = c;
    }
}

void batch_select_free(struct batch *out)
{
    for (size_t i = 0; i < out->cols; i++)
        free((void *)(uintptr_t)out->col[i].data);
    out->cols = 0;
}

static void *copy_of(const void *p, size_t bytes)
{
    void *copy = mem_align(bytes, 1);
    if (bytes)
        memcpy(copy, p, bytes);
    return copy;
}

void batch_select_keep(struct batch *out, const struct batch *b)
{
    *out = *b;
    json_incref(out->head);
    for (size_t i = 0; i < b->cols; i++) {
        out->col[i].name = mem_string(b->col[i].name);      /* a reader's names live in its record */
        out->col[i].data = copy_of(b->col[i].data, column_bytes(&b->col[i]));
    }
    const struct column *x = batch_column(b, "x"), *val = batch_column(b, "val");
    if (b->x)
        out->x = copy_of(b->x, x->shape[0] * x->shape[1] * sizeof *b->x);
    if (b->val)
        out->val = copy_of(b->val, val->shape[0] * sizeof *b->val);
    batch_point(out);
}

void batch_select_keep_free(struct batch *out)
{
    free((void *)(uintptr_t)out->x);
    free((void *)(uintptr_t)out->val);
    for (size_t i = 0; i < out->cols; i++)
        free((void *)(uintptr_t)out->col[i].name);
    json_decref(out->head);
    batch_select_free(out);
    out->n = 0;
}
