/* Reading: every stream is followed row by row; a context is what has the same ctx in all of them. Its tokens come from
 * the rows, from the header's bos, and from the file of ids, which is cut into contexts as act-dump cut it. */
/* SPDX-License-Identifier: MIT */
#include "patch/splice.h"
#include "base/mem.h"
#include "base/par.h"
#include "model/corpus.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As act-dump has them. */
enum { PIECE_ROWS = 512, GROUP_ROWS = 16384, GROUP_BYTES = 64 << 20 };

/* One stream and the row of it that is next. */
struct source {
    const struct lm_hook *hook;
    struct stream_in *in;
    struct batch b;
    size_t at;
    bool more;                          /* row `at` of b is there */
    uint64_t checked;                   /* sections whose header has been looked at */
};

struct splice {
    struct lm *m;
    const struct splice_options *how;
    struct source *source;
    size_t ports;
    size_t width;                       /* of all hooks together */
    struct corpus *ids;
    char *ids_path;
    struct context id_context;          /* the last one read from ids; n 0: none yet */
    bool begun;                         /* a context has been read: */
    uint64_t section;
    uint32_t ctx;
};

/* ---- is the stream the model's ---- */

static const char *text_of(const json_t *map, const char *key)
{
    return json_string_value(json_object_get(map, key));
}

static int check_model(const struct splice *s, const struct source *from, const json_t *head)
{
    const char *hook = text_of(head, "hook"), *sha = text_of(head, "model_sha"), *name = text_of(head, "model");
    if (hook && strcmp(hook, from->hook->name))
        return err_data("rows of %.64s, to be put in at %s", hook, from->hook->name);
    if (sha && strcmp(sha, lm_digest(s->m)))
        return err_data("rows of another model (%.80s)", name ? name : "not named");
    return 0;
}

static int check_tokens(const struct splice *s, const json_t *head)
{
    const struct lm_shape *shape = lm_shape(s->m);
    const json_t *tok = json_object_get(head, "tok");
    const json_t *vocab = json_object_get(tok, "vocab"), *ctx = json_object_get(tok, "ctx"), *bos = json_object_get(tok, "bos");
    const char *sha = text_of(tok, "sha");
    if (sha && s->how->tok_sha && strcmp(sha, s->how->tok_sha))
        return err_data("tokens of another tokenizer");
    if (json_is_integer(vocab) && (uint64_t)json_integer_value(vocab) != shape->n_vocab)
        return err_data("a vocabulary of %" JSON_INTEGER_FORMAT " tokens, the model's has %zu", json_integer_value(vocab),
                        shape->n_vocab);
    if (json_is_integer(ctx) && (json_integer_value(ctx) < 1 || (uint64_t)json_integer_value(ctx) > shape->n_ctx))
        return err_data("contexts of %" JSON_INTEGER_FORMAT " tokens, the model has room for %zu", json_integer_value(ctx),
                        shape->n_ctx);
    if (json_is_integer(bos) && (json_integer_value(bos) < 0 || (uint64_t)json_integer_value(bos) >= shape->n_vocab))
        return err_data("contexts begin with token %" JSON_INTEGER_FORMAT ", which the model has not", json_integer_value(bos));
    return 0;
}

static int check_proc(const json_t *head)
{
    const json_t *proc = json_object_get(head, "proc"), *scale = json_object_get(proc, "scale");
    if (json_object_get(proc, "shuffled"))
        return err_data("shuffled rows cannot be put back");
    if (json_object_get(head, "grad"))
        return err_data("gradients, not activations");
    if (json_is_number(scale) && json_number_value(scale) != 1)
        return err_data("rows scaled by %g are not the model's", json_number_value(scale));
    return 0;
}

static int check_head(const struct splice *s, const struct source *from)
{
    const struct stream_in *in = from->in;
    int bad = 0;
    if (in->kind != STREAM_ACTS)
        bad = err_data("a stream of codes where acts are wanted");
    else if (check_model(s, from, in->head) || check_tokens(s, in->head) || check_proc(in->head))
        bad = -1;
    else if (in->d != from->hook->width)
        bad = err_data("rows are %zu wide, %s wants %zu", in->d, from->hook->name, from->hook->width);
    return bad ? err_in(stream_name(in)) : 0;
}

/* ---- the streams ---- */

/* Have row `at` at hand, or more = false. */
static int advance(const struct splice *s, struct source *from)
{
    while (from->more && from->at == from->b.n) {
        int r = stream_next(from->in, &from->b);
        if (r < 0)
            return -1;
        from->at = 0;
        from->more = r;
        if (r && from->b.section >= from->checked) {
            from->checked = from->b.section + 1;
            if (check_head(s, from))
                return -1;
        }
    }
    return 0;
}

static int open_source(struct splice *s, struct source *from, const struct splice_port *port)
{
    from->hook = port->hook;
    from->in = stream_open(port->path);
    if (!from->in)
        return -1;
    from->in->allow_nan = s->how->allow_nan;
    from->more = true;
    from->checked = 1;
    s->width += port->hook->width;
    return check_head(s, from) || advance(s, from) ? -1 : 0;
}

static int open_ids(struct splice *s)
{
    const json_t *tok = json_object_get(s->source[0].in->head, "tok");
    const json_t *ctx = json_object_get(tok, "ctx"), *bos = json_object_get(tok, "bos");
    if (!json_is_integer(ctx))
        return err_data("the header has no tok.ctx to cut ids into contexts by"), err_in(stream_name(s->source[0].in));
    s->ids_path = mem_string(s->how->ids);
    s->ids = corpus_open(&s->ids_path, 1, CORPUS_IDS, NULL, NULL, (size_t)json_integer_value(ctx),
                         json_is_integer(bos) ? json_integer_value(bos) : -1, lm_shape(s->m)->n_vocab);
    return s->ids ? 0 : -1;
}

struct splice *splice_open(struct lm *m, const struct splice_port *port, size_t n, const struct splice_options *how)
{
    struct splice *s = mem_zero(1, sizeof *s);
    int bad = 0;
    s->m = m;
    s->how = how;
    s->source = mem_zero(n, sizeof *s->source);
    for (size_t i = 0; i < n && !bad; i++) {
        s->ports = i + 1;
        bad = open_source(s, &s->source[i], &port[i]);
    }
    if (bad || (how->ids && open_ids(s))) {
        splice_close(s);
        return NULL;
    }
    return s;
}

void splice_close(struct splice *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->ports; i++)
        if (s->source[i].in)
            stream_close(s->source[i].in);
    if (s->ids)
        corpus_close(s->ids);
    free(s->ids_path);
    free(s->source);
    free(s);
}

struct stream_in *splice_stream(const struct splice *s, size_t i)
{
    return s->source[i].in;
}

/* ---- a context ---- */

/* Room for tokens up to `end` in a field; those from `from` on have nothing. */
static void reserve_field(struct splice_field *f, size_t from, size_t end)
{
    f->at = mem_grow(f->at, &f->at_cap, end, sizeof *f->at);
    f->len = mem_grow(f->len, &f->len_cap, end, sizeof *f->len);
    memset(f->len + from, 0, (end - from) * sizeof *f->len);
}

static void free_fields(struct splice_group *g)
{
    while (g->fields) {
        struct splice_field *f = &g->field[--g->fields];
        free(f->name);
        free(f->ends);
        free(f->at);
        free(f->len);
        *f = (struct splice_field){ .name = NULL };
    }
}

/* Room for tokens up to `end`; new ones are not known, have no text and no row. */
static void reserve_tokens(struct splice_group *g, size_t end)
{
    size_t was = g->tokens;
    if (end <= was)
        return;
    g->tok = mem_grow(g->tok, &g->tok_cap, end, sizeof *g->tok);
    g->known = mem_grow(g->known, &g->known_cap, end, sizeof *g->known);
    g->text_at = mem_grow(g->text_at, &g->at_cap, end, sizeof *g->text_at);
    g->text_len = mem_grow(g->text_len, &g->len_cap, end, sizeof *g->text_len);
    memset(g->known + was, 0, (end - was) * sizeof *g->known);
    memset(g->text_len + was, 0, (end - was) * sizeof *g->text_len);
    for (size_t i = 0; i < g->fields; i++)
        reserve_field(&g->field[i], was, end);
    for (size_t i = 0; i < g->ports; i++) {
        struct splice_rows *r = &g->row[i];
        r->x = mem_grow(r->x, &r->x_cap, end * r->hook->width, sizeof *r->x);
        r->given = mem_grow(r->given, &r->given_cap, end, sizeof *r->given);
        memset(r->given + was, 0, (end - was) * sizeof *r->given);
    }
    g->tokens = end;
}

static int out_of_order(const struct source *from, uint32_t ctx, uint32_t pos, const char *what, uint32_t before)
{
    return err_data("record %" PRIu64 ": context %" PRIu32 ", position %" PRIu32 " comes behind %s %" PRIu32
                    ": rows are out of order", from->b.record, ctx, pos, what, before), err_in(stream_name(from->in));
}

/* A token a row has, at place t of the group. */
static int learn_token(struct splice_group *g, const struct source *from, size_t t, uint32_t tok)
{
    const struct batch *b = &from->b;
    if (g->known[t] && g->tok[t] != tok)
        return err_data("record %" PRIu64 ": context %" PRIu32 ", position %" PRIu32 " is token %" PRIu32 ", elsewhere it is %"
                        PRIu32 ": not the same text", b->record, b->ctx[from->at], b->pos[from->at], tok, g->tok[t]),
               err_in(stream_name(from->in));
    g->tok[t] = tok;
    g->known[t] = true;
    return 0;
}

/* Append bytes to the text of the group; returns where they are. */
static size_t add_text(struct splice_group *g, const uint8_t *bytes, size_t len)
{
    g->text = mem_grow(g->text, &g->text_cap, g->text_n + len, 1);
    memcpy(g->text + g->text_n, bytes, len);
    g->text_n += len;
    return g->text_n - len;
}

static void take_text(struct splice_group *g, const struct source *from, size_t t)
{
    size_t len;
    const uint8_t *bytes = batch_text(&from->b, from->at, &len);
    if (!len || g->text_len[t])
        return;
    g->text_at[t] = add_text(g, bytes, len);
    g->text_len[t] = len;
}

/* The field of that name, a new one where the group has none; NULL when there is no room for it. */
static struct splice_field *field_named(struct splice_group *g, const char *name)
{
    for (size_t i = 0; i < g->fields; i++)
        if (!strcmp(g->field[i].name, name))
            return &g->field[i];
    if (g->fields == SPLICE_FIELDS)
        return err_data("more than %d text columns of one's own", SPLICE_FIELDS), NULL;
    struct splice_field *f = &g->field[g->fields++];
    f->name = mem_string(name);
    f->ends = mem_format("%s_end", name);
    reserve_field(f, 0, g->tokens);
    return f;
}

/* What the row in hand says in text columns without a meaning here. */
static int take_fields(struct splice_group *g, const struct source *from, size_t t)
{
    for (size_t i = 0; i < from->b.cols; i++) {
        const struct column *c = &from->b.col[i];
        size_t len;
        if (c->rule != COLUMN_TEXT || column_reserved(c))
            continue;
        const uint8_t *bytes = column_text(&from->b, c, from->at, &len);
        struct splice_field *f = field_named(g, c->name);
        if (!f)
            return err_in(stream_name(from->in));
        f->at[t] = len ? add_text(g, bytes, len) : 0;
        f->len[t] = len;
    }
    return 0;
}

static int unknown_token(const struct splice *s, const struct splice_group *g, size_t start, size_t t)
{
    return err_data("context %" PRIu32 " has no token at position %zu: --ids must say which it is", g->ctx[g->contexts],
                    t - start), err_in(stream_name(s->source[0].in));
}

/* The row in hand becomes row `pos` of the context that begins at token `start`. */
static int take_row(const struct splice *s, struct splice_group *g, size_t port, size_t start)
{
    struct source *from = &s->source[port];
    const struct batch *b = &from->b;
    uint32_t pos = b->pos[from->at], tok = b->tok ? b->tok[from->at] : 0;
    const struct lm_shape *shape = lm_shape(s->m);
    size_t width = from->hook->width, t = start + pos;
    struct splice_rows *r = &g->row[port];
    if (pos >= shape->n_ctx)
        return err_data("record %" PRIu64 ": position %" PRIu32 ", the model's contexts end at %zu", b->record, pos,
                        shape->n_ctx - 1), err_in(stream_name(from->in));
    if (tok >= shape->n_vocab)
        return err_data("record %" PRIu64 ": token %" PRIu32 ", the model has %zu", b->record, tok, shape->n_vocab),
               err_in(stream_name(from->in));
    if (!s->ids && t > g->tokens && (t - g->tokens) * width > GROUP_BYTES / sizeof *r->x)
        return unknown_token(s, g, start, g->tokens);       /* rather than make room for so many that are not there */
    reserve_tokens(g, t + 1);
    if (b->tok && learn_token(g, from, t, tok))
        return -1;
    take_text(g, from, t);
    if (port == 0 && take_fields(g, from, t))
        return -1;
    memcpy(r->x + t * width, b->x + from->at * width, width * sizeof *r->x);
    r->given[t] = true;
    from->at++;
    return advance(s, from);
}

static int want_columns(const struct source *from)
{
    const struct batch *b = &from->b;
    const char *missing = !b->doc ? "doc" : !b->ctx ? "ctx" : !b->pos ? "pos" : NULL;
    return missing ? err_data("no column %s to place rows by", missing), err_in(stream_name(from->in)) : 0;
}

/* The rows that a stream has of context ctx. */
static int take_rows(const struct splice *s, struct splice_group *g, size_t port, size_t start)
{
    struct source *from = &s->source[port];
    uint32_t ctx = g->ctx[g->contexts], last = 0;
    bool first = true;
    while (from->more && from->b.section == g->section) {
        if (want_columns(from))
            return -1;
        uint32_t pos = from->b.pos[from->at];
        if (from->b.ctx[from->at] != ctx)
            break;
        if (!first && pos <= last)
            return out_of_order(from, ctx, pos, "position", last);
        if (from->b.doc[from->at] != g->doc[g->contexts])
            return err_data("record %" PRIu64 ": context %" PRIu32 " is of documents %" PRIu32 " and %" PRIu32, from->b.record,
                            ctx, g->doc[g->contexts], from->b.doc[from->at]), err_in(stream_name(from->in));
        if (take_row(s, g, port, start))
            return -1;
        first = false;
        last = pos;
    }
    if (first)
        return err_data("no rows of context %" PRIu32 ", which %s has", ctx, stream_name(s->source[0].in)),
               err_in(stream_name(from->in));
    return 0;
}

/* Find context number ctx in the file of ids. */
static int seek_ids(struct splice *s, uint32_t ctx)
{
    int r = 1;
    while ((s->id_context.n == 0 || s->id_context.ctx < ctx) && (r = corpus_next(s->ids, &s->id_context)) > 0)
        ;
    if (r == 0 || (r > 0 && s->id_context.ctx != ctx))
        return err_data("context %" PRIu32 " is not in it", ctx), err_in(s->ids_path);
    return r < 0 ? -1 : 0;
}

static int take_ids(struct splice *s, struct splice_group *g, size_t start)
{
    uint32_t ctx = g->ctx[g->contexts];
    if (g->section)
        return err_data("--ids goes with streams of one section"), err_in(stream_name(s->source[0].in));
    if (seek_ids(s, ctx))
        return -1;
    const struct context *c = &s->id_context;
    if (c->doc != g->doc[g->contexts] || c->n < g->tokens - start)
        return err_data("context %" PRIu32 " is of document %" PRIu32 " with %zu tokens, in %s of %" PRIu32 " with %zu or more",
                        ctx, c->doc, c->n, stream_name(s->source[0].in), g->doc[g->contexts], g->tokens - start),
               err_in(s->ids_path);
    reserve_tokens(g, start + c->n);
    for (size_t i = 0; i < c->n; i++) {
        if (g->known[start + i] && g->tok[start + i] != c->tok[i])
            return err_data("context %" PRIu32 ", position %zu is token %" PRIu32 ", in %s it is %" PRIu32
                            ": not the same text", ctx, i, c->tok[i], stream_name(s->source[0].in), g->tok[start + i]),
                   err_in(s->ids_path);
        g->tok[start + i] = c->tok[i];
        g->known[start + i] = true;
    }
    return 0;
}

/* Every token of the context must be known now; a BOS whose row was not kept is what the header says. */
static int settle_tokens(const struct splice *s, struct splice_group *g, size_t start)
{
    if (!g->known[start] && g->bos >= 0) {
        g->tok[start] = (uint32_t)g->bos;
        g->known[start] = true;
    }
    for (size_t t = start; t < g->tokens; t++)
        if (!g->known[t])
            return unknown_token(s, g, start, t);
    return 0;
}

static void add_to_piece(const struct splice *s, struct splice_group *g, size_t c)
{
    struct splice_piece *p = g->pieces ? &g->piece[g->pieces - 1] : NULL;
    size_t held = p ? g->start[c] - g->start[p->first] : 0, n = g->start[c + 1] - g->start[c];
    if (!p || (s->how->batch ? p->count >= s->how->batch : held + n > PIECE_ROWS)) {
        g->piece = mem_grow(g->piece, &g->piece_cap, g->pieces + 1, sizeof *g->piece);
        p = &g->piece[g->pieces++];
        *p = (struct splice_piece){ c, 0 };
    }
    p->count++;
}

/* The next context of all streams, as the last one of g. */
static int read_context(struct splice *s, struct splice_group *g)
{
    const struct source *lead = &s->source[0];
    size_t c = g->contexts, start = g->tokens;
    if (want_columns(lead))
        return -1;
    uint32_t ctx = lead->b.ctx[lead->at];
    if (s->begun && s->section == g->section && ctx <= s->ctx)
        return out_of_order(lead, ctx, lead->b.pos[lead->at], "context", s->ctx);
    s->begun = true;
    s->section = g->section;
    s->ctx = ctx;
    g->doc = mem_grow(g->doc, &g->doc_cap, c + 1, sizeof *g->doc);
    g->ctx = mem_grow(g->ctx, &g->ctx_cap, c + 1, sizeof *g->ctx);
    g->start = mem_grow(g->start, &g->start_cap, c + 2, sizeof *g->start);
    g->doc[c] = lead->b.doc[lead->at];
    g->ctx[c] = ctx;
    for (size_t i = 0; i < s->ports; i++)
        if (take_rows(s, g, i, start))
            return -1;
    if ((s->ids && take_ids(s, g, start)) || settle_tokens(s, g, start))
        return -1;
    g->contexts++;
    g->start[c + 1] = g->tokens;
    add_to_piece(s, g, c);
    return 0;
}

/* ---- a group ---- */

static void begin_group(const struct splice *s, struct splice_group *g)
{
    const struct source *lead = &s->source[0];
    const json_t *bos = json_object_get(json_object_get(lead->in->head, "tok"), "bos");
    if (!g->row) {
        g->ports = s->ports;
        g->row = mem_zero(s->ports, sizeof *g->row);
        for (size_t i = 0; i < s->ports; i++)
            g->row[i].hook = s->source[i].hook;
    }
    json_decref(g->head);
    g->head = json_incref(lead->b.head ? lead->b.head : lead->in->head);
    g->section = lead->b.section;
    g->bos = json_is_integer(bos) ? json_integer_value(bos) : -1;
    g->contexts = g->tokens = g->pieces = g->text_n = 0;
    free_fields(g);
    g->start = mem_grow(g->start, &g->start_cap, 1, sizeof *g->start);
    g->start[0] = 0;
}

static bool group_full(const struct splice *s, const struct splice_group *g)
{
    bool whole = !s->how->batch || g->piece[g->pieces - 1].count == s->how->batch;
    return whole && (g->tokens >= GROUP_ROWS || g->tokens * s->width * sizeof(float) >= GROUP_BYTES);
}

int splice_next(struct splice *s, struct splice_group *g)
{
    const struct source *lead = &s->source[0];
    for (size_t i = 1; i < s->ports && !lead->more; i++)
        if (s->source[i].more)
            return err_data("has rows behind the last context of %s", stream_name(lead->in)),
                   err_in(stream_name(s->source[i].in));
    if (!lead->more)
        return 0;
    begin_group(s, g);
    do {
        if (read_context(s, g))
            return -1;
    } while (lead->more && lead->b.section == g->section && !group_full(s, g));
    return 1;
}

void splice_group_free(struct splice_group *g)
{
    for (size_t i = 0; i < g->ports; i++) {
        free(g->row[i].x);
        free(g->row[i].given);
    }
    free(g->row);
    free(g->start);
    free(g->doc);
    free(g->ctx);
    free(g->tok);
    free(g->known);
    free(g->text_at);
    free(g->text_len);
    free(g->text);
    free_fields(g);
    free(g->piece);
    json_decref(g->head);
    *g = (struct splice_group){ .section = 0 };
}

bool splice_is_bos(const struct splice_group *g, size_t c, size_t i)
{
    return g->bos >= 0 && i == g->start[c] && g->tok[i] == g->bos;
}

/* Move tokens [from, from + n) of the group to `to`, with all that belongs to them. */
static void move_tokens(struct splice_group *g, size_t to, size_t from, size_t n)
{
    memmove(g->tok + to, g->tok + from, n * sizeof *g->tok);
    memmove(g->known + to, g->known + from, n * sizeof *g->known);
    memmove(g->text_at + to, g->text_at + from, n * sizeof *g->text_at);
    memmove(g->text_len + to, g->text_len + from, n * sizeof *g->text_len);
    for (size_t i = 0; i < g->fields; i++) {
        memmove(g->field[i].at + to, g->field[i].at + from, n * sizeof *g->field[i].at);
        memmove(g->field[i].len + to, g->field[i].len + from, n * sizeof *g->field[i].len);
    }
    for (size_t i = 0; i < g->ports; i++) {
        size_t width = g->row[i].hook->width;
        memmove(g->row[i].x + to * width, g->row[i].x + from * width, n * width * sizeof *g->row[i].x);
        memmove(g->row[i].given + to, g->row[i].given + from, n * sizeof *g->row[i].given);
    }
}

void splice_append(struct splice_group *g, const uint32_t *tok)
{
    reserve_tokens(g, g->tokens + g->contexts);
    for (size_t c = g->contexts; c-- > 0;) {
        size_t n = g->start[c + 1] - g->start[c], end = g->start[c] + c + n;
        move_tokens(g, g->start[c] + c, g->start[c], n);
        g->tok[end] = tok[c];
        g->known[end] = true;
        g->text_len[end] = 0;
        for (size_t i = 0; i < g->fields; i++)
            g->field[i].len[end] = 0;
        for (size_t i = 0; i < g->ports; i++)
            g->row[i].given[end] = false;
    }
    for (size_t c = 0; c <= g->contexts; c++)
        g->start[c] += c;
}

/* ---- passes ---- */

struct port_tap {
    const struct splice_rows *row;
    size_t base;                        /* token of the piece's first row */
    const float *with;                  /* NULL: the rows given; else one row for all */
};

static void put_rows(void *arg, float *rows, size_t n)
{
    const struct port_tap *t = arg;
    size_t width = t->row->hook->width;
    for (size_t i = 0; i < n; i++)
        if (t->row->given[t->base + i])
            memcpy(rows + i * width, t->with ? t->with : t->row->x + (t->base + i) * width, width * sizeof *rows);
}

/* Taps of the ports and the further ones, in the order in which they are to be called. */
static size_t make_taps(const struct splice_group *g, size_t p, enum splice_with with, float *const *mean, const float *zero,
                        struct port_tap *port, struct lm_tap *taps)
{
    size_t n = with == SPLICE_CLEAN ? 0 : g->ports;
    for (size_t i = 0; i < n; i++) {
        port[i] = (struct port_tap){ &g->row[i], g->start[g->piece[p].first],
                                     with == SPLICE_ZERO ? zero : with == SPLICE_MEAN ? mean[i] : NULL };
        taps[i] = (struct lm_tap){ g->row[i].hook, put_rows, &port[i] };
    }
    return n;
}

static float *zero_row(const struct splice_group *g)
{
    size_t widest = 0;
    for (size_t i = 0; i < g->ports; i++)
        widest = g->row[i].hook->width > widest ? g->row[i].hook->width : widest;
    return mem_zero(widest, sizeof(float));
}

void splice_forward(const struct lm *m, struct lm_work *w, const struct splice_group *g, size_t p, enum splice_with with,
                    float *const *mean, const float *resid, const struct lm_tap *more, size_t n)
{
    const struct splice_piece *piece = &g->piece[p];
    size_t base = g->start[piece->first], *start = mem_alloc(piece->count + 1, sizeof *start);
    struct port_tap *port = mem_alloc(g->ports, sizeof *port);
    struct lm_tap *taps = mem_alloc(g->ports + n, sizeof *taps);
    float *zero = with == SPLICE_ZERO ? zero_row(g) : NULL;
    size_t first = make_taps(g, p, with, mean, zero, port, taps);
    struct lm_batch b = { g->tok + base, start, piece->count };
    for (size_t c = 0; c <= piece->count; c++)
        start[c] = g->start[piece->first + c] - base;
    memcpy(taps + first, more, n * sizeof *taps);
    if (resid)
        lm_resume(m, w, &b, splice_layer(m, g, NULL), resid, taps, first + n);
    else
        lm_forward(m, w, &b, taps, first + n);
    free(start);
    free(port);
    free(taps);
    free(zero);
}

int splice_layer(const struct lm *m, const struct splice_group *g, const struct lm_hook **shown)
{
    int layer = g->row[0].hook->layer, n_layer = (int)lm_shape(m)->n_layer;
    for (size_t i = 1; i < g->ports; i++)
        layer = g->row[i].hook->layer < layer ? g->row[i].hook->layer : layer;
    if (shown) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%d.hook_resid_%s", layer < n_layer ? layer : n_layer - 1,
                 layer < n_layer ? "pre" : "post");
        *shown = layer > 0 ? lm_hook_find(m, name) : NULL;
    }
    return layer;
}

/* ---- the mean ---- */

struct sum_job {
    const struct lm *m;
    struct lm_work **work;
    const struct splice_group *g;
    size_t port;
    double *sum;                        /* (pieces, width) */
};

struct sum_tap {
    const struct splice_rows *row;
    size_t base;
    double *sum;
};

static void sum_rows(void *arg, float *rows, size_t n)
{
    const struct sum_tap *t = arg;
    size_t width = t->row->hook->width;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; t->row->given[t->base + i] && j < width; j++)
            t->sum[j] += rows[i * width + j];
}

static void sum_piece(void *arg, size_t p, int worker)
{
    const struct sum_job *j = arg;
    const struct splice_rows *row = &j->g->row[j->port];
    struct sum_tap t = { row, j->g->start[j->g->piece[p].first], j->sum + p * row->hook->width };
    struct lm_tap tap = { row->hook, sum_rows, &t };
    splice_forward(j->m, j->work[worker], j->g, p, SPLICE_CLEAN, NULL, NULL, &tap, 1);
}

void splice_sum_clean(const struct lm *m, struct lm_work **work, const struct splice_group *g, size_t i, double *sum,
                      uint64_t *count)
{
    size_t width = g->row[i].hook->width;
    struct sum_job j = { m, work, g, i, mem_zero(g->pieces * width, sizeof(double)) };
    par_for(g->pieces, sum_piece, &j);
    for (size_t p = 0; p < g->pieces; p++)
        for (size_t k = 0; k < width; k++)
            sum[k] += j.sum[p * width + k];
    for (size_t t = 0; t < g->tokens; t++)
        *count += g->row[i].given[t];
    free(j.sum);
}
