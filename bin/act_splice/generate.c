/* All contexts of a group grow by one token at a time. What the model has at the hook for a new token does not depend on
 * what is put in there, so its row is made by a clean pass up to the hook, edited, and from then on given like the rest:
 *
 *   append token -> pass up to the hook -> edit its row -> pass to the logits -> draw the next token        */
/* SPDX-License-Identifier: MIT */
#include "act_splice/generate.h"
#include "base/mem.h"
#include "base/par.h"
#include "base/rng.h"
#include "cli/table.h"
#include "cli/tool.h"
#include "maths/logits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const struct generate_job *job;
    const struct lm *m;
    const struct tokenizer *tokenizer;
    struct lm_work **work;              /* one for each thread */
    struct splice_group group;
    uint64_t before;                    /* contexts of the groups that are done */
    size_t *prompt;                     /* (contexts) tokens it began with */
    struct rng *rng;                    /* (contexts) */
    uint32_t *drawn;                    /* (contexts) */
    float *last;                        /* (contexts, width): rows of the newest tokens at the hook */
    bool *changed;                      /* (contexts) */
    size_t prompt_cap, rng_cap, drawn_cap, last_cap, changed_cap;
} g;

/* ---- the newest token's row ---- */

struct view {
    size_t piece;
};

/* Call fn for the newest row of each context of a piece. */
static void each_newest(const struct view *v, float *rows, size_t width, void (*fn)(size_t c, float *row))
{
    const struct splice_piece *p = &g.group.piece[v->piece];
    for (size_t c = p->first; c < p->first + p->count; c++)
        fn(c, rows + (g.group.start[c + 1] - 1 - g.group.start[p->first]) * width);
}

static void keep_row(size_t c, float *row)
{
    size_t width = g.group.row[0].hook->width;
    memcpy(g.last + c * width, row, width * sizeof *row);
}

static void take_rows(void *arg, float *rows, size_t n)
{
    (void)n;
    each_newest(arg, rows, g.group.row[0].hook->width, keep_row);
}

static void hook_piece(void *arg, size_t p, int worker)
{
    struct view v = { p };
    struct lm_tap tap = { g.group.row[0].hook, take_rows, &v };
    (void)arg;
    splice_forward(g.m, g.work[worker], &g.group, p, SPLICE_CLEAN, NULL, NULL, &tap, 1);
}

/* The newest tokens as rows of a stream, for the edits: contexts [lo, hi). */
static void edit_some(size_t lo, size_t hi)
{
    size_t n = hi - lo, width = g.group.row[0].hook->width, text_n = 0, text_cap = 0, len;
    struct batch b = { .n = n, .section = g.group.section, .head = g.group.head };
    uint32_t *pos = mem_alloc(n, sizeof *pos), *text_end = mem_alloc(n, sizeof *text_end);
    uint8_t *text = mem_grow(NULL, &text_cap, 1, 1);
    float *x = mem_alloc(n * width, sizeof *x);
    for (size_t c = lo; c < hi; c++) {
        const uint8_t *bytes = tokenizer_text(g.tokenizer, g.drawn[c], &len);
        len = bytes ? len : 0;
        text = mem_grow(text, &text_cap, text_n + len, 1);
        if (len)
            memcpy(text + text_n, bytes, len);
        text_n += len;
        text_end[c - lo] = (uint32_t)text_n;
        pos[c - lo] = (uint32_t)(g.group.start[c + 1] - 1 - g.group.start[c]);
    }
    batch_add(&b, "x", DTYPE_F32, n, width, false, g.last + lo * width);
    batch_add(&b, "doc", DTYPE_U32, n, 0, true, g.group.doc + lo);
    batch_add(&b, "ctx", DTYPE_U32, n, 0, true, g.group.ctx + lo);
    batch_add(&b, "pos", DTYPE_U32, n, 0, true, pos);
    batch_add(&b, "tok", DTYPE_U32, n, 0, true, g.drawn + lo);
    batch_add(&b, "text", DTYPE_U8, text_n, 0, false, text);
    batch_add(&b, "text_end", DTYPE_U32, n, 0, true, text_end);
    batch_point(&b);
    b.x = g.last + lo * width;
    if (edit_rows(g.job->edits, &b, NULL, false, x, g.changed + lo))
        tool_die();
    memcpy(g.last + lo * width, x, n * width * sizeof *x);
    free(pos);
    free(text_end);
    free(text);
    free(x);
}

/* Give the newest tokens their edited rows. */
static void hold_edits(void)
{
    size_t n = g.group.contexts, at_once = ((size_t)1 << 20) / g.job->edits->sae->d_sae + 16;
    size_t width = g.group.row[0].hook->width;
    par_for(g.group.pieces, hook_piece, NULL);
    for (size_t lo = 0; lo < n; lo += at_once)
        edit_some(lo, lo + at_once < n ? lo + at_once : n);
    for (size_t c = 0; c < n; c++) {
        size_t t = g.group.start[c + 1] - 1;
        if (!g.changed[c])
            continue;
        memcpy(g.group.row[0].x + t * width, g.last + c * width, width * sizeof *g.last);
        g.group.row[0].given[t] = true;
    }
}

/* ---- the next token ---- */

/* From softmax(logits / temperature). */
static uint32_t draw(const float *logits, size_t n, double temperature, struct rng *rng)
{
    if (temperature == 0)
        return (uint32_t)logits_top(logits, n);
    double top = logits[logits_top(logits, n)], sum = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((logits[i] - top) / temperature);
    double u = rng_uniform(rng) * sum;
    for (size_t i = 0; i < n; i++) {
        at += exp((logits[i] - top) / temperature);
        if (at > u)
            return (uint32_t)i;
    }
    return (uint32_t)logits_top(logits, n);
}

static void draw_next(size_t c, float *row)
{
    g.drawn[c] = draw(row, lm_shape(g.m)->n_vocab, g.job->temperature, &g.rng[c]);
}

static void take_logits(void *arg, float *rows, size_t n)
{
    (void)n;
    each_newest(arg, rows, lm_shape(g.m)->n_vocab, draw_next);
}

static void draw_piece(void *arg, size_t p, int worker)
{
    struct view v = { p };
    struct lm_tap tap = { lm_hook_find(g.m, "logits"), take_logits, &v };
    (void)arg;
    splice_forward(g.m, g.work[worker], &g.group, p, SPLICE_ROWS, NULL, NULL, &tap, 1);
}

/* ---- a group ---- */

static void begin_group(const struct splice *s)
{
    size_t n = g.group.contexts, room = lm_shape(g.m)->n_ctx;
    g.prompt = mem_grow(g.prompt, &g.prompt_cap, n, sizeof *g.prompt);
    g.rng = mem_grow(g.rng, &g.rng_cap, n, sizeof *g.rng);
    g.drawn = mem_grow(g.drawn, &g.drawn_cap, n, sizeof *g.drawn);
    g.changed = mem_grow(g.changed, &g.changed_cap, n, sizeof *g.changed);
    g.last = mem_grow(g.last, &g.last_cap, n * g.group.row[0].hook->width, sizeof *g.last);
    for (size_t c = 0; c < n; c++) {
        g.prompt[c] = g.group.start[c + 1] - g.group.start[c];
        if (g.prompt[c] + g.job->tokens > room)
            tool_die_data("%s: context %u has %zu tokens, and the model has no room for %zu more: its contexts end at %zu",
                          stream_name(splice_stream(s, 0)), g.group.ctx[c], g.prompt[c], g.job->tokens, room);
        rng_seed(&g.rng[c], (uint64_t)opt.seed, g.before + c);
    }
}

static void write_tokens(void)
{
    for (size_t i = 0; i < g.job->tokens; i++) {
        par_for(g.group.pieces, draw_piece, NULL);
        splice_append(&g.group, g.drawn);
        if (g.job->edits && i + 1 < g.job->tokens)
            hold_edits();
        tool_progress((g.before + g.group.contexts) * (i + 1), 0, "tokens");
    }
}

static void print_context(struct table *t, size_t c)
{
    const size_t start = g.group.start[c], behind = start + g.prompt[c], end = g.group.start[c + 1];
    struct text prompt = { .s = NULL }, more = { .s = NULL };
    table_text_plain(&prompt, "");
    table_text_plain(&more, "");
    for (size_t i = start; i < end; i++) {
        size_t len = 0;
        const uint8_t *bytes = tokenizer_text(g.tokenizer, g.group.tok[i], &len);
        if (bytes && !splice_is_bos(&g.group, c, i))
            table_text_bytes(i < behind ? &prompt : &more, bytes, len);
    }
    table_count(t, g.group.doc[c]);
    table_count(t, g.group.ctx[c]);
    table_bytes(t, prompt.s, prompt.n);
    table_bytes(t, more.s, more.n);
    table_list(t);
    for (size_t i = behind; i < end; i++)
        table_count(t, g.group.tok[i]);
    table_list_end(t);
    free(prompt.s);
    free(more.s);
}

int generate_main(const struct generate_job *job, const struct lm *m, const struct tokenizer *t, struct splice *s)
{
    static const char *const names[] = { "doc", "ctx", "prompt", "continuation", "tokens" };
    struct table *table = NULL;
    int r;
    g.job = job;
    g.m = m;
    g.tokenizer = t;
    g.work = mem_alloc((size_t)par_threads(), sizeof *g.work);
    for (int i = 0; i < par_threads(); i++)
        g.work[i] = lm_work_new(m);
    while ((r = splice_next(s, &g.group)) > 0) {
        begin_group(s);
        write_tokens();
        if (!table)
            table = table_create(names, 5);
        for (size_t c = 0; c < g.group.contexts; c++)
            print_context(table, c);
        g.before += g.group.contexts;
    }
    tool_progress_end();
    if (r < 0)
        tool_die();
    for (int i = 0; i < par_threads(); i++)
        lm_work_free(g.work[i]);
    free(g.work);
    free(g.prompt);
    free(g.rng);
    free(g.drawn);
    free(g.last);
    free(g.changed);
    splice_group_free(&g.group);
    return table_finish(table ? table : table_create(names, 5));
}
