/* SPDX-License-Identifier: MIT */
#include "sae_fit/fitlog.h"
#include "cli/tool.h"
#include "fit/state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

static void fail(const struct fitlog *l, const char *what)
{
    err_sys("%s: %s", l->path, what);
    tool_die();
}

static void put(struct fitlog *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct fitlog *l, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (vfprintf(l->file, format, ap) < 0 || fflush(l->file))
        fail(l, "write error");
    va_end(ap);
}

static void put_head(struct fitlog *l)
{
    put(l, "step\trows\tloss\tmse\tfvu\tl0\tdead\tlr\tseconds\tresampled%s\n",
        l->eval ? "\teval_loss\teval_mse\teval_fvu\teval_l0\teval_dead" : "");
}

/* The table that is there, cut off behind `keep` bytes; false when it has not so many. */
static bool go_on(struct fitlog *l, long keep)
{
    l->file = fopen(l->path, "r+");
    if (!l->file)
        return false;
    if (fseek(l->file, 0, SEEK_END) == 0 && ftell(l->file) >= keep && ftruncate(fileno(l->file), keep) == 0 &&
        fseek(l->file, keep, SEEK_SET) == 0)
        return true;
    fclose(l->file);
    return false;
}

void fitlog_open(struct fitlog *l, const char *path, const char *eval, long keep, double seconds)
{
    l->path = path;
    l->eval = eval;
    l->began = tool_clock() - seconds;
    if (!path || (keep > 0 && go_on(l, keep)))
        return;
    l->file = fopen(path, "w");
    if (!l->file)
        fail(l, "cannot create");
    put_head(l);
}

struct fit_report fitlog_evaluate(struct fit *f, const char *eval)
{
    struct stream_in *in = stream_open(eval);
    if (!in)
        tool_die();
    tool_want(in, STREAM_ACTS, f->o.d_model, "the fit");
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

void fitlog_line(struct fitlog *l, struct fit *f, uint64_t rows)
{
    struct fit_report r = fit_tally_report(&f->tally, f->o.dead_window), held = { .rows = 0 };
    l->last = r;
    fit_tally_reset(&f->tally);
    if (!l->file)
        return;
    if (l->eval)
        held = fitlog_evaluate(f, l->eval);
    put(l, "%" PRIu64 "\t%" PRIu64 "\t%.6g\t%.6g\t%.6g\t%.6g\t%zu\t%.6g\t%.3f\t%" PRIu64, f->step, rows, r.loss, r.mse,
        r.fvu, r.l0, r.dead, fit_rate(f, f->step - 1), tool_clock() - l->began, f->resampled - l->resampled);
    if (l->eval)
        put(l, "\t%.6g\t%.6g\t%.6g\t%.6g\t%zu", held.loss, held.mse, held.fvu, held.l0, held.dead);
    put(l, "\n");
    l->resampled = f->resampled;
}

long fitlog_bytes(struct fitlog *l)
{
    return l->file ? ftell(l->file) : 0;
}

void fitlog_close(struct fitlog *l)
{
    if (l->file && fclose(l->file))
        fail(l, "write error");
    l->file = NULL;
}
