/* SPDX-License-Identifier: MIT */
#include "sae_topk/window.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void window_init(struct window *w, size_t width, const char *const *field, size_t fields)
{
    *w = (struct window){ .width = width, .cap = 2 * width + 1, .field = field, .fields = fields };
    w->scratch = mem_alloc(1 + fields, WINDOW_TOKEN);
    w->ring = mem_zero(w->cap, sizeof *w->ring);
}

struct window_row *window_at(const struct window *w, uint64_t row)
{
    return w->ring[row % w->cap];
}

static void drop_first(struct window *w)
{
    struct window_row **slot = &w->ring[w->first++ % w->cap];
    w->pairs -= (*slot)->nnz;
    free(*slot);
    *slot = NULL;
}

void window_clear(struct window *w)
{
    while (w->first < w->end)
        drop_first(w);
}

void window_free(struct window *w)
{
    window_clear(w);
    free(w->ring);
    free(w->scratch);
}

/* A text as it is kept, into `to`: its length. */
static size_t cut_text(const uint8_t *text, size_t len, char *to)
{
    size_t n = WINDOW_TOKEN - 3;
    if (len <= WINDOW_TOKEN) {
        if (len)
            memcpy(to, text, len);
        return len;
    }
    for (int back = 0; back < 3 && (text[n] & 0xc0) == 0x80; back++)
        n--;                            /* not a part of a character */
    memcpy(to, text, n);
    memcpy(to + n, "...", 3);
    return n + 3;
}

size_t window_text(const struct batch *b, size_t i, char *to)
{
    size_t len;
    const uint8_t *text = batch_text(b, i, &len);
    if (b->text_end)
        return cut_text(text, len, to);
    return b->tok ? (size_t)snprintf(to, WINDOW_TOKEN, " %u", b->tok[i]) : 0;
}

static size_t count_wanted(const struct batch *b, size_t i, const bool *wanted)
{
    size_t n = 0;
    for (uint32_t j = b->ptr[i]; wanted && j < b->ptr[i + 1]; j++)
        n += wanted[b->idx[j]];
    return n;
}

static void copy_wanted(struct window_row *r, const struct batch *b, size_t i, const bool *wanted)
{
    size_t n = 0;
    for (uint32_t j = b->ptr[i]; n < r->nnz; j++)
        if (wanted[b->idx[j]]) {
            r->idx[n] = b->idx[j];
            r->val[n++] = b->val[j];
        }
}

/* The texts of a row behind each other into scratch; where each ends in end[1 + fields]. */
static int gather_texts(struct window *w, const struct batch *b, size_t i, uint32_t *end)
{
    size_t at = window_text(b, i, w->scratch), len;
    end[0] = (uint32_t)at;
    for (size_t f = 0; f < w->fields; f++) {
        const struct column *c = batch_column(b, w->field[f]);
        if (!c || c->rule != COLUMN_TEXT)
            return err_data("no column %s of text", w->field[f]);
        const uint8_t *text = column_text(b, c, i, &len);
        at += cut_text(text, len, w->scratch + at);
        end[f + 1] = (uint32_t)at;
    }
    return 0;
}

/* One block: the row, its codes, its texts. */
static struct window_row *make_row(struct window *w, const struct batch *b, size_t i, size_t nnz, const bool *wanted)
{
    uint32_t end[1 + WINDOW_FIELDS];
    if (gather_texts(w, b, i, end))
        return NULL;
    size_t ends = 1 + w->fields, bytes = end[w->fields];
    struct window_row *r = mem_alloc(sizeof *r + (2 * nnz + ends) * sizeof *r->idx + bytes, 1);
    *r = (struct window_row){ .nnz = (uint32_t)nnz, .len = end[0] };
    r->idx = (uint32_t *)(r + 1);
    r->val = (float *)(r->idx + nnz);
    r->end = (uint32_t *)(r->val + nnz);
    r->text = (char *)(r->end + ends);
    copy_wanted(r, b, i, wanted);
    memcpy(r->end, end, ends * sizeof *end);
    memcpy(r->text, w->scratch, bytes);
    return r;
}

int window_push(struct window *w, const struct batch *b, size_t i, const bool *wanted)
{
    size_t nnz = count_wanted(b, i, wanted);
    if (w->end - w->first == w->cap)
        drop_first(w);
    if (nnz && w->pairs + nnz > WINDOW_PAIRS)
        return err_data("more than %d codes in %zu rows that follow each other: ask for fewer features or a smaller width",
                        WINDOW_PAIRS, w->cap);
    struct window_row *r = make_row(w, b, i, nnz, wanted);
    if (!r)
        return -1;
    r->row = w->end;
    r->doc = b->doc ? b->doc[i] : 0;
    r->ctx = b->ctx ? b->ctx[i] : 0;
    r->pos = b->pos ? b->pos[i] : (uint32_t)w->end;
    r->has_ctx = b->ctx, r->has_pos = b->pos;
    w->pairs += nnz;
    w->ring[w->end++ % w->cap] = r;
    return 0;
}

/* Are row r and the one behind it neighbors in one context? */
static bool joined(const struct window *w, uint64_t r)
{
    const struct window_row *a = window_at(w, r), *b = window_at(w, r + 1);
    return a->has_ctx && a->has_pos && b->has_ctx && b->has_pos && a->ctx == b->ctx && a->pos + 1 == b->pos && a->doc == b->doc;
}

static float value_of(const struct window_row *r, uint32_t feature)
{
    size_t lo = 0, hi = r->nnz;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (r->idx[mid] < feature)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < r->nnz && r->idx[lo] == feature ? r->val[lo] : 0;
}

/* One block: the context, its numbers, its texts, those of the peak's fields. */
static struct context *make_context(const struct window *w, const struct window_row *peak, size_t tokens, size_t bytes,
                                    bool around)
{
    size_t numbers = tokens * (around ? 2 : 1) + w->fields, fields = peak->end[w->fields] - peak->len;
    struct context *c = mem_alloc(sizeof *c + numbers * sizeof *c->end + bytes + fields, 1);
    *c = (struct context){ .tokens = (uint32_t)tokens, .bytes = (uint32_t)bytes, .len = peak->len, .row = peak->row,
                           .doc = peak->doc, .ctx = peak->ctx, .pos = peak->pos };
    c->end = (uint32_t *)(c + 1);
    c->around = around ? (float *)(c->end + tokens) : NULL;
    c->field_end = c->end + numbers - w->fields;
    c->text = (char *)(c->end + numbers);
    c->field = c->text + bytes;
    for (size_t f = 0; f < w->fields; f++)
        c->field_end[f] = peak->end[f + 1] - peak->len;
    memcpy(c->field, peak->text + peak->len, fields);
    return c;
}

struct context *window_context(const struct window *w, uint64_t row, uint32_t feature, float value, bool around)
{
    uint64_t lo = row, hi = row + 1;
    size_t bytes = 0;
    while (lo > w->first && row - lo < w->width && joined(w, lo - 1))
        lo--;
    while (hi < w->end && hi - row <= w->width && joined(w, hi - 1))
        hi++;
    for (uint64_t r = lo; r < hi; r++)
        bytes += window_at(w, r)->len;
    struct context *c = make_context(w, window_at(w, row), hi - lo, bytes, around);
    c->value = value;
    c->peak = (uint32_t)(row - lo);
    bytes = 0;
    for (uint64_t r = lo; r < hi; r++) {
        const struct window_row *from = window_at(w, r);
        if (r == row)
            c->at = (uint32_t)bytes;
        memcpy(c->text + bytes, from->text, from->len);
        c->end[r - lo] = (uint32_t)(bytes += from->len);
        if (around)
            c->around[r - lo] = value_of(from, feature);
    }
    return c;
}
