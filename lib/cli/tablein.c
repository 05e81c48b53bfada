/* SPDX-License-Identifier: MIT */
#include "cli/tablein.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/opt.h"
#include "data/row_selector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16, LINE = 64 << 20, ROWS = 1 << 16 };

enum cell { CELL_NUMBER, CELL_WHOLE, CELL_TEXT };

/* A column of the table that is not one of the numbers, with what the batch in hand has of it. */
struct labels_column {
    enum cell cell;
    char *name, *name_end;
    uint32_t *v;                        /* whole numbers, or ends of the texts; ROWS of them */
    char *bytes;
    size_t cap;
};

struct tablein {
    struct io_in *io;
    char *buf;                          /* buf[at, have) is read and not used */
    size_t at, have, cap;
    bool ended;
    uint64_t line, row;
    size_t cells, d;                    /* columns of the table; those that are numbers */
    int *what;                          /* (cells) -1: a number; otherwise which column */
    struct labels_column col[STREAM_COLUMNS];
    size_t cols, at_once;
    float *x;
};

/* ---- lines ---- */

static int in_line(const struct tablein *t)
{
    char *where = mem_format("%s: line %llu", io_name(t->io), (unsigned long long)t->line);
    err_in(where);
    free(where);
    return -1;
}

/* The next line without its end, which becomes a zero byte: 1, 0, -1. */
static int next_line(struct tablein *t, char **line)
{
    size_t seen = 0;
    char *end;
    t->line++;
    while (!(end = t->have > t->at + seen ? memchr(t->buf + t->at + seen, '\n', t->have - t->at - seen) : NULL) && !t->ended) {
        seen = t->have - t->at;
        if (seen > LINE)
            return err_data("longer than %d bytes", LINE), in_line(t);
        if (t->at && seen)
            memmove(t->buf, t->buf + t->at, seen);
        t->at = 0;
        t->have = seen;
        t->buf = mem_grow(t->buf, &t->cap, t->have + CHUNK + 1, 1);
        ssize_t r = io_some(t->io, t->buf + t->have, CHUNK);
        if (r < 0)
            return -1;
        t->have += (size_t)r;
        t->ended = r == 0;
    }
    size_t n = end ? (size_t)(end - (t->buf + t->at)) : t->have - t->at;
    if (!end && !n)
        return 0;
    *line = t->buf + t->at;
    (*line)[n] = 0;
    t->at += n + (end != NULL);
    if (strlen(*line) != n)
        return err_data("a zero byte"), in_line(t);
    if (n && (*line)[n - 1] == '\r')
        (*line)[n - 1] = 0;
    return 1;
}

/* The cell at *rest, which moves behind it; NULL behind the last one. */
static char *next_cell(char **rest)
{
    char *cell = *rest, *tab = cell ? strchr(cell, '\t') : NULL;
    if (tab)
        *tab = 0;
    *rest = tab ? tab + 1 : NULL;
    return cell;
}

/* ---- the first line ---- */

/* Is it x and `number`? */
static bool is_number(const char *name, size_t number)
{
    char want[24];
    snprintf(want, sizeof want, "x%zu", number);
    return !strcmp(name, want);
}

static int add_label(struct tablein *t, const char *name)
{
    static const char *const whole[] = { "doc", "ctx", "pos", "tok" };
    struct labels_column *c = &t->col[t->cols];
    c->cell = CELL_TEXT;
    for (size_t i = 0; i < 4; i++)
        if (!strcmp(name, whole[i]))
            c->cell = CELL_WHOLE;
    if (!strcmp(name, "row") || !strcmp(name, "feature") || !strcmp(name, "value"))
        return err_data("a column %s: tables of codes are not read, only those with a line a row", name);
    if (name[0] == 'x' && name[1] && strspn(name + 1, "0123456789") == strlen(name + 1))
        return err_data("column %s where x%zu should be next", name, t->d);
    if (c->cell == CELL_TEXT && strcmp(name, "text") && !column_name_free(name))
        return err_data("a column cannot be called '%s'", name);
    if (2 * t->cols + 4 > STREAM_COLUMNS)
        return err_data("more than %zu columns beside the numbers", t->cols);
    for (size_t i = 0; i < t->cols; i++)
        if (!strcmp(t->col[i].name, name) || !strcmp(t->col[i].name_end, name))
            return err_data("column %s occurs twice", name);
    c->name = mem_string(name);
    c->name_end = mem_format("%s_end", name);
    t->cols++;
    return 0;
}

static int read_names(struct tablein *t)
{
    char *line = NULL, *rest, *name;
    size_t cap = 0;
    int r = next_line(t, &line);
    if (r <= 0)
        return r ? -1 : (err_data("empty: a table begins with the names of its columns"), err_in(io_name(t->io)));
    for (rest = line; (name = next_cell(&rest));) {
        t->what = mem_grow(t->what, &cap, t->cells + 1, sizeof *t->what);
        bool number = is_number(name, t->d);
        if (!number && add_label(t, name))
            return in_line(t);
        t->d += number;
        t->what[t->cells++] = number ? -1 : (int)t->cols - 1;
    }
    if (t->d < 1 || t->d > STREAM_WIDTH)
        return err_data("%zu columns x0 x1 ..., not 1 to %d", t->d, STREAM_WIDTH), in_line(t);
    return 0;
}

struct tablein *tablein_open(const char *path)
{
    struct tablein *t = mem_zero(1, sizeof *t);
    t->io = io_open(path);
    if (!t->io || read_names(t)) {
        tablein_close(t);
        return NULL;
    }
    t->at_once = STREAM_PAYLOAD / sizeof *t->x / t->d + 1;
    t->at_once = t->at_once < ROWS ? t->at_once : ROWS;
    t->x = mem_alloc(t->at_once * t->d, sizeof *t->x);
    for (size_t i = 0; i < t->cols; i++)
        t->col[i].v = mem_alloc(t->at_once, sizeof *t->col[i].v);
    return t;
}

void tablein_close(struct tablein *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < t->cols; i++) {
        free(t->col[i].name);
        free(t->col[i].name_end);
        free(t->col[i].v);
        free(t->col[i].bytes);
    }
    io_close(t->io);
    free(t->buf);
    free(t->what);
    free(t->x);
    free(t);
}

const char *tablein_name(const struct tablein *t)
{
    return io_name(t->io);
}

size_t tablein_width(const struct tablein *t)
{
    return t->d;
}

/* ---- rows ---- */

static int read_number(const char *cell, float *to)
{
    char *end;
    *to = strtof(cell, &end);
    return end == cell || *end ? err_data("'%s' is not a number", cell) : 0;
}

static int read_label(struct labels_column *c, const char *cell, size_t row)
{
    int64_t v;
    if (c->cell == CELL_WHOLE) {
        if (opt_count(cell, &v) || v < 0 || v >= UINT32_MAX)
            return err_data("column %s: '%s' is not a whole number below 2^32 - 1", c->name, cell);
        c->v[row] = (uint32_t)v;
        return 0;
    }
    size_t len, from = row ? c->v[row - 1] : 0;
    char *bytes = row_selector_bytes(cell, &len);
    c->bytes = mem_grow(c->bytes, &c->cap, from + len + 1, 1);
    memcpy(c->bytes + from, bytes, len);
    free(bytes);
    c->v[row] = (uint32_t)(from + len);
    return 0;
}

static int read_row(struct tablein *t, char *line, size_t row)
{
    size_t cells = 0, numbers = 0;
    char *cell;
    for (char *rest = line; (cell = next_cell(&rest)); cells++) {
        if (cells == t->cells)
            return err_data("more than %zu cells", t->cells);
        int which = t->what[cells];
        if (which < 0 ? read_number(cell, &t->x[row * t->d + numbers++]) : read_label(&t->col[which], cell, row))
            return -1;
    }
    return cells < t->cells ? err_data("%zu cells, not %zu", cells, t->cells) : 0;
}

static bool is_full(const struct tablein *t, size_t n)
{
    size_t bytes = 0;
    for (size_t i = 0; i < t->cols && n; i++)
        bytes += t->col[i].cell == CELL_TEXT ? t->col[i].v[n - 1] : 0;
    return n == t->at_once || bytes > STREAM_PAYLOAD;
}

int tablein_next(struct tablein *t, struct batch *b)
{
    char *line;
    size_t n = 0;
    int r = 1;
    while (!is_full(t, n) && (r = next_line(t, &line)) > 0)
        if (read_row(t, line, n++))
            return in_line(t);
    if (r < 0 || !n)
        return r;
    *b = (struct batch){ .n = n, .row = t->row, .x = t->x };
    t->row += n;
    batch_add(b, "x", DTYPE_F32, n, t->d, false, t->x);
    for (size_t i = 0; i < t->cols; i++) {
        struct labels_column *c = &t->col[i];
        if (c->cell == CELL_WHOLE)
            batch_add(b, c->name, DTYPE_U32, n, 0, true, c->v);
        else
            batch_add_text(b, c->name, c->name_end, c->bytes, c->v);
    }
    batch_point(b);
    return 1;
}
