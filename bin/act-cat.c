/* act-cat: join streams into one section, choose, shuffle, cast, scale and convert their rows, look into them.
 *
 *   inputs -> one run of batches -> rows chosen -> cast -> shuffled -> a stream, an array, a table
 *
 * Rows pass through untouched unless an option changes them; doc and ctx are renumbered where sections meet. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cli/arrayin.h"
#include "cli/arrayout.h"
#include "cli/cli_model.h"
#include "cli/streamtable.h"
#include "cli/tablein.h"
#include "cli/tool.h"
#include "data/batch_select.h"
#include "data/row_selector.h"
#include "data/rowmix.h"
#include "maths/vec.h"
#include "model/vocab.h"

#include <stdlib.h>
#include <string.h>

enum { FROM_STREAM, FROM_NPY, FROM_SAFETENSORS, FROM_RAW, FROM_TSV };
enum { TO_STREAM, TO_NPY, TO_RAW, TO_NPZ, TO_TSV };
static const char *const from_names[] = { "stream", "npy", "safetensors", "raw", "tsv", NULL };
static const char *const to_names[] = { "stream", "npy", "raw", "npz", "tsv", NULL };
static const char *const type_names[] = { "f32", "f16", "bf16", NULL };

static struct {
    bool info, check;
    int64_t head, skip, every, shuffle, width;
    int type, from, to;
    double scale;
    const char *hook, *where, *tensor, *model, *labels;
    struct opt_list ids, docs, positions;
} o = { .head = -1, .every = 1, .type = -1, .scale = 1 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Look" },
    { OPT_FLAG, .name = "info", .var = &o.info, .help = "print header and totals of each stream as JSON, reading through" },
    { OPT_FLAG, .name = "check", .var = &o.check, .help = "read through and write nothing: status 0 when all is well" },
    { .type = OPT_GROUP, .help = "Choose and change rows, in this order" },
    ROW_SELECTOR_OPTION(&o.where, "keep the rows"),
    { OPT_COUNT, .name = "skip", .var = &o.skip, .arg = "N", .help = "leave out the first N of these rows", .lo = 0, .hi = 9e15,
      .numbers = true },
    { OPT_COUNT, .name = "every", .var = &o.every, .arg = "K", .help = "keep each K-th row, beginning with the first",
      .lo = 1, .hi = 9e15, .numbers = true },
    { OPT_COUNT, .name = "head", .var = &o.head, .arg = "N", .help = "stop after N rows", .lo = 0, .hi = 9e15,
      .shown = "all", .numbers = true },
    { OPT_REAL, .name = "scale", .var = &o.scale, .arg = "A", .help = "multiply the numbers by A; the header's "
      "proc.scale records it", .numbers = true },
    { OPT_CHOICE, .letter = 't', .name = "type", .var = &o.type, .arg = "TYPE", .help = "store numbers as TYPE",
      .choices = type_names, .shown = "as they come", .numbers = true },
    { OPT_COUNT, .name = "shuffle", .var = &o.shuffle, .arg = "[ROWS]", .help = "put the rows in random order (-s): all of "
      "them, by way of a temporary file, or within a window of ROWS in memory", .lo = 1, .hi = 9e15, .shown = "", .numbers = true },
    { .type = OPT_GROUP, .help = "Convert" },
    { OPT_CHOICE, .name = "from", .var = &o.from, .arg = "FORMAT", .help = "what the inputs are: npy or safetensors arrays "
      "(rows, d) of 2, 4 or 8 bytes a number; raw f32 rows without a header; tsv a table with columns x0 x1 ...",
      .choices = from_names, .numbers = true },
    { OPT_COUNT, .letter = 'd', .name = "width", .var = &o.width, .arg = "D", .help = "row width of --from raw",
      .lo = 1, .hi = STREAM_WIDTH, .shown = "", .numbers = true },
    { OPT_STRING, .name = "tensor", .var = &o.tensor, .arg = "NAME", .help = "which tensor of --from safetensors",
      .shown = "the only one", .numbers = true },
    { OPT_STRING, .letter = 'p', .name = "hook", .var = &o.hook, .arg = "HOOK", .help = "hook name for the header of "
      "converted arrays", .numbers = true },
    { OPT_LIST, .name = "tokens", .var = &o.ids, .arg = "FILE", .help = "token numbers of an array's rows, an .npy of whole "
      "numbers, (rows) or (documents, positions); one for each input", .numbers = true },
    { OPT_LIST, .name = "docs", .var = &o.docs, .arg = "FILE", .help = "likewise the numbers of their documents",
      .shown = "the first axis, or one", .numbers = true },
    { OPT_LIST, .name = "positions", .var = &o.positions, .arg = "FILE", .help = "likewise their positions in the context",
      .shown = "the last axis, or counted in each document", .numbers = true },
    { OPT_STRING, .letter = 'm', .name = "model", .var = &o.model, .arg = "DIR", .help = "directory whose tokenizer.json says "
      "what text --tokens stand for", .shown = "", .numbers = true },
    { OPT_CHOICE, .name = "to", .var = &o.to, .arg = "FORMAT", .help = "what to write: npy an array (rows, d), raw its "
      "rows alone, npz codes as a sparse matrix of SciPy (CSR), tsv a table (of codes: a line a pair)", .choices = to_names },
    LABELS_OPTION(&o.labels),
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "act-cat", .synopsis = "[OPTION]... [STREAM...]",
    .about = "Join streams of activations or codes into one section; choose, shuffle, cast and convert their rows; look into them.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM | OPT_JSON | OPT_SEED, .max_operands = 1 << 20,
};

/* ---- looking ---- */

/* At the end of a section: note it, with its header where it is not that of the section before. */
static void note_section(const struct stream_in *in, void *arg)
{
    json_t *parts = arg, *part = json_object();
    const json_t *was = NULL;
    for (size_t i = json_array_size(parts); i-- && !was;)
        was = json_object_get(json_array_get(parts, i), "header");
    if (!json_equal(was, in->head) && json_object_set(part, "header", in->head))
        mem_die(0);
    if (json_object_set_new(part, "end", json_deep_copy(stream_end(in))) || json_array_append_new(parts, part))
        mem_die(0);
}

static json_t *totals(const struct stream_in *in, json_t *parts)
{
    char name[4096];
    err_mask(name, sizeof name, stream_name(in));       /* JSON has UTF-8 only */
    bool several = json_array_size(parts) > 1;
    json_t *t = json_pack("{s:s,s:O?,s:I,s:I,s:I,s:O?,s:O*}", "file", name, "header",
                          json_object_get(json_array_get(parts, 0), "header"), "sections", (json_int_t)in->section + 1, "rows",
                          (json_int_t)in->total_rows, "batches", (json_int_t)in->total_batches, "end", stream_end(in),
                          "parts", several ? parts : NULL);
    if (!t)
        mem_die(0);
    return t;
}

static void print_totals(struct io_out *out, const struct stream_in *in, json_t *parts)
{
    json_t *t = totals(in, parts);
    char *json = json_dumps(t, opt.json ? JSON_COMPACT : JSON_INDENT(2));
    if (!json)
        mem_die(0);
    struct text text = { .s = NULL };
    table_text_json(&text, json);
    table_text_plain(&text, "\n");
    struct iovec part = { text.s, text.n };
    if (io_put(out, &part, 1))
        tool_die();
    free(text.s);
    free(json);
    json_decref(t);
}

static int look(int argc, char **argv)
{
    struct io_out *out = o.info ? io_create(opt.output, (int)opt.zlevel) : NULL;
    if (o.info && !out)
        tool_die();
    for (int i = 0; i < argc || i == 0; i++) {
        struct stream_in *in = tool_open(argc, argv, i);
        json_t *parts = json_array();
        struct batch b;
        in->on_end = o.info ? note_section : NULL;
        in->on_end_arg = parts;
        while (tool_next(in, &b))
            ;
        if (out)
            print_totals(out, in, parts);
        json_decref(parts);
        stream_close(in);
    }
    if (out && io_commit(out))
        tool_die();
    return 0;
}

/* ---- inputs: streams, or what is dressed as streams' batches ---- */

struct input {
    int argc;
    char **argv;
    int at;                             /* operand in hand */
    struct stream_in *in;               /* one of these three */
    struct arrayin *array;
    struct tablein *rows;
    struct vocab *vocab;
    enum stream_kind kind;
    size_t d;
    enum dtype dtype;
    uint64_t row, array_rows;           /* so far; that the array in hand has (UINT64_MAX: not known) */
    uint64_t section;                   /* of the stream in hand */
    uint32_t doc_base, ctx_base, doc_top, ctx_top;
    uint32_t *doc, *ctx;
    size_t doc_cap, ctx_cap;
};

static const char *operand(const struct input *p)
{
    return p->at < p->argc ? p->argv[p->at] : NULL;
}

static const char *input_name(const struct input *p)
{
    return p->in ? stream_name(p->in) : p->array ? arrayin_name(p->array) : tablein_name(p->rows);
}

/* The file beside operand `at`, or NULL. */
static const char *beside(const struct opt_list *list, int at)
{
    return (size_t)at < list->n ? list->item[at] : NULL;
}

static void open_array(struct input *p)
{
    const struct arrayin_source from = {
        .form = o.from == FROM_NPY ? ARRAYIN_NPY : o.from == FROM_RAW ? ARRAYIN_RAW : ARRAYIN_SAFETENSORS,
        .path = operand(p), .width = (size_t)o.width, .tensor = o.tensor, .ids = beside(&o.ids, p->at),
        .doc = beside(&o.docs, p->at), .pos = beside(&o.positions, p->at), .vocab = p->vocab,
    };
    arrayin_close(p->array);
    p->array = arrayin_open(&from);
    if (!p->array)
        tool_die();
    p->array_rows = arrayin_rows(p->array);
}

static void open_table(struct input *p)
{
    tablein_close(p->rows);
    p->rows = tablein_open(operand(p));
    if (!p->rows)
        tool_die();
    p->array_rows = UINT64_MAX;
}

/* Rows of this width and type from now on: as they have been, unless -t casts them. */
static void settle(struct input *p, size_t d, enum dtype type)
{
    if (p->d && d != p->d)
        tool_die_data("%s: rows are %zu wide, the array before it has %zu", input_name(p), d, p->d);
    if (p->dtype != DTYPE_NONE && type != p->dtype && o.type < 0)
        tool_die_data("%s: rows are %s behind %s: say -t to cast them", input_name(p), dtype_name(type), dtype_name(p->dtype));
    p->d = d;
    p->dtype = p->dtype == DTYPE_NONE ? type : p->dtype;
}

static void open_stream(struct input *p)
{
    struct stream_in *was = p->in, *in = tool_open(p->argc, p->argv, p->at);
    if (was && (in->kind != was->kind || in->d != was->d))
        tool_die_data("%s: %s of width %zu behind %s of width %zu", stream_name(in),
                      in->kind == STREAM_ACTS ? "acts" : "codes", in->d, was->kind == STREAM_ACTS ? "acts" : "codes", was->d);
    const json_t *hook = json_object_get(in->head, "hook"), *before = was ? json_object_get(was->head, "hook") : NULL;
    if (hook && before && !json_equal(hook, before))
        tool_die_data("%s: hook %s behind hook %s", stream_name(in), json_string_value(hook), json_string_value(before));
    stream_close(was);
    p->in = in;
    p->kind = in->kind;
    if (o.type >= 0)
        tool_slice(in, in->d);              /* wider numbers must not make a record too large */
    settle(p, in->d, in->dtype);
}

static void open_input(struct input *p)
{
    if (o.from == FROM_STREAM) {
        open_stream(p);
    } else if (o.from == FROM_TSV) {
        open_table(p);
        settle(p, tablein_width(p->rows), DTYPE_F32);
    } else {
        open_array(p);
        settle(p, arrayin_width(p->array), arrayin_type(p->array));
    }
}

/* The next rows of the operand in hand; 0 at its end. */
static int next_of_input(struct input *p, struct batch *b)
{
    if (p->in)
        return tool_next(p->in, b);
    int r = p->array ? arrayin_next(p->array, b) : tablein_next(p->rows, b);
    if (r < 0)
        tool_die();
    p->row += r ? b->n : 0;
    tool_progress(p->row, p->array_rows == UINT64_MAX ? 0 : p->array_rows, NULL);
    return r;
}

/* doc or ctx with `base` added; *top is one more than the largest so far. */
static void renumber(struct batch *b, const char *name, uint32_t base, uint32_t *top, uint32_t **buf, size_t *cap)
{
    struct column *c = (struct column *)(uintptr_t)batch_column(b, name);
    if (!c)
        return;
    const uint32_t *from = c->data;
    *buf = mem_grow(*buf, cap, b->n, sizeof **buf);
    for (size_t i = 0; i < b->n; i++) {
        if (__builtin_add_overflow(from[i], base, *buf + i) || (*buf)[i] == UINT32_MAX)
            tool_die_data("more than 2^32 %s numbers in one section", name);
        *top = (*buf)[i] >= *top ? (*buf)[i] + 1 : *top;
    }
    c->data = *buf;
}

/* A section ends here: numbers of the next one go on behind the largest so far. */
static void next_section(struct input *p)
{
    p->doc_base = p->doc_top;
    p->ctx_base = p->ctx_top;
}

/* The next rows of all inputs, as one section. */
static int next_rows(struct input *p, struct batch *b)
{
    while (!next_of_input(p, b)) {
        if (++p->at >= p->argc)
            return 0;
        open_input(p);
        next_section(p);
        p->section = 0;
    }
    if (b->section != p->section)
        next_section(p);
    p->section = b->section;
    renumber(b, "doc", p->doc_base, &p->doc_top, &p->doc, &p->doc_cap);
    renumber(b, "ctx", p->ctx_base, &p->ctx_top, &p->ctx, &p->ctx_cap);
    batch_point(b);
    return 1;
}

/* ---- choosing rows ---- */

struct choice {
    struct row_selector where;
    uint64_t at, kept;                  /* rows that --where has let through; rows chosen */
    bool end;                           /* --head is reached */
};

static bool takes_all(void)
{
    return !o.where && !o.skip && o.head < 0 && o.every == 1;
}

/* Rows of b that are kept, to rows[]; how many. next: the batch behind it, where `last` asks for it. */
static size_t choose(struct choice *c, const struct input *p, const struct batch *b, const struct batch *next, size_t *rows)
{
    bool *meant = mem_alloc(b->n, sizeof *meant);
    size_t n = 0;
    memset(meant, true, b->n * sizeof *meant);
    if (o.where && row_selector_rows(&c->where, b, next, meant) < 0) {
        err_in(input_name(p));
        tool_die();
    }
    for (size_t i = 0; i < b->n && !c->end; i++) {
        if (!meant[i])
            continue;
        uint64_t at = c->at++;
        if (at >= (uint64_t)o.skip && (at - (uint64_t)o.skip) % (uint64_t)o.every == 0) {
            rows[n++] = i;
            c->kept++;
        }
        c->end = o.head >= 0 && c->kept >= (uint64_t)o.head;
    }
    free(meant);
    return n;
}

/* ---- numbers ---- */

/* Refuse numbers that are not finite, of rows that begin with row `at`: a stream refuses them itself. */
static void check_finite(const struct column *c, const float *x, size_t n, const struct batch *b, uint64_t at)
{
    ptrdiff_t bad = opt.allow_nan || o.to == TO_STREAM ? -1 : vec_first_nonfinite(x, n);
    if (bad < 0)
        return;
    size_t row = 0;
    const struct column *start = c->rank == 1 ? batch_column(b, "ptr") : NULL;
    while (start && ((const uint32_t *)start->data)[row + 1] <= (size_t)bad)
        row++;
    row = start ? row : (size_t)bad / c->shape[1];
    tool_die_data("%s: row %llu: a value that is not finite as %s", opt.output ? opt.output : "<stdout>",
                  (unsigned long long)(at + row), dtype_name(c->type));
}

/* Scale the numbers of b and store them as `type`. The new values live in buffers of ours until the next call. */
static void recast(struct batch *b, enum dtype type, uint64_t at)
{
    static float *wide;
    static void *narrow;
    static size_t wide_cap, narrow_cap;
    struct column *c = (struct column *)(uintptr_t)batch_column(b, "x");
    c = c ? c : (struct column *)(uintptr_t)batch_column(b, "val");
    bool same = c->type == type && o.scale == 1;
    size_t n = column_bytes(c) / dtype_size(c->type);
    if (same && (o.to == TO_STREAM || o.from == FROM_STREAM))
        return;                             /* who reads or writes a stream has looked at them */
    wide = mem_grow(wide, &wide_cap, n, sizeof *wide);
    dtype_load(wide, c->data, c->type, n);
    if (!same) {
        narrow = mem_grow(narrow, &narrow_cap, n, sizeof(float));
        for (size_t i = 0; i < n && o.scale != 1; i++)
            wide[i] = (float)(wide[i] * o.scale);
        dtype_store(narrow, wide, type, n);
        dtype_load(wide, narrow, type, n);
        c->type = type;
        c->data = narrow;
    }
    check_finite(c, wide, n, b, at);
}

/* ---- outputs ---- */

static void set(json_t *obj, const char *key, json_t *v)
{
    if (!v || json_object_set_new(obj, key, v))
        mem_die(0);
}

static json_t *changed_proc(const struct input *p)
{
    const json_t *was = p->in ? json_object_get(p->in->head, "proc") : NULL, *scale = json_object_get(was, "scale");
    json_t *proc = json_is_object(was) ? json_deep_copy(was) : json_object();
    if (o.scale != 1)
        set(proc, "scale", json_real((scale ? json_number_value(scale) : 1) * o.scale));
    if (o.shuffle)
        set(proc, "shuffled", json_integer((json_int_t)opt.seed));
    return proc;
}

static json_t *tokens_head(const struct input *p)
{
    char *sha = cli_model_tokenizer_digest(o.model);
    json_t *tok = json_pack("{s:I,s:s?}", "vocab", (json_int_t)vocab_size(p->vocab), "sha", sha);
    free(sha);
    return tok;
}

static json_t *changes_to_head(const struct input *p, enum dtype type)
{
    bool whole = p->argc < 2 && takes_all(), stream = o.from == FROM_STREAM;
    json_t *c = stream ? json_object() : stream_head(STREAM_ACTS, p->d, type);
    set(c, "dtype", json_string(dtype_name(type)));
    if (stream && !whole)
        set(c, "rows", json_null());
    if (p->array && whole && arrayin_rows(p->array) != UINT64_MAX)
        set(c, "rows", json_integer((json_int_t)arrayin_rows(p->array)));
    if (o.hook)
        set(c, "hook", json_string(o.hook));
    if (p->vocab)
        set(c, "tok", tokens_head(p));
    if (o.scale != 1 || o.shuffle)
        set(c, "proc", changed_proc(p));
    return c;
}

struct sink {
    struct stream_out *stream;
    struct arrayout *array;
    struct streamtable *table;
    struct labels *labels;
    bool told;                          /* of a column that the table has no place for */
    uint64_t rows;
};

static void sink_open(struct sink *k, const struct input *p, enum dtype type)
{
    bool codes = p->kind == STREAM_CODES;
    if (codes && (o.to == TO_NPY || o.to == TO_RAW))
        tool_die_data("%s: codes have no fixed width: --to npz or tsv", input_name(p));
    if (!codes && o.to == TO_NPZ)
        tool_die_data("%s: activations are not sparse: --to npy", input_name(p));
    if (!codes && o.labels)
        tool_die_data("%s: --labels names features, and these are activations", input_name(p));
    k->labels = labels_open(o.labels, p->d);
    if (o.to == TO_STREAM)
        k->stream = tool_create(p->in, changes_to_head(p, type), p->argv, (size_t)p->argc);
    else if (o.to != TO_TSV)
        k->array = arrayout_create(o.to == TO_NPY ? ARRAYOUT_NPY : o.to == TO_RAW ? ARRAYOUT_RAW : ARRAYOUT_NPZ, type, p->d);
}

static void put_table(struct sink *k, const struct input *p, const struct batch *b)
{
    if (!k->table)
        k->table = streamtable_create(b, p->kind, p->d, k->labels);
    const char *column = k->told ? NULL : streamtable_lacks(k->table, b);
    if (column)
        tool_warn("%s: row %llu on has a column %s, which the first rows had not: the table leaves it out", input_name(p),
                  (unsigned long long)k->rows, column);
    k->told |= column != NULL;
    streamtable_put(k->table, b, k->rows);
}

static void sink_put(struct sink *k, const struct input *p, const struct batch *b)
{
    if (o.to == TO_STREAM)
        tool_put(k->stream, p->in, NULL, b);
    else if (o.to == TO_TSV)
        put_table(k, p, b);
    else
        arrayout_put(k->array, b);
    k->rows += b->n;
}

static int sink_finish(struct sink *k, const struct input *p)
{
    const struct batch none = { .n = 0 };
    if (o.to == TO_STREAM)
        return tool_finish(k->stream);
    tool_progress_end();
    if (o.to != TO_TSV)
        return arrayout_finish(k->array);
    if (!k->table)
        k->table = streamtable_create(&none, p->kind, p->d, k->labels);
    return streamtable_finish(k->table);
}

/* ---- the work ---- */

struct work {
    struct input in;
    struct choice choice;
    struct sink out;
    struct rowmix *mix;                 /* NULL without --shuffle */
    enum dtype type;
};

/* Rows that --shuffle gives out, now or at the end. */
static void put_mixed(struct work *w, bool last)
{
    struct batch b;
    int r;
    while ((r = rowmix_take(w->mix, last, &b)) > 0) {
        sink_put(&w->out, &w->in, &b);
        batch_select_free(&b);
    }
    if (r < 0)
        tool_die();
}

static void put_rows(struct work *w, struct batch *b)
{
    recast(b, w->type, w->choice.kept - b->n);
    if (!w->mix) {
        sink_put(&w->out, &w->in, b);
        return;
    }
    if (rowmix_add(w->mix, b)) {
        err_in(input_name(&w->in));
        tool_die();
    }
    put_mixed(w, false);
}

static void take_batch(struct work *w, const struct batch *b, const struct batch *next)
{
    struct batch chosen = *b;
    if (takes_all()) {
        w->choice.kept += b->n;
        put_rows(w, &chosen);
        return;
    }
    size_t *rows = mem_alloc(b->n, sizeof *rows), n = choose(&w->choice, &w->in, b, next, rows);
    batch_select(&chosen, b, rows, n);
    struct batch cast = chosen;
    if (n)
        put_rows(w, &cast);
    batch_select_free(&chosen);
    free(rows);
}

/* All rows. Where `last` must know the batch behind the one in hand, that one waits. */
static void take_all(struct work *w)
{
    struct batch b, held = { .n = 0 };
    while (!w->choice.end && next_rows(&w->in, &b)) {
        if (!w->choice.where.last) {
            take_batch(w, &b, NULL);
            continue;
        }
        if (held.n) {
            take_batch(w, &held, &b);
            batch_select_keep_free(&held);
        }
        batch_select_keep(&held, &b);
    }
    if (held.n && !w->choice.end)
        take_batch(w, &held, NULL);
    if (held.n)
        batch_select_keep_free(&held);
}

static int convert(int argc, char **argv)
{
    struct work w = { .in = { .argc = argc, .argv = argv, .dtype = DTYPE_NONE }, .choice.end = o.head == 0 };
    row_selector_options(&w.choice.where, o.where, NULL);
    if (o.model && !(w.in.vocab = vocab_load(o.model)))
        tool_die();
    open_input(&w.in);
    w.type = o.type >= 0 ? dtype_find(type_names[o.type]) : w.in.dtype;
    if (o.to == TO_NPY && w.type == DTYPE_BF16)
        w.type = DTYPE_F32;                 /* .npy has no bf16 */
    sink_open(&w.out, &w.in, w.type);
    if (o.shuffle)
        w.mix = rowmix_new((uint64_t)opt.seed, o.shuffle == 1 ? 0 : (uint64_t)o.shuffle, ROWMIX_MEMORY);
    take_all(&w);
    if (w.mix)
        put_mixed(&w, true);
    return sink_finish(&w.out, &w.in);
}

/* ---- options ---- */

/* A list of files beside the arrays has one for each. */
static void check_beside(const struct opt_list *list, const char *name, int argc)
{
    size_t inputs = argc ? (size_t)argc : 1;
    if (list->n && (o.from == FROM_STREAM || o.from == FROM_TSV))
        opt_misuse("--%s: for arrays, --from npy, safetensors or raw", name);
    if (list->n && list->n != inputs)
        opt_misuse("--%s: %zu for %zu inputs: give one for each, in their order", name, list->n, inputs);
}

static void check_options(int argc)
{
    if (o.from == FROM_RAW && !o.width)
        opt_misuse("--from raw needs -d, the row width");
    if (o.from == FROM_SAFETENSORS && !argc)
        opt_misuse("--from safetensors needs a file");
    if (o.from != FROM_STREAM && (o.info || o.check))
        opt_misuse("--info and --check are for streams");
    if (o.to == TO_NPY && o.type == 2)
        opt_misuse("-t bf16: .npy has no such type");
    if (o.tensor && o.from != FROM_SAFETENSORS)
        opt_misuse("--tensor: for --from safetensors");
    if (o.model && !o.ids.n)
        opt_misuse("-m: says what --tokens stand for, and there are none");
    if (o.labels && o.to != TO_TSV)
        opt_misuse("--labels: for --to tsv");
    check_beside(&o.ids, "tokens", argc);
    check_beside(&o.docs, "docs", argc);
    check_beside(&o.positions, "positions", argc);
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    check_options(argc);
    return o.info || o.check ? look(argc, argv) : convert(argc, argv);
}
