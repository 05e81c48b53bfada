/* SPDX-License-Identifier: MIT */
#include "act_splice/dump.h"
#include "base/mem.h"
#include "base/par.h"
#include "cli/placed.h"
#include "cli/tool.h"

#include <stdlib.h>
#include <string.h>

static struct {
    const struct rows_job *job;
    const struct lm *m;
    const struct tokenizer *tokenizer;
    struct lm_work **work;              /* one for each thread */
    struct splice_group group;
    size_t first;                       /* piece of the group from which on pieces are run */
    size_t *row;                        /* (tokens) which row of x; SIZE_MAX: none */
    float *x;
    size_t row_cap, x_cap;
} g;

/* ---- running ---- */

static void keep_rows(void *arg, float *rows, size_t n)
{
    const size_t *base = arg, width = g.job->hook->width;
    for (size_t r = 0; r < n; r++)
        if (g.row[*base + r] != SIZE_MAX)
            memcpy(g.x + g.row[*base + r] * width, rows + r * width, width * sizeof *rows);
}

static void run_piece(void *arg, size_t p, int worker)
{
    size_t base = g.group.start[g.group.piece[g.first + p].first];
    struct lm_tap tap = { g.job->hook, keep_rows, &base };
    (void)arg;
    splice_forward(g.m, g.work[worker], &g.group, g.first + p, SPLICE_ROWS, NULL, NULL, &tap, 1);
}

/* ---- writing ---- */

/* Run pieces [lo, hi) and write their rows, in records of a few MiB. */
static void write_pieces(struct stream_out *out, const struct stream_in *in, size_t lo, size_t hi)
{
    const struct splice_group *group = &g.group;
    size_t width = g.job->hook->width, at_once = STREAM_PAYLOAD / sizeof(float) / width + 1, rows = 0;
    size_t from = group->piece[lo].first, to = group->piece[hi - 1].first + group->piece[hi - 1].count;
    size_t tokens = group->start[to] - group->start[from];
    size_t *at = mem_alloc(tokens, sizeof *at), *context = mem_alloc(tokens, sizeof *context);
    for (size_t c = from; c < to; c++)
        for (size_t i = group->start[c]; i < group->start[c + 1]; i++) {
            bool wanted = g.job->counts(group, c, i);
            g.row[i] = wanted ? rows : SIZE_MAX;
            at[rows] = i;
            context[rows] = c;
            rows += wanted;
        }
    g.x = mem_grow(g.x, &g.x_cap, rows * width + 1, sizeof *g.x);
    g.first = lo;
    par_for(hi - lo, run_piece, NULL);
    for (size_t r = 0; r < rows; r += at_once)
        placed_put(out, in, group, g.tokenizer, at + r, context + r, rows - r < at_once ? rows - r : at_once,
                   g.x + r * width, width);
    free(at);
    free(context);
}

static json_t *changes(void)
{
    const struct lm_hook *h = g.job->hook;
    json_t *j = json_pack("{s:I,s:s,s:s,s:i,s:n,s:n}", "d", (json_int_t)h->width, "dtype", "f32", "hook", h->name, "layer",
                          h->layer, "rows", "proc");
    if (!j)
        mem_die(0);
    return j;
}

int dump_main(const struct rows_job *job, const struct lm *m, const struct tokenizer *t, struct splice *s,
                     char **inputs, size_t n)
{
    size_t at_once = ((size_t)16 << 20) / job->hook->width / 512 + (size_t)par_threads();
    uint64_t tokens = 0;
    int r = splice_next(s, &g.group);   /* what cannot be read leaves no output behind */
    if (r < 0)
        tool_die();
    g.job = job;
    g.m = m;
    g.tokenizer = t;
    g.work = mem_alloc((size_t)par_threads(), sizeof *g.work);
    for (int i = 0; i < par_threads(); i++)
        g.work[i] = lm_work_new(m);
    struct stream_out *out = tool_create(splice_stream(s, 0), changes(), inputs, n);
    for (; r > 0; r = splice_next(s, &g.group)) {
        g.row = mem_grow(g.row, &g.row_cap, g.group.tokens, sizeof *g.row);
        for (size_t lo = 0; lo < g.group.pieces; lo += at_once)
            write_pieces(out, splice_stream(s, 0), lo, lo + at_once < g.group.pieces ? lo + at_once : g.group.pieces);
        tool_progress(tokens += g.group.tokens, 0, NULL);
    }
    if (r < 0)
        tool_die();
    for (int i = 0; i < par_threads(); i++)
        lm_work_free(g.work[i]);
    free(g.work);
    free(g.row);
    free(g.x);
    splice_group_free(&g.group);
    return tool_finish(out);
}
