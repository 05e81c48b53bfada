/* SPDX-License-Identifier: MIT */
#include "cli/streamtable.h"
#include "base/mem.h"
#include "cli/fields.h"

#include <stdlib.h>
#include <string.h>

enum { WHOSE = 4 };

static const char *const whose[WHOSE] = { "doc", "ctx", "pos", "tok" };

struct streamtable {
    struct table *t;
    enum stream_kind kind;
    const struct labels *labels;
    bool has[WHOSE], text;
    struct fields fields;
    char **name;
    size_t names;
};

static void add_name(struct streamtable *s, const char *name)
{
    s->name[s->names++] = mem_string(name);
}

static void add_label_names(struct streamtable *s, const struct batch *b, bool features)
{
    static const char *const own[] = { "row", "feature", "value", "label" };
    for (size_t i = 0; i < WHOSE; i++)
        if ((s->has[i] = batch_column(b, whose[i]) != NULL))
            add_name(s, whose[i]);
    if ((s->text = batch_column(b, "text") != NULL))
        add_name(s, "text");
    fields_find(&s->fields, b);
    for (size_t i = 0; i < s->fields.n; i++)
        s->name[s->names++] = fields_title(s->fields.name[i], own, features ? (s->labels ? 4 : 3) : 0);
}

struct streamtable *streamtable_create(const struct batch *b, enum stream_kind kind, size_t d, const struct labels *labels)
{
    struct streamtable *s = mem_zero(1, sizeof *s);
    bool codes = kind == STREAM_CODES;
    s->kind = kind;
    s->labels = labels;
    s->name = mem_alloc((codes ? 4 : d) + STREAM_COLUMNS, sizeof *s->name);
    add_label_names(s, b, codes);
    for (size_t i = 0; !codes && i < d; i++)
        s->name[s->names++] = mem_format("x%zu", i);
    if (codes) {
        add_name(s, "row");
        add_name(s, "feature");
        if (labels)
            add_name(s, "label");
        add_name(s, "value");
    }
    s->t = table_create((const char *const *)s->name, s->names);
    return s;
}

static void put_labels(struct streamtable *s, const struct batch *b, size_t i)
{
    for (size_t k = 0; k < WHOSE; k++) {
        const struct column *c = s->has[k] ? batch_column(b, whose[k]) : NULL;
        if (c)
            table_count(s->t, ((const uint32_t *)c->data)[i]);
        else if (s->has[k])
            table_empty(s->t);
    }
    const struct column *text = s->text ? batch_column(b, "text") : NULL;
    size_t len;
    if (text) {
        const uint8_t *bytes = column_text(b, text, i, &len);
        table_bytes(s->t, bytes, len);
    } else if (s->text) {
        table_empty(s->t);
    }
    fields_print(&s->fields, s->t, b, i);
}

static void put_acts(struct streamtable *s, const struct batch *b)
{
    const struct column *x = batch_column(b, "x");
    size_t d = x->shape[1];
    float *row = mem_alloc(d, sizeof *row);
    for (size_t i = 0; i < b->n; i++) {
        put_labels(s, b, i);
        dtype_load(row, (const char *)x->data + i * column_entry(x), x->type, d);
        for (size_t k = 0; k < d; k++)
            table_real(s->t, row[k]);
    }
    free(row);
}

static void put_codes(struct streamtable *s, const struct batch *b, uint64_t at)
{
    const struct column *val = batch_column(b, "val");
    const uint32_t *start = batch_column(b, "ptr")->data, *idx = batch_column(b, "idx")->data;
    float *v = mem_alloc(val->shape[0], sizeof *v);
    dtype_load(v, val->data, val->type, val->shape[0]);
    for (size_t i = 0; i < b->n; i++)
        for (uint32_t k = start[i]; k < start[i + 1]; k++) {
            put_labels(s, b, i);
            table_count(s->t, at + i);
            table_count(s->t, idx[k]);
            if (s->labels)
                labels_cell(s->t, s->labels, idx[k]);
            table_real(s->t, v[k]);
        }
    free(v);
}

void streamtable_put(struct streamtable *s, const struct batch *b, uint64_t at)
{
    if (s->kind == STREAM_CODES)
        put_codes(s, b, at);
    else
        put_acts(s, b);
}

const char *streamtable_lacks(const struct streamtable *s, const struct batch *b)
{
    for (size_t k = 0; k < WHOSE; k++)
        if (!s->has[k] && batch_column(b, whose[k]))
            return whose[k];
    if (!s->text && batch_column(b, "text"))
        return "text";
    for (size_t i = 0; i < b->cols; i++) {
        bool found = !fields_column(b, b->col[i].name);
        for (size_t k = 0; k < s->fields.n && !found; k++)
            found = !strcmp(s->fields.name[k], b->col[i].name);
        if (!found)
            return b->col[i].name;
    }
    return NULL;
}

int streamtable_finish(struct streamtable *s)
{
    int status = table_finish(s->t);
    for (size_t i = 0; i < s->names; i++)
        free(s->name[i]);
    free(s->name);
    fields_free(&s->fields);
    free(s);
    return status;
}
