/* act-cat: join streams into one section, cut, cast, scale and convert them, look into them.
 *
 * Rows pass through untouched unless an option changes them; doc and ctx are renumbered where sections meet. */
/* SPDX-License-Identifier: MIT */
#include "data/npy.h"
#include "data/pick.h"
#include "ground/mem.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FROM_STREAM, FROM_NPY, FROM_RAW };
enum { TO_STREAM, TO_NPY, TO_RAW, TO_TSV };
static const char *const from_names[] = { "stream", "npy", "raw", NULL };
static const char *const to_names[] = { "stream", "npy", "raw", "tsv", NULL };
static const char *const type_names[] = { "f32", "f16", "bf16", NULL };

static struct {
    bool info, check;
    int64_t head, skip, every, width;
    int type, from, to;
    double scale;
    const char *hook;
} o = { .head = -1, .every = 1, .type = -1, .scale = 1 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Look" },
    { OPT_FLAG, .name = "info", .var = &o.info, .help = "print header and totals of each stream as JSON, reading through" },
    { OPT_FLAG, .name = "check", .var = &o.check, .help = "read through and write nothing: status 0 when all is well" },
    { .type = OPT_GROUP, .help = "Choose and change rows" },
    { OPT_COUNT, .name = "skip", .var = &o.skip, .arg = "N", .help = "leave out the first N rows", .lo = 0, .hi = 9e15,
      .numbers = true },
    { OPT_COUNT, .name = "head", .var = &o.head, .arg = "N", .help = "stop after N rows", .lo = 0, .hi = 9e15,
      .shown = "all", .numbers = true },
    { OPT_COUNT, .name = "every", .var = &o.every, .arg = "K", .help = "keep each K-th row, beginning with the first",
      .lo = 1, .hi = 9e15, .numbers = true },
    { OPT_CHOICE, .letter = 't', .name = "type", .var = &o.type, .arg = "TYPE", .help = "store numbers as TYPE",
      .choices = type_names, .shown = "as they come", .numbers = true },
    { OPT_REAL, .name = "scale", .var = &o.scale, .arg = "A", .help = "multiply the numbers by A; the header's "
      "proc.scale records it", .numbers = true },
    { .type = OPT_GROUP, .help = "Convert" },
    { OPT_CHOICE, .name = "from", .var = &o.from, .arg = "FORMAT", .help = "what the inputs are: npy is an array (rows, d) "
      "of f2, f4 or f8; raw is f32 rows without a header", .choices = from_names, .numbers = true },
    { OPT_COUNT, .letter = 'd', .name = "width", .var = &o.width, .arg = "D", .help = "row width of --from raw",
      .lo = 1, .hi = STREAM_WIDTH, .shown = "", .numbers = true },
    { OPT_STRING, .letter = 'p', .name = "hook", .var = &o.hook, .arg = "HOOK", .help = "hook name for the header of "
      "converted arrays", .numbers = true },
    { OPT_CHOICE, .name = "to", .var = &o.to, .arg = "FORMAT", .help = "what to write: npy an array (rows, d), raw its "
      "rows alone, tsv a table (of codes: a line a pair)", .choices = to_names },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "act-cat", .synopsis = "[OPTION]... [STREAM...]",
    .about = "Join streams of activations or codes into one section; cut, cast and convert them; look into them.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM | OPT_JSON, .max_operands = 1 << 20,
};

/* ---- looking ---- */

static json_t *totals(const struct stream_in *in)
{
    char name[4096];
    err_mask(name, sizeof name, stream_name(in));       /* JSON has UTF-8 only */
    json_t *t = json_pack("{s:s,s:O,s:I,s:I,s:I,s:O?}", "file", name, "header", in->head, "sections",
                          (json_int_t)in->section + 1, "rows", (json_int_t)in->total_rows, "batches",
                          (json_int_t)in->total_batches, "end", stream_end(in));
    if (!t)
        mem_die(0);
    return t;
}

static void print_totals(struct io_out *out, const struct stream_in *in)
{
    json_t *t = totals(in);
    char *text = json_dumps(t, opt.json ? JSON_COMPACT : JSON_INDENT(2));
    if (!text)
        mem_die(0);
    struct iovec part[] = { { text, strlen(text) }, { (char[]){ '\n' }, 1 } };
    if (io_put(out, part, 2))
        tool_die();
    free(text);
    json_decref(t);
}

static int look(int argc, char **argv)
{
    struct io_out *out = o.info ? io_create(opt.output, (int)opt.zlevel) : NULL;
    if (o.info && !out)
        tool_die();
    for (int i = 0; i < argc || i == 0; i++) {
        struct stream_in *in = tool_open(argc, argv, i);
        struct batch b;
        while (tool_next(in, &b))
            ;
        if (out)
            print_totals(out, in);
        stream_close(in);
    }
    if (out && io_commit(out))
        tool_die();
    return 0;
}

/* ---- inputs: streams, or arrays dressed as streams' batches ---- */

struct input {
    int argc;
    char **argv;
    int at;                             /* operand in hand */
    struct stream_in *in;               /* streams */
    struct io_in *io;                   /* arrays */
    enum dtype type;                    /* of the array's items */
    uint64_t rows;                      /* the array states */
    uint64_t left;                      /* rows the array still has (UINT64_MAX: until its end) */
    void *raw;
    float *x;
    size_t d;
    enum dtype dtype;
    uint64_t row;
    uint64_t section;                   /* of the stream in hand */
    uint32_t doc_base, ctx_base, doc_most, ctx_most;
    uint32_t *doc, *ctx;
    size_t doc_cap, ctx_cap;
};

static const char *operand(const struct input *p)
{
    return p->at < p->argc ? p->argv[p->at] : NULL;
}

/* Any array of rank 2 or more: its last axis is the row. Returns the width. */
static size_t open_npy(struct input *p)
{
    struct npy h;
    if (npy_read_header(p->io, &h))
        tool_die();
    if (h.rank < 2)
        tool_die_data("%s: an array of rank %zu where (rows, d) is wanted", io_name(p->io), h.rank);
    if (h.type != DTYPE_F32 && h.type != DTYPE_F16 && h.type != DTYPE_F64)
        tool_die_data("%s: items are %s where f2, f4 or f8 are wanted", io_name(p->io), dtype_name(h.type));
    p->type = h.type;
    p->rows = 1;
    for (size_t i = 0; i + 1 < h.rank; i++)
        p->rows *= h.shape[i];
    p->left = p->rows;
    return h.shape[h.rank - 1];
}

static void open_array(struct input *p)
{
    size_t d = (size_t)o.width;
    p->io = io_open(operand(p));
    if (!p->io)
        tool_die();
    p->type = DTYPE_F32;
    p->left = UINT64_MAX;
    if (o.from == FROM_NPY)
        d = open_npy(p);
    if (p->d && d != p->d)
        tool_die_data("%s: rows are %zu wide, the array before it has %zu", io_name(p->io), d, p->d);
    if (d < 1 || d > STREAM_WIDTH)
        tool_die_data("%s: rows are %zu wide, not 1 to %d", io_name(p->io), d, STREAM_WIDTH);
    p->d = d;
    p->dtype = p->type == DTYPE_F16 ? DTYPE_F16 : DTYPE_F32;
}

static void open_stream(struct input *p)
{
    const struct stream_in *was = p->in;
    struct stream_in *in = tool_open(p->argc, p->argv, p->at);
    if (was && (in->kind != was->kind || in->d != was->d))
        tool_die_data("%s: %s of width %zu behind %s of width %zu", stream_name(in),
                      in->kind == STREAM_ACTS ? "acts" : "codes", in->d, was->kind == STREAM_ACTS ? "acts" : "codes", was->d);
    const json_t *hook = json_object_get(in->head, "hook"), *before = was ? json_object_get(was->head, "hook") : NULL;
    if (hook && before && !json_equal(hook, before))
        tool_die_data("%s: hook %s behind hook %s", stream_name(in), json_string_value(hook), json_string_value(before));
    stream_close(p->in);
    p->in = in;
    p->d = in->d;
    if (o.type >= 0)
        tool_slice(in, in->d);              /* wider numbers must not make a record too large */
    p->dtype = p->dtype == DTYPE_NONE ? in->dtype : p->dtype;
    if (in->dtype != p->dtype && o.type < 0)
        tool_die_data("%s: rows are %s behind %s: say -t to cast them", stream_name(in), dtype_name(in->dtype),
                      dtype_name(p->dtype));
}

static void open_input(struct input *p)
{
    if (o.from == FROM_STREAM)
        open_stream(p);
    else
        open_array(p);
}

/* The next rows of the array in hand; 0 at its end. */
static int next_of_array(struct input *p, struct batch *b)
{
    size_t item = dtype_size(p->type) * p->d, most = STREAM_PAYLOAD / item + 1;
    if (p->left < most)
        most = (size_t)p->left;
    if (!p->raw) {
        p->raw = mem_alloc(STREAM_PAYLOAD / item + 1, item);
        p->x = mem_alloc((STREAM_PAYLOAD / item + 1) * p->d, sizeof *p->x);
    }
    ssize_t got = io_read(p->io, p->raw, most * item);
    if (got < 0)
        tool_die();
    if ((size_t)got % item || (p->left != UINT64_MAX && (size_t)got < most * item))
        tool_die_data("%s: cut short in row %llu", io_name(p->io), (unsigned long long)(p->row + (size_t)got / item));
    size_t n = (size_t)got / item;
    if (p->left != UINT64_MAX)
        p->left -= n;
    dtype_load(p->x, p->raw, p->type, n * p->d);
    *b = (struct batch){ .n = n, .row = p->row, .x = p->x };
    batch_add(b, "x", p->dtype, n, p->d, false, p->type == p->dtype ? p->raw : (void *)p->x);
    p->row += n;
    return n > 0;
}

/* doc or ctx with `base` added; *most is one more than the largest so far. */
static void renumber(struct batch *b, const char *name, uint32_t base, uint32_t *most, uint32_t **buf, size_t *cap)
{
    struct column *c = (struct column *)(uintptr_t)batch_column(b, name);
    if (!c)
        return;
    const uint32_t *from = c->data;
    *buf = mem_grow(*buf, cap, b->n, sizeof **buf);
    for (size_t i = 0; i < b->n; i++) {
        if (__builtin_add_overflow(from[i], base, *buf + i) || (*buf)[i] == UINT32_MAX)
            tool_die_data("more than 2^32 %s numbers in one section", name);
        *most = (*buf)[i] >= *most ? (*buf)[i] + 1 : *most;
    }
    c->data = *buf;
}

/* A section ends here: numbers of the next one go on behind the largest so far. */
static void next_section(struct input *p)
{
    p->doc_base = p->doc_most;
    p->ctx_base = p->ctx_most;
}

/* The next rows of all inputs, as one section. */
static int next_rows(struct input *p, struct batch *b)
{
    while (!(o.from == FROM_STREAM ? tool_next(p->in, b) : next_of_array(p, b))) {
        io_close(p->io);
        p->io = NULL;
        if (++p->at >= p->argc)
            return 0;
        open_input(p);
        next_section(p);
        p->section = 0;
    }
    if (b->section != p->section)
        next_section(p);
    p->section = b->section;
    renumber(b, "doc", p->doc_base, &p->doc_most, &p->doc, &p->doc_cap);
    renumber(b, "ctx", p->ctx_base, &p->ctx_most, &p->ctx, &p->ctx_cap);
    return 1;
}

/* ---- choosing rows ---- */

/* Rows of b (whose first is row `at` of all) that --skip, --every and --head keep; *end once --head is reached. */
static size_t choose(const struct batch *b, uint64_t at, uint64_t kept, size_t *rows, bool *end)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++) {
        if (o.head >= 0 && kept + n >= (uint64_t)o.head) {
            *end = true;
            break;
        }
        if (at + i >= (uint64_t)o.skip && (at + i - (uint64_t)o.skip) % (uint64_t)o.every == 0)
            rows[n++] = i;
    }
    return n;
}

/* Scale the numbers of b and store them as `type`. The new values live in buffers of ours until the next call. */
static void recast(struct batch *b, enum dtype type)
{
    static float *wide;
    static void *narrow;
    static size_t wide_cap, narrow_cap;
    struct column *c = (struct column *)(uintptr_t)batch_column(b, "x");
    c = c ? c : (struct column *)(uintptr_t)batch_column(b, "val");
    if (c->type == type && o.scale == 1)
        return;
    size_t n = c->shape[0] * (c->rank == 2 ? c->shape[1] : 1);
    wide = mem_grow(wide, &wide_cap, n, sizeof *wide);
    narrow = mem_grow(narrow, &narrow_cap, n, sizeof(float));
    dtype_load(wide, c->data, c->type, n);
    for (size_t i = 0; i < n && o.scale != 1; i++)
        wide[i] = (float)(wide[i] * o.scale);
    dtype_store(narrow, wide, type, n);
    c->type = type;
    c->data = narrow;
}

/* ---- outputs ---- */

static json_t *changes_to_head(const struct input *p, enum dtype type)
{
    bool whole = p->argc < 2 && !o.skip && o.head < 0 && o.every == 1;
    json_t *c = o.from == FROM_STREAM ? json_object() : stream_head(STREAM_ACTS, p->d, type);
    json_object_set_new(c, "dtype", json_string(dtype_name(type)));
    if (o.from == FROM_STREAM && !whole)
        json_object_set_new(c, "rows", json_null());
    if (o.from == FROM_NPY && whole)
        json_object_set_new(c, "rows", json_integer((json_int_t)p->rows));
    if (o.hook)
        json_object_set_new(c, "hook", json_string(o.hook));
    if (o.scale != 1) {
        json_t *was = p->in ? json_object_get(p->in->head, "proc") : NULL, *scale = json_object_get(was, "scale");
        json_t *proc = json_is_object(was) ? json_deep_copy(was) : json_object();
        json_object_set_new(proc, "scale", json_real((scale ? json_number_value(scale) : 1) * o.scale));
        json_object_set_new(c, "proc", proc);
    }
    return c;
}

/* Rows without a header, and .npy, whose header must know how many there are: they wait in a nameless temporary file. */
struct array_out {
    struct io_out *out;
    FILE *spool;
    uint64_t rows;
};

static void array_open(struct array_out *a)
{
    a->out = io_create(opt.output, (int)opt.zlevel);
    if (!a->out)
        tool_die();
    if (o.to == TO_NPY && !(a->spool = tmpfile())) {
        err_sys("cannot make a temporary file");
        tool_die();
    }
}

static void array_put(struct array_out *a, const struct batch *b)
{
    const struct column *x = batch_column(b, "x");
    struct iovec iov = { (void *)(uintptr_t)x->data, b->n * x->shape[1] * dtype_size(x->type) };
    a->rows += b->n;
    if (a->spool ? fwrite(iov.iov_base, 1, iov.iov_len, a->spool) != iov.iov_len : 0) {
        err_sys("temporary file: write error");
        tool_die();
    }
    if (!a->spool && io_put(a->out, &iov, 1))
        tool_die();
}

static int array_finish(struct array_out *a, enum dtype type, size_t d)
{
    static char buf[1 << 16];
    struct npy h = { type, 2, { a->rows, d } };
    struct iovec iov = { buf, 0 };
    if (a->spool) {
        iov.iov_len = npy_write_header((unsigned char *)buf, &h);
        if (fflush(a->spool)) {             /* rewind() would forget the error */
            err_sys("temporary file: write error");
            tool_die();
        }
        rewind(a->spool);
        do {
            if (iov.iov_len && io_put(a->out, &iov, 1))
                tool_die();
            iov = (struct iovec){ buf, fread(buf, 1, sizeof buf, a->spool) };
        } while (iov.iov_len);
        if (ferror(a->spool)) {
            err_sys("temporary file: read error");
            tool_die();
        }
        fclose(a->spool);
    }
    if (io_commit(a->out))
        tool_die();
    return 0;
}

/* The TSV columns that say whose row it is, in this order where the stream has them. */
static const char *const row_names[] = { "doc", "ctx", "pos", "tok", "text" };

struct tsv_out {
    struct table *t;
    const char **names;
    size_t n;
    bool has[5];
};

static void tsv_open(struct tsv_out *a, const struct batch *b, bool codes, size_t d)
{
    a->names = mem_alloc(d + 8, sizeof *a->names);
    for (size_t i = 0; i < 5; i++)
        if ((a->has[i] = batch_column(b, row_names[i]) != NULL))
            a->names[a->n++] = row_names[i];
    for (size_t i = 0; !codes && i < d; i++)
        a->names[a->n++] = mem_format("x%zu", i);
    if (codes) {
        a->names[a->n++] = "row";
        a->names[a->n++] = "feature";
        a->names[a->n++] = "value";
    }
    a->t = table_create(a->names, a->n);
}

static void tsv_row(struct tsv_out *a, const struct batch *b, size_t r)
{
    for (size_t i = 0; i < 4; i++)
        if (a->has[i])
            table_count(a->t, ((const uint32_t *)batch_column(b, row_names[i])->data)[r]);
    if (!a->has[4])
        return;
    const uint32_t *end = batch_column(b, "text_end")->data;
    const uint8_t *bytes = batch_column(b, "text")->data;
    uint32_t from = r ? end[r - 1] : 0;
    table_bytes(a->t, bytes + from, end[r] - from);
}

static void tsv_put(struct tsv_out *a, const struct batch *b, uint64_t at)
{
    const struct column *x = batch_column(b, "x"), *ptr = batch_column(b, "ptr"), *idx = batch_column(b, "idx");
    const struct column *c = x ? x : batch_column(b, "val");
    size_t n = c->shape[0] * (x ? c->shape[1] : 1);
    float *v = mem_alloc(n, sizeof *v);
    dtype_load(v, c->data, c->type, n);
    for (size_t r = 0; r < b->n; r++) {
        if (x) {
            tsv_row(a, b, r);
            for (size_t i = 0; i < x->shape[1]; i++)
                table_real(a->t, v[r * x->shape[1] + i]);
            continue;
        }
        for (uint32_t j = ((const uint32_t *)ptr->data)[r]; j < ((const uint32_t *)ptr->data)[r + 1]; j++) {
            tsv_row(a, b, r);
            table_count(a->t, at + r);
            table_count(a->t, ((const uint32_t *)idx->data)[j]);
            table_real(a->t, v[j]);
        }
    }
    free(v);
}

/* ---- the work ---- */

struct sink {
    struct stream_out *stream;
    struct array_out array;
    struct tsv_out tsv;
};

static void sink_put(struct sink *k, struct input *p, const struct batch *b, uint64_t at)
{
    switch (o.to) {
    case TO_STREAM:
        tool_put(k->stream, p->in, NULL, b);
        break;
    case TO_TSV:
        if (!k->tsv.t)
            tsv_open(&k->tsv, b, p->in && p->in->kind == STREAM_CODES, p->d);
        tsv_put(&k->tsv, b, at);
        break;
    default:
        array_put(&k->array, b);
    }
}

static int convert(int argc, char **argv)
{
    static struct sink k;
    static struct input p;
    struct batch b, chosen;
    uint64_t at = 0, kept = 0;
    bool end = o.head == 0;
    p = (struct input){ .argc = argc, .argv = argv, .dtype = DTYPE_NONE };
    open_input(&p);
    enum dtype type = o.type >= 0 ? dtype_find(type_names[o.type]) : p.dtype;
    if (o.to == TO_NPY && type == DTYPE_BF16)
        type = DTYPE_F32;               /* .npy has no bf16 */
    if (o.to != TO_STREAM && o.to != TO_TSV && p.in && p.in->kind == STREAM_CODES)
        tool_die_data("%s: codes have no fixed width: --to tsv", stream_name(p.in));
    if (o.to == TO_STREAM)
        k.stream = tool_create(p.in, changes_to_head(&p, type), argv, (size_t)argc);
    else if (o.to != TO_TSV)
        array_open(&k.array);
    bool everything = !o.skip && o.head < 0 && o.every == 1;
    while (!end && next_rows(&p, &b)) {
        size_t *rows = mem_alloc(b.n, sizeof *rows), n = choose(&b, at, kept, rows, &end);
        if (everything)
            chosen = b;
        else
            batch_pick(&chosen, &b, rows, n);
        struct batch cast = chosen;
        recast(&cast, type);
        if (n)
            sink_put(&k, &p, &cast, kept);
        if (!everything)
            batch_unpick(&chosen);
        free(rows);
        at += b.n;
        kept += n;
    }
    if (o.to == TO_STREAM)
        return tool_finish(k.stream);
    if (o.to != TO_TSV)
        return array_finish(&k.array, type, p.d);
    if (!k.tsv.t) {
        struct batch none = { .n = 0 };
        tsv_open(&k.tsv, &none, p.in && p.in->kind == STREAM_CODES, p.d);
    }
    return table_finish(k.tsv.t);
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    if (o.from == FROM_RAW && !o.width)
        opt_misuse("--from raw needs -d, the row width");
    if (o.from != FROM_STREAM && (o.info || o.check))
        opt_misuse("--info and --check are for streams");
    if (o.to == TO_NPY && o.type == 2)
        opt_misuse("-t bf16: .npy has no such type");
    return o.info || o.check ? look(argc, argv) : convert(argc, argv);
}
