/* act-toy: activations whose truth is known.
 *
 *   x = sum_g c_g u_g + sigma N(0, I)        the stream on -o; u (directions) to --truth, c (codes) to --codes
 *
 * What directions, activity and coefficients there are is lib/toy; here are the options, the files and the tables. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cli/table.h"
#include "cli/tool.h"
#include "dict/kind.h"
#include "files/saefile.h"
#include "kinds/kinds.h"
#include "toy/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const laws[] = { "uniform", "constant", "exponential", "lognormal", "uniform2", NULL };
static const char *const corrs[] = { "none", "sample", "batch", "dataset", NULL };
static const char *const types[] = { "f32", "f16", "bf16", NULL };
static const enum dtype row_types[] = { DTYPE_F32, DTYPE_F16, DTYPE_BF16 };
static const char *const presets[] = { "sharkey", NULL };
static const char *const activities[] = { "bernoulli", "exactly", "pairs", "composed" };
static const char *const shapes[] = { "free", "clusters", "simplex", "polygon", "cross", "antiprism" };

static struct {
    int64_t d, g, rows, exactly, batch, train;
    double active, decay, pairs, share, noise, l1;
    bool raw_decay, orthonormal;
    int law, corr, type, preset;
    struct opt_reals composed, range;
    const char *clusters, *polytope, *coupling, *scales;
    const char *truth, *codes, *features, *coactive, *random_dict;
} o = { .d = 64, .g = 128, .rows = 100000, .exactly = -1, .active = 3, .decay = 1, .pairs = -2, .share = 0.5,
        .batch = 256, .train = -1, .l1 = 0.1, .preset = -1 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Size" },
    { OPT_COUNT, .letter = 'd', .name = "width", .var = &o.d, .arg = "N", .help = "numbers in a row, d_model", .lo = 1,
      .hi = STREAM_WIDTH, .numbers = true },
    { OPT_COUNT, .letter = 'g', .name = "features", .var = &o.g, .arg = "N", .help = "true features", .lo = 1,
      .hi = STREAM_WIDTH, .numbers = true },
    { OPT_COUNT, .letter = 'n', .name = "rows", .var = &o.rows, .arg = "ROWS", .help = "rows to write", .lo = 0,
      .hi = 4e15, .numbers = true },
    { OPT_CHOICE, .letter = 't', .name = "type", .var = &o.type, .arg = "TYPE", .help = "type of the numbers written",
      .choices = types, .numbers = true },
    { OPT_CHOICE, .name = "preset", .var = &o.preset, .arg = "NAME", .help = "-d 256 -g 512 -a 5 --decay 0.99 "
      "--raw-decay, as published; options given beside it count", .choices = presets, .shown = "" },

    { .type = OPT_GROUP, .help = "Which features are active" },
    { OPT_REAL, .letter = 'a', .name = "active", .var = &o.active, .arg = "MEAN", .help = "mean number of active "
      "features", .lo = 0, .hi = STREAM_WIDTH, .numbers = true },
    { OPT_REAL, .name = "decay", .var = &o.decay, .arg = "R", .help = "the probability of feature i is "
      "proportional to R^i", .lo = 1e-6, .hi = 1, .numbers = true },
    { OPT_FLAG, .name = "raw-decay", .var = &o.raw_decay, .help = "the probability of feature i is R^i MEAN / N: "
      "the mean is not MEAN then", .numbers = true },
    { OPT_COUNT, .name = "exactly", .var = &o.exactly, .arg = "L", .help = "in every row exactly L features, all "
      "sets alike", .lo = 0, .hi = STREAM_WIDTH, .shown = "", .numbers = true },
    { OPT_REAL, .name = "pairs", .var = &o.pairs, .arg = "RHO", .help = "features 2i and 2i+1 exclude each other "
      "and stand at cosine RHO", .lo = -1, .hi = 0.999999, .shown = "", .numbers = true },
    { OPT_REALS, .name = "composed", .var = &o.composed, .arg = "P1,P2,PBOTH", .help = "of features 2i and 2i+1 the "
      "first alone, the second alone, both, with these probabilities", .lo = 0, .hi = 1, .numbers = true },
    { OPT_CHOICE, .name = "corr", .var = &o.corr, .arg = "HOW", .help = "activity tied together by a Gaussian copula, "
      "drawn anew for each row, for each --batch of rows, or once", .choices = corrs, .numbers = true },
    { OPT_STRING, .name = "coupling", .var = &o.coupling, .arg = "random|K:RHO", .help = "its correlations: random, or "
      "RHO within blocks of K features", .shown = "random", .numbers = true },
    { OPT_COUNT, .name = "batch", .var = &o.batch, .arg = "ROWS", .help = "rows that share a draw with --corr batch",
      .lo = 1, .hi = 9e15, .numbers = true },
    { OPT_REAL, .name = "share", .var = &o.share, .arg = "S", .help = "share of the latent variance that the draw of a "
      "batch or data set has", .lo = 0, .hi = 0.999, .numbers = true },

    { .type = OPT_GROUP, .help = "Directions" },
    { OPT_FLAG, .name = "orthonormal", .var = &o.orthonormal, .help = "orthogonal to each other, groups to groups",
      .numbers = true },
    { OPT_STRING, .name = "clusters", .var = &o.clusters, .arg = "K:RHO", .help = "groups of K features, every two "
      "at cosine RHO", .numbers = true },
    { OPT_STRING, .name = "polytope", .var = &o.polytope, .arg = "NAME[:K]", .help = "groups that are the corners of a "
      "simplex in K dimensions (2), a polygon of K corners (5), a square antiprism, or a cross polytope of K axes (2)",
      .numbers = true },
    { OPT_COUNT, .name = "superposition", .var = &o.train, .arg = "STEPS", .help = "directions and scales from "
      "training the toy model of superposition so long; 2000 will do", .lo = 1, .hi = 1e9, .shown = "",
      .numbers = true },

    { .type = OPT_GROUP, .help = "Coefficients and noise" },
    { OPT_CHOICE, .name = "law", .var = &o.law, .arg = "LAW", .help = "how large an active feature is; uniform2 is the "
      "product of two uniform ones", .choices = laws, .numbers = true },
    { OPT_REALS, .name = "range", .var = &o.range, .arg = "LO,HI", .help = "of the uniform laws", .lo = -1e6, .hi = 1e6,
      .shown = "0,1", .numbers = true },
    { OPT_STRING, .name = "scales", .var = &o.scales, .arg = "geometric:R|lognormal:S", .help = "feature i is R^i "
      "times as large, or e^(S z) times with z normal", .numbers = true },
    { OPT_REAL, .name = "noise", .var = &o.noise, .arg = "SIGMA", .help = "add SIGMA N(0, I)", .lo = 0, .hi = 1e6,
      .numbers = true },

    { .type = OPT_GROUP, .help = "Truth" },
    { OPT_STRING, .name = "truth", .var = &o.truth, .arg = "FILE", .help = "write the directions as a dictionary "
      "without encoder" },
    { OPT_STRING, .name = "codes", .var = &o.codes, .arg = "FILE", .help = "write the true codes as a stream" },
    { OPT_STRING, .name = "feature-table", .var = &o.features, .arg = "FILE", .help = "write a table of the features: "
      "probability, what came of it, interference" },
    { OPT_STRING, .name = "coactive", .var = &o.coactive, .arg = "FILE", .help = "write the matrix of how often two "
      "features are active together" },
    { OPT_STRING, .name = "random-dict", .var = &o.random_dict, .arg = "FILE", .help = "write a random dictionary of N "
      "directions of that width, and no rows" },
    { OPT_REAL, .name = "l1", .var = &o.l1, .arg = "LAMBDA", .help = "penalty stored in these dictionaries, for "
      "sae-encode --fista", .lo = 0, .hi = 1e6, .numbers = true },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "act-toy", .synopsis = "[OPTION]...\n       act-toy --random-dict FILE [OPTION]...",
    .about = "Write synthetic activations whose features are known.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_SEED | OPT_HISTORY,
};

/* ---- options to struct toy_options ---- */

/* "WORD:NUMBER": whether text begins with word and a colon; then *number is what follows. */
static bool word_number(const char *text, const char *word, double *number)
{
    size_t len = strlen(word);
    return !strncmp(text, word, len) && text[len] == ':' && !opt_real(text + len + 1, number);
}

/* "K:RHO" with K from 1 and RHO from 0 (or where groups of K have them, below 0) up to 1. */
static void take_group(const char *option, const char *text, bool negative, size_t *k, double *rho)
{
    char *copy = mem_string(text), *colon = strchr(copy, ':');
    int64_t count = 0;
    if (colon)
        *colon++ = 0;
    if (!colon || opt_count(copy, &count) || opt_real(colon, rho) || count < 1 || count > STREAM_WIDTH)
        opt_misuse("%s: '%s' is not K:RHO, K from 1 to %d", option, text, STREAM_WIDTH);
    double least = negative && count > 1 ? -1 / ((double)count - 1) : 0;
    if (!(*rho >= least && *rho <= 0.999999))
        opt_misuse("%s: a cosine of %g among %lld: it can be %.6g to 0.999999", option, *rho, (long long)count, least);
    *k = (size_t)count;
    free(copy);
}

static void take_polytope(struct toy_options *t)
{
    static const struct {
        const char *name;
        enum toy_shape shape;
        size_t usual, least;
    } known[] = { { "simplex", TOY_SIMPLEX, 2, 1 }, { "polygon", TOY_POLYGON, 5, 3 },
                  { "antiprism", TOY_ANTIPRISM, 0, 0 }, { "cross", TOY_CROSS, 2, 1 } };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        double k = (double)known[i].usual;
        bool numbered = word_number(o.polytope, known[i].name, &k);
        if (!numbered && strcmp(o.polytope, known[i].name))
            continue;
        if (k != floor(k) || k < (double)known[i].least || k > 4096 || (numbered && !known[i].usual))
            break;
        t->shape = known[i].shape;
        t->group = (size_t)k;
        return;
    }
    opt_misuse("--polytope: '%s' is not simplex[:1 to 4096], polygon[:3 to 4096], antiprism or cross[:1 to 4096]",
               o.polytope);
}

static void take_scales(struct toy_options *t)
{
    if (word_number(o.scales, "geometric", &t->scale) && t->scale > 0 && t->scale <= 1)
        t->scales = TOY_GEOMETRIC;
    else if (word_number(o.scales, "lognormal", &t->scale) && t->scale >= 0 && t->scale <= 5)
        t->scales = TOY_SPREAD;
    else
        opt_misuse("--scales: '%s' is not geometric:R, R above 0 up to 1, or lognormal:S, S from 0 to 5", o.scales);
}

static void take_preset(void)
{
    if (o.preset < 0)
        return;
    if (!opt_given(&o.d))
        o.d = 256;
    if (!opt_given(&o.g))
        o.g = 512;
    if (!opt_given(&o.active))
        o.active = 5;
    if (!opt_given(&o.decay))
        o.decay = 0.99;
    o.raw_decay = true;
}

/* What has no part in these rows gets a value out of its range, which keeps it out of the history: what that says can
 * be given again. */
static void forget_idle_options(void)
{
    if (opt_given(&o.exactly) || opt_given(&o.composed))
        o.active = o.decay = -1;
    if (o.corr != TOY_BATCH)
        o.batch = -1;
    if (o.corr != TOY_BATCH && o.corr != TOY_DATASET)
        o.share = -1;
}

/* At most one of those options, else exit 2. */
static void one_of(size_t n, const void *const *var, const char *names)
{
    size_t there = 0;
    for (size_t i = 0; i < n; i++)
        there += opt_given(var[i]);
    if (there > 1)
        opt_misuse("%s exclude each other", names);
}

static void check_options(void)
{
    const void *activity[] = { &o.exactly, &o.pairs, &o.composed }, *direction[] = { &o.pairs, &o.clusters, &o.polytope,
                                                                                   &o.train };
    bool fixed = opt_given(&o.exactly) || opt_given(&o.composed);
    one_of(3, activity, "--exactly, --pairs and --composed");
    one_of(4, direction, "--pairs, --clusters, --polytope and --superposition");
    if (fixed && (opt_given(&o.active) || opt_given(&o.decay) || o.raw_decay))
        opt_misuse("--exactly and --composed say how many features are active: not beside -a, --decay or --raw-decay");
    if (o.train > 0 && o.orthonormal)
        opt_misuse("--superposition and --orthonormal exclude each other");
    if (o.corr == TOY_NONE && opt_given(&o.coupling))
        opt_misuse("--coupling: says how activity is tied together, with --corr sample, batch or dataset");
    if (opt_given(&o.share) && o.corr != TOY_BATCH && o.corr != TOY_DATASET)
        opt_misuse("--share: only with --corr batch or dataset; rows that have a draw of their own share none");
    if (opt_given(&o.batch) && o.corr != TOY_BATCH)
        opt_misuse("--batch: only with --corr batch");
    if (o.composed.n && o.composed.n != 3)
        opt_misuse("--composed: three probabilities P1,P2,PBOTH");
    if (o.range.n && (o.range.n != 2 || o.range.item[0] > o.range.item[1]))
        opt_misuse("--range: LO,HI with LO at most HI");
    if (o.range.n && o.law != TOY_UNIFORM && o.law != TOY_UNIFORM2)
        opt_misuse("--range: only with --law uniform or uniform2");
}

static struct toy_options options(void)
{
    take_preset();
    check_options();
    forget_idle_options();
    struct toy_options t = {
        .d = (size_t)o.d, .g = (size_t)o.g, .seed = (uint64_t)opt.seed, .active = o.active, .decay = o.decay,
        .raw_decay = o.raw_decay, .exactly = o.exactly > 0 ? (size_t)o.exactly : 0, .corr = (enum toy_corr)o.corr,
        .batch = (size_t)o.batch, .share = o.share, .orthonormal = o.orthonormal,
        .train = o.train > 0 ? (size_t)o.train : 0, .law = (enum toy_law)o.law, .hi = 1, .noise = o.noise,
    };
    t.activity = opt_given(&o.exactly) ? TOY_EXACTLY : opt_given(&o.pairs) ? TOY_PAIRS : o.composed.n ? TOY_COMPOSED
                                                                                                      : TOY_BERNOULLI;
    for (size_t i = 0; i < o.composed.n; i++)
        t.composed[i] = o.composed.item[i];
    if (o.range.n)
        t.lo = o.range.item[0], t.hi = o.range.item[1];
    if (o.coupling && strcmp(o.coupling, "random"))
        take_group("--coupling", o.coupling, false, &t.block, &t.rho);
    if (o.clusters)
        take_group("--clusters", o.clusters, true, &t.group, &t.cosine);
    if (o.clusters || t.activity == TOY_PAIRS || (t.activity == TOY_COMPOSED && !o.polytope && o.train < 0))
        t.shape = TOY_CLUSTERS;
    if (t.shape == TOY_CLUSTERS && !o.clusters)
        t.group = 2, t.cosine = t.activity == TOY_PAIRS ? o.pairs : 0;
    if (o.polytope)
        take_polytope(&t);
    if (o.scales)
        take_scales(&t);
    return t;
}

/* ---- files beside the stream ---- */

static void check_files(void)
{
    const char *file[] = { opt.output, o.truth, o.codes, o.features, o.coactive, o.random_dict };
    enum { FILES = sizeof file / sizeof *file };
    for (size_t i = 1; i < FILES; i++) {
        if (file[i] && (!strcmp(file[i], "-") || !*file[i]))
            opt_misuse("'%s': standard output is for the rows; give a file", file[i]);
        for (size_t j = 0; file[i] && j < i; j++)
            if (file[j] && !strcmp(file[i], file[j]))
                opt_misuse("two outputs are both %s", file[i]);
    }
    if (o.random_dict && (opt.output || o.truth || o.codes || o.features || o.coactive))
        opt_misuse("--random-dict writes a dictionary alone: no -o, --truth, --codes, --feature-table or --coactive");
}

static void set_text(json_t *meta, const char *key, char *text)
{
    json_object_set_new(meta, key, json_string(text));
    free(text);
}

static char *number_list(const float *f, const double *p, size_t n)
{
    struct text t = { .n = 0 };
    char number[32];
    table_text_plain(&t, "");
    for (size_t i = 0; i < n; i++) {
        snprintf(number, sizeof number, i ? " %.9g" : "%.9g", f ? (double)f[i] : p[i]);
        table_text_plain(&t, number);
    }
    return t.s;
}

/* Directions (g,d) as a dictionary that has only a decoder; with t also how its features behave. */
static void write_dictionary(const char *path, const float *direction, const struct toy *t)
{
    struct sae *s = sae_new(kind_find("fista"), (size_t)o.d, (size_t)o.g);
    memcpy(s->w_dec, direction, s->d_sae * s->d_model * sizeof *direction);
    s->l1 = o.l1;
    set_text(s->meta, "seed", mem_format("%lld", (long long)opt.seed));
    if (t) {
        set_text(s->meta, "feature_p", number_list(NULL, t->p, t->o.g));
        set_text(s->meta, "feature_scale", number_list(t->scale, NULL, t->o.g));
    }
    if (!opt.no_history) {
        json_t *history = json_pack("[o]", tool_history(NULL, 0));
        set_text(s->meta, "history", json_dumps(history, JSON_COMPACT));
        json_decref(history);
    }
    if (saefile_save(path, s))
        tool_die();
    sae_free(s);
}

static struct table *feature_table(void)
{
    static const char *const names[] = { "feature", "p", "active", "mean", "scale", "interference", "lost",
                                         "invented" };
    return table_create_at(o.features, names, sizeof names / sizeof *names);
}

static void write_features(struct table *t, const struct tally *a)
{
    double n = (double)a->rows;
    for (size_t g = 0; g < a->toy->o.g; g++) {
        const struct tally_feature *f = &a->feature[g];
        double on = (double)f->active, mean = f->sum_z / n;
        table_count(t, g);
        table_real(t, a->toy->p[g]);
        table_real(t, on / n);
        table_real(t, f->sum / on);
        table_real(t, (double)a->toy->scale[g]);
        table_real(t, f->sum_z2 / n - mean * mean);
        table_real(t, (double)f->lost / on);
        table_real(t, (double)f->invented / (n - on));
    }
    table_finish(t);
}

/* The names of its columns, "feature" and the numbers of the features, in one block; free() it when it is written. */
static char **pair_names(size_t g)
{
    enum { DIGITS = 24 };
    char **names = mem_alloc(g + 1, sizeof *names + DIGITS), *text = (char *)(names + g + 1);
    strcpy(text, "feature");
    for (size_t i = 0; i <= g; i++) {
        names[i] = text + i * DIGITS;
        if (i)
            snprintf(names[i], DIGITS, "%zu", i - 1);
    }
    return names;
}

static void write_pairs(struct table *t, const struct tally *a)
{
    size_t g = a->toy->o.g;
    for (size_t i = 0; i < g; i++) {
        table_count(t, i);
        for (size_t j = 0; j < g; j++)
            table_real(t, (double)a->pair[i * g + j] / (double)a->rows);
    }
    table_finish(t);
}

/* ---- the stream ---- */

/* The header of a stream of these rows: what made them, and the mean number of active features that it leads to. */
static json_t *head(const struct toy *t, enum stream_kind kind)
{
    const struct toy_options *w = &t->o;
    json_t *h = stream_head(kind, kind == STREAM_ACTS ? w->d : w->g,
                            kind == STREAM_ACTS ? row_types[o.type] : DTYPE_F32);
    json_t *toy = json_pack("{s:I,s:I,s:f,s:s,s:s,s:b,s:b,s:s,s:s,s:f,s:I}", "d", (json_int_t)w->d, "g",
                            (json_int_t)w->g, "mean_active", t->active, "activity", activities[w->activity], "shape",
                            shapes[w->shape], "orthogonal", (int)t->orthogonal, "trained", (int)(w->train > 0), "corr",
                            corrs[w->corr], "law", laws[w->law], "noise", w->noise, "seed", (json_int_t)w->seed);
    if (!toy || json_object_set_new(h, "toy", toy) || json_object_set_new(h, "rows", json_integer(o.rows)))
        mem_die(0);
    return h;
}

/* All are there, under other names, before the first row is made: a file that cannot be is known at once. */
struct outputs {
    struct stream_out *rows, *codes;
    struct table *features, *pairs;
    char **pair_names;
};

static struct outputs outputs(const struct toy *t)
{
    struct outputs out = { .rows = tool_create_at(opt.output, head(t, STREAM_ACTS), NULL, 0) };
    if (o.codes)
        out.codes = tool_create_at(o.codes, head(t, STREAM_CODES), NULL, 0);
    if (o.features)
        out.features = feature_table();
    if (o.coactive) {
        out.pair_names = pair_names(t->o.g);
        out.pairs = table_create_at(o.coactive, (const char *const *)out.pair_names, t->o.g + 1);
    }
    if (o.truth)
        write_dictionary(o.truth, t->direction, t);
    return out;
}

static void write_rows(const struct toy *t, struct tally *a, const struct outputs *out)
{
    size_t d = t->o.d, most = STREAM_PAYLOAD / sizeof(float) / d;
    struct codes c = { .n = 0 };
    most = most < 16 ? 16 : most > 16384 ? 16384 : most;
    float *clean = mem_align(most * d, sizeof *clean), *x = t->o.noise > 0 ? mem_align(most * d, sizeof *x) : clean;
    for (uint64_t row = 0; row < (uint64_t)o.rows; row += c.n) {
        size_t n = (uint64_t)o.rows - row < most ? (size_t)((uint64_t)o.rows - row) : most;
        struct batch rows = { .n = n };
        toy_codes(t, row, n, &c);
        toy_rows(t, &c, clean);
        if (x != clean) {
            memcpy(x, clean, n * d * sizeof *x);
            toy_noise(t, row, n, x);
        }
        tally_add(a, &c, clean, x);
        tool_put_acts(out->rows, NULL, &rows, x, d, row_types[o.type]);
        if (out->codes)
            tool_put_codes(out->codes, NULL, &rows, &c);
        tool_progress(row + n, (uint64_t)o.rows, NULL);
    }
    codes_free(&c);
    if (x != clean)
        free(x);
    free(clean);
}

static void say_what_came(const struct tally *a)
{
    double n = (double)a->rows, ratio = a->signal / a->noise;
    if (!a->rows)
        return;
    if (a->noise > 0)
        tool_warn("%llu rows, %.4g features active on average (%.4g expected); signal-to-noise ratio %.4g (%.3g dB)",
                  (unsigned long long)a->rows, (double)a->active / n, a->toy->active, ratio, 10 * log10(ratio));
    else
        tool_warn("%llu rows, %.4g features active on average (%.4g expected)", (unsigned long long)a->rows,
                  (double)a->active / n, a->toy->active);
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table);
    struct toy_options options_of_rows = options();
    check_files();
    if (o.random_dict) {
        float *direction = toy_random((size_t)o.g, (size_t)o.d, (uint64_t)opt.seed);
        write_dictionary(o.random_dict, direction, NULL);
        free(direction);
        return 0;
    }
    struct toy *t = toy_new(&options_of_rows);
    if (!t)
        tool_die();
    struct tally *a = tally_new(t, o.features, o.coactive);
    struct outputs out = outputs(t);
    write_rows(t, a, &out);
    if (out.features)
        write_features(out.features, a);
    if (out.pairs)
        write_pairs(out.pairs, a);
    free(out.pair_names);
    say_what_came(a);
    tally_free(a);
    toy_free(t);
    if (out.codes)
        tool_finish(out.codes);
    return tool_finish(out.rows);
}
