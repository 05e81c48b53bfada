/* act-splice: put rows of activations back into the model they came from, run the rest, and measure what changes.
 *
 *   streams -> contexts -> a clean pass and one with the rows given in their places -> a line for each token
 *                                                                     --summary: and passes with zeros, with means
 *
 * Both passes of a piece of contexts run the same arithmetic, so rows that were not edited change nothing at all. */
/* SPDX-License-Identifier: MIT */
#include "act_splice/dump.h"
#include "act_splice/generate.h"
#include "act_splice/gradient.h"
#include "base/mem.h"
#include "base/par.h"
#include "cli/cli_model.h"
#include "cli/cli_sae.h"
#include "cli/table.h"
#include "files/vectors.h"
#include "patch/splice_eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const char *model, *ids, *skip, *sae, *grad, *attack, *at, *attack_at, *dump;
    struct opt_list hooks, means, edits;
    int64_t batch, k, predictions, generate, iterations;
    double temperature, norm;
    bool keep_bos, summary, logits;
} o = { .temperature = 1, .iterations = 100 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Model, hooks and rows" },
    { OPT_STRING, .letter = 'm', .name = "model", .var = &o.model, .arg = "DIR", .help = "checkpoint directory that the rows "
      "came from", .shown = "", .numbers = true },
    { OPT_LIST, .letter = 'p', .name = "hook", .var = &o.hooks, .arg = "HOOK[=FILE]", .help = "where rows go in; those of "
      "FILE, or of ACTS; may be repeated, with a FILE each", .numbers = true },
    { OPT_STRING, .name = "ids", .var = &o.ids, .arg = "FILE", .help = "token ids, a document a line, as act-dump --tokenize "
      "writes them: says the tokens of positions without a row, which keep the model's own", .numbers = true },
    { OPT_COUNT, .letter = 'b', .name = "batch", .var = &o.batch, .arg = "N", .help = "contexts in a forward pass, best as "
      "act-dump had it", .lo = 1, .hi = 65536, .shown = "as many as make 512 tokens", .numbers = true },
    { .type = OPT_GROUP, .help = "What is measured" },
    { OPT_COUNT, .letter = 'k', .name = "top", .var = &o.k, .arg = "N", .help = "columns up and down too: the N tokens whose "
      "logits rose and fell most", .lo = 1, .hi = 1000, .shown = "none", .numbers = true },
    { OPT_COUNT, .name = "predictions", .var = &o.predictions, .arg = "N", .help = "columns next_clean and next_spliced too: "
      "the N most likely next tokens with their probabilities", .lo = 1, .hi = 1000, .shown = "none", .numbers = true },
    { OPT_FLAG, .name = "summary", .var = &o.summary, .help = "cross-entropy clean, spliced, with zeros and with means in the "
      "rows' places, loss recovered, KL", .numbers = true },
    { OPT_LIST, .name = "mean", .var = &o.means, .arg = "FILE", .help = "the row that --summary takes for the mean: an .npy, "
      "a FILE.safetensors:TENSOR, or the mean over a stream of acts; with several hooks HOOK=FILE; otherwise that of the "
      "model's own rows, from a first pass over the files", .numbers = true },
    { OPT_STRING, .name = "skip-pos", .var = &o.skip, .arg = "LIST", .help = "leave out what is predicted at these "
      "positions: POS, LO:HI, separated by commas", .shown = "none", .numbers = true },
    { OPT_FLAG, .name = "keep-bos", .var = &o.keep_bos, .help = "do not leave out what is predicted at BOS", .numbers = true },
    { OPT_FLAG, .name = "logits", .var = &o.logits, .help = "write the spliced logits as a stream of acts instead",
      .numbers = true },
    { OPT_STRING, .name = "dump", .var = &o.dump, .arg = "HOOK", .help = "write the spliced pass's rows at HOOK, somewhere "
      "behind, as a stream of acts instead", .shown = "", .numbers = true },
    { .type = OPT_GROUP, .help = "Writing on" },
    { OPT_COUNT, .name = "generate", .var = &o.generate, .arg = "N", .help = "write N tokens behind each context instead",
      .lo = 1, .hi = 1 << 20, .shown = "none", .numbers = true },
    { OPT_REAL, .name = "temperature", .var = &o.temperature, .arg = "T", .help = "tokens are drawn from softmax(logits / T); "
      "0: the most likely one", .lo = 0, .hi = 1e6, .numbers = true },
    { OPT_STRING, .name = "sae", .var = &o.sae, .arg = "SAE", .help = "the dictionary that -e speaks of", .shown = "",
      .numbers = true },
    { OPT_LIST, .letter = 'e', .name = "edit", .var = &o.edits, .arg = "EDIT", .help = "hold this on at every new position: an "
      "edit of sae-patch; may be repeated", .numbers = true },
    { .type = OPT_GROUP, .help = "Gradients" },
    { OPT_STRING, .name = "grad", .var = &o.grad, .arg = "METRIC", .help = "write the gradient of nll, logit:TOKEN or "
      "diff:TOKEN:TOKEN at the rows as a stream of acts instead", .shown = "", .numbers = true },
    { OPT_STRING, .name = "attack", .var = &o.attack, .arg = "METRIC", .help = "search the vector that, added to all rows, "
      "raises this most, and write it as .npy instead", .shown = "", .numbers = true },
    { OPT_STRING, .name = "at", .var = &o.at, .arg = "WHERE", .help = "positions the metric is read at: POS, LO:HI, a list "
      "of these, or last",
      .shown = "last; nll: all", .numbers = true },
    { OPT_REAL, .name = "norm", .var = &o.norm, .arg = "R", .help = "norm of the vector of --attack", .lo = 0, .hi = 1e30,
      .shown = "", .numbers = true },
    { OPT_STRING, .name = "attack-at", .var = &o.attack_at, .arg = "WHERE", .help = "positions it is added at: POS, LO:HI, "
      "a list of these, or last", .shown = "all", .numbers = true },
    { OPT_COUNT, .name = "iterations", .var = &o.iterations, .arg = "N", .help = "steps of the search, at most", .lo = 0,
      .hi = 1000000, .numbers = true },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "act-splice", .synopsis = "-m DIR -p HOOK [OPTION]... [ACTS]",
    .about = "Put rows of activations back into the model at a hook point, run the rest, and measure what changes.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM | OPT_JSON | OPT_SEED, .max_operands = 1,
    .version = cli_blas_version,
};

static struct lm *lm;
static struct tokenizer *tokenizer;     /* NULL: the directory has none */
static struct splice_port *port;
static struct splice_options how;
static struct ranges skipped;           /* positions, by --skip-pos */
static bool ablate_mean;                /* there are means */
static float **mean;                    /* (ports) */

/* ---- hooks and where their rows come from ---- */

static const struct lm_hook *find_hook(const char *name, size_t len)
{
    char *word = mem_bytes(name, len);
    const struct lm_hook *hook = lm_hook_find(lm, word);
    if (!hook)
        tool_die();
    free(word);
    return hook;
}

static void open_ports(int argc, char **argv)
{
    bool operand = false;
    port = mem_zero(o.hooks.n, sizeof *port);
    for (size_t i = 0; i < o.hooks.n; i++) {
        const char *word = o.hooks.item[i], *file = strchr(word, '=');
        port[i].hook = find_hook(word, file ? (size_t)(file - word) : strlen(word));
        port[i].path = file ? file + 1 : argv[0];
        for (size_t k = 0; k < i; k++)
            if (port[k].hook == port[i].hook)
                opt_misuse("-p: %s is given twice", port[i].hook->name);
        if (!file && operand)
            opt_misuse("-p: only one hook can take its rows from %s", argc ? argv[0] : "standard input");
        operand |= !file;
    }
    if (argc && !operand)
        opt_misuse("every -p names a file: %s belongs to none", argv[0]);
}

/* ---- what is left out ---- */

/* Is what token i of context c predicts measured? */
static bool counts(const struct splice_group *g, size_t c, size_t i)
{
    return !ranges_has(&skipped, (int64_t)(i - g->start[c])) && (o.keep_bos || !splice_is_bos(g, c, i));
}

static void choose_tokens(struct splice_eval *s, const struct splice_group *g)
{
    for (size_t c = 0; c < g->contexts; c++)
        for (size_t i = g->start[c]; i < g->start[c + 1]; i++)
            s->wanted[i] = counts(g, c, i);
}

/* ---- means ---- */

static float *mean_of_stream(struct io_in *io, const struct lm_hook *hook)
{
    struct stream_in *in = stream_read(io);
    struct batch b;
    if (!in)
        tool_die();
    in->allow_nan = opt.allow_nan;
    tool_want(in, STREAM_ACTS, hook->width, hook->name);
    double *sum = mem_zero(hook->width, sizeof *sum);
    float *row = mem_alloc(hook->width, sizeof *row);
    while (tool_next(in, &b))
        for (size_t i = 0; i < b.n * hook->width; i++)
            sum[i % hook->width] += b.x[i];
    if (!in->total_rows)
        tool_die_data("%s: no rows to take a mean over", stream_name(in));
    for (size_t i = 0; i < hook->width; i++)
        row[i] = (float)(sum[i] / (double)in->total_rows);
    free(sum);
    stream_close(in);
    return row;
}

/* Of an array, whatever its name, or of a stream. */
static float *mean_of(const char *path, const struct lm_hook *hook)
{
    char magic[6];
    struct io_in *in = io_open(path);
    ssize_t n = in ? io_peek(in, magic, sizeof magic) : -1;
    bool array = n == 6 && !memcmp(magic, "\x93NUMPY", 6);
    float *row = array ? vectors_read_one(in, hook->width) : NULL;
    if (n < 0 || (array && !row))
        tool_die();
    if (!array)
        return mean_of_stream(in, hook);
    io_close(in);
    return row;
}

static void load_mean(const char *word)
{
    const char *equals = strchr(word, '='), *path = equals ? equals + 1 : word;
    const struct lm_hook *hook = equals ? find_hook(word, (size_t)(equals - word)) : port[0].hook;
    size_t i = 0;
    if (!equals && o.hooks.n > 1)
        opt_misuse("--mean: with several hooks it is HOOK=FILE");
    while (i < o.hooks.n && port[i].hook != hook)
        i++;
    if (i == o.hooks.n)
        opt_misuse("--mean: no -p %s", hook->name);
    free(mean[i]);
    mean[i] = vectors_names(path) ? vectors_load_one(path, hook->width) : mean_of(path, hook);
    if (!mean[i])
        tool_die();
}

static struct splice *open_streams(void)
{
    struct splice *s = splice_open(lm, port, o.hooks.n, &how);
    if (!s)
        tool_die();
    return s;
}

/* A first pass over the files: the model's own rows at the hooks, wherever the streams have one. */
static void measure_means(struct splice_eval *scores)
{
    struct splice *s = open_streams();
    struct splice_group g = { .contexts = 0 };
    double **sum = mem_zero(o.hooks.n, sizeof *sum);
    uint64_t *n = mem_zero(o.hooks.n, sizeof *n);
    int r;
    for (size_t i = 0; i < o.hooks.n; i++)
        sum[i] = mem_zero(port[i].hook->width, sizeof **sum);
    while ((r = splice_next(s, &g)) > 0)
        for (size_t i = 0; i < o.hooks.n; i++)
            if (!mean[i])
                splice_sum_clean(lm, scores->work, &g, i, sum[i], &n[i]);
    if (r < 0)
        tool_die();
    for (size_t i = 0; i < o.hooks.n; i++) {
        size_t width = port[i].hook->width;
        float *row = mean[i] ? NULL : mem_alloc(width, sizeof *row);
        for (size_t j = 0; row && j < width; j++)
            row[j] = n[i] ? (float)(sum[i][j] / (double)n[i]) : 0;
        mean[i] = row ? row : mean[i];
        free(sum[i]);
    }
    free(sum);
    free(n);
    splice_group_free(&g);
    splice_close(s);
}

/* Are the means there, or can the streams be read twice to make them? */
static void prepare_means(struct splice_eval *scores, const struct splice *s)
{
    bool missing = false, twice = true;
    mean = mem_zero(o.hooks.n, sizeof *mean);
    for (size_t i = 0; i < o.means.n; i++)
        load_mean(o.means.item[i]);
    for (size_t i = 0; i < o.hooks.n; i++) {
        missing |= !mean[i];
        twice &= io_seekable(splice_stream(s, i)->io);
    }
    ablate_mean = !missing || twice;
    if (missing && twice)
        measure_means(scores);
    else if (missing)
        tool_warn("note: no ablation to the mean: the rows come from a pipe and --mean is not given");
}

/* ---- the summary ---- */

/* KL values counted by their first 11 bits behind the point: quantiles within 1 part in 4000, in bounded memory. */
enum { KL_SHIFT = 12, KL_BINS = 1 << (31 - KL_SHIFT) };

static struct {
    uint64_t rows, predicted, changed, bos, skip;
    double ce_clean, ce[SCORE_PASSES], kl[SCORE_PASSES];
    uint64_t *bin;
} sum;

static void count_token(const struct score *s)
{
    float kl = (float)s->kl[SCORE_SPLICED];
    uint32_t bits;
    memcpy(&bits, &kl, sizeof bits);
    sum.bin[(bits & 0x7fffffff) >> KL_SHIFT]++;
    sum.rows++;
    sum.changed += s->changed;
    for (int p = 0; p < SCORE_PASSES; p++)
        sum.kl[p] += s->kl[p];
    if (!s->next)
        return;
    sum.predicted++;
    sum.ce_clean += s->nll_clean;
    for (int p = 0; p < SCORE_PASSES; p++)
        sum.ce[p] += s->nll[p];
}

static void count_left_out(const struct splice_group *g, size_t c, size_t i)
{
    bool bos = splice_is_bos(g, c, i) && !o.keep_bos;
    sum.bos += bos;
    sum.skip += !bos;
}

static double kl_quantile(double q)
{
    uint64_t want = (uint64_t)(q * (double)(sum.rows - 1)), seen = 0;
    for (uint32_t i = 0; i < KL_BINS; i++) {
        seen += sum.bin[i];
        if (seen > want) {
            uint32_t bits = (i << KL_SHIFT) + (i ? 1u << (KL_SHIFT - 1) : 0);
            float kl;
            memcpy(&kl, &bits, sizeof kl);
            return kl;
        }
    }
    return NAN;
}

static void line(struct table *t, const char *name, bool have, double value)
{
    table_text(t, name);
    if (have)
        table_real(t, value);
    else
        table_empty(t);
}

static void line_excluded(struct table *t)
{
    char *text = mem_format("%s%s%s%s", sum.bos ? "bos" : "", sum.bos && o.skip ? "," : "", o.skip ? o.skip : "",
                            sum.bos || o.skip ? "" : "none");
    table_text(t, "excluded");
    table_text(t, text);
    line(t, "excluded_rows", true, (double)(sum.bos + sum.skip));
    free(text);
}

static int print_summary(void)
{
    static const char *const names[] = { "statistic", "value" };
    struct table *t = table_create_keyed(names, 2);
    bool any = sum.rows, next = sum.predicted;
    double n = (double)sum.predicted, rows = (double)sum.rows, clean = sum.ce_clean / n, spliced = sum.ce[SCORE_SPLICED] / n;
    double zero = sum.ce[SCORE_ZERO] / n, ablated = sum.ce[SCORE_MEAN] / n;
    line(t, "rows", true, rows);
    line(t, "predicted", true, n);
    line_excluded(t);
    line(t, "ce_clean", next, clean);
    line(t, "ce_spliced", next, spliced);
    line(t, "ce_zero", next, zero);
    line(t, "ce_mean", next && ablate_mean, ablated);
    line(t, "recovered_zero", next, (zero - spliced) / (zero - clean));
    line(t, "recovered_mean", next && ablate_mean, (ablated - spliced) / (ablated - clean));
    line(t, "perplexity_clean", next, exp(clean));
    line(t, "perplexity_spliced", next, exp(spliced));
    line(t, "kl_mean", any, sum.kl[SCORE_SPLICED] / rows);
    line(t, "kl_q50", any, any ? kl_quantile(0.5) : 0);
    line(t, "kl_q95", any, any ? kl_quantile(0.95) : 0);
    line(t, "kl_zero", any, sum.kl[SCORE_ZERO] / rows);
    line(t, "kl_mean_ablated", any && ablate_mean, sum.kl[SCORE_MEAN] / rows);
    line(t, "changed", any, (double)sum.changed / rows);
    return table_finish(t);
}

/* ---- the table of tokens ---- */

/* The bytes of token i: what a stream says, or the tokenizer. */
static const uint8_t *text_of(const struct splice_group *g, size_t i, size_t *len)
{
    *len = g->text_len[i];
    if (*len)
        return g->text + g->text_at[i];
    const uint8_t *bytes = tokenizer ? tokenizer_text(tokenizer, g->tok[i], len) : NULL;
    *len = bytes ? *len : 0;
    return bytes;
}

/* "262:+1.5:\x20the" */
static void token_word(struct table *t, uint32_t tok, bool sign, double by, const uint8_t *bytes, size_t len)
{
    struct text word = { .s = NULL };
    char number[48];
    snprintf(number, sizeof number, sign ? "%u:%+.6g:" : "%u:%.6g:", tok, by);
    table_text_plain(&word, number);
    table_text_bytes(&word, bytes, len);
    table_bytes(t, word.s, word.n);
    free(word.s);
}

/* A list of tokens, each with a number: by how much its logit moved (sign), or its probability. */
static void tokens_cell(struct table *t, bool sign, const uint32_t *tok, const float *by, size_t n)
{
    const char *const names[] = { "tok", "text", sign ? "change" : "p" };
    table_list(t);
    for (size_t i = 0; i < n; i++) {
        size_t len = 0;
        const uint8_t *bytes = tokenizer ? tokenizer_text(tokenizer, tok[i], &len) : NULL;
        len = bytes ? len : 0;
        if (!opt.json) {
            token_word(t, tok[i], sign, (double)by[i], bytes, len);
            continue;
        }
        table_object(t, names);
        table_count(t, tok[i]);
        table_bytes(t, bytes, len);
        table_real(t, (double)by[i]);
        table_object_end(t);
    }
    table_list_end(t);
}

static void print_token(struct table *t, const struct splice_eval *s, const struct splice_group *g, size_t c, size_t i)
{
    const struct score *score = &s->score[i];
    size_t len;
    const uint8_t *bytes = text_of(g, i, &len);
    table_count(t, g->doc[c]);
    table_count(t, g->ctx[c]);
    table_count(t, i - g->start[c]);
    table_count(t, g->tok[i]);
    table_bytes(t, bytes, len);
    for (int k = 0; k < 2; k++)
        if (!score->next)
            table_empty(t);
        else
            table_real(t, k ? score->nll[SCORE_SPLICED] : score->nll_clean);
    table_real(t, score->kl[SCORE_SPLICED]);
    if (s->k) {
        const struct score_moved *m = &s->moved[i];
        tokens_cell(t, true, s->moved_tok + 2 * i * s->k, s->moved_by + 2 * i * s->k, m->ups);
        tokens_cell(t, true, s->moved_tok + (2 * i + 1) * s->k, s->moved_by + (2 * i + 1) * s->k, m->downs);
    }
    for (size_t at = 2 * i * s->likely, k = 0; s->likely && k < 2; k++, at += s->likely)
        tokens_cell(t, false, s->likely_tok + at, s->likely_p + at, s->likely);
}

/* What was measured of a group: lines, or sums. Tokens in order: the sums are the same for any number of threads. */
static void report_group(struct table *t, const struct splice_eval *s, const struct splice_group *g)
{
    for (size_t c = 0; c < g->contexts; c++)
        for (size_t i = g->start[c]; i < g->start[c + 1]; i++) {
            if (!s->wanted[i])
                count_left_out(g, c, i);
            else if (t)
                print_token(t, s, g, c, i);
            else
                count_token(&s->score[i]);
        }
}

static int measure(struct splice *s, struct splice_eval *scores)
{
    static const char *const plain[] = { "doc", "ctx", "pos", "tok", "text", "nll_clean", "nll_spliced", "kl" };
    const char *names[12];
    size_t columns = 8;
    struct splice_group g = { .contexts = 0 };
    struct table *t = NULL;
    uint64_t tokens = 0;
    int r = splice_next(s, &g);         /* what cannot be read leaves no output behind */
    memcpy(names, plain, sizeof plain);
    if (o.k)
        names[columns++] = "up", names[columns++] = "down";
    if (o.predictions)
        names[columns++] = "next_clean", names[columns++] = "next_spliced";
    sum.bin = mem_zero(KL_BINS, sizeof *sum.bin);
    if (r >= 0 && !o.summary)
        t = table_create(names, columns);
    for (; r > 0; r = splice_next(s, &g)) {
        splice_eval_reserve(scores, &g);
        choose_tokens(scores, &g);
        splice_eval_run(scores, &g, 0, g.pieces);
        report_group(t, scores, &g);
        tool_progress(tokens += g.tokens, 0, NULL);
    }
    tool_progress_end();
    if (r < 0)
        tool_die();
    splice_group_free(&g);
    int status = t ? table_finish(t) : print_summary();
    if (t && sum.skip + sum.bos)
        tool_note("not among the lines: %llu tokens, %llu of them BOS", (unsigned long long)(sum.skip + sum.bos),
                  (unsigned long long)sum.bos);
    free(sum.bin);
    return status;
}

/* ---- the jobs ---- */

static int generate(struct splice *s)
{
    struct generate_job job = { .tokens = (size_t)o.generate, .temperature = o.temperature };
    struct sae *sae = o.sae ? cli_sae(o.sae) : NULL;
    struct edits edits;
    if (sae) {
        if (sae->d_model != port[0].hook->width)
            tool_die_data("%s: rows are %zu wide, %s wants %zu", o.sae, sae->d_model, port[0].hook->name, port[0].hook->width);
        edit_begin(&edits, sae);
        for (size_t i = 0; i < o.edits.n; i++)
            if (edit_add(&edits, o.edits.item[i]))
                tool_die();
        edit_ready(&edits);
        job.edits = edits.n ? &edits : NULL;
    }
    int status = generate_main(&job, lm, tokenizer, s);
    if (sae)
        edit_free(&edits);
    sae_free(sae);
    return status;
}

static int gradient(struct splice *s, char **inputs, size_t n)
{
    struct grad_job job = { o.attack ? o.attack : o.grad, o.at, counts, o.attack, o.attack_at, o.norm, o.iterations };
    return gradient_main(&job, lm, tokenizer, s, port[0].hook, inputs, n);
}

static int dump(struct splice *s, char **inputs, size_t n)
{
    const char *name = o.logits ? "logits" : o.dump;
    struct rows_job job = { find_hook(name, strlen(name)), counts };
    return dump_main(&job, lm, tokenizer, s, inputs, n);
}

static int score(struct splice *s)
{
    struct splice_eval scores;
    splice_eval_begin(&scores, lm);
    if (o.summary)
        prepare_means(&scores, s);
    scores.k = (size_t)o.k;
    scores.likely = (size_t)o.predictions < lm_shape(lm)->n_vocab ? (size_t)o.predictions : lm_shape(lm)->n_vocab;
    scores.zero = o.summary;
    scores.mean = o.summary && ablate_mean;
    scores.means = mean;
    int status = measure(s, &scores);
    for (size_t i = 0; mean && i < o.hooks.n; i++)
        free(mean[i]);
    free(mean);
    splice_eval_free(&scores);
    return status;
}

static void check_options(void)
{
    const int jobs = o.summary + o.logits + !!o.dump + !!o.generate + !!o.grad + !!o.attack;
    const char *job = o.summary ? "summary" : o.logits ? "logits" : o.dump ? "dump" : o.generate ? "generate"
                      : o.grad  ? "grad" : "attack";
    if (!o.model)
        opt_misuse("-m DIR is missing");
    if (!o.hooks.n)
        opt_misuse("-p HOOK is missing (act-dump --info lists the hooks)");
    if (jobs > 1)
        opt_misuse("--summary, --logits, --dump, --generate, --grad and --attack exclude each other");
    if (o.k && jobs)
        opt_misuse("-k adds columns to the table of tokens: not with --%s", job);
    if (o.predictions && jobs)
        opt_misuse("--predictions adds columns to the table of tokens: not with --%s", job);
    if (o.means.n && !o.summary)
        opt_misuse("--mean goes with --summary");
    if (o.hooks.n > 1 && (o.generate || o.grad || o.attack))
        opt_misuse("--%s works at one hook", job);
    if ((o.edits.n || o.sae) && !o.generate)
        opt_misuse("-e and --sae go with --generate; sae-patch edits the rows of a stream");
    if (o.edits.n && !o.sae)
        opt_misuse("-e needs --sae");
    if ((o.at && !o.grad && !o.attack) || ((opt_given(&o.norm) || o.attack_at || opt_given(&o.iterations)) && !o.attack))
        opt_misuse("--at goes with --grad and --attack; --norm, --attack-at and --iterations with --attack");
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    check_options();
    cli_blas_start();
    lm = lm_open(o.model);
    if (!lm)
        tool_die();
    open_ports(argc, argv);
    if (o.skip && ranges_parse(&skipped, o.skip, "a position", 0, UINT32_MAX))
        opt_misuse("--skip-pos: %s", err_text());
    if (o.generate ? !(tokenizer = tokenizer_load(o.model)) : tokenizer_find(o.model, &tokenizer))
        tool_die();
    char *sha = tokenizer ? cli_model_tokenizer_digest(o.model) : NULL;
    how = (struct splice_options){ sha, o.ids, (size_t)o.batch, opt.allow_nan };
    struct splice *s = open_streams();
    int status = o.generate           ? generate(s)
                 : o.grad || o.attack ? gradient(s, argv, (size_t)argc)
                 : o.logits || o.dump ? dump(s, argv, (size_t)argc)
                                      : score(s);
    splice_close(s);
    free(sha);
    ranges_free(&skipped);
    free(port);
    tokenizer_free(tokenizer);
    lm_close(lm);
    return status;
}
