/* SPDX-License-Identifier: MIT */
#include "tools/edit.h"
#include "data/stream.h"
#include "ground/io.h"
#include "ground/mem.h"
#include "ground/opt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 3, FILE_LIMIT = 64 << 20 };

void edits_begin(struct edits *e, size_t m)
{
    *e = (struct edits){ .m = m, .scale = mem_alloc(m, sizeof *e->scale), .shift = mem_zero(m, sizeof *e->shift) };
    for (size_t i = 0; i < m; i++)
        e->scale[i] = 1;
}

void edits_free(struct edits *e)
{
    free(e->scale);
    free(e->shift);
    free(e->list);
    *e = (struct edits){ .m = 0 };
}

float edits_change(const struct edits *e, uint32_t i, float f)
{
    return (float)(((double)e->scale[i] - 1) * f + e->shift[i]);
}

void edits_settle(struct edits *e)
{
    size_t cap = 0;
    for (size_t i = 0; i < e->m; i++) {
        if (e->scale[i] == 1 && e->shift[i] == 0)
            continue;
        e->list = mem_grow(e->list, &cap, e->n + 1, sizeof *e->list);
        e->list[e->n++] = (uint32_t)i;
    }
}

/* ---- the features an edit names ---- */

static int one_feature(const char *s, size_t len, size_t m, size_t *out)
{
    char text[24];
    int64_t v;
    if (len < sizeof text) {
        memcpy(text, s, len);
        text[len] = 0;
    }
    if (len >= sizeof text || opt_count(text, &v) || v < 0)
        return err_usage("'%.*s' is not a feature", (int)(len < 40 ? len : 40), s);
    if ((uint64_t)v >= m)
        return err_usage("feature %lld, the dictionary has 0 to %zu", (long long)v, m - 1);
    *out = (size_t)v;
    return 0;
}

/* Mark what "all" or "3,5-9" names in chosen (m). */
static int features(const char *words, size_t m, bool *chosen)
{
    if (!strcmp(words, "all")) {
        memset(chosen, 1, m);
        return 0;
    }
    for (const char *at = words;; at++) {
        size_t len = strcspn(at, ","), dash = strcspn(at, "-:,"), lo, hi;
        if (one_feature(at, dash, m, &lo))
            return -1;
        hi = lo;
        if (dash < len && one_feature(at + dash + 1, len - dash - 1, m, &hi))
            return -1;
        if (hi < lo)
            return err_usage("'%.*s' runs backwards", (int)len, at);
        memset(chosen + lo, 1, hi - lo + 1);
        at += len;
        if (!*at)
            return 0;
    }
}

/* ---- the edits ---- */

struct change {
    struct edits *e;
    const bool *chosen;
    float value;
    const char *file;
};

static int set_all(const struct change *c, float scale, float shift)
{
    for (size_t i = 0; i < c->e->m; i++)
        if (c->chosen[i])
            c->e->scale[i] = scale, c->e->shift[i] = shift;
    return 0;
}

static int do_zero(const struct change *c)
{
    return set_all(c, 0, 0);
}

static int do_set(const struct change *c)
{
    return set_all(c, 0, c->value);
}

static int do_scale(const struct change *c)
{
    for (size_t i = 0; i < c->e->m; i++)
        if (c->chosen[i])
            c->e->scale[i] *= c->value, c->e->shift[i] *= c->value;
    return 0;
}

static int do_add(const struct change *c)
{
    for (size_t i = 0; i < c->e->m; i++)
        if (c->chosen[i])
            c->e->shift[i] += c->value;
    return 0;
}

static int do_keep(const struct change *c)
{
    for (size_t i = 0; i < c->e->m; i++)
        if (!c->chosen[i])
            c->e->scale[i] = c->e->shift[i] = 0;
    return 0;
}

static int sum_codes(struct stream_in *in, size_t m, double *sum)
{
    struct batch b;
    int r;
    if (in->kind != STREAM_CODES || in->d != m)
        return err_data("%s of width %zu where codes of %zu features are wanted",
                        in->kind == STREAM_CODES ? "codes" : "acts", in->d, m), err_in(stream_name(in));
    while ((r = stream_next(in, &b)) > 0)
        for (uint32_t j = 0; j < b.ptr[b.n]; j++)
            sum[b.idx[j]] += b.val[j];
    if (r == 0 && in->total_rows == 0)
        return err_data("no rows to take a mean over"), err_in(stream_name(in));
    return r;
}

static int do_mean(const struct change *c)
{
    struct stream_in *in = stream_open(c->file);
    if (!in)
        return -1;
    double *sum = mem_zero(c->e->m, sizeof *sum);
    int r = sum_codes(in, c->e->m, sum);
    for (size_t i = 0; i < c->e->m && !r; i++)
        if (c->chosen[i])
            c->e->scale[i] = 0, c->e->shift[i] = (float)(sum[i] / (double)in->total_rows);
    free(sum);
    stream_close(in);
    return r;
}

static const struct verb {
    const char *name, *operand;         /* operand: what follows the features, or NULL */
    int (*apply)(const struct change *c);
} verbs[] = {
    { "zero", NULL, do_zero },   { "set", "a value", do_set },   { "scale", "a factor", do_scale },
    { "add", "a value", do_add }, { "keep", NULL, do_keep },      { "mean", "a file of codes", do_mean },
};

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    err_usage("'%s' is not zero, set, scale, add, keep or mean", name);
    return NULL;
}

/* Cut words at blanks, in place; the last part may hold blanks (a file name), but not end with them. */
static size_t split(char *words, char *part[WORDS])
{
    size_t n = 0, end = strlen(words);
    while (end && strchr(" \t", words[end - 1]))
        words[--end] = 0;
    while (n < WORDS) {
        words += strspn(words, " \t");
        if (!*words)
            break;
        part[n++] = words;
        size_t len = n == WORDS ? strlen(words) : strcspn(words, " \t");
        if (!words[len])
            break;
        words[len] = 0;
        words += len + 1;
    }
    return n;
}

static int apply(struct edits *e, char *words, bool *chosen)
{
    char *part[WORDS];
    double value = 0;
    size_t n = split(words, part);
    const struct verb *v = n ? verb_find(part[0]) : (err_usage("nothing to do"), NULL);
    if (!v)
        return -1;
    if (n != (v->operand ? 3u : 2u))
        return err_usage("%s needs features%s%s", v->name, v->operand ? " and " : " and nothing else",
                         v->operand ? v->operand : "");
    bool number = v->operand && v->apply != do_mean;
    if (number && (opt_real(part[2], &value) || !isfinite((float)value)))
        return err_usage("'%s' is not %s", part[2], v->operand);
    if (features(part[1], e->m, chosen))
        return -1;
    return v->apply(&(struct change){ e, chosen, (float)value, n > 2 ? part[2] : NULL });
}

int edits_add(struct edits *e, const char *words)
{
    char *copy = mem_string(words);
    bool *chosen = mem_zero(e->m, sizeof *chosen);
    int r = apply(e, copy, chosen);
    if (r && err_status() == ERR_USAGE) {
        char shown[80];
        err_mask(shown, sizeof shown, words);
        char *where = mem_format("edit '%s'", shown);
        err_in(where);
        free(where);
    }
    free(copy);
    free(chosen);
    return r;
}

int edits_add_file(struct edits *e, const char *path)
{
    size_t len, line = 0;
    char *text = io_slurp(path, FILE_LIMIT, &len);
    int r = text ? 0 : -1;
    if (text && memchr(text, 0, len))
        r = err_data("not a text: it holds a zero byte"), err_in(path);
    for (char *at = text; at && *at && !r;) {
        size_t n = strcspn(at, "\n");
        bool last = at[n] == 0;
        at[n] = 0;
        line++;
        if (n && at[n - 1] == '\r')
            at[n - 1] = 0;
        if (at[strspn(at, " \t")] && *at != '#' && (r = edits_add(e, at))) {
            char *where = mem_format("%s: line %zu", path, line);
            err_in(where);
            free(where);
        }
        at += n + !last;
    }
    free(text);
    return r;
}
