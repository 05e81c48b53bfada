/* SPDX-License-Identifier: MIT */
#include "cli/table.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    struct io_out *out;
    const char *const *names;
    size_t columns, at;
    uint64_t rows;
    bool keyed, listing;
    size_t items;                       /* of the list in hand */
    const char *const *members;         /* names of the object in hand; NULL: there is none */
    size_t member;
    struct text text;                   /* what is not written yet */
};

void table_text_bytes(struct text *t, const uint8_t *p, size_t n)
{
    t->s = mem_grow(t->s, &t->cap, t->n + n + 1, 1);
    if (n)
        memcpy(t->s + t->n, p, n);
    t->s[t->n += n] = 0;
}

void table_text_plain(struct text *t, const char *s)
{
    table_text_bytes(t, (const uint8_t *)s, strlen(s));
}

/* ---- text ---- */

static void put_escaped(struct text *t, const uint8_t *p, size_t n, bool blanks)
{
    char hex[8];
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        len = utf8_printable(p + i, n - i);
        if (p[i] == '\t')
            table_text_plain(t, "\\t");
        else if (p[i] == '\n')
            table_text_plain(t, "\\n");
        else if (p[i] == '\\')
            table_text_plain(t, "\\\\");
        else if (len == 0 || (blanks && p[i] == ' '))
            table_text_bytes(t, (const uint8_t *)hex, (size_t)snprintf(hex, sizeof hex, "\\x%02X", p[i]));
        else
            table_text_bytes(t, p + i, len);
    }
}

/* The number of the well-formed UTF-8 character of len bytes at p. */
static uint32_t code_point(const uint8_t *p, size_t len)
{
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        c = c << 6 | (p[i] & 0x3f);
    return c;
}

static void put_json_escape(struct text *t, uint32_t c)
{
    char buf[16];
    if (c == '\t' || c == '\n' || c == '\r')
        snprintf(buf, sizeof buf, "\\%c", c == '\t' ? 't' : c == '\n' ? 'n' : 'r');
    else if (c >= 0x10000)
        snprintf(buf, sizeof buf, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
                 (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
    else
        snprintf(buf, sizeof buf, "\\u%04x", (unsigned)c);
    table_text_plain(t, buf);
}

void table_text_json(struct text *t, const char *json)
{
    const uint8_t *p = (const uint8_t *)json;
    for (size_t n = strlen(json), len; n; p += len, n -= len) {
        size_t whole = utf8_length(p, n);
        len = whole ? whole : 1;
        if (whole > 1 && !utf8_printable(p, n))
            put_json_escape(t, code_point(p, len));
        else
            table_text_bytes(t, p, len);
    }
}

static void put_quoted(struct text *t, const uint8_t *p, size_t n)
{
    table_text_plain(t, "\"");
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        len = utf8_length(p + i, n - i);
        if (p[i] == '"' || p[i] == '\\')
            table_text_plain(t, p[i] == '"' ? "\\\"" : "\\\\");
        else if (len == 0)
            table_text_plain(t, "\xef\xbf\xbd");
        else if (!utf8_printable(p + i, n - i))
            put_json_escape(t, code_point(p + i, len));
        else
            table_text_bytes(t, p + i, len);
    }
    table_text_plain(t, "\"");
}

/* ---- the output ---- */

static void flush(struct table *t)
{
    struct iovec iov = { t->text.s, t->text.n };
    if (t->text.n && io_put(t->out, &iov, 1))
        tool_die();
    t->text.n = 0;
}

static struct table *create(const char *path, int zlevel, const char *const *names, size_t columns, bool keyed)
{
    struct table *t = mem_zero(1, sizeof *t);
    t->out = io_create(path, zlevel);
    if (!t->out)
        tool_die();
    t->names = names;
    t->columns = columns;
    t->keyed = keyed;
    for (size_t i = 0; i < columns && !opt.json; i++) {
        put_escaped(&t->text, (const uint8_t *)names[i], strlen(names[i]), false);
        table_text_plain(&t->text, i + 1 < columns ? "\t" : "\n");
    }
    return t;
}

struct table *table_create(const char *const *names, size_t columns)
{
    return create(opt.output, (int)opt.zlevel, names, columns, false);
}

struct table *table_create_at(const char *path, const char *const *names, size_t columns)
{
    return create(path, 0, names, columns, false);
}

struct table *table_create_keyed(const char *const *names, size_t columns)
{
    return create(opt.output, (int)opt.zlevel, names, columns, true);
}

/* ---- cells ---- */

static void put_name(struct table *t, const char *name)
{
    put_quoted(&t->text, (const uint8_t *)name, strlen(name));
    table_text_plain(&t->text, ": ");
}

/* What stands in front of a cell of a JSON object: of a keyed table the first one is a key itself. */
static void json_before(struct table *t)
{
    bool nested = t->keyed && t->columns > 2;
    if (t->keyed && t->at == 0) {
        table_text_plain(&t->text, t->rows ? ", " : "{");
        return;
    }
    if (!t->keyed || nested) {
        table_text_plain(&t->text, t->at > t->keyed ? ", " : "{");
        put_name(t, t->names[t->at]);
    }
}

static void before(struct table *t)
{
    if (t->members) {
        table_text_plain(&t->text, t->member ? ", " : "");
        put_name(t, t->members[t->member++]);
    } else if (t->listing)
        table_text_plain(&t->text, t->items++ == 0 ? "" : opt.json ? ", " : " ");
    else if (opt.json)
        json_before(t);
    else if (t->at)
        table_text_plain(&t->text, "\t");
}

static void json_after(struct table *t)
{
    bool last = t->at == t->columns, nested = t->keyed && t->columns > 2;
    if (t->keyed && t->at == 1)
        table_text_plain(&t->text, ": ");
    else if (last)
        table_text_plain(&t->text, !t->keyed ? "}\n" : nested ? "}" : "");
}

static void after(struct table *t)
{
    if (t->listing)
        return;
    t->at++;
    if (opt.json)
        json_after(t);
    else if (t->at == t->columns)
        table_text_plain(&t->text, "\n");
    if (t->at < t->columns)
        return;
    t->at = 0;
    t->rows++;
    if (t->text.n > 1 << 16)
        flush(t);
}

void table_count(struct table *t, uint64_t v)
{
    char buf[24];
    before(t);
    snprintf(buf, sizeof buf, "%llu", (unsigned long long)v);
    table_text_plain(&t->text, buf);
    after(t);
}

void table_signed(struct table *t, int64_t v)
{
    char buf[24];
    before(t);
    snprintf(buf, sizeof buf, "%lld", (long long)v);
    table_text_plain(&t->text, buf);
    after(t);
}

void table_real(struct table *t, double v)
{
    char buf[40];
    before(t);
    if (isfinite(v))
        snprintf(buf, sizeof buf, "%.9g", v);
    else
        snprintf(buf, sizeof buf, "%s", opt.json ? "null" : isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
    table_text_plain(&t->text, buf);
    after(t);
}

void table_bytes(struct table *t, const void *p, size_t n)
{
    before(t);
    if (opt.json)
        put_quoted(&t->text, p, n);
    else
        put_escaped(&t->text, p, n, t->listing);
    after(t);
}

void table_text(struct table *t, const char *s)
{
    table_bytes(t, s, strlen(s));
}

void table_empty(struct table *t)
{
    before(t);
    if (opt.json)
        table_text_plain(&t->text, "null");
    after(t);
}

void table_list(struct table *t)
{
    before(t);
    if (opt.json)
        table_text_plain(&t->text, "[");
    t->listing = true;
    t->items = 0;
}

void table_list_end(struct table *t)
{
    t->listing = false;
    if (opt.json)
        table_text_plain(&t->text, "]");
    after(t);
}

void table_object(struct table *t, const char *const *names)
{
    before(t);
    table_text_plain(&t->text, "{");
    t->members = names;
    t->member = 0;
}

void table_object_end(struct table *t)
{
    t->members = NULL;
    table_text_plain(&t->text, "}");
}

int table_finish(struct table *t)
{
    if (opt.json && t->keyed)
        table_text_plain(&t->text, t->rows ? "}\n" : "{}\n");
    flush(t);
    if (io_commit(t->out))
        tool_die();
    free(t->text.s);
    free(t);
    return 0;
}
