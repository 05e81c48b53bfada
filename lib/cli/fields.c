/* SPDX-License-Identifier: MIT */
#include "cli/fields.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_field(const struct column *c)
{
    return !column_reserved(c) && (c->rule == COLUMN_TEXT || (c->rule == COLUMN_ROW && c->rank == 1));
}

void fields_find(struct fields *f, const struct batch *b)
{
    fields_free(f);
    for (size_t i = 0; i < b->cols; i++)
        if (is_field(&b->col[i]))
            f->name[f->n++] = mem_string(b->col[i].name);
}

void fields_free(struct fields *f)
{
    while (f->n)
        free(f->name[--f->n]);
}

const struct column *fields_column(const struct batch *b, const char *name)
{
    const struct column *c = batch_column(b, name);
    return c && is_field(c) ? c : NULL;
}

static bool is_real(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64;
}

static double real_at(const struct column *c, size_t i)
{
    float v;
    double wide;
    if (c->type == DTYPE_F64) {
        memcpy(&wide, (const double *)c->data + i, sizeof wide);
        return wide;
    }
    dtype_load(&v, (const char *)c->data + i * dtype_size(c->type), c->type, 1);
    return v;
}

static void print_whole(char *to, const struct column *c, size_t i)
{
    const void *p = c->data;
    switch (c->type) {
    case DTYPE_U8:
        snprintf(to, FIELDS_NUMBER, "%u", ((const uint8_t *)p)[i]);
        break;
    case DTYPE_U16:
        snprintf(to, FIELDS_NUMBER, "%u", ((const uint16_t *)p)[i]);
        break;
    case DTYPE_U32:
        snprintf(to, FIELDS_NUMBER, "%" PRIu32, ((const uint32_t *)p)[i]);
        break;
    case DTYPE_U64:
        snprintf(to, FIELDS_NUMBER, "%" PRIu64, ((const uint64_t *)p)[i]);
        break;
    case DTYPE_I32:
        snprintf(to, FIELDS_NUMBER, "%" PRId32, ((const int32_t *)p)[i]);
        break;
    default:
        snprintf(to, FIELDS_NUMBER, "%" PRId64, ((const int64_t *)p)[i]);
    }
}

const char *fields_value(const struct batch *b, const struct column *c, size_t i, char number[FIELDS_NUMBER], size_t *len)
{
    if (c->rule == COLUMN_TEXT)
        return (const char *)column_text(b, c, i, len);
    if (is_real(c->type))
        snprintf(number, FIELDS_NUMBER, c->type == DTYPE_F64 ? "%.17g" : "%.9g", real_at(c, i));
    else
        print_whole(number, c, i);
    *len = strlen(number);
    return number;
}

static void print_cell(struct table *t, const struct batch *b, const struct column *c, size_t i)
{
    char number[FIELDS_NUMBER];
    size_t len;
    if (is_real(c->type)) {
        table_real(t, real_at(c, i));
        return;
    }
    const char *value = fields_value(b, c, i, number, &len);
    if (c->rule == COLUMN_ROW && value[0] == '-')
        table_signed(t, strtoll(value, NULL, 10));
    else if (c->rule == COLUMN_ROW)
        table_count(t, strtoull(value, NULL, 10));
    else
        table_bytes(t, value, len);
}

void fields_print(const struct fields *f, struct table *t, const struct batch *b, size_t i)
{
    for (size_t k = 0; k < f->n; k++) {
        const struct column *c = fields_column(b, f->name[k]);
        if (c)
            print_cell(t, b, c, i);
        else
            table_empty(t);
    }
}

char *fields_title(const char *name, const char *const *taken, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(name, taken[i]))
            return mem_format("row.%s", name);
    return mem_string(name);
}
