/* SPDX-License-Identifier: MIT */
#include "sae_fit/fitjob.h"
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "files/vectors.h"
#include "fit/warm_start.h"
#include "maths/vec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fitjob_name(const struct fit_run *r, const struct fit_job *j)
{
    static char name[80];
    snprintf(name, sizeof name, "--l1 %.60s: ", j->word);
    return r->jobs > 1 ? name : "";
}

static size_t alive(const struct fit_run *r)
{
    size_t n = 0;
    for (size_t j = 0; j < r->jobs; j++)
        n += r->job[j].fit != NULL;
    return n;
}

void fitjob_fail(struct fit_run *r, struct fit_job *j)
{
    j->failed = mem_string(err_text());
    fit_free(j->fit);
    j->fit = NULL;
    if (!alive(r)) {
        if (r->saved)
            err_data("%s%s (%s has the last state)", fitjob_name(r, j), j->failed,
                     r->checkpoint ? r->checkpoint : r->resume);
        else
            err_data("%s%s", fitjob_name(r, j), j->failed);
        tool_die();
    }
    tool_warn("%s%s; the other fits go on", fitjob_name(r, j), j->failed);
}

static void keep_start(struct fit_run *r, const float *rows, size_t n, size_t d)
{
    r->start = mem_align(n * d, sizeof *r->start);
    r->starts = n;
    memcpy(r->start, rows, n * d * sizeof *rows);
    for (size_t i = 0; i < n; i++)
        vec_normalize(r->start + i * d, d, 1e-30f);
}

static void check_start(const struct fit_run *r, size_t n, const struct fit_options *f)
{
    if (n > f->d_sae)
        tool_die_data("%s: %zu rows to begin from, but only %zu features: give --d-sae %zu", r->init, n, f->d_sae, n);
}

void fitjob_adopt(struct fit_run *r, bool resumed)
{
    size_t first = 0;
    while (!r->job[first].fit)          /* one of those that have not ended */
        first++;
    const struct fit_options *f = &r->job[first].fit->o;
    if (!r->init)
        return;
    if (vectors_names(r->init)) {
        size_t n;
        float *rows = vectors_load(r->init, f->d_model, &n);
        if (!rows)
            tool_die();
        check_start(r, n, f);
        for (size_t j = 0; !resumed && j < r->jobs; j++)
            warm_start_rows(r->job[j].fit, rows, n);
        keep_start(r, rows, n, f->d_model);
        free(rows);
        return;
    }
    struct sae *sae = cli_sae(r->init);
    if (sae->d_model != f->d_model)
        tool_die_data("%s: a dictionary of rows %zu wide, the rows are %zu wide", r->init, sae->d_model, f->d_model);
    check_start(r, sae->d_sae, f);
    for (size_t j = 0; !resumed && j < r->jobs; j++)
        warm_start_sae(r->job[j].fit, sae);
    keep_start(r, sae->w_dec, sae->d_sae, f->d_model);
    sae_free(sae);
}
