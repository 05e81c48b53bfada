/* sae-topk: what each feature fires on.
 *
 * One pass over a stream of codes gives one of four tables: for each feature the contexts of its largest values (and, on
 * request, of random firings); the tokens it fires on; how often it fires; or, the other way round, which features fire on a
 * token. A row is looked at once the rows behind it have come, so that its context is complete. */
/* SPDX-License-Identifier: MIT */
#include "base/keymap.h"
#include "base/mem.h"
#include "base/ranges.h"
#include "cli/cli_sae.h"
#include "cli/labels.h"
#include "cli/lookahead.h"
#include "cli/table.h"
#include "cli/tool.h"
#include "data/row_selector.h"
#include "maths/largest.h"
#include "sae_topk/logitlist.h"
#include "sae_topk/tokenstat.h"
#include "sae_topk/window.h"

#include <regex.h>
#include <stdlib.h>
#include <string.h>

enum { RESERVE = 20 };                      /* firings sampled for each quantile asked for */

static struct {
    int64_t k, width, random, quantiles;
    const char *features, *model, *hook, *labels, *where, *token, *token_re, *show;
    bool tokens, alive, distinct, logits, counts, values;
} o = { .k = 10, .width = 10 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What to show" },
    { .type = OPT_FLAG, .name = "counts", .var = &o.counts, .help = "instead of contexts, how often each feature fires" },
    { OPT_FLAG, .name = "tokens", .var = &o.tokens, .help = "instead, the tokens each feature fires on and how often" },
    { OPT_STRING, .name = "token", .var = &o.token, .arg = "STR", .help = "instead, the features that fire on this token, those "
      "that tell it best from others first", .shown = "" },
    { OPT_STRING, .name = "token-re", .var = &o.token_re, .arg = "REGEX", .help = "the same for all tokens in which a POSIX "
      "extended regular expression is found", .shown = "" },
    { OPT_FLAG, .name = "logits", .var = &o.logits, .help = "instead, of a dictionary SAE, the tokens whose logits each decoder "
      "row raises and lowers most, straight through the last norm" },
    { OPT_STRING, .letter = 'm', .name = "model", .var = &o.model, .arg = "DIR", .help = "with --logits: checkpoint directory of "
      "the language model", .shown = "" },
    { OPT_STRING, .letter = 'p', .name = "hook", .var = &o.hook, .arg = "HOOK", .help = "with --logits: the hook point of SAE",
      .shown = "the one it was fitted on" },
    { .type = OPT_GROUP, .help = "Which and how many" },
    { OPT_COUNT, .letter = 'k', .name = "top", .var = &o.k, .arg = "N", .help = "top contexts or tokens of each feature; with "
      "--token and --token-re features", .lo = 0, .hi = 1e6 },
    { OPT_STRING, .letter = 'f', .name = "features", .var = &o.features, .arg = "LIST", .help = "only these features, in this "
      "order: numbers and ranges LO-HI", .shown = "all" },
    { OPT_FLAG, .name = "alive", .var = &o.alive, .help = "features in order of how often they fire, not of their number" },
    ROW_SELECTOR_OPTION(&o.where, "only firings on rows"),
    { OPT_FLAG, .name = "distinct", .var = &o.distinct, .help = "among the top at most one row of a context (the best), and one "
      "of those whose text as shown is the same" },
    { OPT_COUNT, .name = "random", .var = &o.random, .arg = "N", .help = "also N firings drawn at random",
      .lo = 0, .hi = 1e6 },
    { OPT_COUNT, .name = "quantiles", .var = &o.quantiles, .arg = "Q", .help = "also one firing from each of Q equal parts of "
      "the feature's values, from a random sample of 20 Q of them", .lo = 0, .hi = 10000 },
    { .type = OPT_GROUP, .help = "How it is shown" },
    { OPT_COUNT, .letter = 'w', .name = "width", .var = &o.width, .arg = "N", .help = "tokens of context on each side",
      .lo = 0, .hi = 10000 },
    { OPT_FLAG, .name = "values", .var = &o.values, .help = "also the tokens of each context and the feature's value on each, "
      "as --json has them" },
    { OPT_STRING, .name = "show", .var = &o.show, .arg = "NAME[,...]", .help = "also these text columns of the firing row, such "
      "as act-dump --fields carries", .shown = "" },
    LABELS_OPTION(&o.labels),
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-topk", .synopsis = "[OPTION]... [CODES|SAE]",
    .about = "Print what each feature of a stream of codes fires on; the firing token is marked <<so>>.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_SEED | OPT_STREAM | OPT_JSON, .max_operands = 1,
};

/* ---- the features to show ---- */

struct tally {
    uint64_t count;
    double sum;
    float max;
};

struct feature {
    struct largest top, random, quantiles;     /* loads: struct context */
    struct context *pending;                /* --distinct: the best of the context in hand */
};

static size_t m, shown;
static size_t *order;                       /* (shown) features in the order they are printed */
static bool *wanted;                        /* (m) is it shown */
static struct tally *fired;                 /* (m) of every feature, shown or not */
static struct tally *on_token;              /* (m) --token, --token-re: the same on its rows */
static struct feature **feature;            /* (m) NULL until it first fires */
static struct labels *labels;
static uint64_t rows, token_rows;           /* of those --where chooses: how many, and of the token */

static void choose_features(void)
{
    struct ranges list;
    if (ranges_parse(&list, o.features ? o.features : "all", "a feature", 0, (int64_t)m - 1))
        opt_misuse("-f: %s", err_text());
    order = ranges_list(&list, &shown);
    wanted = mem_zero(m, sizeof *wanted);
    ranges_mark(&list, wanted);
    ranges_free(&list);
    labels = labels_open(o.labels, m);
}

static struct feature *feature_of(uint32_t i)
{
    if (!feature[i]) {
        feature[i] = mem_zero(1, sizeof **feature);
        feature[i]->top.k = (size_t)o.k;
        feature[i]->random.k = (size_t)o.random;
        feature[i]->quantiles.k = (size_t)o.quantiles * RESERVE;
    }
    return feature[i];
}

static double density(size_t i)
{
    return rows ? (double)fired[i].count / (double)rows : 0;
}

static void count_firing(struct tally *t, float value)
{
    t->max = !t->count++ || value > t->max ? value : t->max;
    t->sum += value;
}

/* ---- contexts ---- */

static struct window win;
static struct keymap texts;                 /* --distinct: feature and text -> the context among the top that has them */

/* A key that is random but the same for the same seed, row and feature: the largest make a uniform sample. */
static double random_key(uint64_t row, uint32_t f)
{
    uint64_t z = (uint64_t)opt.seed * 0x9e3779b97f4a7c15u + row * 0xbf58476d1ce4e5b9u + f;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9u;
    return (double)((z ^ (z >> 32)) >> 11);
}

static struct context *cut_out(const struct window_row *r, uint32_t f, float value)
{
    return window_context(&win, r->row, f, value, opt.json || o.values);
}

static void offer(struct largest *t, double key, const struct window_row *r, uint32_t f, float value)
{
    if (largest_wants(t, key, r->row))
        free(largest_push(t, key, r->row, cut_out(r, f, value)));
}

/* ---- --distinct ---- */

/* FNV-1a of what makes two contexts of a feature the same. */
static uint64_t text_key(uint32_t f, const struct context *c)
{
    uint64_t h = (0xcbf29ce484222325u ^ f) * 0x100000001b3u;
    h = (h ^ c->at) * 0x100000001b3u;
    for (uint32_t i = 0; i < c->bytes; i++)
        h = (h ^ (uint8_t)c->text[i]) * 0x100000001b3u;
    return h;
}

static bool same_text(const struct context *a, const struct context *b)
{
    return a->bytes && a->bytes == b->bytes && a->at == b->at && a->len == b->len && !memcmp(a->text, b->text, a->bytes);
}

static void unlist(const struct context *c)
{
    if (c && keymap_get(&texts, c->key) == (uintptr_t)c)
        keymap_remove(&texts, c->key);
}

static void push_distinct(struct feature *f, struct context *c)
{
    struct context *twin = (struct context *)(uintptr_t)keymap_get(&texts, c->key), *out;
    if (twin && same_text(twin, c)) {
        bool better = c->value > twin->value || (c->value == twin->value && c->row < twin->row);
        if (better) {
            largest_raise(&f->top, twin, c->value, c->row, c);
            keymap_set(&texts, c->key, (uintptr_t)c);
        }
        free(better ? twin : c);
        return;
    }
    out = largest_push(&f->top, c->value, c->row, c);
    if (out != c)
        keymap_set(&texts, c->key, (uintptr_t)c);
    unlist(out);
    free(out);
}

/* The context that a firing waits for has ended. */
static void settle(struct feature *f)
{
    if (f->pending)
        push_distinct(f, f->pending);
    f->pending = NULL;
}

/* Hold the best firing of the context in hand until another context begins. */
static void offer_distinct(struct feature *f, const struct window_row *r, uint32_t i, float value)
{
    struct context *p = f->pending;
    if (p && (!r->has_ctx || p->ctx != r->ctx || p->doc != r->doc))
        settle(f);
    if ((f->pending && value <= f->pending->value) || !largest_wants(&f->top, value, r->row))
        return;
    free(f->pending);
    f->pending = cut_out(r, i, value);
    f->pending->key = text_key(i, f->pending);
}

/* ---- --show ---- */

static bool samples;                        /* a column says which rows are samples */
static const char *shown_field[WINDOW_FIELDS];
static size_t shown_fields;

/* The columns of contexts, and is one of them there? */
static const char *const context_columns[] = { "feature", "label", "rank", "value", "doc", "pos", "context", "before", "token",
    "after", "sample", "count", "density", "tokens", "values", NULL };

static bool context_has(const char *name)
{
    if (!strcmp(name, "label"))
        return o.labels != NULL;
    if (!strcmp(name, "sample"))
        return samples;
    if (!strcmp(name, "context"))
        return !opt.json;
    if (!strcmp(name, "tokens") || !strcmp(name, "values"))
        return opt.json || o.values;
    if (!strcmp(name, "before") || !strcmp(name, "token") || !strcmp(name, "after"))
        return opt.json;
    return true;
}

/* Is this the name of a column that the table has already? */
static bool is_taken(const char *name)
{
    for (const char *const *column = context_columns; *column; column++)
        if (!strcmp(name, *column) && context_has(name))
            return true;
    for (size_t i = 0; i < shown_fields; i++)
        if (!strcmp(name, shown_field[i]))
            return true;
    return false;
}

static void choose_fields(void)
{
    for (char *at = mem_string(o.show), *next; at; at = next) {
        if ((next = strchr(at, ',')))
            *next++ = 0;
        if (!*at || is_taken(at))
            opt_misuse(*at ? "--show: there is a column '%s' already" : "--show: a name is missing%s", at);
        if (shown_fields == WINDOW_FIELDS)
            opt_misuse("--show: more than %d columns", WINDOW_FIELDS);
        shown_field[shown_fields++] = at;
    }
}

/* ---- the pass ---- */

static void look_at(const struct window_row *r)
{
    for (uint32_t j = 0; r->chosen && j < r->nnz; j++) {
        struct feature *f = feature_of(r->idx[j]);
        double key = random_key(r->row, r->idx[j]);
        if (o.distinct)
            offer_distinct(f, r, r->idx[j], r->val[j]);
        else
            offer(&f->top, r->val[j], r, r->idx[j], r->val[j]);
        offer(&f->random, key, r, r->idx[j], r->val[j]);
        offer(&f->quantiles, key, r, r->idx[j], r->val[j]);
    }
}

/* A section ends: the rows that waited for what follows them have all there is. */
static void end_section(void)
{
    uint64_t waiting = win.end - win.first < win.width ? win.first : win.end - win.width;
    for (; waiting < win.end; waiting++)
        look_at(window_at(&win, waiting));
    window_clear(&win);
    for (size_t i = 0; i < m && o.distinct; i++)
        if (feature[i])
            settle(feature[i]);
}

/* A row goes into the window, and the one that now has all its neighbors is looked at. */
static int add_row(const struct batch *b, size_t i, bool chosen)
{
    if (window_push(&win, b, i, wanted))
        return -1;
    window_at(&win, win.end - 1)->chosen = chosen;
    if (win.end - win.first > win.width)
        look_at(window_at(&win, win.end - 1 - win.width));
    return 0;
}

/* The token that is asked about: its bytes, or an expression. */
static struct {
    char *bytes;
    size_t len;
    regex_t re;
} asked;

static void ask_for_token(void)
{
    if (o.token)
        asked.bytes = row_selector_bytes(o.token, &asked.len);
    if (o.token_re && regcomp(&asked.re, o.token_re, REG_EXTENDED | REG_NOSUB))
        opt_misuse("--token-re: '%s' is not a regular expression", o.token_re);
}

static bool is_asked_for(const struct batch *b, size_t i)
{
    char text[WINDOW_TOKEN + 1];
    size_t len;
    if (o.token) {
        const uint8_t *own = batch_text(b, i, &len);
        return len == asked.len && (!len || !memcmp(own, asked.bytes, len));
    }
    text[window_text(b, i, text)] = 0;
    return !regexec(&asked.re, text, 0, NULL, 0);
}

static struct tokenstat tokens;

static int count_row(const struct batch *b, size_t i)
{
    bool here = on_token && is_asked_for(b, i);
    rows++;
    token_rows += here;
    for (uint32_t j = b->ptr[i]; j < b->ptr[i + 1]; j++) {
        count_firing(&fired[b->idx[j]], b->val[j]);
        if (here)
            count_firing(&on_token[b->idx[j]], b->val[j]);
        if (o.tokens && wanted[b->idx[j]] && tokenstat_add(&tokens, b->idx[j], b, i, b->val[j]))
            return -1;
    }
    return 0;
}

static int take_batch(const struct row_selector *where, const struct batch *b, const struct batch *next)
{
    static bool *chosen;
    static size_t cap;
    bool contexts = !o.tokens && !o.counts && !on_token, any = where->n || where->last;
    chosen = mem_grow(chosen, &cap, b->n, sizeof *chosen);
    if (o.tokens && !b->tok)
        return err_data("no column tok to count");
    if (on_token && !b->text_end)
        return err_data("no column text to look for tokens in");
    if (any && row_selector_rows(where, b, next, chosen) < 0)
        return -1;
    for (size_t i = 0; i < b->n; i++)
        if (((!any || chosen[i]) && count_row(b, i)) || (contexts && add_row(b, i, !any || chosen[i])))
            return -1;
    return 0;
}

static void read_all(struct stream_in *in)
{
    struct row_selector where = { .n = 0 };
    uint64_t section = 0;
    const struct batch *b, *next;
    row_selector_options(&where, o.where, NULL);
    struct lookahead ahead = { .in = in, .look = where.last };
    while (lookahead_next(&ahead, &b, &next)) {
        if (b->section != section)
            end_section();
        section = b->section;
        if (take_batch(&where, b, next)) {
            err_in(stream_name(in));
            tool_die();
        }
    }
    end_section();
    lookahead_free(&ahead);
    row_selector_free(&where);
}

/* ---- printing ---- */

static struct table *out;

/* Begin a table of those of these columns that it has, and then the `more` that --show names. */
static void begin_table(const char *const *names, bool (*has)(const char *), size_t more)
{
    static const char *column[16 + WINDOW_FIELDS];
    size_t n = 0;
    for (; *names; names++)
        if (has(*names))
            column[n++] = *names;
    for (size_t i = 0; i < more; i++)
        column[n++] = shown_field[i];
    out = table_create(column, n);
}

static bool has_label(const char *name)
{
    return labels || strcmp(name, "label");
}

static void print_feature(size_t i)
{
    table_count(out, i);
    if (labels)
        labels_cell(out, labels, i);
}

static void print_density(size_t i)
{
    table_count(out, fired[i].count);
    table_real(out, density(i));
}

static void print_around(const struct context *c)
{
    table_list(out);
    for (uint32_t t = 0; t < c->tokens; t++) {
        uint32_t from = t ? c->end[t - 1] : 0;
        table_bytes(out, c->text + from, c->end[t] - from);
    }
    table_list_end(out);
    table_list(out);
    for (uint32_t t = 0; t < c->tokens; t++)
        table_real(out, c->around[t]);
    table_list_end(out);
}

static void print_text(const struct context *c)
{
    static struct text marked;
    const uint8_t *text = (const uint8_t *)c->text;
    uint32_t behind = c->at + c->len;
    if (opt.json) {
        table_bytes(out, text, c->at);
        table_bytes(out, text + c->at, c->len);
        table_bytes(out, text + behind, c->bytes - behind);
        return;
    }
    marked.n = 0;
    table_text_bytes(&marked, text, c->at);
    table_text_plain(&marked, "<<");
    table_text_bytes(&marked, text + c->at, c->len);
    table_text_plain(&marked, ">>");
    table_text_bytes(&marked, text + behind, c->bytes - behind);
    table_bytes(out, marked.s, marked.n);
}

static void print_context(size_t i, size_t rank, const struct context *c, const char *kind)
{
    print_feature(i);
    table_count(out, rank);
    table_real(out, c->value);
    table_count(out, c->doc);
    table_count(out, c->pos);
    print_text(c);
    if (samples)
        table_text(out, kind);
    print_density(i);
    if (c->around)
        print_around(c);
    for (size_t f = 0; f < shown_fields; f++) {
        uint32_t from = f ? c->field_end[f - 1] : 0;
        table_bytes(out, c->field + from, c->field_end[f] - from);
    }
}

static int by_value(const void *a, const void *b)
{
    const struct context *x = ((const struct largest_item *)a)->load, *y = ((const struct largest_item *)b)->load;
    return x->value != y->value ? (x->value < y->value ? 1 : -1) : x->row < y->row ? -1 : x->row > y->row;
}

static void print_contexts(size_t i, struct feature *f)
{
    largest_sort(&f->top);
    largest_sort(&f->random);
    for (size_t k = 0; k < f->top.n; k++)
        print_context(i, k + 1, f->top.item[k].load, "top");
    for (size_t k = 0; k < f->random.n; k++)
        print_context(i, k + 1, f->random.item[k].load, "random");
    size_t n = f->quantiles.n, parts = n < (size_t)o.quantiles ? n : (size_t)o.quantiles;
    if (n)
        qsort(f->quantiles.item, n, sizeof *f->quantiles.item, by_value);
    for (size_t q = 0; q < parts; q++)
        print_context(i, q + 1, f->quantiles.item[(2 * q + 1) * n / (2 * parts)].load, "quantile");
}

static void print_all_contexts(void)
{
    begin_table(context_columns, context_has, shown_fields);
    for (size_t k = 0; k < shown; k++)
        if (feature[order[k]])
            print_contexts(order[k], feature[order[k]]);
}

static void print_tokens(size_t i)
{
    size_t n, len;
    const struct tokenstat_pair *p = tokenstat_of(&tokens, (uint32_t)i, &n);
    for (size_t k = 0; k < n && k < (size_t)o.k; k++, p++) {
        const char *text = tokenstat_text(&tokens, p->tok, &len);
        print_feature(i);
        table_count(out, k + 1);
        table_bytes(out, text, len);
        table_count(out, p->tok);
        table_count(out, p->count);
        table_real(out, (double)p->count / (double)fired[i].count);
        table_real(out, p->sum / (double)p->count);
        table_real(out, p->max);
        table_real(out, density(i));
    }
}

static void print_all_tokens(void)
{
    static const char *const names[] = { "feature", "label", "rank", "token", "tok", "count", "share", "mean", "max",
        "density", NULL };
    begin_table(names, has_label, 0);
    tokenstat_sort(&tokens);
    for (size_t k = 0; k < shown; k++)
        print_tokens(order[k]);
    tokenstat_free(&tokens);
}

static void print_counts(void)
{
    static const char *const names[] = { "feature", "label", "count", "density", "mean", "max", NULL };
    begin_table(names, has_label, 0);
    for (size_t k = 0; k < shown; k++) {
        const struct tally *t = &fired[order[k]];
        print_feature(order[k]);
        print_density(order[k]);
        if (t->count) {
            table_real(out, t->sum / (double)t->count);
            table_real(out, t->max);
        } else {
            table_empty(out);
            table_empty(out);
        }
    }
}

/* F1 of "it fires" as a guess of "it is the token": 2 hits over firings and rows of the token. */
static double f1_of(size_t i)
{
    return 2 * (double)on_token[i].count / (double)(fired[i].count + token_rows);
}

static void print_firing_on_token(void)
{
    static const char *const names[] = { "feature", "label", "rank", "count", "share", "recall", "f1", "mean", "max", "density",
        NULL };
    struct largest best = { .k = (size_t)o.k };
    for (size_t k = 0; k < shown; k++)
        if (on_token[order[k]].count)
            largest_push(&best, f1_of(order[k]), order[k], NULL);
    largest_sort(&best);
    begin_table(names, has_label, 0);
    for (size_t k = 0; k < best.n; k++) {
        size_t i = best.item[k].order;
        const struct tally *t = &on_token[i];
        print_feature(i);
        table_count(out, k + 1);
        table_count(out, t->count);
        table_real(out, (double)t->count / (double)fired[i].count);
        table_real(out, (double)t->count / (double)token_rows);
        table_real(out, best.item[k].key);
        table_real(out, t->sum / (double)t->count);
        table_real(out, t->max);
        table_real(out, density(i));
    }
    largest_free(&best);
}

static int by_fires(const void *a, const void *b)
{
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    return fired[i].count != fired[j].count ? (fired[i].count < fired[j].count ? 1 : -1) : i < j ? -1 : i > j;
}

/* ---- --logits ---- */

static int list_logits(int argc, char **argv)
{
    if (!o.model)
        opt_misuse("--logits needs -m DIR");
    if (argc != 1)
        opt_misuse("--logits reads a dictionary: name its file");
    if (o.tokens || o.counts || o.token || o.token_re || o.alive || o.distinct || o.random || o.quantiles || o.where || o.values ||
        o.show || opt_given(&o.width))
        opt_misuse("--logits goes with -k, -f, -m, -p and --labels only");
    struct sae *sae = cli_sae(argv[0]);
    m = sae->d_sae;
    choose_features();
    int status = logitlist_main(sae, argv[0], o.model, o.hook, order, shown, (size_t)o.k, labels);
    sae_free(sae);
    return status;
}

static void check_options(void)
{
    bool instead = o.tokens || o.counts || o.token || o.token_re;
    samples = o.random || o.quantiles;
    if (o.model || o.hook)
        opt_misuse("-%c goes with --logits", o.model ? 'm' : 'p');
    if (o.tokens + o.counts + (o.token || o.token_re) > 1 || (o.token && o.token_re))
        opt_misuse("--tokens, --counts, --token and --token-re exclude each other");
    if (instead && (samples || o.distinct || o.values || o.show || opt_given(&o.width)))
        opt_misuse("--%s goes with none of --random, --quantiles, --distinct, --values, --show and -w",
                   o.tokens ? "tokens" : o.counts ? "counts" : o.token ? "token" : "token-re");
    if ((o.token || o.token_re) && o.alive)
        opt_misuse("--token and --token-re have an order of their own: --alive does not go with them");
    ask_for_token();
    if (o.show)
        choose_fields();
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    if (o.logits)
        return list_logits(argc, argv);
    check_options();
    struct stream_in *in = tool_open(argc, argv, 0);
    tool_want(in, STREAM_CODES, 0, "sae-topk");
    m = in->d;
    choose_features();
    fired = mem_zero(m, sizeof *fired);
    feature = mem_zero(m, sizeof *feature);
    if (o.token || o.token_re)
        on_token = mem_zero(m, sizeof *on_token);
    window_init(&win, (size_t)o.width, shown_field, shown_fields);
    read_all(in);
    stream_close(in);
    if (on_token && !token_rows)
        tool_warn("note: no row has that token");
    if (o.alive)
        qsort(order, shown, sizeof *order, by_fires);
    if (o.tokens)
        print_all_tokens();
    else if (o.counts)
        print_counts();
    else if (on_token)
        print_firing_on_token();
    else
        print_all_contexts();
    return table_finish(out);
}
