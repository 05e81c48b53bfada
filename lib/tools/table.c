/* SPDX-License-Identifier: MIT */
#include "tools/table.h"
#include "ground/mem.h"
#include "ground/utf8.h"
#include "tools/tool.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct table {
    struct io_out *out;
    const char *const *names;
    size_t columns, at;
    struct text text;                   /* what is not written yet */
};

static void text_add(struct text *t, const char *s, size_t n)
{
    t->s = mem_grow(t->s, &t->cap, t->n + n + 1, 1);
    memcpy(t->s + t->n, s, n);
    t->s[t->n += n] = 0;
}

void text_plain(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

void text_bytes(struct text *t, const uint8_t *p, size_t n)
{
    char hex[8];
    for (size_t i = 0, len; i < n; i += len ? len : 1) {
        len = utf8_length(p + i, n - i);
        if (p[i] == '\t')
            text_add(t, "\\t", 2);
        else if (p[i] == '\n')
            text_add(t, "\\n", 2);
        else if (p[i] == '\\')
            text_add(t, "\\\\", 2);
        else if (len == 0 || p[i] < 0x20 || p[i] == 0x7f)
            text_add(t, hex, (size_t)snprintf(hex, sizeof hex, "\\x%02X", p[i]));
        else
            text_add(t, (const char *)p + i, len);
    }
}

static void flush(struct table *t)
{
    struct iovec iov = { t->text.s, t->text.n };
    if (t->text.n && io_put(t->out, &iov, 1))
        tool_die();
    t->text.n = 0;
}

static struct table *create(const char *path, int zlevel, const char *const *names, size_t columns)
{
    struct table *t = mem_zero(1, sizeof *t);
    t->out = io_create(path, zlevel);
    if (!t->out)
        tool_die();
    t->names = names;
    t->columns = columns;
    for (size_t i = 0; i < columns && !opt.json; i++) {
        text_plain(&t->text, names[i]);
        text_plain(&t->text, i + 1 < columns ? "\t" : "\n");
    }
    return t;
}

struct table *table_create(const char *const *names, size_t columns)
{
    return create(opt.output, (int)opt.zlevel, names, columns);
}

struct table *table_create_at(const char *path, const char *const *names, size_t columns)
{
    return create(path, 0, names, columns);
}

static void before(struct table *t)
{
    if (opt.json) {
        text_plain(&t->text, t->at ? ", \"" : "{\"");
        text_plain(&t->text, t->names[t->at]);
        text_plain(&t->text, "\": ");
    } else if (t->at) {
        text_plain(&t->text, "\t");
    }
}

static void after(struct table *t)
{
    if (++t->at < t->columns)
        return;
    text_plain(&t->text, opt.json ? "}\n" : "\n");
    t->at = 0;
    if (t->text.n > 1 << 16)
        flush(t);
}

void table_count(struct table *t, uint64_t v)
{
    char buf[24];
    before(t);
    snprintf(buf, sizeof buf, "%llu", (unsigned long long)v);
    text_plain(&t->text, buf);
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
    text_plain(&t->text, buf);
    after(t);
}

/* JSON has its own escapes; the text is already free of control characters. */
static void quoted(struct text *t, const char *s)
{
    text_plain(t, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            text_plain(t, "\\");
        text_add(t, s, 1);
    }
    text_plain(t, "\"");
}

void table_text(struct table *t, const char *s)
{
    before(t);
    if (opt.json)
        quoted(&t->text, s);
    else
        text_plain(&t->text, s);
    after(t);
}

void table_empty(struct table *t)
{
    before(t);
    if (opt.json)
        text_plain(&t->text, "null");
    after(t);
}

int table_finish(struct table *t)
{
    flush(t);
    if (io_commit(t->out))
        tool_die();
    free(t->text.s);
    free(t);
    return 0;
}
