/* SPDX-License-Identifier: MIT */
#include "cli/placed.h"
#include "base/mem.h"
#include "cli/tool.h"

#include <stdlib.h>
#include <string.h>

/* A text column being made. */
struct texts {
    uint8_t *bytes;
    uint32_t *end;                      /* (rows) */
    size_t n, cap;
};

static void add_bytes(struct texts *t, size_t row, const uint8_t *bytes, size_t len)
{
    t->bytes = mem_grow(t->bytes, &t->cap, t->n + len + 1, 1);
    if (len)
        memcpy(t->bytes + t->n, bytes, len);
    t->end[row] = (uint32_t)(t->n += len);
}

static struct texts token_texts(const struct splice_group *g, const struct tokenizer *t, const size_t *at, size_t n)
{
    struct texts texts = { .end = mem_alloc(n, sizeof *texts.end) };
    for (size_t r = 0; r < n; r++) {
        size_t len = g->text_len[at[r]];
        const uint8_t *bytes = len ? g->text + g->text_at[at[r]] : NULL;
        if (!bytes && t)
            bytes = tokenizer_text(t, g->tok[at[r]], &len);
        add_bytes(&texts, r, bytes, bytes ? len : 0);
    }
    return texts;
}

static struct texts field_texts(const struct splice_group *g, const struct splice_field *f, const size_t *at, size_t n)
{
    struct texts texts = { .end = mem_alloc(n, sizeof *texts.end) };
    for (size_t r = 0; r < n; r++) {
        size_t len = f->len[at[r]];
        add_bytes(&texts, r, len ? g->text + f->at[at[r]] : NULL, len);
    }
    return texts;
}

/* (4, n): doc, ctx, pos, tok. */
static uint32_t *places(const struct splice_group *g, const size_t *at, const size_t *context, size_t n)
{
    uint32_t *column = mem_alloc(4 * n, sizeof *column);
    for (size_t r = 0; r < n; r++) {
        size_t c = context[r];
        const uint32_t cell[] = { g->doc[c], g->ctx[c], (uint32_t)(at[r] - g->start[c]), g->tok[at[r]] };
        for (size_t k = 0; k < 4; k++)
            column[k * n + r] = cell[k];
    }
    return column;
}

void placed_put(struct stream_out *out, const struct stream_in *in, const struct splice_group *g,
                const struct tokenizer *t, const size_t *at, const size_t *context, size_t n, const float *x, size_t width)
{
    static const char *const names[] = { "doc", "ctx", "pos", "tok" };
    struct batch b = { .n = n }, from = { .section = g->section, .head = g->head };
    struct texts text = token_texts(g, t, at, n), field[SPLICE_FIELDS];
    uint32_t *place = places(g, at, context, n);
    batch_add(&b, "x", DTYPE_F32, n, width, false, x);
    for (size_t k = 0; k < 4; k++)
        batch_add(&b, names[k], DTYPE_U32, n, 0, true, place + k * n);
    if (text.n) {
        batch_add(&b, "text", DTYPE_U8, text.n, 0, false, text.bytes);
        batch_add(&b, "text_end", DTYPE_U32, n, 0, true, text.end);
    }
    for (size_t k = 0; k < g->fields; k++) {
        field[k] = field_texts(g, &g->field[k], at, n);
        batch_add_text(&b, g->field[k].name, g->field[k].ends, field[k].bytes, field[k].end);
    }
    tool_put(out, in, &from, &b);
    for (size_t k = 0; k < g->fields; k++) {
        free(field[k].bytes);
        free(field[k].end);
    }
    free(text.bytes);
    free(text.end);
    free(place);
}
