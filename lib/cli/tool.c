/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "cli/tool.h"
#include "base/end.h"
#include "base/mem.h"
#include "base/par.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

/* ---- messages ---- */

static bool line_drawn;                 /* a progress line stands on the terminal */

/* Of the programs that share a terminal, as those of a pipe do, one draws: the first that wants to, until it ends its line. */
static int line_lock = -1;

static bool may_draw(void)
{
    static bool asked;
    const char *name = asked ? NULL : ttyname(2);
    asked = true;
    if (name)
        line_lock = open(name, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    return line_lock < 0 || line_drawn || flock(line_lock, LOCK_EX | LOCK_NB) == 0;
}

static void stop_drawing(void)
{
    if (line_lock >= 0)
        flock(line_lock, LOCK_UN);
    line_drawn = false;
}

/* A message takes the place of a line that another program has drawn. */
static void clear_others(void)
{
    if (!isatty(2))
        return;
    if (may_draw())
        stop_drawing();
    else
        fputs("\r\033[K", stderr);
}

static void say(const char *text)
{
    tool_progress_end();
    clear_others();
    fprintf(stderr, "%s: %s\n", err_program, text);
}

void tool_die(void)
{
    say(err_text());
    exit(err_status());
}

void tool_die_data(const char *format, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    err_data("%s", text);
    tool_die();
}

static void note(const char *format, va_list ap)
{
    char raw[900], text[900];
    vsnprintf(raw, sizeof raw, format, ap);
    err_mask(text, sizeof text, raw);
    say(text);
}

void tool_note(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (opt.verbose)
        note(format, ap);
    va_end(ap);
}

void tool_warn(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!opt.quiet)
        note(format, ap);
    va_end(ap);
}

/* jansson checks few of its own allocations as it goes: with this one they cannot fail. */
static void *json_room(size_t n)
{
    return mem_alloc(n, 1);
}

void tool_left_part(const char *path)
{
    char *part = opt.quiet ? NULL : io_left_part(path);
    if (part)
        tool_warn("note: %s is what a killed run has left of this output: remove it", part);
    free(part);
}

void tool_begin(int *argc, char ***argv, const struct opt_usage *usage, const struct opt *table)
{
    err_program = usage->tool;
    if (io_hold_standard())
        tool_die();
    json_set_alloc_funcs(json_room, free);
    opt_parse(argc, argv, usage, table);
    end_tidy_on_signals();
    par_start((int)opt.threads);
    if (opt.output)
        tool_left_part(opt.output);
}

/* ---- streams in ---- */

void tool_terminal(const char *path)
{
    if ((!path || !strcmp(path, "-")) && isatty(0))
        tool_warn("reading from the terminal until Ctrl-D; %s --help names the operands", err_program);
}

struct stream_in *tool_open(int argc, char **argv, int i)
{
    tool_terminal(i < argc ? argv[i] : NULL);
    struct stream_in *in = stream_open(i < argc ? argv[i] : NULL);
    if (!in)
        tool_die();
    in->allow_nan = opt.allow_nan;
    return in;
}

void tool_want(const struct stream_in *in, enum stream_kind kind, size_t d, const char *who)
{
    if (in->kind != kind)
        tool_die_data("%s: a stream of %s where %s are wanted", stream_name(in), in->kind == STREAM_ACTS ? "acts" : "codes",
                      kind == STREAM_ACTS ? "acts" : "codes");
    if (d && in->d != d)
        tool_die_data("%s: rows are %zu wide, %s wants %zu", stream_name(in), in->d, who, d);
}

void tool_slice(struct stream_in *in, size_t width)
{
    size_t rows = ((size_t)4 << 20) / sizeof(float) / (width ? width : 1);
    in->max_rows = rows < 16 ? 16 : rows > 65536 ? 65536 : rows;
}

static uint64_t rows_expected(const struct stream_in *in)
{
    const json_t *rows = json_object_get(in->head, "rows");
    return in->section == 0 && json_is_integer(rows) && json_integer_value(rows) > 0 ? (uint64_t)json_integer_value(rows)
                                                                                     : 0;
}

int tool_next(struct stream_in *in, struct batch *b)
{
    int r = stream_next(in, b);
    if (r < 0)
        tool_die();
    if (r)
        tool_progress(in->total_rows, rows_expected(in), NULL);
    else
        tool_progress_end();
    return r;
}

/* ---- streams out ---- */

/* What the output of a filter mirrors: each section's header is made from the input's header of that section. */
static struct {
    json_t *changes, *entry;
} made;

/* A string as it is where it is UTF-8, masked where it is not: JSON has no other. */
static json_t *json_text(const char *s)
{
    json_t *j = json_string(s);
    char *masked = NULL;
    if (!j) {
        masked = mem_alloc(strlen(s) + 1, 1);
        err_mask(masked, strlen(s) + 1, s);
        j = json_string(masked);
    }
    free(masked);
    return j;
}

json_t *tool_history(char **inputs, size_t n)
{
    size_t words;
    char **word = opt_history(&words);
    json_t *args = json_array(), *in = json_array();
    for (size_t i = 0; i < words; i++) {
        json_array_append_new(args, json_text(word[i]));
        free(word[i]);
    }
    free(word);
    for (size_t i = 0; i < n; i++) {
        char shown[600];
        err_mask(shown, sizeof shown, inputs[i]);
        json_array_append_new(in, json_text(shown));
    }
    json_t *h = json_pack("{s:s,s:s,s:o,s:o}", "tool", err_program, "version", SAETOOLS_VERSION, "args", args, "in", in);
    if (!h)
        mem_die(0);
    return h;
}

static void add_history(json_t *head, json_t *entry)
{
    json_t *history = json_object_get(head, "history");
    if (!entry)
        return;
    if (!json_is_array(history) && json_object_set_new(head, "history", history = json_array()))
        mem_die(0);
    if (json_array_append(history, entry))
        mem_die(0);
}

static json_t *head_for(const json_t *was)
{
    json_t *head = was ? json_deep_copy(was) : json_object();
    const char *key;
    json_t *v;
    if (!head)
        mem_die(0);
    json_object_foreach(made.changes, key, v) {
        if (json_is_null(v))
            json_object_del(head, key);
        else if (json_object_set(head, key, v))
            mem_die(0);
    }
    add_history(head, made.entry);
    return head;
}

static struct stream_out *create(const char *path, const json_t *head)
{
    if ((!path || !strcmp(path, "-")) && isatty(1)) {
        err_usage("not writing binary data to a terminal: use -o FILE or a pipe");
        tool_die();
    }
    struct io_out *io = io_create(path, (int)opt.zlevel);
    struct stream_out *out = io ? stream_create(io, head) : NULL;
    if (!out)
        tool_die();
    out->allow_nan = opt.allow_nan;
    return out;
}

struct stream_out *tool_create(const struct stream_in *in, json_t *changes, char **inputs, size_t n)
{
    made.changes = changes;
    made.entry = opt.no_history ? NULL : tool_history(inputs, n);
    json_t *head = head_for(in ? in->head : NULL);
    struct stream_out *out = create(opt.output, head);
    json_decref(head);
    return out;
}

struct stream_out *tool_create_at(const char *path, json_t *head, char **inputs, size_t n)
{
    json_t *entry = opt.no_history ? NULL : tool_history(inputs, n);
    add_history(head, entry);
    if (path && path != opt.output)
        tool_left_part(path);
    struct stream_out *out = create(path, head);
    json_decref(entry);
    json_decref(head);
    return out;
}

void tool_put(struct stream_out *out, const struct stream_in *in, const struct batch *from, const struct batch *b)
{
    if (from && from->section != out->section) {
        json_t *head = head_for(from->head ? from->head : in->head);     /* `in` may have read on */
        if (stream_section(out, head))
            tool_die();
        json_decref(head);
        out->section = from->section;
    }
    if (stream_put(out, b))
        tool_die();
}

void tool_carry(struct batch *b, const struct stream_in *in, const struct batch *from)
{
    if (batch_carry(b, from, true)) {
        err_in(stream_name(in));
        tool_die();
    }
}

void tool_put_acts(struct stream_out *out, const struct stream_in *in, const struct batch *from, const float *x, size_t d,
                   enum dtype type)
{
    struct batch b = { .n = from->n };
    void *narrow = NULL;
    if (type != DTYPE_F32) {
        narrow = mem_alloc(from->n * d, dtype_size(type));
        dtype_store(narrow, x, type, from->n * d);
    }
    batch_add(&b, "x", type, from->n, d, false, narrow ? narrow : (const void *)x);
    tool_carry(&b, in, from);
    tool_put(out, in, from, &b);
    free(narrow);
}

/* Rows [lo, hi) of from and c as one record. */
static void put_code_rows(struct stream_out *out, const struct stream_in *in, const struct batch *from,
                          const struct codes *c, size_t lo, size_t hi)
{
    struct batch b = { .n = hi - lo }, part = *from;
    struct batch_cuts cuts = { .cap = 0 };
    uint32_t *ptr = mem_alloc(hi - lo + 1, sizeof *ptr), base = c->ptr[lo];
    for (size_t i = 0; i <= hi - lo; i++)
        ptr[i] = c->ptr[lo + i] - base;
    batch_add(&b, "ptr", DTYPE_U32, hi - lo + 1, 0, false, ptr);
    batch_add(&b, "idx", DTYPE_U32, ptr[hi - lo], 0, false, c->idx + base);
    batch_add(&b, "val", DTYPE_F32, ptr[hi - lo], 0, false, c->val + base);
    batch_cut(&part, lo, hi, &cuts);
    tool_carry(&b, in, &part);
    tool_put(out, in, from, &b);
    batch_cuts_free(&cuts);
    free(ptr);
}

void tool_put_codes(struct stream_out *out, const struct stream_in *in, const struct batch *from, const struct codes *c)
{
    enum { PAIRS = 1 << 18 };           /* 2 MiB of idx and val in a record, unless one row has more */
    for (size_t lo = 0, hi; lo < from->n; lo = hi) {
        for (hi = lo + 1; hi < from->n && c->ptr[hi + 1] - c->ptr[lo] <= PAIRS; hi++)
            ;
        put_code_rows(out, in, from, c, lo, hi);
    }
}

int tool_finish(struct stream_out *out)
{
    tool_progress_end();
    json_decref(made.changes);
    json_decref(made.entry);
    made.changes = made.entry = NULL;
    if (stream_finish(out))
        tool_die();
    return 0;
}

/* ---- progress ---- */

double tool_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void format_progress(char *buf, size_t size, uint64_t rows, uint64_t total, double seconds, const char *remark)
{
    double rate = seconds > 0 ? (double)rows / seconds : 0;
    int n = snprintf(buf, size, "%llu rows, %.0f rows/s", (unsigned long long)rows, rate);
    if (total > rows && rate > 0 && n > 0 && (size_t)n < size)
        n += snprintf(buf + n, size - (size_t)n, ", %.0f%%, %.0f s left", 100.0 * (double)rows / (double)total,
                      (double)(total - rows) / rate);
    if (remark && n > 0 && (size_t)n < size)
        snprintf(buf + n, size - (size_t)n, ", %s", remark);
}

void tool_progress(uint64_t rows, uint64_t total, const char *remark)
{
    static double began, last;
    static int terminal = -1;
    double now = tool_clock();
    char text[300];
    if (terminal < 0) {
        terminal = isatty(2);
        began = last = now;
    }
    if (opt.quiet || (!terminal && !opt.verbose) || now - last < (opt.verbose ? 1.0 : 0.2))
        return;
    last = now;
    if (!opt.verbose && !may_draw())
        return;
    format_progress(text, sizeof text, rows, total, now - began, remark);
    if (opt.verbose)
        fprintf(stderr, "%s: %s\n", err_program, text);
    else
        fprintf(stderr, "\r%s: %.90s\033[K", err_program, text);
    line_drawn = !opt.verbose;
}

void tool_progress_end(void)
{
    if (line_drawn)
        fputs("\r\033[K", stderr);
    if (line_drawn)
        stop_drawing();
}
