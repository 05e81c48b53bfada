/* SPDX-License-Identifier: MIT */
#include "data/row_selector.h"
#include "base/hex.h"
#include "base/mem.h"
#include "base/opt.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- words ---- */

char *row_selector_bytes(const char *s, size_t *len)
{
    char *out = mem_alloc(strlen(s) + 1, 1);
    *len = 0;
    for (size_t n; *s; s += n) {
        char c = *s;
        n = 1;
        if (s[0] == '\\' && s[1]) {
            n = 2;
            c = s[1] == 'n' ? '\n' : s[1] == 't' ? '\t' : s[1];
            if (s[1] == 'x' && hex_digit(s[2]) >= 0 && hex_digit(s[3]) >= 0) {
                n = 4;
                c = (char)(hex_digit(s[2]) << 4 | hex_digit(s[3]));
            }
        }
        out[(*len)++] = c;
    }
    out[*len] = 0;
    return out;
}

static struct row_selector_test *add_test(struct row_selector *w, const char *column, size_t len, bool other)
{
    w->test = mem_grow(w->test, &w->cap, w->n + 1, sizeof *w->test);
    struct row_selector_test *t = &w->test[w->n++];
    *t = (struct row_selector_test){ .column = mem_bytes(column, len), .other = other, .lo = NAN, .hi = NAN };
    return t;
}

void row_selector_token(struct row_selector *w, const char *printed)
{
    struct row_selector_test *t = add_test(w, "text", 4, false);
    t->bytes = row_selector_bytes(printed, &t->len);
}

/* "X" or "LO:HI" of any numbers; else both become NaN. */
static void parse_interval(const char *words, double *lo, double *hi)
{
    char *text = mem_string(words), *colon = strchr(text, ':');
    if (colon)
        *colon = 0;
    if (opt_real(text, lo) || (colon && opt_real(colon + 1, hi)))
        *lo = NAN;
    if (!colon || isnan(*lo))
        *hi = *lo;
    if (*hi < *lo)
        *lo = *hi = NAN;
    free(text);
}

/* Positions and the like: 32 bits, as streams have them. */
static int parse_list(struct row_selector_test *t, const char *words, const char *what)
{
    return ranges_parse(&t->list, words, what, 0, UINT32_MAX);
}

int row_selector_at(struct row_selector *w, const char *at)
{
    if (!strcmp(at, "last")) {
        w->last = true;
        return 0;
    }
    return parse_list(add_test(w, "pos", 3, false), at, "'last', a position")
           ? err_usage("'%.60s' is not POS, LO:HI or last, nor a list of positions", at) : 0;
}

static bool is_whole(const char *column)
{
    return !strcmp(column, "doc") || !strcmp(column, "ctx") || !strcmp(column, "pos") || !strcmp(column, "tok");
}

/* One word: a LIST, last, COLUMN=VALUE or COLUMN!=VALUE. */
static int parse_test(struct row_selector *w, const char *word)
{
    size_t name = strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_.");
    bool other = word[name] == '!' && word[name + 1] == '=';
    if (!name || (!other && word[name] != '='))
        return strchr(word, '=') ? err_usage("'%.60s' is not COLUMN=VALUE", word) : row_selector_at(w, word);
    const char *value = word + name + 1 + other;
    struct row_selector_test *t = add_test(w, word, name, other);
    t->bytes = row_selector_bytes(value, &t->len);
    if (is_whole(t->column) && parse_list(t, value, "a number"))
        return err_usage("'%.60s' is not %s=N or %s=LO:HI, nor a list of them", word, t->column, t->column);
    if (!is_whole(t->column) && parse_list(t, value, "a number"))
        ranges_free(&t->list);
    parse_interval(value, &t->lo, &t->hi);
    return 0;
}

/* Bytes of the word at s: up to a blank that no backslash stands before. */
static size_t word_length(const char *s)
{
    size_t n = 0;
    while (s[n] && !strchr(" \t", s[n]))
        n += 1 + (s[n] == '\\' && s[n + 1]);
    return n;
}

int row_selector_words(struct row_selector *w, const char *words)
{
    static const char token[] = "token=", other[] = "token!=";
    for (words += strspn(words, " \t");; words += strspn(words, " \t")) {
        if (!strncmp(words, token, strlen(token))) {
            row_selector_token(w, words + strlen(token));
            return 0;
        }
        if (!strncmp(words, other, strlen(other))) {
            row_selector_token(w, words + strlen(other));
            w->test[w->n - 1].other = true;
            return 0;
        }
        size_t n = word_length(words);
        char *word = mem_bytes(words, n);
        int bad = parse_test(w, word);
        free(word);
        words += n;
        if (bad || !words[strspn(words, " \t")])
            return bad;
    }
}

void row_selector_options(struct row_selector *w, const char *where, const char *token)
{
    if (where && row_selector_words(w, where))
        opt_misuse("--where: %s", err_text());
    if (token)
        row_selector_token(w, token);
}

void row_selector_free(struct row_selector *w)
{
    for (size_t i = 0; i < w->n; i++) {
        free(w->test[i].column);
        free(w->test[i].bytes);
        ranges_free(&w->test[i].list);
    }
    free(w->test);
    *w = (struct row_selector){ .n = 0 };
}

/* ---- rows ---- */

static bool in_interval(const struct row_selector_test *t, double v)
{
    bool in = v >= t->lo && v <= t->hi;
    for (size_t i = 0; i < t->list.n && !in; i++)
        in = v >= (double)t->list.item[i].lo && v <= (double)t->list.item[i].hi;
    return in;
}

static bool whole_is(const struct row_selector_test *t, int64_t v)
{
    return t->list.n ? ranges_has(&t->list, v) : in_interval(t, (double)v);
}

/* Is item i of a column of numbers what the test asks for? */
static bool number_is(const struct row_selector_test *t, const struct column *c, size_t i)
{
    const void *p = c->data;
    float v;
    switch (c->type) {
    case DTYPE_U8:
        return whole_is(t, ((const uint8_t *)p)[i]);
    case DTYPE_U16:
        return whole_is(t, ((const uint16_t *)p)[i]);
    case DTYPE_U32:
        return whole_is(t, ((const uint32_t *)p)[i]);
    case DTYPE_I32:
        return whole_is(t, ((const int32_t *)p)[i]);
    case DTYPE_I64:
        return whole_is(t, ((const int64_t *)p)[i]);
    case DTYPE_U64:
        return ((const uint64_t *)p)[i] <= INT64_MAX && whole_is(t, (int64_t)((const uint64_t *)p)[i]);
    case DTYPE_F64:
        return in_interval(t, ((const double *)p)[i]);
    default:
        dtype_load(&v, (const char *)p + i * dtype_size(c->type), c->type, 1);
        return in_interval(t, v);
    }
}

static bool text_is(const struct row_selector_test *t, const struct batch *b, const struct column *c, size_t i)
{
    size_t len;
    const uint8_t *text = column_text(b, c, i, &len);
    return len == t->len && !memcmp(text, t->bytes, len);
}

static int keep_test(const struct row_selector_test *t, const struct batch *b, bool *chosen)
{
    const struct column *c = batch_column(b, t->column);
    if (!c)
        return err_data("no column %s to choose rows by in record %" PRIu64, t->column, b->record);
    bool text = c->rule == COLUMN_TEXT;
    if (!text && (c->rule != COLUMN_ROW || c->rank != 1))
        return err_data("column %s does not say one thing of each row", t->column);
    if (!text && !t->list.n && isnan(t->lo))
        return err_data("column %s is of numbers: '%.60s' is none", t->column, t->bytes);
    for (size_t i = 0; i < b->n; i++)
        chosen[i] &= t->other != (text ? text_is(t, b, c, i) : number_is(t, c, i));
    return 0;
}

/* Leave the last rows of contexts. A next batch without ctx is refused when its turn comes. */
static int keep_last(const struct batch *b, const struct batch *next, bool *chosen)
{
    if (!b->ctx)
        return err_data("no column ctx to choose rows by in record %" PRIu64, b->record);
    for (size_t i = 0; i + 1 < b->n; i++)
        chosen[i] &= b->ctx[i + 1] != b->ctx[i];
    if (b->n && next && next->ctx && next->section == b->section)
        chosen[b->n - 1] &= next->ctx[0] != b->ctx[b->n - 1];
    return 0;
}

ssize_t row_selector_rows(const struct row_selector *w, const struct batch *b, const struct batch *next, bool *chosen)
{
    ssize_t n = 0;
    memset(chosen, 1, b->n * sizeof *chosen);
    for (size_t k = 0; k < w->n; k++)
        if (keep_test(&w->test[k], b, chosen))
            return -1;
    if (w->last && keep_last(b, next, chosen))
        return -1;
    for (size_t i = 0; i < b->n; i++)
        n += chosen[i];
    return n;
}

bool row_selector_place(const struct row_selector *w, size_t pos, bool last)
{
    for (size_t k = 0; k < w->n; k++)
        if (!whole_is(&w->test[k], (int64_t)pos))
            return false;
    return last || !w->last;
}
