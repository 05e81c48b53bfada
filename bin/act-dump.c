/* act-dump: run a language model over text and write the activations at its hook points.
 *
 *   text -> documents -> contexts -> pieces of some contexts, each one forward pass on one thread -> rows, in order
 *
 * How contexts are put into pieces, and pieces into groups that are computed together, follows from the text and the
 * options alone: the number of threads never changes a byte. */
/* SPDX-License-Identifier: MIT */
#include "base/io.h"
#include "base/mem.h"
#include "base/par.h"
#include "cli/cli_blas.h"
#include "cli/cli_model.h"
#include "cli/table.h"
#include "cli/tool.h"
#include "maths/vec.h"
#include "model/corpus.h"
#include "model/lm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE_ROWS = 512, GROUP_ROWS = 16384, GROUP_BYTES = 64 << 20 };
enum { FIELDS = 24, FIELD_BYTES = 8 << 20 };    /* fields of a row; what they take in a record */
enum { BOS_AUTO, BOS_YES, BOS_NO };

static const char *const input_names[] = { "text", "lines", "jsonl", "ids", NULL };
static const char *const bos_names[] = { "auto", "yes", "no", NULL };
static const char *const type_names[] = { "f32", "f16", "bf16", NULL };

static struct {
    const char *model, *pattern, *split, *fields;
    struct opt_list hooks;
    int64_t context, batch, rows;
    int input, bos, type;
    bool keep_bos, center, tokenize, info;
} o;

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Model and hooks" },
    { OPT_STRING, .letter = 'm', .name = "model", .var = &o.model, .arg = "DIR", .help = "checkpoint directory: config.json, "
      "model.safetensors (or shards and their index), tokenizer.json", .shown = "", .numbers = true },
    { OPT_LIST, .letter = 'p', .name = "hook", .var = &o.hooks, .arg = "HOOK", .help = "hook point, as blocks.3.hook_resid_post "
      "or resid_post.3; may be repeated", .numbers = true },
    { OPT_STRING, .letter = 'O', .name = "outputs", .var = &o.pattern, .arg = "PATTERN", .help = "a file for each hook: {hook} "
      "stands for its name", .shown = "" },
    { OPT_CHOICE, .letter = 't', .name = "type", .var = &o.type, .arg = "TYPE", .help = "how numbers are stored",
      .choices = type_names, .numbers = true },
    { OPT_FLAG, .name = "center", .var = &o.center, .help = "subtract each row's mean; the header's proc.centred records it",
      .numbers = true },
    { .type = OPT_GROUP, .help = "Text" },
    { OPT_CHOICE, .name = "input", .var = &o.input, .arg = "FORM", .help = "a document is: a file (text), a line, the `text` "
      "field of a line's JSON object, a line of token ids", .choices = input_names, .numbers = true },
    { OPT_STRING, .name = "fields", .var = &o.fields, .arg = "LIST", .help = "with --input jsonl: also write these fields of "
      "the object, each as a column of text: FIELD or COLUMN=FIELD, separated by commas; a.b leads into an object",
      .shown = "", .numbers = true },
    { OPT_STRING, .name = "split", .var = &o.split, .arg = "STR", .help = "also separates documents within a file; not itself "
      "a token", .shown = "", .numbers = true },
    { OPT_COUNT, .letter = 'c', .name = "context", .var = &o.context, .arg = "N", .help = "context length in tokens, BOS "
      "included", .lo = 1, .hi = 1 << 20, .shown = "the model's", .numbers = true },
    { OPT_CHOICE, .name = "bos", .var = &o.bos, .arg = "WHEN", .help = "begin every context with bos_token_id (auto: when the "
      "config names one)", .choices = bos_names, .numbers = true },
    { OPT_FLAG, .name = "keep-bos", .var = &o.keep_bos, .help = "write the rows of BOS too", .numbers = true },
    { OPT_COUNT, .letter = 'n', .name = "rows", .var = &o.rows, .arg = "N", .help = "stop after N rows", .lo = 1, .hi = 9e15,
      .shown = "all", .numbers = true },
    { OPT_COUNT, .letter = 'b', .name = "batch", .var = &o.batch, .arg = "N", .help = "contexts in a forward pass; may change "
      "the last bits", .lo = 1, .hi = 65536, .shown = "as many as make 512 tokens", .numbers = true },
    { .type = OPT_GROUP, .help = "Instead of activations" },
    { OPT_FLAG, .name = "tokenize", .var = &o.tokenize, .help = "write token ids as text, a document a line" },
    { OPT_FLAG, .name = "info", .var = &o.info, .help = "print what the model is: sizes, parameter counts, hooks with their "
      "widths, what its directory lacks" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "act-dump", .synopsis = "-m DIR -p HOOK [OPTION]... [TEXT...]",
    .about = "Run a GPT-2 or GPT-NeoX checkpoint over text and write the activations at a hook point.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM | OPT_JSON, .max_operands = 1 << 20, .version = cli_blas_version,
};

/* ---- a group of contexts and its pieces ---- */

struct piece {
    size_t first, count;                /* contexts of the group */
    size_t row;                         /* of its first kept row in the group */
};

static struct {
    uint32_t *tok, *doc, *ctx;          /* tokens of all contexts; per context its numbers */
    size_t *start, *skip;               /* (contexts + 1) where each begins; rows not kept at its beginning (0 or 1) */
    size_t contexts, tokens, rows, pieces;
    struct piece *piece;
    char *value;                        /* of the fields of all contexts, joined */
    uint32_t *value_end;                /* (contexts, fields) */
    size_t tok_cap, doc_cap, ctx_cap, start_cap, skip_cap, piece_cap, value_cap, end_cap;
} group;

/* What --fields asks for: field i of the object becomes column name[i], its ends column end[i]. */
static struct {
    size_t n;
    const char *path[FIELDS];
    char *name[FIELDS], *end[FIELDS];
} fields;

/* One output: a hook and the rows of the group there. */
struct sink {
    const struct lm_hook *hook;
    struct stream_out *out;
    float *x;
    size_t cap;
};

static struct lm *lm;
static struct lm_work **work;           /* one for each thread */
static struct tokenizer *tokenizer;
static struct sink *sink;
static size_t sinks, total_width;

static void group_reset(void)
{
    group.contexts = group.tokens = group.rows = group.pieces = 0;
    group.start = mem_grow(group.start, &group.start_cap, 1, sizeof *group.start);
    group.start[0] = 0;
}

/* The values of context i's fields, behind those of the contexts before it. */
static void add_fields(const struct context *c, size_t i)
{
    size_t at = i && fields.n ? group.value_end[i * fields.n - 1] : 0, len = fields.n ? c->field_end[fields.n - 1] : 0;
    group.value = mem_grow(group.value, &group.value_cap, at + len, 1);
    group.value_end = mem_grow(group.value_end, &group.end_cap, (i + 1) * fields.n, sizeof *group.value_end);
    if (len)
        memcpy(group.value + at, c->fields, len);
    for (size_t k = 0; k < fields.n; k++)
        group.value_end[i * fields.n + k] = at + c->field_end[k];
}

static void group_add(const struct context *c)
{
    size_t i = group.contexts++;
    add_fields(c, i);
    group.tok = mem_grow(group.tok, &group.tok_cap, group.tokens + c->n, sizeof *group.tok);
    group.doc = mem_grow(group.doc, &group.doc_cap, i + 1, sizeof *group.doc);
    group.ctx = mem_grow(group.ctx, &group.ctx_cap, i + 1, sizeof *group.ctx);
    group.skip = mem_grow(group.skip, &group.skip_cap, i + 1, sizeof *group.skip);
    group.start = mem_grow(group.start, &group.start_cap, i + 2, sizeof *group.start);
    memcpy(group.tok + group.tokens, c->tok, c->n * sizeof *group.tok);
    group.doc[i] = c->doc;
    group.ctx[i] = c->ctx;
    group.skip[i] = c->bos && !o.keep_bos;
    group.tokens += c->n;
    group.start[i + 1] = group.tokens;

    struct piece *p = group.pieces ? &group.piece[group.pieces - 1] : NULL;
    size_t held = p ? group.start[i] - group.start[p->first] : 0;
    if (!p || (o.batch ? p->count >= (size_t)o.batch : held + c->n > PIECE_ROWS)) {
        group.piece = mem_grow(group.piece, &group.piece_cap, group.pieces + 1, sizeof *group.piece);
        p = &group.piece[group.pieces++];
        *p = (struct piece){ i, 0, group.rows };
    }
    p->count++;
    group.rows += c->n - group.skip[i];
}

/* Enough for one round: rows, bytes, and no piece that could still grow under --batch. */
static bool group_full(void)
{
    bool whole = !o.batch || group.piece[group.pieces - 1].count == (size_t)o.batch;
    size_t held = fields.n ? group.value_end[group.contexts * fields.n - 1] : 0;
    return whole && (group.tokens >= GROUP_ROWS || held >= GROUP_BYTES || group.tokens * total_width * sizeof(float) >= GROUP_BYTES);
}

/* ---- the forward pass of one piece ---- */

struct tap {
    const struct piece *piece;
    float *x;                           /* where the piece's rows go */
    size_t width;
};

static void center(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(x[i] - sum / (double)n);
}

/* Called by the forward pass with all rows of the piece: keep those that are written. */
static void take_rows(void *arg, float *rows, size_t n)
{
    const struct tap *t = arg;
    float *to = t->x;
    size_t base = group.start[t->piece->first];
    (void)n;
    for (size_t c = t->piece->first; c < t->piece->first + t->piece->count; c++) {
        size_t from = group.start[c] + group.skip[c] - base, kept = group.start[c + 1] - base - from;
        memcpy(to, rows + from * t->width, kept * t->width * sizeof *to);
        for (size_t r = 0; r < kept && o.center; r++)
            center(to + r * t->width, t->width);
        to += kept * t->width;
    }
}

static void run_piece(void *arg, size_t i, int worker)
{
    const struct piece *p = &group.piece[i];
    struct tap *tap = mem_alloc(sinks, sizeof *tap);
    struct lm_tap *taps = mem_alloc(sinks, sizeof *taps);
    size_t *start = mem_alloc(p->count + 1, sizeof *start), base = group.start[p->first];
    (void)arg;
    for (size_t c = 0; c <= p->count; c++)
        start[c] = group.start[p->first + c] - base;
    for (size_t k = 0; k < sinks; k++) {
        tap[k] = (struct tap){ p, sink[k].x + p->row * sink[k].hook->width, sink[k].hook->width };
        taps[k] = (struct lm_tap){ sink[k].hook, take_rows, &tap[k] };
    }
    struct lm_batch b = { group.tok + base, start, p->count };
    lm_forward(lm, work[worker], &b, taps, sinks);
    free(tap);
    free(taps);
    free(start);
}

/* ---- writing a group ---- */

/* What goes beside the numbers, one entry a kept row. */
static struct {
    uint32_t *doc, *ctx, *pos, *tok, *text_end;
    size_t *text_start, *context;       /* where its text begins; its context in the group */
    uint8_t *text;
    size_t doc_cap, ctx_cap, pos_cap, tok_cap, end_cap, start_cap, context_cap, text_cap;
    struct {
        char *bytes;
        uint32_t *end;
        size_t bytes_cap, end_cap;
    } field[FIELDS];                    /* of the record in hand */
} meta;

static void label_row(size_t r, size_t c, size_t i, size_t *text)
{
    uint32_t id = group.tok[i];
    size_t len = 0;
    const uint8_t *bytes = tokenizer ? tokenizer_text(tokenizer, id, &len) : NULL;
    len = bytes ? len : 0;
    meta.context[r] = c;
    meta.doc[r] = group.doc[c];
    meta.ctx[r] = group.ctx[c];
    meta.pos[r] = (uint32_t)(i - group.start[c]);
    meta.tok[r] = id;
    meta.text = mem_grow(meta.text, &meta.text_cap, *text + len, 1);
    if (len)
        memcpy(meta.text + *text, bytes, len);
    meta.text_start[r] = *text;
    *text += len;
}

static void label_rows(void)
{
    size_t n = group.rows + 1, r = 0, text = 0;
    meta.doc = mem_grow(meta.doc, &meta.doc_cap, n, sizeof *meta.doc);
    meta.ctx = mem_grow(meta.ctx, &meta.ctx_cap, n, sizeof *meta.ctx);
    meta.pos = mem_grow(meta.pos, &meta.pos_cap, n, sizeof *meta.pos);
    meta.tok = mem_grow(meta.tok, &meta.tok_cap, n, sizeof *meta.tok);
    meta.text_end = mem_grow(meta.text_end, &meta.end_cap, n, sizeof *meta.text_end);
    meta.context = mem_grow(meta.context, &meta.context_cap, n, sizeof *meta.context);
    meta.text_start = mem_grow(meta.text_start, &meta.start_cap, n, sizeof *meta.text_start);
    for (size_t c = 0; c < group.contexts; c++)
        for (size_t i = group.start[c] + group.skip[c]; i < group.start[c + 1]; i++)
            label_row(r++, c, i, &text);
    meta.text_start[r] = text;
}

/* The value of field k in row r. */
static const char *field_of(size_t r, size_t k, size_t *len)
{
    size_t i = meta.context[r] * fields.n + k;
    size_t from = i ? group.value_end[i - 1] : 0;
    *len = group.value_end[i] - from;
    return group.value + from;
}

/* The column of field k for rows [lo, hi). */
static void put_field(struct batch *b, size_t k, size_t lo, size_t hi)
{
    size_t n = 0, len;
    meta.field[k].end = mem_grow(meta.field[k].end, &meta.field[k].end_cap, hi - lo, sizeof(uint32_t));
    for (size_t r = lo; r < hi; r++) {
        const char *value = field_of(r, k, &len);
        meta.field[k].bytes = mem_grow(meta.field[k].bytes, &meta.field[k].bytes_cap, n + len + 1, 1);
        memcpy(meta.field[k].bytes + n, value, len);
        meta.field[k].end[r - lo] = (uint32_t)(n += len);
    }
    batch_add_text(b, fields.name[k], fields.end[k], meta.field[k].bytes, meta.field[k].end);
}

/* Rows of a record that begins at row lo of `rows`: about STREAM_PAYLOAD of numbers, not more than FIELD_BYTES of fields. */
static size_t rows_at_once(size_t width, size_t lo, size_t rows)
{
    size_t most = STREAM_PAYLOAD / sizeof(float) / width + 1, bytes = 0, n = 0, len;
    for (; n < most && lo + n < rows && (bytes < FIELD_BYTES || !n); n++)
        for (size_t k = 0; k < fields.n; k++) {
            field_of(lo + n, k, &len);
            bytes += len;
        }
    return n;
}

static void put_rows(struct sink *s, size_t lo, size_t hi)
{
    struct batch b = { .n = hi - lo };
    enum dtype type = dtype_find(type_names[o.type]);
    size_t width = s->hook->width, text = meta.text_start[lo];
    void *narrow = NULL;
    const void *x = s->x + lo * width;
    ptrdiff_t bad = opt.allow_nan ? -1 : vec_first_nonfinite(x, b.n * width);
    if (bad >= 0)
        tool_die_data("%s: %s: a value that is not finite in document %u, position %u", o.model, s->hook->name,
                      meta.doc[lo + (size_t)bad / width], meta.pos[lo + (size_t)bad / width]);
    if (type != DTYPE_F32) {
        narrow = mem_alloc(b.n * width, dtype_size(type));
        dtype_store(narrow, x, type, b.n * width);
        x = narrow;
    }
    for (size_t r = lo; r < hi; r++)
        meta.text_end[r] = (uint32_t)(meta.text_start[r + 1] - text);
    batch_add(&b, "x", type, b.n, width, false, x);
    batch_add(&b, "doc", DTYPE_U32, b.n, 0, true, meta.doc + lo);
    batch_add(&b, "ctx", DTYPE_U32, b.n, 0, true, meta.ctx + lo);
    batch_add(&b, "pos", DTYPE_U32, b.n, 0, true, meta.pos + lo);
    batch_add(&b, "tok", DTYPE_U32, b.n, 0, true, meta.tok + lo);
    if (tokenizer) {
        batch_add(&b, "text", DTYPE_U8, meta.text_start[hi] - text, 0, false, meta.text + text);
        batch_add(&b, "text_end", DTYPE_U32, b.n, 0, true, meta.text_end + lo);
    }
    for (size_t k = 0; k < fields.n; k++)
        put_field(&b, k, lo, hi);
    tool_put(s->out, NULL, NULL, &b);
    free(narrow);
}

/* Compute the group and write its rows, `most` at the most. Returns how many. */
static uint64_t run_group(uint64_t most)
{
    size_t rows = group.rows < most ? group.rows : (size_t)most;
    for (size_t k = 0; k < sinks; k++)
        sink[k].x = mem_grow(sink[k].x, &sink[k].cap, group.rows * sink[k].hook->width + 1, sizeof *sink[k].x);
    par_for(group.pieces, run_piece, NULL);
    label_rows();
    for (size_t k = 0; k < sinks; k++) {
        for (size_t lo = 0, n; lo < rows; lo += n) {
            n = rows_at_once(sink[k].hook->width, lo, rows);
            put_rows(&sink[k], lo, lo + n);
        }
    }
    group_reset();
    return rows;
}

/* ---- opening ---- */

static json_t *head_of(const struct lm_hook *hook, int64_t bos, size_t ctx_len)
{
    const struct lm_shape *s = lm_shape(lm);
    json_t *h = stream_head(STREAM_ACTS, hook->width, dtype_find(type_names[o.type]));
    json_t *tok = json_pack("{s:I,s:o,s:I}", "vocab", (json_int_t)s->n_vocab, "bos",
                            bos < 0 ? json_null() : json_integer(bos), "ctx", (json_int_t)ctx_len);
    char *name = cli_model_name(o.model), *sha = tokenizer ? cli_model_tokenizer_digest(o.model) : NULL;
    if (sha)
        json_object_set_new(tok, "sha", json_string(sha));
    json_object_set_new(h, "model", json_string(name));
    json_object_set_new(h, "model_sha", json_string(lm_digest(lm)));
    json_object_set_new(h, "arch", json_string(s->arch));
    json_object_set_new(h, "hook", json_string(hook->name));
    json_object_set_new(h, "layer", json_integer(hook->layer));
    json_object_set_new(h, "tok", tok);
    if (o.center)
        json_object_set_new(h, "proc", json_pack("{s:b}", "centred", 1));
    if (o.rows)
        json_object_set_new(h, "rows", json_integer(o.rows));
    free(name);
    free(sha);
    return h;
}

static void add_field(const char *word)
{
    const char *equals = strchr(word, '='), *path = equals ? equals + 1 : word;
    char *name = equals ? mem_bytes(word, (size_t)(equals - word)) : mem_string(word);
    if (fields.n == FIELDS)
        opt_misuse("--fields: at most %d", FIELDS);
    if (!*path)
        opt_misuse("--fields: '%s' names no field", word);
    if (!column_name_free(name) || strlen(name) > 60 || !strcmp(name, "last") || !strcmp(name, "token"))
        opt_misuse("--fields: a column cannot be called '%s': say COLUMN=%s, with another name of a-z, 0-9, _ and .", name, path);
    fields.end[fields.n] = mem_format("%s_end", name);
    for (size_t i = 0; i < fields.n; i++)
        if (!strcmp(name, fields.name[i]) || !strcmp(name, fields.end[i]) || !strcmp(fields.end[fields.n], fields.name[i]))
            opt_misuse("--fields: columns %s and %s get in each other's way", fields.name[i], name);
    fields.path[fields.n] = path;
    fields.name[fields.n++] = name;
}

/* The words of --fields: they live on in `list`, which is never freed. */
static void choose_fields(void)
{
    char *list = mem_string(o.fields), *save = NULL;
    if (o.input != CORPUS_JSONL || o.tokenize || o.info)
        opt_misuse("--fields: only the rows of --input jsonl have fields");
    for (char *word = strtok_r(list, ",", &save); word; word = strtok_r(NULL, ",", &save))
        add_field(word);
    if (!fields.n)
        opt_misuse("--fields: names no field");
}

/* Rows of other tools begin otherwise: worth a word, since values differ. */
static void warn_of_bos(int64_t bos)
{
    if (o.bos == BOS_AUTO && bos >= 0 && !strcmp(lm_shape(lm)->arch, "gpt_neox"))
        tool_warn("--bos auto: every context begins with token %lld; Hugging Face and TransformerLens put none before text for "
                  "GPT-NeoX: --bos no does as they do", (long long)bos);
}

/* A name that no document knows is more likely a slip than a rare field. */
static void warn_of_fields(const struct corpus *c)
{
    for (size_t i = 0; i < fields.n; i++)
        if (!corpus_had_field(c, i))
            tool_warn("--fields: no document had the field %s: its column is empty", fields.path[i]);
}

/* PATTERN with {hook} replaced. */
static char *output_name(const char *hook)
{
    const char *at = o.pattern ? strstr(o.pattern, "{hook}") : NULL;
    return at ? mem_format("%.*s%s%s", (int)(at - o.pattern), o.pattern, hook, at + 6) : NULL;
}

static void open_sinks(void)
{
    sinks = o.hooks.n;
    sink = mem_zero(sinks, sizeof *sink);
    for (size_t i = 0; i < sinks; i++) {
        sink[i].hook = lm_hook_find(lm, o.hooks.item[i]);
        if (!sink[i].hook)
            tool_die();
        for (size_t k = 0; k < i; k++)
            if (sink[k].hook == sink[i].hook)
                opt_misuse("-p: %s is given twice", sink[i].hook->name);
        total_width += sink[i].hook->width;
    }
}

static void create_outputs(char **inputs, size_t n, int64_t bos, size_t ctx_len)
{
    for (size_t i = 0; i < sinks; i++) {
        char *name = output_name(sink[i].hook->name);
        sink[i].out = tool_create_at(name ? name : opt.output, head_of(sink[i].hook, bos, ctx_len), inputs, n);
        free(name);
    }
}

static int64_t choose_bos(void)
{
    int64_t bos = lm_shape(lm)->bos;
    if (o.bos == BOS_YES && bos < 0)
        tool_die_data("%s/config.json: names no bos_token_id for --bos yes", o.model);
    return o.bos == BOS_NO ? -1 : bos;
}

static size_t choose_context(int64_t bos)
{
    size_t most = lm_shape(lm)->n_ctx;
    if ((uint64_t)o.context > most)
        opt_misuse("-c: %lld is more than the model's context of %zu", (long long)o.context, most);
    if (o.context == 1 && bos >= 0)
        opt_misuse("-c: a context of 1 has room for BOS only");
    return o.context ? (size_t)o.context : most;
}

/* ---- the three jobs ---- */

static int print_info(void)
{
    static const char *const names[] = { "name", "value" };
    const struct lm_shape *s = lm_shape(lm);
    size_t n;
    const struct lm_hook *hook = lm_hooks(lm, &n);
    struct table *t = table_create(names, 2);
    const struct { const char *name; size_t value; } sizes[] = {
        { "n_layer", s->n_layer }, { "d_model", s->d_model }, { "n_head", s->n_head }, { "d_head", s->d_head },
        { "d_mlp", s->d_mlp }, { "n_vocab", s->n_vocab }, { "n_ctx", s->n_ctx }, { "params", s->params },
        { "params_non_embedding", s->params_non_embedding },
    };
    table_text(t, "arch");
    table_text(t, s->arch);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        table_text(t, sizes[i].name);
        table_count(t, sizes[i].value);
    }
    table_text(t, "bos");
    if (s->bos < 0)
        table_empty(t);
    else
        table_count(t, (uint64_t)s->bos);
    table_text(t, "lacks");
    table_text(t, tokenizer ? "nothing" : "a readable tokenizer.json: only --input ids works");
    for (size_t i = 0; i < n; i++) {
        table_text(t, hook[i].name);
        table_count(t, hook[i].width);
    }
    return table_finish(t);
}

static int print_tokens(struct corpus *c)
{
    struct io_out *out = io_create(opt.output, (int)opt.zlevel);
    struct text t = { .s = NULL };
    struct context x;
    int r;
    if (!out)
        tool_die();
    while ((r = corpus_next(c, &x)) > 0) {
        char number[24];
        for (size_t i = 0; i < x.n; i++) {
            snprintf(number, sizeof number, "%s%u", x.first && i == 0 ? "" : " ", x.tok[i]);
            table_text_plain(&t, number);
        }
        if (x.last)
            table_text_plain(&t, "\n");
        if (t.n > 1 << 16 || x.last) {
            struct iovec iov = { t.s, t.n };
            if (io_put(out, &iov, 1))
                tool_die();
            t.n = 0;
        }
    }
    if (r < 0 || io_commit(out))
        tool_die();
    free(t.s);
    return 0;
}

static int dump(struct corpus *c, char **inputs, size_t n, int64_t bos, size_t ctx_len)
{
    struct context x;
    uint64_t rows = 0, most = o.rows ? (uint64_t)o.rows : UINT64_MAX;
    int r = corpus_next(c, &x);         /* text that cannot be read leaves no output behind */
    if (r < 0)
        tool_die();
    create_outputs(inputs, n, bos, ctx_len);
    warn_of_bos(bos);
    work = mem_alloc((size_t)par_threads(), sizeof *work);
    for (int i = 0; i < par_threads(); i++)
        work[i] = lm_work_new(lm);
    group_reset();
    while (r > 0 && rows + group.rows < most) {
        group_add(&x);
        if (group_full()) {
            rows += run_group(most - rows);
            tool_progress(rows, (uint64_t)o.rows, NULL);
        }
        if (rows + group.rows < most)
            r = corpus_next(c, &x);
    }
    if (r < 0)
        tool_die();
    if (group.contexts)
        run_group(most - rows);
    for (int i = 0; i < par_threads(); i++)
        lm_work_free(work[i]);
    for (size_t i = 0; i < sinks; i++)
        tool_finish(sink[i].out);
    warn_of_fields(c);
    return 0;
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    bool acts = !o.info && !o.tokenize;
    if (!o.model)
        opt_misuse("-m DIR is missing");
    if (acts && !o.hooks.n)
        opt_misuse("-p HOOK is missing (--info lists the hooks)");
    if (o.pattern && !strstr(o.pattern, "{hook}"))
        opt_misuse("-O: '%s' does not hold {hook}", o.pattern);
    if (o.pattern && opt.output)
        opt_misuse("-O and -o exclude each other");
    if (acts && o.hooks.n > 1 && !o.pattern)
        opt_misuse("several hooks need -O PATTERN");
    if (o.split && (o.input != CORPUS_TEXT || !*o.split))
        opt_misuse("--split: %s", *o.split ? "only --input text has documents within a file" : "an empty string separates nothing");
    if (o.fields)
        choose_fields();
    cli_blas_start();
    lm = lm_open(o.model);
    if (!lm)
        tool_die();
    tokenizer = tokenizer_load(o.model);
    if (!tokenizer && !o.info && o.input != CORPUS_IDS)
        tool_die();
    if (o.info)
        return print_info();
    int64_t bos = o.tokenize ? -1 : choose_bos();
    size_t ctx_len = o.tokenize ? GROUP_ROWS : choose_context(bos);
    if (acts)
        open_sinks();
    tool_terminal(argc ? argv[0] : NULL);
    struct corpus *c = corpus_open(argv, (size_t)argc, (enum corpus_input)o.input, o.split, tokenizer, ctx_len, bos,
                                   lm_shape(lm)->n_vocab);
    if (!c)
        tool_die();
    if (fields.n)
        corpus_fields(c, fields.path, fields.n);
    int status = o.tokenize ? print_tokens(c) : dump(c, argv, (size_t)argc, bos, ctx_len);
    corpus_close(c);
    tokenizer_free(tokenizer);
    lm_close(lm);
    return status;
}
