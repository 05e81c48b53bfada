/* SPDX-License-Identifier: MIT */
#include "cli/labels.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/tool.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST = 32 << 20 };            /* bytes of a file */

struct labels {
    char *text;                         /* the file, lines cut into strings */
    uint32_t *at;                       /* where the name of each feature begins; 0: none, a name being behind a tab */
    size_t n;
};

static int check_name(const char *name)
{
    size_t left = strlen(name), len;
    if (!left)
        return err_data("no name behind the tab");
    for (; left; name += len, left -= len) {
        len = utf8_length(name, left);
        if (!len)
            return err_data("a name that is not UTF-8");
        if ((unsigned char)*name < 0x20 || *name == 0x7f)
            return err_data("a control character in a name");
    }
    return 0;
}

/* One line, without its end. */
static int take_line(struct labels *l, char *line)
{
    char *tab = strchr(line, '\t');
    int64_t feature;
    if (!*line || *line == '#')
        return 0;
    if (!tab)
        return err_data("not a feature, a tab and a name");
    *tab = 0;
    if (opt_count(line, &feature) || feature < 0 || (uint64_t)feature >= l->n)
        return err_data("'%.40s' is not a feature from 0 to %zu", line, l->n - 1);
    if (check_name(tab + 1))
        return -1;
    l->at[feature] = (uint32_t)(tab + 1 - l->text);
    return 0;
}

static int take_lines(struct labels *l, size_t len)
{
    size_t number = 0;
    for (char *line = l->text, *end = l->text + len, *next; line < end; line = next) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        number++;
        stop = stop ? stop : end;
        next = stop + 1;
        bool zero = memchr(line, 0, (size_t)(stop - line));
        if (stop > line && stop[-1] == '\r')
            stop--;
        *stop = 0;
        if (zero ? err_data("a zero byte") : take_line(l, line)) {
            char *where = mem_format("line %zu", number);
            err_in(where);
            free(where);
            return -1;
        }
    }
    return 0;
}

struct labels *labels_load(const char *path, size_t n)
{
    size_t len;
    struct labels *l = mem_zero(1, sizeof *l);
    l->text = io_slurp(path, LARGEST, &len);
    l->n = n;
    l->at = mem_zero(n, sizeof *l->at);
    if (l->text && !take_lines(l, len))
        return l;
    if (l->text)
        err_in(path);
    labels_free(l);
    return NULL;
}

struct labels *labels_open(const char *path, size_t n)
{
    struct labels *l = path ? labels_load(path, n) : NULL;
    if (path && !l)
        tool_die();
    return l;
}

const char *labels_name(const struct labels *l, size_t feature)
{
    return l && feature < l->n && l->at[feature] ? l->text + l->at[feature] : NULL;
}

void labels_cell(struct table *t, const struct labels *l, size_t feature)
{
    const char *name = labels_name(l, feature);
    if (name)
        table_text(t, name);
    else
        table_empty(t);
}

void labels_free(struct labels *l)
{
    if (!l)
        return;
    free(l->text);
    free(l->at);
    free(l);
}
