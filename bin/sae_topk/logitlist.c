/* SPDX-License-Identifier: MIT */
#include "sae_topk/logitlist.h"
#include "base/mem.h"
#include "base/par.h"
#include "cli/table.h"
#include "cli/tool.h"
#include "model/tokenizer.h"
#include "patch/direct_logit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AT_ONCE = 32, BLOCKS = 32 };         /* features of one product; products of one round */

struct best {
    uint32_t tok;
    float effect;
};

static struct {
    const struct sae *sae;
    const struct labels *labels;            /* NULL: none */
    struct tokenizer *tokenizer;            /* NULL: tokens have no text */
    struct lm *m;
    const struct lm_hook *hook;
    const size_t *feature;                  /* the round's */
    size_t n, k;
    struct best *up, *down;                 /* (features of a round, k), best first */
} g;

/* Keep the k of largest sign * effect; equal ones by number. */
static void choose(struct best *best, const float *effect, size_t n, float sign)
{
    size_t held = 0;
    for (size_t t = 0; t < n; t++) {
        float key = sign * effect[t];
        if (held == g.k && !(key > sign * best[held - 1].effect))
            continue;
        size_t at = held < g.k ? held++ : held - 1;
        for (; at > 0 && key > sign * best[at - 1].effect; at--)
            best[at] = best[at - 1];
        best[at] = (struct best){ (uint32_t)t, effect[t] };
    }
}

static void run_block(void *arg, size_t block, int worker)
{
    size_t first = block * AT_ONCE, n = g.n - first < AT_ONCE ? g.n - first : AT_ONCE, d = g.hook->width;
    size_t vocab = lm_shape(g.m)->n_vocab;
    float *rows = mem_align(n, d * sizeof *rows), *effect = mem_align(n, vocab * sizeof *effect);
    (void)arg;
    (void)worker;
    for (size_t i = 0; i < n; i++)
        memcpy(rows + i * d, g.sae->w_dec + g.feature[first + i] * d, d * sizeof *rows);
    direct_logit(g.m, g.hook, rows, n, effect);
    for (size_t i = 0; i < n; i++) {
        choose(g.up + (first + i) * g.k, effect + i * vocab, vocab, 1);
        choose(g.down + (first + i) * g.k, effect + i * vocab, vocab, -1);
    }
    free(rows);
    free(effect);
}

static void print_text(struct table *t, const struct best *b)
{
    size_t len;
    const uint8_t *bytes = g.tokenizer ? tokenizer_text(g.tokenizer, b->tok, &len) : NULL;
    if (bytes)
        table_bytes(t, bytes, len);
    else
        table_empty(t);
}

static void print_feature(struct table *t, size_t feature)
{
    table_count(t, feature);
    if (g.labels)
        labels_cell(t, g.labels, feature);
}

static void print_lines(struct table *t, size_t feature, const struct best *up, const struct best *down)
{
    for (size_t r = 0; r < g.k; r++) {
        print_feature(t, feature);
        table_count(t, r + 1);
        for (int side = 0; side < 2; side++) {
            const struct best *b = side ? &down[r] : &up[r];
            print_text(t, b);
            table_count(t, b->tok);
            table_real(t, b->effect);
        }
    }
}

static void print_object(struct table *t, size_t feature, const struct best *up, const struct best *down)
{
    print_feature(t, feature);
    for (int side = 0; side < 2; side++) {
        const struct best *b = side ? down : up;
        table_list(t);
        for (size_t r = 0; r < g.k; r++)
            print_text(t, &b[r]);
        table_list_end(t);
        table_list(t);
        for (size_t r = 0; r < g.k; r++)
            table_count(t, b[r].tok);
        table_list_end(t);
        table_list(t);
        for (size_t r = 0; r < g.k; r++)
            table_real(t, b[r].effect);
        table_list_end(t);
    }
}

/* The table and its columns: `label` only with labels, `rank` only of lines. */
static struct table *begin_table(void)
{
    static const char *const all[] = { "feature", "label", "rank", "up", "up_tok", "up_logit", "down", "down_tok", "down_logit" };
    static const char *names[9];
    size_t n = 0;
    for (size_t i = 0; i < 9; i++)
        if ((i != 1 || g.labels) && (i != 2 || !opt.json))
            names[n++] = all[i];
    return table_create(names, n);
}

static void choose_hook(const char *path, const char *hook)
{
    const char *fitted = json_string_value(json_object_get(g.sae->meta, "hook"));
    if (!hook && (!fitted || !*fitted))
        tool_die_data("%s: does not say which hook it was fitted on: use -p HOOK", path);
    g.hook = lm_hook_find(g.m, hook ? hook : fitted);
    if (!g.hook || direct_logit_check(g.hook))
        tool_die();
    if (g.hook->width != g.sae->d_model)
        tool_die_data("%s: rows are %zu wide, %s of the model has %zu", path, g.sae->d_model, g.hook->name, g.hook->width);
}

static void print_round(struct table *t)
{
    par_for((g.n + AT_ONCE - 1) / AT_ONCE, run_block, NULL);
    for (size_t i = 0; i < g.n; i++) {
        const struct best *up = &g.up[i * g.k], *down = &g.down[i * g.k];
        if (opt.json)
            print_object(t, g.feature[i], up, down);
        else
            print_lines(t, g.feature[i], up, down);
    }
}

int logitlist_main(const struct sae *sae, const char *path, const char *model, const char *hook, const size_t *feature,
                   size_t n, size_t k, const struct labels *labels)
{
    g.sae = sae;
    g.labels = labels;
    g.m = lm_open(model);
    if (!g.m)
        tool_die();
    choose_hook(path, hook);
    if (tokenizer_find(model, &g.tokenizer))
        tool_die();
    if (!g.tokenizer)
        tool_warn("note: %s has no tokenizer.json: tokens have no text", model);
    g.k = k < lm_shape(g.m)->n_vocab ? k : lm_shape(g.m)->n_vocab;
    g.up = mem_alloc(AT_ONCE * BLOCKS * g.k, sizeof *g.up);
    g.down = mem_alloc(AT_ONCE * BLOCKS * g.k, sizeof *g.down);
    struct table *t = begin_table();
    for (size_t first = 0; first < n; first += g.n) {
        g.feature = feature + first;
        g.n = n - first < AT_ONCE * BLOCKS ? n - first : AT_ONCE * BLOCKS;
        print_round(t);
    }
    free(g.up);
    free(g.down);
    tokenizer_free(g.tokenizer);
    lm_close(g.m);
    return table_finish(t);
}
