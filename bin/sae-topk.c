/* sae-topk: what each feature fires on.
 *
 * For each feature the contexts of its largest values (and, on request, of random firings), or the histogram of the tokens
 * it fires on. One pass; a row is looked at once the w rows behind it have come, so that its context is complete. */
/* SPDX-License-Identifier: MIT */
#include "ground/mem.h"
#include "maths/topk.h"
#include "tools/logitlist.h"
#include "tools/saetool.h"
#include "tools/table.h"
#include "tools/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RESERVE = 20 };                      /* firings sampled for each quantile asked for */

static struct {
    int64_t k, width, random, quantiles;
    const char *features, *model, *hook;
    bool tokens, alive, distinct, logits;
} o = { .k = 10, .width = 10 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What to show" },
    { OPT_COUNT, .letter = 'k', .name = "top", .var = &o.k, .arg = "N", .help = "top contexts (or tokens) of each feature",
      .lo = 0, .hi = 1e6 },
    { OPT_STRING, .letter = 'f', .name = "features", .var = &o.features, .arg = "F[,F...]", .help = "only these features, in "
      "this order", .shown = "all" },
    { OPT_COUNT, .letter = 'w', .name = "width", .var = &o.width, .arg = "N", .help = "tokens of context on each side",
      .lo = 0, .hi = 10000 },
    { OPT_FLAG, .name = "distinct", .var = &o.distinct, .help = "at most one row a context (of one ctx the best) among the "
      "top" },
    { OPT_COUNT, .name = "random", .var = &o.random, .arg = "N", .help = "also N firings drawn at random",
      .lo = 0, .hi = 1e6 },
    { OPT_COUNT, .name = "quantiles", .var = &o.quantiles, .arg = "Q", .help = "also one firing from each of Q equal parts of "
      "the feature's values, from a random sample of 20 Q of them", .lo = 0, .hi = 10000 },
    { OPT_FLAG, .name = "tokens", .var = &o.tokens, .help = "instead, the tokens each feature fires on and how often" },
    { OPT_FLAG, .name = "logits", .var = &o.logits, .help = "instead, of a dictionary SAE, the tokens whose logits each decoder "
      "row raises and lowers most, straight through the last norm" },
    { OPT_STRING, .letter = 'm', .name = "model", .var = &o.model, .arg = "DIR", .help = "with --logits: checkpoint directory of "
      "the language model", .shown = "" },
    { OPT_STRING, .letter = 'p', .name = "hook", .var = &o.hook, .arg = "HOOK", .help = "with --logits: the hook point of SAE",
      .shown = "the one it was fitted on" },
    { OPT_FLAG, .name = "alive", .var = &o.alive, .help = "features in order of how often they fire, not of their number" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-topk", .synopsis = "[OPTION]... [CODES|SAE]",
    .about = "Print what each feature of a stream of codes fires on; the firing token is marked <<so>>.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_SEED | OPT_STREAM | OPT_JSON, .max_operands = 1,
};

/* ---- the features to show ---- */

struct token {
    uint32_t id;
    uint64_t count;                         /* 0: a free slot */
    double sum;
    float max;
};

struct feature {
    bool shown;
    uint64_t fires;
    struct topk top, random, quantiles;     /* loads: struct firing */
    struct firing *pending;                 /* --distinct: the best of the context in hand */
    struct token *token;                    /* --tokens: open addressing by id */
    size_t tokens, token_cap;
};

struct firing {
    float value;
    uint64_t row;
    uint32_t doc, ctx, pos;
    char context[];
};

static struct feature *feature;
static uint32_t *order;                     /* features in the order they are printed */
static size_t m, shown;

static void choose_features(void)
{
    feature = mem_zero(m, sizeof *feature);
    order = mem_alloc(m, sizeof *order);
    for (const char *at = o.features; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        char word[24] = "";
        int64_t f;
        size_t len = strcspn(at, ",");
        snprintf(word, sizeof word, "%.*s", (int)(len < 23 ? len : 23), at);
        if (opt_count(word, &f) || f < 0 || (uint64_t)f >= m)
            opt_misuse("-f: '%s' is not a feature from 0 to %zu", word, m - 1);
        if (!feature[f].shown)
            order[shown++] = (uint32_t)f;
        feature[f].shown = true;
    }
    for (size_t i = 0; i < m && !o.features; i++) {
        order[shown++] = (uint32_t)i;
        feature[i].shown = true;
    }
    for (size_t i = 0; i < m; i++) {
        feature[i].top.k = feature[i].shown ? (size_t)o.k : 0;
        feature[i].random.k = feature[i].shown ? (size_t)o.random : 0;
        feature[i].quantiles.k = feature[i].shown ? (size_t)o.quantiles * RESERVE : 0;
    }
}

/* ---- the window: rows whose contexts may still be asked for ---- */

static struct {
    size_t n, done;                         /* rows held; rows already looked at */
    uint64_t row;                           /* number of the first row held, over the whole stream */
    uint32_t *doc, *ctx, *pos, *tok, *text_end, *ptr, *idx;
    float *val;
    uint8_t *text;
    size_t row_cap[6], idx_cap, val_cap, text_cap;
    bool has_doc, has_ctx, has_pos, has_tok, has_text;
} win;

static uint32_t *append(uint32_t *to, size_t *cap, const uint32_t *from, size_t n)
{
    to = mem_grow(to, cap, win.n + n + 1, sizeof *to);
    if (from)
        memcpy(to + win.n, from, n * sizeof *to);
    else
        memset(to + win.n, 0, n * sizeof *to);
    return to;
}

static void window_add(const struct batch *b)
{
    uint32_t text = win.n ? win.text_end[win.n - 1] : 0, pairs = win.n ? win.ptr[win.n] : 0;
    uint32_t more_text = b->text_end ? b->text_end[b->n - 1] : 0;
    win.has_doc = b->doc, win.has_ctx = b->ctx, win.has_pos = b->pos, win.has_tok = b->tok, win.has_text = b->text;
    win.doc = append(win.doc, &win.row_cap[0], b->doc, b->n);
    win.ctx = append(win.ctx, &win.row_cap[1], b->ctx, b->n);
    win.pos = append(win.pos, &win.row_cap[2], b->pos, b->n);
    win.tok = append(win.tok, &win.row_cap[3], b->tok, b->n);
    win.text_end = append(win.text_end, &win.row_cap[4], NULL, b->n);
    win.ptr = append(win.ptr, &win.row_cap[5], NULL, b->n);
    for (size_t i = 0; i < b->n; i++) {
        win.text_end[win.n + i] = text + (b->text_end ? b->text_end[i] : 0);
        win.ptr[win.n + i] = pairs + b->ptr[i];
    }
    win.ptr[win.n + b->n] = pairs + b->ptr[b->n];
    win.text = mem_grow(win.text, &win.text_cap, text + more_text, 1);
    win.idx = mem_grow(win.idx, &win.idx_cap, pairs + b->ptr[b->n], sizeof *win.idx);
    win.val = mem_grow(win.val, &win.val_cap, pairs + b->ptr[b->n], sizeof *win.val);
    if (more_text)
        memcpy(win.text + text, b->text, more_text);
    memcpy(win.idx + pairs, b->idx, b->ptr[b->n] * sizeof *win.idx);
    memcpy(win.val + pairs, b->val, b->ptr[b->n] * sizeof *win.val);
    win.n += b->n;
}

/* Forget the first `drop` rows. */
static void window_drop(size_t drop)
{
    uint32_t *rows[] = { win.doc, win.ctx, win.pos, win.tok };
    if (!drop)
        return;
    uint32_t text = win.text_end[drop - 1], pairs = win.ptr[drop], texts = win.text_end[win.n - 1], all = win.ptr[win.n];
    size_t left = win.n - drop;
    for (size_t i = 0; i < 4; i++)
        memmove(rows[i], rows[i] + drop, left * sizeof **rows);
    for (size_t i = 0; i < left; i++)
        win.text_end[i] = win.text_end[drop + i] - text;
    for (size_t i = 0; i <= left; i++)
        win.ptr[i] = win.ptr[drop + i] - pairs;
    memmove(win.text, win.text + text, texts - text);
    memmove(win.idx, win.idx + pairs, (all - pairs) * sizeof *win.idx);
    memmove(win.val, win.val + pairs, (all - pairs) * sizeof *win.val);
    win.n = left;
    win.done -= drop;
    win.row += drop;
}

/* Are rows i and i+1 neighbours in one context? */
static bool joined(size_t i)
{
    return win.has_ctx && win.has_pos && win.ctx[i] == win.ctx[i + 1] && win.pos[i] + 1 == win.pos[i + 1] &&
           (!win.has_doc || win.doc[i] == win.doc[i + 1]);
}

static void add_token(struct text *t, size_t i)
{
    char number[24];
    if (win.has_text) {
        uint32_t from = i ? win.text_end[i - 1] : 0;
        text_bytes(t, win.text + from, win.text_end[i] - from);
    } else if (win.has_tok) {
        snprintf(number, sizeof number, " %u", win.tok[i]);
        text_plain(t, number);
    }
}

/* Bytes of rows [lo, hi), so that characters cut by tokens are whole again. */
static void add_run(struct text *t, size_t lo, size_t hi)
{
    if (win.has_text && lo < hi) {
        uint32_t from = lo ? win.text_end[lo - 1] : 0;
        text_bytes(t, win.text + from, win.text_end[hi - 1] - from);
        return;
    }
    for (size_t i = lo; i < hi; i++)
        add_token(t, i);
}

static struct firing *firing_of(size_t i, float value)
{
    static struct text t;
    size_t lo = i, hi = i + 1;
    while (lo > 0 && i - lo < (size_t)o.width && joined(lo - 1))
        lo--;
    while (hi < win.n && hi - i <= (size_t)o.width && joined(hi - 1))
        hi++;
    t.n = 0;
    text_plain(&t, "");
    add_run(&t, lo, i);
    text_plain(&t, "<<");
    add_token(&t, i);
    text_plain(&t, ">>");
    add_run(&t, i + 1, hi);
    struct firing *f = mem_alloc(sizeof *f + t.n + 1, 1);
    *f = (struct firing){ value, win.row + i, win.has_doc ? win.doc[i] : 0, win.has_ctx ? win.ctx[i] : 0,
                          win.has_pos ? win.pos[i] : (uint32_t)(win.row + i) };
    memcpy(f->context, t.s, t.n + 1);
    return f;
}

/* ---- counting ---- */

/* A key that is random but the same for the same seed, row and feature: the largest make a uniform sample. */
static double random_key(uint64_t row, uint32_t f)
{
    uint64_t z = (uint64_t)opt.seed * 0x9e3779b97f4a7c15u + row * 0xbf58476d1ce4e5b9u + f;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z = (z ^ (z >> 29)) * 0xbf58476d1ce4e5b9u;
    return (double)((z ^ (z >> 32)) >> 11);
}

static void offer(struct topk *t, double key, size_t i, float value)
{
    if (topk_wants(t, key, win.row + i))
        free(topk_push(t, key, win.row + i, firing_of(i, value)));
}

/* --distinct: the context that a firing waits for has ended. */
static void settle(struct feature *f)
{
    if (f->pending)
        free(topk_push(&f->top, f->pending->value, f->pending->row, f->pending));
    f->pending = NULL;
}

/* --distinct: hold the best firing of the context in hand until another context begins. */
static void offer_distinct(struct feature *f, size_t i, float value)
{
    struct firing *p = f->pending;
    bool same = p && win.has_ctx && p->ctx == win.ctx[i] && p->doc == (win.has_doc ? win.doc[i] : 0);
    if (!same)
        settle(f);
    if ((f->pending && value <= f->pending->value) || !topk_wants(&f->top, value, win.row + i))
        return;
    free(f->pending);
    f->pending = firing_of(i, value);
}

/* ---- --tokens ---- */

/* The printable form of each token seen: open addressing by id, cap a power of 2. */
static struct name {
    uint32_t id;
    char *text;                             /* NULL: a free slot */
} *name;
static size_t names, name_cap;

static struct name *name_slot(struct name *of, size_t cap, uint32_t id)
{
    size_t k = id * 2654435761u % cap;
    while (of[k].text && of[k].id != id)
        k = (k + 1) % cap;
    return &of[k];
}

static void name_token(size_t i)
{
    struct text t = { .s = NULL };
    if (2 * names >= name_cap) {
        size_t cap = name_cap ? 2 * name_cap : 256;
        struct name *bigger = mem_zero(cap, sizeof *bigger);
        for (size_t k = 0; k < name_cap; k++)
            if (name[k].text)
                *name_slot(bigger, cap, name[k].id) = name[k];
        free(name);
        name = bigger;
        name_cap = cap;
    }
    struct name *slot = name_slot(name, name_cap, win.tok[i]);
    if (slot->text)
        return;
    text_plain(&t, "");
    add_token(&t, i);
    *slot = (struct name){ win.tok[i], t.s };
    names++;
}

static struct token *token_slot(struct token *table_of, size_t cap, uint32_t id)
{
    size_t k = id * 2654435761u % cap;
    while (table_of[k].count && table_of[k].id != id)
        k = (k + 1) % cap;
    return &table_of[k];
}

static void count_token(struct feature *f, size_t i, float value)
{
    if (2 * f->tokens >= f->token_cap) {
        size_t cap = f->token_cap ? 2 * f->token_cap : 8;
        struct token *bigger = mem_zero(cap, sizeof *bigger);
        for (size_t k = 0; k < f->token_cap; k++)
            if (f->token[k].count)
                *token_slot(bigger, cap, f->token[k].id) = f->token[k];
        free(f->token);
        f->token = bigger;
        f->token_cap = cap;
    }
    struct token *t = token_slot(f->token, f->token_cap, win.tok[i]);
    if (!t->count++) {
        t->id = win.tok[i];
        t->max = value;
        f->tokens++;
        name_token(i);
    }
    t->sum += value;
    t->max = value > t->max ? value : t->max;
}

/* ---- the pass ---- */

static void look_at(size_t i)
{
    for (uint32_t j = win.ptr[i]; j < win.ptr[i + 1]; j++) {
        struct feature *f = &feature[win.idx[j]];
        if (!f->shown)
            continue;
        f->fires++;
        double key = random_key(win.row + i, win.idx[j]);
        if (o.tokens)
            count_token(f, i, win.val[j]);
        else if (o.distinct)
            offer_distinct(f, i, win.val[j]);
        else
            offer(&f->top, win.val[j], i, win.val[j]);
        offer(&f->random, key, i, win.val[j]);
        offer(&f->quantiles, key, i, win.val[j]);
    }
}

/* Look at every row whose context is complete; at the end of a section (flush) at all, and forget them. */
static void advance(bool flush)
{
    size_t ready = flush ? win.n : win.n > (size_t)o.width ? win.n - (size_t)o.width : 0;
    while (win.done < ready)
        look_at(win.done++);
    size_t keep = flush ? 0 : (size_t)o.width;
    if (win.done > keep)
        window_drop(win.done - keep);
    for (size_t i = 0; i < m && flush && o.distinct; i++)
        settle(&feature[i]);
}

static void read_all(struct stream_in *in)
{
    struct batch b;
    uint64_t section = 0;
    while (tool_next(in, &b)) {
        if (o.tokens && !b.tok)
            tool_die_data("%s: no column tok to count", stream_name(in));
        if (b.section != section)
            advance(true);
        section = b.section;
        window_add(&b);
        advance(false);
    }
    advance(true);
}

/* ---- printing ---- */

static struct table *out;
static bool samples;                        /* a last column says which rows are samples */

static void print_firing(uint32_t i, size_t rank, const struct firing *f, const char *kind)
{
    table_count(out, i);
    table_count(out, rank);
    table_real(out, f->value);
    table_count(out, f->doc);
    table_count(out, f->pos);
    table_text(out, f->context);
    if (samples)
        table_text(out, kind);
}

static int by_value(const void *a, const void *b)
{
    const struct firing *x = ((const struct topk_item *)a)->load, *y = ((const struct topk_item *)b)->load;
    return x->value != y->value ? (x->value < y->value ? 1 : -1) : x->row < y->row ? -1 : x->row > y->row;
}

static void print_contexts(uint32_t i, struct feature *f)
{
    topk_sort(&f->top);
    topk_sort(&f->random);
    for (size_t k = 0; k < f->top.n; k++)
        print_firing(i, k + 1, f->top.item[k].load, "top");
    for (size_t k = 0; k < f->random.n; k++)
        print_firing(i, k + 1, f->random.item[k].load, "random");
    size_t n = f->quantiles.n, parts = n < (size_t)o.quantiles ? n : (size_t)o.quantiles;
    if (n)
        qsort(f->quantiles.item, n, sizeof *f->quantiles.item, by_value);
    for (size_t q = 0; q < parts; q++)
        print_firing(i, q + 1, f->quantiles.item[(2 * q + 1) * n / (2 * parts)].load, "quantile");
}

static int by_count(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    return x->count != y->count ? (x->count < y->count ? 1 : -1) : x->id < y->id ? -1 : x->id > y->id;
}

static void print_tokens(uint32_t i, struct feature *f)
{
    if (f->token_cap)
        qsort(f->token, f->token_cap, sizeof *f->token, by_count);
    for (size_t k = 0; k < f->tokens && k < (size_t)o.k; k++) {
        const struct token *t = &f->token[k];
        table_count(out, i);
        table_count(out, k + 1);
        table_text(out, name_slot(name, name_cap, t->id)->text);
        table_count(out, t->id);
        table_count(out, t->count);
        table_real(out, (double)t->count / (double)f->fires);
        table_real(out, t->sum / (double)t->count);
        table_real(out, t->max);
    }
}

static int by_fires(const void *a, const void *b)
{
    uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
    return feature[i].fires != feature[j].fires ? (feature[i].fires < feature[j].fires ? 1 : -1) : i < j ? -1 : i > j;
}

/* ---- --logits ---- */

static int list_logits(int argc, char **argv)
{
    if (!o.model)
        opt_misuse("--logits needs -m DIR");
    if (argc != 1)
        opt_misuse("--logits reads a dictionary: name its file");
    if (o.tokens || o.alive || o.distinct || o.random || o.quantiles || opt_given(&o.width))
        opt_misuse("--logits goes with -k, -f, -m and -p only");
    struct sae *sae = tool_sae(argv[0]);
    m = sae->d_sae;
    choose_features();
    int status = logitlist_main(sae, argv[0], o.model, o.hook, order, shown, (size_t)o.k);
    sae_free(sae);
    return status;
}

int main(int argc, char **argv)
{
    static const char *const contexts[] = { "feature", "rank", "value", "doc", "pos", "context", "sample" };
    static const char *const tokens[] = { "feature", "rank", "token", "tok", "count", "share", "mean", "max" };
    tool_begin(&argc, &argv, &usage, table);
    if (o.logits)
        return list_logits(argc, argv);
    if (o.model || o.hook)
        opt_misuse("-%c goes with --logits", o.model ? 'm' : 'p');
    samples = o.random || o.quantiles;
    if (o.tokens && (samples || o.distinct))
        opt_misuse("--tokens goes with none of --random, --quantiles and --distinct");
    struct stream_in *in = tool_open(argc, argv, 0);
    tool_want(in, STREAM_CODES, 0, "sae-topk");
    m = in->d;
    choose_features();
    read_all(in);
    stream_close(in);
    out = o.tokens ? table_create(tokens, 8) : table_create(contexts, samples ? 7 : 6);
    if (o.alive)
        qsort(order, shown, sizeof *order, by_fires);
    for (size_t k = 0; k < shown; k++) {
        if (o.tokens)
            print_tokens(order[k], &feature[order[k]]);
        else
            print_contexts(order[k], &feature[order[k]]);
    }
    return table_finish(out);
}
