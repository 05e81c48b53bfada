/* sae-fit: fit a dictionary to a stream of activations.
 *
 *   acts --> shuffle buffer --> batches --> fit_step()  ... at the end --> SAE file
 *                                   `--> every --log-every steps: a line of numbers, of --eval rows too        */
/* SPDX-License-Identifier: MIT */
#include "data/shuffle.h"
#include "ground/mem.h"
#include "kinds/recipe.h"
#include "tools/arith.h"
#include "tools/saetool.h"
#include "tools/table.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NORMALIZE_NONE, NORMALIZE_RMS };
static const char *const normalize_names[] = { "none", "rms", NULL };
static const char *const center_names[] = { "zero", "mean", "median", NULL };
static const char *const resample_names[] = { "none", NULL };

static struct {
    bool info;
    int kind, preset, units, normalize, center, resample;
    int64_t d_sae, batch, warmup, l1_warmup, rows, epochs, buffer, window, log_every;
    double ratio, l1, lr, decay;
    const char *eval, *log;
} o = { .kind = -1, .preset = -1, .units = -1, .normalize = -1, .center = -1, .rows = -1, .epochs = 1, .buffer = 32768,
        .window = 100000, .log_every = 100 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What is fitted" },
    { OPT_CHOICE, .name = "kind", .var = &o.kind, .arg = "KIND", .help = "kind of dictionary", .choices = kind_names,
      .shown = "the preset's, else tied", .numbers = true },
    { OPT_CHOICE, .name = "preset", .var = &o.preset, .arg = "NAME", .help = "kind, size, normalisation and "
      "schedule as published; options given besides win. Without it, defaults are the kind's own",
      .choices = preset_names,
      .shown = "", .numbers = true },
    { OPT_REAL, .letter = 'x', .name = "ratio", .var = &o.ratio, .arg = "RATIO", .help = "features for each "
      "dimension of the rows", .lo = 1e-6, .hi = 1e6, .shown = "the preset's or kind's" },
    { OPT_COUNT, .name = "d-sae", .var = &o.d_sae, .arg = "N", .help = "the same as a number of features", .lo = 1,
      .hi = STREAM_WIDTH, .shown = "from -x", .numbers = true },
    { OPT_REAL, .name = "l1", .var = &o.l1, .arg = "LAMBDA", .help = "weight of the penalty: the loss is the mean "
      "over rows of |x_hat - x|^2 + LAMBDA sum f", .lo = 0, .hi = 1e30, .shown = "the preset's or kind's",
      .numbers = true },
    { OPT_CHOICE, .name = "l1-units", .var = &o.units, .arg = "UNITS", .help = "what --l1 is meant in. cunningham: the "
      "squares are averaged over dimensions (LAMBDA times d_model); sharkey: f is averaged over features too "
      "(LAMBDA times d_model / d_sae)", .choices = l1_unit_names, .shown = "canonical, as above", .numbers = true },
    { OPT_CHOICE, .name = "normalize", .var = &o.normalize, .arg = "HOW", .help = "rms: fit rows times s, their "
      "mean square norm then being d_model; LAMBDA and what is logged are in those units, the dictionary is not",
      .choices = normalize_names, .shown = "none; without --l1 what the preset's or kind's LAMBDA is meant for",
      .numbers = true },
    { OPT_CHOICE, .name = "center", .var = &o.center, .arg = "HOW", .help = "where b_dec begins, for kinds that "
      "have one: at zero, or the mean or geometric median of the first buffer of rows", .choices = center_names,
      .shown = "the preset's or kind's", .numbers = true },

    { .type = OPT_GROUP, .help = "Rows and steps" },
    { OPT_COUNT, .letter = 'n', .name = "rows", .var = &o.rows, .arg = "ROWS", .help = "use the first ROWS rows",
      .lo = 1, .hi = 9e15, .shown = "all", .numbers = true },
    { OPT_COUNT, .name = "epochs", .var = &o.epochs, .arg = "N",
      .help = "go through them N times; above 1 needs a file",
      .lo = 1, .hi = 1e6, .numbers = true },
    { OPT_COUNT, .name = "buffer", .var = &o.buffer, .arg = "ROWS", .help = "shuffle buffer: a row is drawn from among "
      "ROWS", .lo = 1, .hi = 1e9, .numbers = true },
    { OPT_COUNT, .letter = 'b', .name = "batch", .var = &o.batch, .arg = "ROWS", .help = "rows in a step", .lo = 1,
      .hi = 1 << 20, .shown = "the preset's or kind's", .numbers = true },
    { OPT_REAL, .name = "lr", .var = &o.lr, .arg = "RATE", .help = "learning rate of Adam", .lo = 0, .hi = 1e6,
      .shown = "the preset's or kind's", .numbers = true },
    { OPT_COUNT, .name = "warmup", .var = &o.warmup, .arg = "STEPS", .help = "the rate rises from 0 in STEPS steps",
      .lo = 0, .hi = 9e15, .shown = "the preset's or kind's", .numbers = true },
    { OPT_REAL, .name = "decay", .var = &o.decay, .arg = "SHARE", .help = "the rate falls to 0 over the last SHARE "
      "of all steps; on a pipe that does not say how many rows it has this needs -n", .lo = 0, .hi = 1,
      .shown = "the preset's or kind's", .numbers = true },
    { OPT_COUNT, .name = "l1-warmup", .var = &o.l1_warmup, .arg = "STEPS", .help = "LAMBDA rises from 0 in STEPS steps",
      .lo = 0, .hi = 9e15, .shown = "the preset's or kind's", .numbers = true },
    { OPT_CHOICE, .name = "resample", .var = &o.resample, .arg = "HOW", .help = "what is done with dead features; "
      "resampling them is not in this release", .choices = resample_names, .numbers = true },

    { .type = OPT_GROUP, .help = "Watching" },
    { OPT_STRING, .name = "log", .var = &o.log, .arg = "FILE", .help = "table of step, rows, loss, mse, fvu, l0, "
      "dead, lr and seconds; each line is of the steps since the line before" },
    { OPT_COUNT, .name = "log-every", .var = &o.log_every, .arg = "STEPS", .help = "a line each STEPS steps", .lo = 1,
      .hi = 9e15 },
    { OPT_STRING, .name = "eval", .var = &o.eval, .arg = "FILE", .help = "measure these held-out rows too: at every "
      "line of the log, and at the end" },
    { OPT_COUNT, .name = "dead-window", .var = &o.window, .arg = "ROWS", .help = "a feature is dead that has not "
      "fired in the last ROWS rows", .lo = 1, .hi = 9e15 },
    { OPT_FLAG, .name = "info", .var = &o.info, .help = "print what the file SAE holds, and the commands that would "
      "make it again" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-fit", .synopsis = "-o SAE [OPTION]... [ACTS]\n       sae-fit --info SAE",
    .about = "Fit a dictionary to a stream of activations.",
    .common = OPT_OUTPUT | OPT_SEED | OPT_STREAM | OPT_JSON, .max_operands = 1, .version = tool_version_arithmetic,
};

/* ---- the rows ---- */

struct source {
    const char *path;           /* to open again for another epoch */
    struct stream_in *in;
    struct batch b;
    size_t at;                  /* next row of b */
    uint64_t used;              /* rows of this epoch */
    int64_t epoch;
};

static struct stream_in *open_acts(const char *path, size_t d)
{
    struct stream_in *in = stream_open(path);
    if (!in)
        tool_die();
    tool_want(in, STREAM_ACTS, d, "the fit");
    return in;
}

/* The next row's batch: 1, or 0 behind the last row of the last epoch. */
static int advance(struct source *s)
{
    size_t d = s->in->d;
    for (;;) {
        bool enough = o.rows >= 0 && s->used == (uint64_t)o.rows;
        if (!enough && s->at < s->b.n)
            return 1;
        s->at = s->b.n = 0;
        int more = enough ? 0 : stream_next(s->in, &s->b);
        if (more < 0)
            tool_die();
        if (more)
            continue;
        if (s->used == 0 || ++s->epoch >= o.epochs)
            return 0;
        stream_close(s->in);
        s->in = open_acts(s->path, d);
        s->used = 0;
    }
}

static ssize_t next_rows(void *arg, float *out, size_t n)
{
    struct source *s = arg;
    size_t got = 0, d = s->in->d;
    while (got < n && advance(s)) {
        size_t k = s->b.n - s->at < n - got ? s->b.n - s->at : n - got;
        if (o.rows >= 0 && k > (uint64_t)o.rows - s->used)
            k = (uint64_t)o.rows - s->used;
        memcpy(out + got * d, s->b.x + s->at * d, k * d * sizeof *out);
        s->at += k;
        s->used += k;
        got += k;
    }
    return (ssize_t)got;
}

/* Rows of a file, by reading it through. */
static uint64_t count_rows(const char *path)
{
    struct stream_in *in = open_acts(path, 0);
    struct batch b;
    int more;
    while ((more = stream_next(in, &b)) > 0)
        ;
    if (more < 0)
        tool_die();
    uint64_t rows = in->total_rows;
    stream_close(in);
    return rows;
}

/* Rows there will be in all, 0 when that cannot be known. `exactly`: a schedule depends on it. */
static uint64_t total_rows(const struct source *s, bool exactly)
{
    const json_t *stated = json_object_get(s->in->head, "rows");
    uint64_t rows = json_integer_value(stated) > 0 ? (uint64_t)json_integer_value(stated) : 0;
    if (exactly && io_seekable(s->in->io))
        rows = count_rows(s->path);             /* a header speaks of its own section only */
    else if (exactly && !rows && o.rows < 0)
        opt_misuse("--decay needs the number of rows, which %s does not state: give -n", stream_name(s->in));
    if (o.rows >= 0 && (!rows || rows > (uint64_t)o.rows))
        rows = (uint64_t)o.rows;
    return rows * (uint64_t)o.epochs;
}

/* ---- the options ---- */

/* Each option not given takes the recipe's value, so that the history holds them all. */
static void resolve(size_t d)
{
    if (o.kind < 0 && o.preset < 0)
        o.kind = 0;
    const struct recipe *r = o.preset >= 0 ? presets[o.preset] : kinds[o.kind]->usual;
    for (int i = 0; o.kind < 0; i++)
        if (!strcmp(kind_names[i], r->kind))
            o.kind = i;
    if (opt_given(&o.ratio) && opt_given(&o.d_sae))
        opt_misuse("-x and --d-sae exclude each other");
    if (!opt_given(&o.d_sae))
        o.d_sae = (int64_t)llround((opt_given(&o.ratio) ? o.ratio : r->ratio) * (double)d);
    if (o.d_sae < 1 || o.d_sae > STREAM_WIDTH)
        opt_misuse("-x: %" PRId64 " features, not 1 to %d", o.d_sae, STREAM_WIDTH);
    if (o.units < 0)
        o.units = opt_given(&o.l1) ? L1_CANONICAL : (int)r->units;
    if (!opt_given(&o.l1) && o.normalize >= 0 && (o.normalize == NORMALIZE_RMS) != r->rms)
        opt_misuse("--normalize %s needs --l1: the usual one is for rows that are %s", normalize_names[o.normalize],
                   r->rms ? "scaled" : "not scaled");
    if (o.normalize < 0)
        o.normalize = r->rms && !opt_given(&o.l1) ? NORMALIZE_RMS : NORMALIZE_NONE;
    if (!opt_given(&o.l1))
        o.l1 = r->l1;
    if (o.center < 0)
        o.center = (int)r->center;
    if (!opt_given(&o.batch))
        o.batch = (int64_t)r->batch;
    if (!opt_given(&o.lr))
        o.lr = r->lr;
    if (!opt_given(&o.warmup))
        o.warmup = (int64_t)r->warmup;
    if (!opt_given(&o.decay))
        o.decay = r->decay;
    if (!opt_given(&o.l1_warmup))
        o.l1_warmup = (int64_t)r->l1_warmup;
}

static struct fit_options fit_options_of(size_t d, uint64_t rows)
{
    const struct recipe *r = o.preset >= 0 ? presets[o.preset] : kinds[o.kind]->usual;
    return (struct fit_options){
        .kind = kinds[o.kind], .d_model = d, .d_sae = (size_t)o.d_sae,
        .l1 = l1_canonical(o.l1, (enum l1_units)o.units, d, (size_t)o.d_sae),
        .lr = o.lr, .beta1 = r->beta1, .beta2 = r->beta2, .eps = r->eps,
        .steps = (rows + (uint64_t)o.batch - 1) / (uint64_t)o.batch,
        .warmup = (uint64_t)o.warmup, .l1_warmup = (uint64_t)o.l1_warmup, .decay = o.decay,
        .center = (enum fit_center)o.center, .apply_b_dec = r->apply_b_dec, .rms = o.normalize == NORMALIZE_RMS,
        .dead_window = (uint64_t)o.window, .seed = (uint64_t)opt.seed,
    };
}

/* ---- watching ---- */

struct watch {
    FILE *log;
    double began;
    uint64_t rows, total;       /* used so far; of all, 0: not known */
    struct fit_report last;     /* of the last line */
};

static void log_write(struct watch *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void log_write(struct watch *w, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (vfprintf(w->log, format, ap) < 0 || fflush(w->log)) {
        err_sys("%s: write error", o.log);
        tool_die();
    }
    va_end(ap);
}

static void watch_open(struct watch *w)
{
    w->began = tool_clock();
    if (!o.log)
        return;
    w->log = fopen(o.log, "w");
    if (!w->log) {
        err_sys("%s: cannot create", o.log);
        tool_die();
    }
    log_write(w, "step\trows\tloss\tmse\tfvu\tl0\tdead\tlr\tseconds%s\n",
              o.eval ? "\teval_loss\teval_mse\teval_fvu\teval_l0\teval_dead" : "");
}

/* The held-out rows, read anew each time: their number is not bounded by memory. */
static struct fit_report evaluate(struct fit *f)
{
    struct stream_in *in = open_acts(o.eval, f->o.d_model);
    struct fit_tally t = fit_tally_new(f->o.d_model, f->o.d_sae);
    struct batch b;
    int more;
    tool_slice(in, f->o.d_sae > f->o.d_model ? f->o.d_sae : f->o.d_model);
    while ((more = stream_next(in, &b)) > 0)
        fit_measure(f, b.x, b.n, &t);
    if (more < 0)
        tool_die();
    struct fit_report r = fit_tally_report(&t, t.seen);
    stream_close(in);
    fit_tally_free(&t);
    return r;
}

/* A line of the steps since the last one. */
static void watch_line(struct watch *w, struct fit *f, double rate)
{
    struct fit_report r = fit_tally_report(&f->tally, f->o.dead_window), held = { .rows = 0 };
    w->last = r;
    fit_tally_reset(&f->tally);
    if (!w->log)
        return;
    if (o.eval)
        held = evaluate(f);
    log_write(w, "%" PRIu64 "\t%" PRIu64 "\t%.6g\t%.6g\t%.6g\t%.6g\t%zu\t%.6g\t%.3f", f->step, w->rows, r.loss, r.mse,
              r.fvu, r.l0, r.dead, rate, tool_clock() - w->began);
    if (o.eval)
        log_write(w, "\t%.6g\t%.6g\t%.6g\t%.6g\t%zu", held.loss, held.mse, held.fvu, held.l0, held.dead);
    log_write(w, "\n");
}

static void watch_progress(const struct watch *w, const struct fit *f)
{
    char remark[120];
    struct fit_report r = fit_tally_report(&f->tally, f->o.dead_window);
    snprintf(remark, sizeof remark, "loss %.4g, L0 %.1f, FVU %.3f, dead %zu", r.loss, r.l0, r.fvu, r.dead);
    tool_progress(w->rows, w->total, remark);
}

/* ---- the work ---- */

static void run(struct fit *f, struct shuffle *rows, struct watch *w)
{
    float *x = mem_align((size_t)o.batch * f->o.d_model, sizeof *x);
    double rate = 0;
    ssize_t n;
    while ((n = shuffle_take(rows, x, (size_t)o.batch)) > 0) {
        rate = fit_rate(f);
        if (fit_step(f, x, (size_t)n))
            tool_die();
        w->rows += (uint64_t)n;
        watch_progress(w, f);
        if (f->step % (uint64_t)o.log_every == 0)
            watch_line(w, f, rate);
    }
    if (n < 0)
        tool_die();
    if (f->step % (uint64_t)o.log_every)
        watch_line(w, f, rate);
    tool_progress_end();
    free(x);
}

/* What the next tool will want to know; the history of the rows, and this fit. */
static void describe(struct sae *sae, const struct stream_in *in, uint64_t rows, char **inputs, size_t n)
{
    static const char *const kept[] = { "hook", "model", "model_sha" };
    json_t *history = json_deep_copy(json_object_get(in->head, "history"));
    if (!json_is_array(history))
        history = json_array();
    if (!opt.no_history && json_array_append_new(history, tool_history(inputs, n)))
        mem_die(0);
    char *text = json_dumps(history, JSON_COMPACT), *count = mem_format("%" PRIu64, rows);
    char *seed = mem_format("%" PRId64, opt.seed);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_is_string(json_object_get(in->head, kept[i])))
            json_object_set(sae->meta, kept[i], json_object_get(in->head, kept[i]));
    json_object_set_new(sae->meta, "rows", json_string(count));
    json_object_set_new(sae->meta, "seed", json_string(seed));
    if (text && json_array_size(history))
        json_object_set_new(sae->meta, "history", json_string(text));
    free(text);
    free(count);
    free(seed);
    json_decref(history);
}

/* Find out now, not after the last row, that the result could not be written. */
static void try_output(void)
{
    struct io_out *out = io_create(opt.output, 0);
    if (!out)
        tool_die();
    io_abort(out);
}

static void say_end(struct fit *f, const struct watch *w)
{
    if (w->last.l0 == 0)
        tool_warn("note: no feature fires any more: lower --l1, or --lr");
    else if (w->last.fvu >= 1)
        tool_warn("note: FVU %.3g, worse than the mean row would do: lower --l1, or fit on more rows", w->last.fvu);
    if (o.rows >= 0 && w->rows < (uint64_t)o.rows * (uint64_t)o.epochs)
        tool_warn("note: the input has fewer rows than -n: %" PRIu64 " were used", w->rows);
    if (o.eval && !opt.quiet) {
        struct fit_report r = evaluate(f);
        tool_warn("held-out rows: loss %.6g, mse %.6g, FVU %.4f, L0 %.1f, dead %zu", r.loss, r.mse, r.fvu, r.l0,
                  r.dead);
    }
}

static int fit(int argc, char **argv)
{
    struct source src = { .path = argc ? argv[0] : NULL };
    struct watch w = { .log = NULL };
    src.in = tool_open(argc, argv, 0);
    tool_want(src.in, STREAM_ACTS, 0, "");
    size_t d = src.in->d, n;
    resolve(d);
    if (o.epochs > 1 && !io_seekable(src.in->io))
        opt_misuse("--epochs above 1 needs a file, not %s", stream_name(src.in));
    w.total = total_rows(&src, o.decay > 0);
    try_output();
    watch_open(&w);
    if (o.eval)
        stream_close(open_acts(o.eval, d));

    struct fit_options options = fit_options_of(d, w.total);
    struct shuffle *rows = shuffle_new((size_t)o.buffer, d, (uint64_t)opt.seed, next_rows, &src);
    struct fit *f = fit_new(&options);
    if (shuffle_fill(rows))
        tool_die();
    const float *first = shuffle_rows(rows, &n);
    if (!n)
        tool_die_data("%s: no rows to fit", stream_name(src.in));
    fit_begin(f, first, n);
    run(f, rows, &w);
    struct sae *sae = fit_export(f);
    if (!sae)
        tool_die();
    describe(sae, src.in, w.rows, argv, (size_t)argc);
    if (saefile_save(opt.output, sae))
        tool_die();
    say_end(f, &w);
    if (w.log && fclose(w.log)) {
        err_sys("%s: write error", o.log);
        tool_die();
    }
    sae_free(sae);
    fit_free(f);
    shuffle_free(rows);
    stream_close(src.in);
    return 0;
}

/* ---- --info ---- */

/* Append a word as a shell would have to be given it. */
static void text_word(struct text *t, const char *word)
{
    if (*word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%")]) {
        text_plain(t, word);
        return;
    }
    text_plain(t, "'");
    for (const char *c = word; *c; c++) {
        char one[2] = { *c, 0 };
        text_plain(t, *c == '\'' ? "'\\''" : one);
    }
    text_plain(t, "'");
}

static void text_words(struct text *t, const json_t *words)
{
    size_t i;
    json_t *word;
    json_array_foreach(words, i, word) {
        text_plain(t, " ");
        text_word(t, json_string_value(word) ? json_string_value(word) : "?");
    }
}

/* The commands of the history: one that names no input reads what the one before it wrote. */
static void text_commands(struct text *t, const char *path, const char *history)
{
    json_t *list = json_loads(history, 0, NULL), *step;
    size_t i;
    json_array_foreach(list, i, step) {
        const char *tool = json_string_value(json_object_get(step, "tool"));
        const json_t *inputs = json_object_get(step, "in");
        if (i)
            text_plain(t, json_array_size(inputs) ? "; " : " | ");
        text_word(t, tool ? tool : "?");
        text_words(t, json_object_get(step, "args"));
        if (tool && !strcmp(tool, usage.tool)) {
            text_plain(t, " -o ");
            text_word(t, path);
        }
        text_words(t, inputs);
    }
    json_decref(list);
}

/* A table's cell: s escaped. */
static void table_escaped(struct table *t, const char *s)
{
    struct text text = { .s = NULL };
    text_plain(&text, "");
    text_bytes(&text, (const uint8_t *)s, strlen(s));
    table_text(t, text.s);
    free(text.s);
}

static int info(const char *path)
{
    static const char *const columns[] = { "key", "value" };
    struct sae *sae = tool_sae(path);
    struct table *t = table_create(columns, 2);
    struct text commands = { .s = NULL };
    const char *key, *history = NULL;
    json_t *value;
    json_object_foreach(sae->meta, key, value) {
        if (!strcmp(key, "history")) {
            history = json_string_value(value);
            continue;
        }
        table_escaped(t, key);
        table_escaped(t, json_string_value(value));
    }
    for (enum sae_tensor k = 0; k < SAE_TENSORS; k++)
        if (*sae_tensor(sae, k)) {
            char shape[60];
            size_t rows = sae_tensor_rows(k, sae->d_sae), width = sae_tensor_width(k, sae->d_model);
            if (rows > 1 && width > 1)
                snprintf(shape, sizeof shape, "%zu rows of %zu", rows, width);
            else
                snprintf(shape, sizeof shape, "%zu", rows * width);
            table_text(t, sae_tensors[k].name);
            table_text(t, shape);
        }
    if (history) {
        text_plain(&commands, "");
        text_commands(&commands, path, history);
        table_text(t, "command");
        table_escaped(t, commands.s);
    }
    free(commands.s);
    sae_free(sae);
    return table_finish(t);
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    if (o.info && (!argc || opt.output))
        opt_misuse("--info wants a dictionary, and no -o");
    if (o.info)
        return info(argv[0]);
    if (!opt.output)
        opt_misuse("-o SAE is required");
    tool_arithmetic();
    return fit(argc, argv);
}
