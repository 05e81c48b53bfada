/* SPDX-License-Identifier: MIT */
#include "sae_fit/fitrun.h"
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "fit/resample.h"
#include "maths/cosine.h"
#include "sae_fit/fitresume.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How far a dictionary has gone from where it began. */
static void say_start(const struct fit_run *r, const struct fit_job *j, const struct sae *sae)
{
    struct cosine_stats stats;
    double sum = 0;
    if (!r->start || !opt.verbose)
        return;
    cosine_all(r->start, r->starts, sae->w_dec, sae->d_sae, sae->d_model, false, 1, &stats);
    for (size_t i = 0; i < r->starts; i++)
        sum += stats.nearest[i].item[0].key;
    cosine_free(&stats, r->starts);
    tool_note("%sMMCS of what %s gave to the result: %.4f", fitjob_name(r, j), r->init, sum / (double)r->starts);
}

/* ---- the work ---- */

static void begin(struct fit_run *r)
{
    size_t n;
    const float *first = shuffle_rows(r->rows, &n);
    for (size_t j = 0; j < r->jobs; j++) {
        fitlog_open(&r->job[j].log, r->job[j].log_path, r->eval, -1, 0);
        if (fit_begin(r->job[j].fit, first, n))
            tool_die();
    }
    fitjob_adopt(r, false);
    r->begun = true;
}

static void show_progress(const struct fit_run *r)
{
    char remark[160] = "";
    for (size_t j = 0, at = 0; j < r->jobs && at < 100; j++) {
        if (!r->job[j].fit)
            continue;
        struct fit_report m = fit_tally_report(&r->job[j].fit->tally, r->job[j].fit->o.dead_window);
        at += (size_t)snprintf(remark + at, sizeof remark - at, "%s%sloss %.4g, L0 %.1f, FVU %.3f, dead %zu",
                               at ? "; " : "", fitjob_name(r, &r->job[j]), m.loss, m.l0, m.fvu, m.dead);
    }
    tool_progress(r->used, r->total, remark);
}

static void resample(struct fit_run *r, struct fit_job *j)
{
    size_t n;
    const float *x = shuffle_rows(r->rows, &n);
    if (!n)
        return;
    struct resampled e = resample_run(j->fit, x, n);
    tool_note("%sstep %" PRIu64 ": %zu dead features, %zu of them resampled from %zu rows, whose mean loss was %.6g",
              fitjob_name(r, j), j->fit->step, e.dead, e.n, e.rows, e.before);
    for (size_t k = 0; k < e.n; k++)
        tool_note("%sresampled feature %" PRIu32 " as row %zu of the buffer, loss %.6g", fitjob_name(r, j),
                  e.feature[k], e.row[k], e.loss[k]);
    resample_free(&e);
}

static void step(struct fit_run *r, struct fit_job *j, const float *x, size_t n)
{
    if (fit_step(j->fit, x, n)) {
        fitjob_fail(r, j);
        return;
    }
    if (resample_due(j->fit))
        resample(r, j);
    if (j->fit->step % r->log_every == 0)
        fitlog_line(&j->log, j->fit, r->used);
}

static void run(struct fit_run *r, float *x)
{
    ssize_t n;
    while ((n = shuffle_take(r->rows, x, r->batch)) > 0) {
        uint64_t due = (r->used / r->every + 1) * r->every;
        r->used += (uint64_t)n;
        if (r->checkpoint)
            fitresume_count(r, x, (size_t)n);
        for (size_t j = 0; j < r->jobs; j++)
            if (r->job[j].fit)
                step(r, &r->job[j], x, (size_t)n);
        show_progress(r);
        if (fitrows_stop)
            fitresume_stop(r);
        if (r->checkpoint && r->used >= due)
            fitresume_save(r);
    }
    if (n < 0)
        fitresume_die(r);
    for (size_t j = 0; j < r->jobs; j++)
        if (r->job[j].fit && r->job[j].fit->tally.rows)
            fitlog_line(&r->job[j].log, r->job[j].fit, r->used);
    tool_progress_end();
}

/* What the next tool will want to know; the history of the rows, and this fit. */
static void describe(const struct fit_run *r, struct sae *sae, const struct fit_job *j, char **inputs, size_t n)
{
    static const char *const kept[] = { "hook", "model", "model_sha" };
    json_t *history = json_deep_copy(json_object_get(r->src.in->head, "history"));
    struct opt_reals all = *r->l1;
    double own = j->l1;
    if (all.n)
        *r->l1 = (struct opt_reals){ .item = &own, .n = 1 };      /* the command of this one alone */
    if (!json_is_array(history))
        history = json_array();
    if (!opt.no_history && json_array_append_new(history, tool_history(inputs, n)))
        mem_die(0);
    *r->l1 = all;
    char *text = json_dumps(history, JSON_COMPACT), *count = mem_format("%" PRIu64, r->used);
    char *seed = mem_format("%" PRId64, opt.seed);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (json_is_string(json_object_get(r->src.in->head, kept[i])))
            json_object_set(sae->meta, kept[i], json_object_get(r->src.in->head, kept[i]));
    json_object_set_new(sae->meta, "rows", json_string(count));
    json_object_set_new(sae->meta, "seed", json_string(seed));
    if (text && json_array_size(history))
        json_object_set_new(sae->meta, "history", json_string(text));
    free(text);
    free(count);
    free(seed);
    json_decref(history);
}

static void say_end(const struct fit_run *r, const struct fit_job *j)
{
    const struct fit_report *last = &j->log.last;
    double nothing = last->fvu > 0 ? last->mse * (double)j->fit->o.d_model / last->fvu : 0;
    if (last->rows && last->l0 == 0)
        tool_warn("%snote: no feature fires any more: lower --l1, or --lr", fitjob_name(r, j));
    else if (last->rows && last->fvu >= 1)
        tool_warn("%snote: FVU %.3g, worse than the mean row would do: lower --l1, or fit on more rows",
                  fitjob_name(r, j), last->fvu);
    else if (last->rows && j->fit->o.recon == 1 && nothing > 0 && last->loss > 2 * nothing)
        tool_warn("%snote: loss %.3g, where no features at all would have %.3g: lower --l1, or fit on more rows",
                  fitjob_name(r, j), last->loss, nothing);
    if (r->eval && !opt.quiet) {
        struct fit_report held = fitlog_evaluate(j->fit, r->eval);
        tool_warn("%sheld-out rows: loss %.6g, mse %.6g, FVU %.4f, L0 %.1f, dead %zu (in none of %" PRIu64 ")",
                  fitjob_name(r, j), held.loss, held.mse, held.fvu, held.l0, held.dead, held.rows);
    }
}

/* The dictionary of one job, in its file. */
static void finish(struct fit_run *r, struct fit_job *j, char **inputs, size_t n)
{
    struct sae *sae = fit_export(j->fit);
    if (!sae) {
        fitjob_fail(r, j);
        return;
    }
    describe(r, sae, j, inputs, n);
    if (saefile_save(j->output, sae))
        tool_die();
    say_end(r, j);
    say_start(r, j, sae);
    fitlog_close(&j->log);
    sae_free(sae);
}

int fitrun(struct fit_run *r, char **inputs, size_t n)
{
    size_t d = r->src.in->d, rows;
    bool failed = false;
    if (r->checkpoint)
        fitresume_catch();
    r->rows = shuffle_new(r->buffer, d, (uint64_t)opt.seed, fitrows_next, &r->src);
    if (shuffle_fill(r->rows))
        fitresume_die(r);
    shuffle_rows(r->rows, &rows);
    if (!rows)
        tool_die_data("%s: no rows to fit", stream_name(r->src.in));
    float *x = mem_align(r->batch * d, sizeof *x);          /* all that is large: now that there are rows */
    for (size_t j = 0; j < r->jobs; j++)
        r->job[j].fit = fit_new(&r->job[j].options);
    if (fitresume_wanted(r))
        fitresume_load(r, x);
    else
        begin(r);
    run(r, x);
    fitresume_settle(r);
    if (r->src.max_rows >= 0 && r->used < (uint64_t)r->src.max_rows * (uint64_t)r->src.epochs)
        tool_warn("note: the input has fewer rows than -n: %" PRIu64 " were used", r->used);
    for (size_t j = 0; j < r->jobs; j++)
        if (r->job[j].fit)
            finish(r, &r->job[j], inputs, n);
    for (size_t j = 0; j < r->jobs; j++) {
        failed |= r->job[j].failed != NULL;
        fit_free(r->job[j].fit);
    }
    shuffle_free(r->rows);
    free(r->start);
    free(x);
    return failed ? ERR_DATA : 0;
}
