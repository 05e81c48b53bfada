/* SPDX-License-Identifier: MIT */
#include "sae_fit/fitresume.h"
#include "base/end.h"
#include "base/mem.h"
#include "cli/shellword.h"
#include "data/jsonfile.h"
#include "files/checkpoint.h"

#include <inttypes.h>
#include <libdeflate.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_stop(int number)
{
    if (fitrows_stop) {                 /* a second time: at once */
        end_tidy_on_signals();
        raise(number);
    }
    fitrows_stop = number;
}

void fitresume_catch(void)
{
    static const int signals[] = { SIGINT, SIGTERM };
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction sa = { .sa_handler = on_stop }, old;
        sigaction(signals[i], NULL, &old);
        if (old.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
    }
    io_stop_on(&fitrows_stop);
}

static void set_text(json_t *meta, char *value, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void set_text(json_t *meta, char *value, const char *format, ...)
{
    char key[40];
    va_list ap;
    va_start(ap, format);
    vsnprintf(key, sizeof key, format, ap);
    va_end(ap);
    if (json_object_set_new(meta, key, json_string(value)))
        mem_die(0);
    free(value);
}

/* All that changes numbers, as it is given on the command line. */
static char *options_text(void)
{
    json_t *h = tool_history(NULL, 0);
    char *text = json_dumps(json_object_get(h, "args"), JSON_COMPACT);
    json_decref(h);
    return text;
}

void fitresume_save(struct fit_run *r)
{
    json_t *meta = json_object();
    struct fit **fits = mem_alloc(r->jobs, sizeof *fits);
    set_text(meta, options_text(), "options");
    set_text(meta, mem_format("%" PRIu64, r->used), "rows");
    set_text(meta, mem_format("%" PRIu32, r->crc), "crc");
    set_text(meta, mem_format("%.17g", tool_clock() - r->job[0].log.began), "seconds");
    for (size_t j = 0; j < r->jobs; j++) {
        fits[j] = r->job[j].fit;
        if (r->job[j].failed)
            set_text(meta, mem_string(r->job[j].failed), "failed.%zu", j);
        set_text(meta, mem_format("%ld", fitlog_bytes(&r->job[j].log)), "log.%zu", j);
        set_text(meta, mem_format("%" PRIu64, r->job[j].log.resampled), "resampled.%zu", j);
    }
    for (size_t j = 0; j < r->jobs; j++)
        if (r->job[j].fit && fit_check(r->job[j].fit)) {
            fitjob_fail(r, &r->job[j]);
            fits[j] = NULL;
            set_text(meta, mem_string(r->job[j].failed), "failed.%zu", j);
        }
    if (checkpoint_save(r->checkpoint, fits, r->jobs, meta))
        tool_die();
    r->saved = true;
    free(fits);
    json_decref(meta);
}

/* That the state is there, and the command that goes on from it. */
static void say_stopped(const struct fit_run *r)
{
    struct text t = { .s = NULL };
    table_text_plain(&t, r->command);
    if (!r->resume) {
        table_text_plain(&t, " --resume ");
        shellword_add(&t, r->checkpoint, false);
    }
    char *shown = mem_alloc(4 * t.n + 1, 1);
    err_mask(shown, 4 * t.n + 1, t.s);
    tool_progress_end();
    if (!opt.quiet)
        fprintf(stderr, "%s: stopped after %" PRIu64 " rows, the state is in %s; to go on%s: %s\n", err_program,
                r->used, r->checkpoint, r->src.path ? "" : ", with the same input", shown);
    free(shown);
    free(t.s);
}

void fitresume_stop(struct fit_run *r)
{
    if (r->checkpoint && r->begun) {
        fitresume_save(r);
        say_stopped(r);
    }
    tool_progress_end();
    int number = fitrows_stop;
    end_tidy_on_signals();
    raise(number);
}

void fitresume_settle(struct fit_run *r)
{
    if (fitrows_stop)
        fitresume_stop(r);
    if (!r->checkpoint)
        return;
    fitresume_save(r);
    end_tidy_on_signals();
    if (fitrows_stop)                   /* it came while that was written */
        raise(fitrows_stop);
}

void fitresume_die(struct fit_run *r)
{
    if (fitrows_stop)
        fitresume_stop(r);
    if (r->checkpoint && r->begun) {
        char *why = mem_string(err_text());
        enum err_status status = err_status();
        fitresume_save(r);
        tool_progress_end();
        fprintf(stderr, "%s: %s\n", err_program, why);
        exit((int)status);
    }
    tool_die();
}

static const char *meta_text(const json_t *meta, const char *format, ...) __attribute__((format(printf, 2, 3)));
static const char *meta_text(const json_t *meta, const char *format, ...)
{
    char key[40];
    va_list ap;
    va_start(ap, format);
    vsnprintf(key, sizeof key, format, ap);
    va_end(ap);
    const char *text = json_string_value(json_object_get(meta, key));
    return text ? text : "";
}

/* The word behind option `name`, "" when it has none, NULL when the option is not among args. */
static const char *argument(const json_t *args, const char *name)
{
    size_t i;
    json_t *word;
    json_array_foreach(args, i, word) {
        const char *text = json_string_value(word), *next = json_string_value(json_array_get(args, i + 1));
        if (text && !strcmp(text, name))
            return next && strncmp(next, "--", 2) ? next : "";
    }
    return NULL;
}

/* The options now and then must be the same; the first that is not is named. */
static void compare_options(const struct fit_run *r, const json_t *meta)
{
    char *text = options_text();
    json_t *now = jsonfile_value(text), *then = jsonfile_value(meta_text(meta, "options")), *word;
    const json_t *const side[] = { now, then };
    size_t i;
    for (int s = 0; s < 2; s++)
        json_array_foreach(side[s], i, word) {
            const char *name = json_string_value(word);
            if (!name || strncmp(name, "--", 2))
                continue;
            const char *a = argument(now, name), *b = argument(then, name);
            if (!a || !b || strcmp(a, b))
                opt_misuse("--resume %s: %s is %s, in the checkpoint it is %s", r->resume, name,
                           !a ? "not given" : *a ? a : "given", !b ? "not given" : *b ? b : "given");
        }
    json_decref(now);
    json_decref(then);
    free(text);
}

void fitresume_count(struct fit_run *r, const float *x, size_t n)
{
    r->crc = libdeflate_crc32(r->crc, x, n * r->src.in->d * sizeof *x);
}

/* Take the rows that had been used out of the buffer once more, in the same order. */
static void replay(struct fit_run *r, float *x, uint64_t used, uint32_t crc)
{
    while (r->used < used) {
        ssize_t n = shuffle_take(r->rows, x, r->batch);
        if (n < 0)
            fitresume_die(r);
        if (!n)
            tool_die_data("%s: %" PRIu64 " rows, but the checkpoint has used %" PRIu64, stream_name(r->src.in), r->used,
                          used);
        fitresume_count(r, x, (size_t)n);
        r->used += (uint64_t)n;
        tool_progress(r->used, r->total, "rows used before");
    }
    if (r->used != used || r->crc != crc)
        tool_die_data("%s: not the rows that the checkpoint has used", stream_name(r->src.in));
}

bool fitresume_wanted(const struct fit_run *r)
{
    return r->resume && !(r->checkpoint && !strcmp(r->checkpoint, r->resume) && access(r->resume, F_OK));
}

void fitresume_load(struct fit_run *r, float *x)
{
    struct fitstate *s = checkpoint_open(r->resume);
    if (!s)
        tool_die();
    const json_t *meta = checkpoint_meta(s);
    compare_options(r, meta);
    double seconds = strtod(meta_text(meta, "seconds"), NULL);
    for (size_t j = 0; j < r->jobs; j++) {
        const char *failed = meta_text(meta, "failed.%zu", j);
        if (*failed) {
            err_data("%s", failed);
            fitjob_fail(r, &r->job[j]);
        } else if (checkpoint_restore(s, j, r->job[j].fit)) {
            tool_die();
        }
        long keep = strtol(meta_text(meta, "log.%zu", j), NULL, 10);
        fitlog_open(&r->job[j].log, r->job[j].log_path, r->eval, keep, seconds);
        r->job[j].log.resampled = strtoull(meta_text(meta, "resampled.%zu", j), NULL, 10);
    }
    replay(r, x, strtoull(meta_text(meta, "rows"), NULL, 10), (uint32_t)strtoul(meta_text(meta, "crc"), NULL, 10));
    tool_note("%s: going on behind row %" PRIu64, r->resume, r->used);
    r->saved = r->begun = true;
    checkpoint_close(s);
    fitjob_adopt(r, true);
}
