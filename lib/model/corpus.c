/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE             /* memmem */
#include "model/corpus.h"
#include "base/io.h"
#include "base/mem.h"
#include "data/jsonfile.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16, LINE_LIMIT = 16 << 20 };

struct corpus {
    char **paths;
    size_t n_paths, path;       /* path: the next to open */
    enum corpus_input input;
    const char *split;          /* separator of documents; NULL: none */
    size_t split_n;
    struct tokenizer *t;
    size_t ctx_len, n_vocab;
    int64_t bos;

    struct io_in *in;           /* NULL: between files */
    bool in_ended, any_byte;
    char *buf;                  /* buf[at, have) is read and not used */
    size_t at, have, cap, seen; /* seen: from at on, bytes known to hold no line end (jsonl) */
    size_t line;                /* lines behind us in this file */

    bool in_number;             /* ids: digits of `number` have come and may go on */
    uint64_t number;

    const char *const *field;   /* (fields) paths in the object */
    size_t fields;
    bool *had;                  /* (fields) some document had it */
    char *value;                /* of the open document's fields, joined */
    uint32_t *value_end;        /* (fields) */
    size_t value_cap;

    struct ids ids;             /* tokens of the open document: ids.id[used, ids.n) are still to go out */
    size_t used, checked;       /* checked: so many of them are known to be below n_vocab */
    bool doc_started, doc_ended;
    uint32_t doc, ctx;
    uint32_t *tok;              /* the context that is out */
    size_t tok_cap;
};

struct corpus *corpus_open(char **paths, size_t n, enum corpus_input input, const char *split, struct tokenizer *t,
                           size_t ctx_len, int64_t bos, size_t n_vocab)
{
    if (split && input != CORPUS_TEXT)
        return err_usage("a separator of documents has a meaning for input text only"), NULL;
    if (split && !*split)
        return err_usage("the separator of documents is empty"), NULL;
    if (ctx_len < 1 + (size_t)(bos >= 0))
        return err_usage("a context of %zu leaves no room for a token", ctx_len), NULL;
    if (bos >= 0 && (uint64_t)bos >= n_vocab)
        return err_data("the id of BOS, %lld, is not below the model's %zu", (long long)bos, n_vocab), NULL;
    struct corpus *c = mem_zero(1, sizeof *c);
    c->paths = paths;
    c->n_paths = n;
    c->input = input;
    c->split = input == CORPUS_LINES ? "\n" : split;
    c->split_n = c->split ? strlen(c->split) : 0;
    c->t = t;
    c->ctx_len = ctx_len;
    c->bos = bos;
    c->n_vocab = n_vocab;
    return c;
}

void corpus_close(struct corpus *c)
{
    if (!c)
        return;
    io_close(c->in);
    free(c->buf);
    free(c->ids.id);
    free(c->tok);
    free(c->had);
    free(c->value);
    free(c->value_end);
    free(c);
}

void corpus_fields(struct corpus *c, const char *const *paths, size_t n)
{
    c->field = paths;
    c->fields = n;
    c->had = mem_zero(n, sizeof *c->had);
    c->value_end = mem_zero(n, sizeof *c->value_end);
}

bool corpus_had_field(const struct corpus *c, size_t i)
{
    return c->had[i];
}

/* ---- files ---- */

/* Open the next file. 1; 0 when there is none; -1. */
static int next_file(struct corpus *c)
{
    size_t files = c->n_paths ? c->n_paths : 1;
    if (c->path == files) {
        if (c->any_byte)
            return 0;
        err_data("empty input");
        return files == 1 ? err_in(c->n_paths && strcmp(c->paths[0], "-") ? c->paths[0] : "<stdin>") : -1;
    }
    c->in = io_open(c->n_paths ? c->paths[c->path] : NULL);
    c->path++;
    c->in_ended = false;
    c->line = 0;
    return c->in ? 1 : -1;
}

static void end_file(struct corpus *c)
{
    io_close(c->in);
    c->in = NULL;
    c->doc_ended = true;
}

/* Read more behind buf[at, have), moving that to the front; sets in_ended when there is no more. */
static int read_more(struct corpus *c)
{
    if (c->at) {
        memmove(c->buf, c->buf + c->at, c->have - c->at);
        c->have -= c->at;
        c->at = 0;
    }
    c->buf = mem_grow(c->buf, &c->cap, c->have + CHUNK, 1);
    ssize_t r = io_some(c->in, c->buf + c->have, c->cap - c->have);
    if (r < 0)
        return -1;
    c->have += (size_t)r;
    c->in_ended = r == 0;
    c->any_byte |= r > 0;
    return 0;
}

/* ---- documents: each step hands a part of the input on, and sets doc_ended where a document ends ---- */

static int feed(struct corpus *c, size_t n, bool last)
{
    if (tokenizer_feed(c->t, c->buf + c->at, n, last, &c->ids))
        return err_in(io_name(c->in));
    c->at += n;
    c->doc_ended = last;
    return 0;
}

/* What could be the beginning of a separator stays until more has come. */
static int step_text(struct corpus *c)
{
    if (c->have - c->at < c->split_n + !c->split_n && !c->in_ended && read_more(c))
        return -1;
    size_t n = c->have - c->at, keep = c->split_n ? c->split_n - 1 : 0;
    char *found = c->split ? memmem(c->buf + c->at, n, c->split, c->split_n) : NULL;
    if (found) {
        if (feed(c, (size_t)(found - (c->buf + c->at)), true))
            return -1;
        c->at += c->split_n;
    } else if (c->in_ended) {
        if (feed(c, n, true))
            return -1;
        end_file(c);
    } else if (n > keep) {
        return feed(c, n - keep, false);
    }
    return 0;
}

static int line_error(struct corpus *c)
{
    char *where = mem_format("%s: line %zu", io_name(c->in), c->line + 1);
    err_in(where);
    free(where);
    return -1;
}

/* obj[path], where a dot in the path may be a dot in a key or lead into an object; NULL when there is none. */
static const json_t *find_field(const json_t *obj, const char *path)
{
    const json_t *v = json_object_get(obj, path);
    for (const char *dot = strchr(path, '.'); dot && !v; dot = strchr(dot + 1, '.')) {
        char *key = mem_bytes(path, (size_t)(dot - path));
        v = find_field(json_object_get(obj, key), dot + 1);
        free(key);
    }
    return v;
}

/* A real as the shortest JSON that reads back as the same number. */
static char *print_real(double v)
{
    for (int digits = 15; digits < 17; digits++) {
        char *s = mem_format("%.*g", digits, v);
        if (strtod(s, NULL) == v)
            return s;
        free(s);
    }
    return mem_format("%.17g", v);
}

static char *print_value(const json_t *v)
{
    if (json_is_real(v))
        return print_real(json_real_value(v));
    char *s = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!s)
        mem_die(0);
    return s;
}

static int add_value(struct corpus *c, size_t i, const char *bytes, size_t n)
{
    size_t at = i ? c->value_end[i - 1] : 0;
    if (n > CORPUS_FIELD)
        return err_data("field %s: %zu bytes, at most %d", c->field[i], n, CORPUS_FIELD);
    c->value = mem_grow(c->value, &c->value_cap, at + n + 1, 1);
    memcpy(c->value + at, bytes, n);
    c->value_end[i] = (uint32_t)(at + n);
    return 0;
}

/* Does v hold, or may it hold, a whole number that reading it as a real has changed? */
static bool may_be_rounded(const json_t *v)
{
    double x = json_real_value(v);
    return json_is_array(v) || json_is_object(v) || (json_is_real(v) && !(x < 0x1p63 && x >= -0x1p63));
}

/* The fields of a document. `rounded`: whole numbers of any size have been read as reals. */
static int take_fields(struct corpus *c, const json_t *obj, bool rounded)
{
    for (size_t i = 0; i < c->fields; i++) {
        const json_t *v = find_field(obj, c->field[i]);
        c->had[i] |= v != NULL;
        if (rounded && may_be_rounded(v))
            return err_data("field %s: a whole number beyond 64 bits: make it a string", c->field[i]);
        if (!v || json_is_null(v) || json_is_string(v)) {
            if (add_value(c, i, json_is_string(v) ? json_string_value(v) : "", json_string_length(v)))
                return -1;
            continue;
        }
        char *text = print_value(v);
        int bad = add_value(c, i, text, strlen(text));
        free(text);
        if (bad)
            return -1;
    }
    return 0;
}

/* The JSON in n bytes; whole numbers too large for jansson become reals. */
static json_t *parse_object(const char *text, size_t n, bool *rounded, json_error_t *e)
{
    json_t *j = json_loadb(text, n, JSON_ALLOW_NUL, e);
    *rounded = !j && json_error_code(e) == json_error_numeric_overflow;
    return *rounded ? json_loadb(text, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, e) : j;
}

/* One object: its text is a document. */
static int feed_object(struct corpus *c, size_t n)
{
    json_error_t e;
    bool rounded;
    if (jsonfile_check(c->buf + c->at, n, 0))
        return line_error(c);
    json_t *j = parse_object(c->buf + c->at, n, &rounded, &e);
    const json_t *text = json_object_get(j, "text");
    int bad = 0;
    if (!j && json_error_code(&e) == json_error_out_of_memory)
        mem_die(0);
    if (!j)
        bad = err_data("not JSON: %s", e.text);
    else if (!json_is_object(j))
        bad = err_data("not a JSON object");
    else if (!json_is_string(text))
        bad = err_data("no \"text\" string in the object");
    else if (!(bad = take_fields(c, j, rounded)))
        bad = tokenizer_feed(c->t, json_string_value(text), json_string_length(text), true, &c->ids);
    json_decref(j);
    c->doc_ended = true;
    return bad ? line_error(c) : 0;
}

static bool is_blank(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r')
            return false;
    return true;
}

static int step_jsonl(struct corpus *c)
{
    char *end = NULL;
    while (!(c->have > c->at + c->seen &&
             (end = memchr(c->buf + c->at + c->seen, '\n', c->have - c->at - c->seen))) && !c->in_ended) {
        c->seen = c->have - c->at;
        if (c->seen > LINE_LIMIT)
            return err_data("longer than %d bytes", LINE_LIMIT), line_error(c);
        if (read_more(c))
            return -1;
    }
    size_t n = end ? (size_t)(end - (c->buf + c->at)) : c->have - c->at;
    if (!is_blank(c->buf + c->at, n) && feed_object(c, n))
        return -1;
    c->at += n + (end != NULL);
    c->seen = 0;
    c->line++;
    if (!end)
        end_file(c);
    return 0;
}

static int id_beyond(struct corpus *c, uint64_t id)
{
    return err_data("token id %llu is not below the model's %zu", (unsigned long long)id, c->n_vocab);
}

static int end_number(struct corpus *c)
{
    if (!c->in_number)
        return 0;
    if (c->number >= c->n_vocab || c->number > UINT32_MAX)
        return id_beyond(c, c->number), line_error(c);
    ids_push(&c->ids, (uint32_t)c->number);
    c->in_number = false;
    c->number = 0;
    return 0;
}

static int step_ids(struct corpus *c)
{
    if (c->at == c->have && !c->in_ended && read_more(c))
        return -1;
    while (c->at < c->have) {
        char b = c->buf[c->at++];
        if (b >= '0' && b <= '9') {
            c->in_number = true;
            if (c->number < UINT64_MAX / 16)        /* beyond every vocabulary long before that */
                c->number = c->number * 10 + (uint64_t)(b - '0');
        } else if (!is_blank(&b, 1) && b != '\n') {
            return err_data("not a list of decimal token ids (byte 0x%02x)", (uint8_t)b), line_error(c);
        } else if (end_number(c)) {
            return -1;
        }
        if (b == '\n') {
            c->line++;
            c->doc_ended = true;
            return 0;
        }
    }
    if (!c->in_ended)
        return 0;
    if (end_number(c))
        return -1;
    end_file(c);
    return 0;
}

/* 1: something has happened; 0: the end of all input; -1. */
static int step(struct corpus *c)
{
    int r = c->in ? 1 : next_file(c);
    if (r != 1)
        return r;
    r = c->input == CORPUS_IDS ? step_ids(c) : c->input == CORPUS_JSONL ? step_jsonl(c) : step_text(c);
    return r ? -1 : 1;
}

/* ---- contexts ---- */

/* A tokenizer may know more tokens than the model has rows for. */
static int check_ids(struct corpus *c)
{
    for (; c->checked < c->ids.n; c->checked++) {
        uint32_t id = c->ids.id[c->checked];
        if (id >= c->n_vocab)
            return id_beyond(c, id), err_in("the tokenizer and the model do not fit");
    }
    return 0;
}

static void put_out(struct corpus *c, size_t n, struct context *out)
{
    size_t bos = c->bos >= 0;
    c->tok = mem_grow(c->tok, &c->tok_cap, n + bos, sizeof *c->tok);
    if (bos)
        c->tok[0] = (uint32_t)c->bos;
    memcpy(c->tok + bos, c->ids.id + c->used, n * sizeof *c->tok);
    c->used += n;
    *out = (struct context){ .doc = c->doc, .ctx = c->ctx++, .tok = c->tok, .n = n + bos, .bos = bos,
                             .first = !c->doc_started, .last = c->doc_ended && c->used == c->ids.n,
                             .fields = c->value, .field_end = c->value_end };
    c->doc_started = true;
}

static void begin_document(struct corpus *c)
{
    c->doc += c->doc_started;
    c->doc_started = c->doc_ended = false;
    c->ids.n = c->used = c->checked = 0;
}

static void forget_used(struct corpus *c)
{
    if (!c->used)
        return;
    memmove(c->ids.id, c->ids.id + c->used, (c->ids.n - c->used) * sizeof *c->ids.id);
    c->ids.n -= c->used;
    c->checked -= c->used;
    c->used = 0;
}

/* A full context waits for one token more, or the end of the document: else nobody could say whether it is the last. */
int corpus_next(struct corpus *c, struct context *out)
{
    size_t room = c->ctx_len - (c->bos >= 0);
    for (;;) {
        size_t left = c->ids.n - c->used;
        if (left > room || (c->doc_ended && left)) {
            put_out(c, left < room ? left : room, out);
            return 1;
        }
        if (c->doc_ended)
            begin_document(c);
        forget_used(c);
        int r = step(c);
        if (r <= 0 || check_ids(c))
            return r ? -1 : 0;
    }
}
