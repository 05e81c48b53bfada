/* SPDX-License-Identifier: MIT */
#include "data/pick.h"
#include "ground/mem.h"

#include <stdlib.h>
#include <string.h>

static bool named(const struct column *c, const char *name)
{
    return !strcmp(c->name, name);
}

/* Where row r's part of a ragged column begins: text is cut by text_end, idx and val by ptr. */
static size_t part(const struct batch *b, bool text, size_t r, size_t *len)
{
    size_t from = text ? (r ? b->text_end[r - 1] : 0) : b->ptr[r];
    *len = (text ? b->text_end[r] : b->ptr[r + 1]) - from;
    return from;
}

static void *pick_ragged(const struct column *c, const struct batch *b, bool text, const size_t *rows, size_t n,
                         size_t *total)
{
    size_t item = dtype_size(c->type), at = 0, len;
    *total = 0;
    for (size_t i = 0; i < n; i++)
        part(b, text, rows[i], &len), *total += len;
    char *out = mem_alloc(*total, item);
    for (size_t i = 0; i < n; i++, at += len * item) {
        size_t from = part(b, text, rows[i], &len);
        memcpy(out + at, (const char *)c->data + from * item, len * item);
    }
    return out;
}

/* Ends (text_end: n of them) or starts and end (ptr: n + 1) of the chosen rows' parts. */
static uint32_t *pick_ends(const struct batch *b, bool text, const size_t *rows, size_t n)
{
    uint32_t *out = mem_alloc(n + 1, sizeof *out), at = 0;
    size_t len;
    for (size_t i = 0; i < n; i++) {
        part(b, text, rows[i], &len);
        if (!text)
            out[i] = at;
        at += (uint32_t)len;
        out[text ? i : i + 1] = at;
    }
    if (!text && !n)
        out[0] = 0;
    return out;
}

static void *pick_rows(const struct column *c, const size_t *rows, size_t n)
{
    size_t item = dtype_size(c->type);
    for (size_t k = 1; k < c->rank; k++)
        item *= c->shape[k];
    char *out = mem_alloc(n, item);
    for (size_t i = 0; i < n; i++)
        memcpy(out + i * item, (const char *)c->data + rows[i] * item, item);
    return out;
}

void batch_pick(struct batch *out, const struct batch *b, const size_t *rows, size_t n)
{
    *out = (struct batch){ .n = n, .section = b->section, .head = b->head };
    for (size_t i = 0; i < b->cols; i++) {
        struct column c = b->col[i];
        bool text = named(&c, "text"), text_end = named(&c, "text_end"), ptr = named(&c, "ptr");
        if (text || named(&c, "idx") || named(&c, "val")) {
            c.data = pick_ragged(&b->col[i], b, text, rows, n, &c.shape[0]);
        } else if (text_end || ptr) {
            c.data = pick_ends(b, text_end, rows, n);
            c.shape[0] = n + ptr;
        } else if (column_travels(&c) || named(&c, "x")) {
            c.data = pick_rows(&c, rows, n);
            c.shape[0] = n;
        } else {
            continue;
        }
        out->col[out->cols++] = c;
    }
}

void batch_unpick(struct batch *out)
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

void batch_keep(struct batch *out, const struct batch *b)
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

void batch_unkeep(struct batch *out)
{
    free((void *)(uintptr_t)out->x);
    free((void *)(uintptr_t)out->val);
    for (size_t i = 0; i < out->cols; i++)
        free((void *)(uintptr_t)out->col[i].name);
    json_decref(out->head);
    batch_unpick(out);
    out->n = 0;
}
