/* sae-stat: numbers that say how good a dictionary is: how sparse, how exact, how alive, how near to the neurons, and how
 * near to the truth where that is known.
 *
 *   rows x --> codes f --> x_hat: sums over all rows (maths/measure.h)       d_i, e_i alone: maths/geometry.h */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "cli/labels.h"
#include "maths/cosine.h"
#include "maths/geometry.h"
#include "maths/measure.h"
#include "maths/vec.h"
#include "sae_stat/statrows.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_MOST = 1 << 26 };          /* cells of a cost matrix that one-to-one matching may use */
#define NEURON_LIKE 0.3                 /* a correlation above which a feature counts as a neuron's */
#define FOUND 0.9                       /* a cosine above which a true feature counts as found */

static struct {
    const char *coded, *truth, *codes, *where, *token, *only, *labels;
    int64_t window, hist;
    bool features, no_neurons;
} o;

static const struct opt table_of_options[] = {
    { .type = OPT_GROUP, .help = "What is measured" },
    { OPT_STRING, .name = "coded", .var = &o.coded, .arg = "FILE", .help = "take the codes of ACTS from FILE (of sae-encode "
      "--fista, for one) rather than encode" },
    { OPT_STRING, .name = "truth", .var = &o.truth, .arg = "SAE", .help = "the dictionary of true features: how well are they "
      "recovered" },
    { OPT_STRING, .name = "codes", .var = &o.codes, .arg = "FILE", .help = "the true codes of ACTS: recovery by frequency and "
      "by scale, slopes" },
    ROW_SELECTOR_OPTION(&o.where, "only rows"),
    ROW_SELECTOR_TOKEN_OPTION(&o.token, "only rows"),
    { OPT_COUNT, .name = "window", .var = &o.window, .arg = "ROWS", .help = "a feature is dead if it did not fire in the last "
      "ROWS rows measured", .lo = 1, .hi = 9e15, .shown = "all of them" },
    { OPT_FLAG, .name = "no-neurons", .var = &o.no_neurons, .help = "no correlations with neurons; they take d_sae x d_model "
      "x 8 bytes of memory" },
    { .type = OPT_GROUP, .help = "What to print" },
    { OPT_STRING, .name = "only", .var = &o.only, .arg = "NAME[,...]", .help = "of the statistics only these", .shown = "all" },
    { OPT_FLAG, .name = "features", .var = &o.features, .help = "instead, a line for each feature" },
    LABELS_OPTION(&o.labels),
    { OPT_COUNT, .name = "hist", .var = &o.hist, .arg = "BINS", .help = "instead, a histogram of log10 density, BINS bins to a "
      "factor of ten", .lo = 1, .hi = 1000, .shown = "" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-stat", .synopsis = "[OPTION]... SAE... [ACTS]\n       sae-stat [OPTION]... [SAE] [CODES]",
    .about = "Measure a dictionary, or several side by side, alone or on the rows of a stream; or codes by themselves.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_JSON, .max_operands = 100000,
    .version = cli_blas_version,
};

/* What all tables are made from. */
struct stats {
    const char *path;
    struct sae *sae;                    /* NULL for codes alone, and then there is no shape */
    size_t m;                           /* features */
    struct geometry shape;
    struct measure *rows;               /* NULL without a stream */
    struct sae *truth;                  /* NULL without --truth */
    uint32_t *nearest;                  /* (d_sae) the true feature nearest to each */
    double *nearest_cos, *found;        /* (d_sae) its cosine; (true features) the largest cosine with any d_i */
    double one_to_one;                  /* mean cosine of the best pairing */
};

/* ---- truth ---- */

static float *unit_rows(const struct sae *s)
{
    float *x = mem_align(s->d_sae * s->d_model, sizeof *x);
    memcpy(x, s->w_dec, s->d_sae * s->d_model * sizeof *x);
    for (size_t i = 0; i < s->d_sae; i++)
        vec_normalize(x + i * s->d_model, s->d_model, 1e-30f);
    return x;
}

static void compare_truth(struct stats *s, struct sae *truth)
{
    size_t m = s->sae->d_sae, d = s->sae->d_model, g;
    struct cosine_stats c;
    s->truth = truth;
    if (s->truth->d_model != d)
        tool_die_data("%s: rows are %zu wide, the dictionary's %zu", o.truth, s->truth->d_model, d);
    g = s->truth->d_sae;
    float *mine = unit_rows(s->sae), *theirs = unit_rows(s->truth);
    s->nearest = mem_alloc(m, sizeof *s->nearest);
    s->nearest_cos = mem_alloc(m, sizeof *s->nearest_cos);
    s->found = mem_alloc(g, sizeof *s->found);
    cosine_all(mine, m, theirs, g, d, false, 1, &c);
    for (size_t i = 0; i < m; i++) {
        s->nearest[i] = (uint32_t)c.nearest[i].item[0].order;
        s->nearest_cos[i] = c.nearest[i].item[0].key;
    }
    for (size_t i = 0; i < g; i++)
        s->found[i] = c.best_b[i];
    cosine_free(&c, m);
    s->one_to_one = NAN;
    if (m <= MATCH_MOST / g) {
        size_t *partner = mem_alloc(m, sizeof *partner);
        s->one_to_one = cosine_match(mine, m, theirs, g, d, partner);
        free(partner);
    }
    free(mine);
    free(theirs);
}

/* ---- one line for each statistic ---- */

/* The statistics of one dictionary, before they are printed. */
static struct {
    struct statistic {
        char name[32];
        bool whole;
        uint64_t count;
        double real;
    } *item;
    size_t n, cap;
} shown;

static struct statistic *shown_add(const char *name)
{
    shown.item = mem_grow(shown.item, &shown.cap, shown.n + 1, sizeof *shown.item);
    struct statistic *s = &shown.item[shown.n++];
    *s = (struct statistic){ .whole = false };
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

static void real(const char *name, double value)
{
    shown_add(name)->real = value;
}

static void count(const char *name, uint64_t value)
{
    struct statistic *s = shown_add(name);
    s->whole = true;
    s->count = value;
}

static double density(const struct measure *r, size_t i)
{
    return (double)r->feature[i].count / (double)r->rows;
}

static void print_activity(const struct measure *r)
{
    uint64_t window = o.window && (uint64_t)o.window < r->rows ? (uint64_t)o.window : r->rows;
    uint64_t dead = 0, below = 0, above2 = 0, above1 = 0;
    for (size_t i = 0; i < r->of.m; i++) {
        double p = density(r, i);
        dead += r->feature[i].last + window <= r->rows;
        below += p < 1e-5;
        above2 += p > 1e-2;
        above1 += p > 1e-1;
    }
    count("dead", dead);
    count("dead_window", window);
    count("below_1e-5", below);
    count("above_1e-2", above2);
    count("above_1e-1", above1);
}

static void print_moments(const struct measure *r)
{
    double skew = 0, kurtosis = 0, alive = 0, like = 0, best = 0;
    size_t neuron;
    for (size_t i = 0; i < r->of.m; i++) {
        if (!r->feature[i].count)
            continue;
        alive++;
        skew += measure_skew(r, i);
        kurtosis += measure_kurtosis(r, i);
        double c = r->cross ? fabs(measure_neuron(r, i, &neuron)) : 0;
        like += c > NEURON_LIKE;
        best += c;
    }
    real("skew_mean", skew / alive);
    real("kurtosis_mean", kurtosis / alive);
    if (!r->cross)
        return;
    real("neuron_corr_mean", best / alive);
    real("neuron_corr_share", like / alive);
}

static void print_errors(const struct measure_report *r)
{
    real("mse", r->mse);
    real("nmse", r->nmse);
    real("fvu", r->fvu);
    real("variance_explained", r->explained);
    real("cosine", r->cosine);
    real("norm_ratio", r->ratio);
    real("gamma", r->gamma);
}

static void print_interference(const struct measure_report *r, double d)
{
    real("input_skew", r->skew);
    real("input_skew_pooled", r->skew_pooled);
    real("linear_error", r->pass);
    real("interference_var", r->interference);
    real("interference_law", r->power / d);
    real("l0_over_d", r->l0 / d);
}

static void print_rows(const struct measure *m)
{
    struct measure_report r = measure_report(m);
    count("rows", m->rows);
    real("l0", r.l0);
    real("l1", r.l1);
    if (m->of.d)
        print_errors(&r);
    print_activity(m);
    print_moments(m);
    if (m->of.d)
        print_interference(&r, (double)m->of.d);
}

static void print_directions(const struct geometry *g)
{
    double d = (double)g->d, m = (double)g->m, norm = 0, peak = 0, part = 0, align = 0, denoise = 0, overlap = 0, n = 0;
    for (size_t i = 0; i < g->m; i++) {
        const struct direction *s = &g->each[i];
        norm += s->dec_norm / m;
        peak += s->peak / m;
        part += s->participation / m;
        align += s->align / m;
        denoise += s->denoise / m;
        if (!isnan(s->overlap))
            overlap += fabs(s->overlap), n++;
    }
    real("dec_norm_mean", norm);
    real("align_mean", align);
    real("denoise_mean", denoise);
    real("overlap_mean", overlap / n);
    real("max_d_mean", peak);
    real("participation_mean", part);
    real("participation_random", 2 * d / 3.14159265358979323846);
    real("capacity_mean", g->capacity / m);
    real("capacity_sum", g->capacity);
    real("frame_potential", g->frame_potential);
    real("frame_potential_least", g->m > g->d ? m * m / d : m);
    real("tied_distance", g->tied_distance);
    real("linear_distance", g->pass_distance);
    real("bound_variance", d);
    real("bound_jl", d / (8 * log(m)));
}

/* What the quarters of the true features are taken by. */
static const double *quarter_key;

static int descending(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return quarter_key[x] < quarter_key[y] ? 1 : quarter_key[x] > quarter_key[y] ? -1 : x < y ? -1 : 1;
}

/* Mean of found over each quarter of the true features, the largest key first. */
static void print_quarters(const char *name, const double *key, const double *found, size_t n)
{
    size_t *order = mem_alloc(n, sizeof *order);
    for (size_t i = 0; i < n; i++)
        order[i] = i;
    quarter_key = key;
    qsort(order, n, sizeof *order, descending);
    for (size_t q = 0; q < 4; q++) {
        size_t lo = q * n / 4, hi = (q + 1) * n / 4;
        double sum = 0;
        for (size_t i = lo; i < hi; i++)
            sum += found[order[i]];
        char *label = mem_format("%s_%zu", name, q + 1);
        real(label, sum / (double)(hi - lo));
        free(label);
    }
    free(order);
}

static void print_slopes(const struct stats *s)
{
    double sum = 0, n = 0, size = 0;
    for (size_t i = 0; i < s->sae->d_sae; i++) {
        double slope = measure_slope(s->rows, i, true);
        if (s->nearest_cos[i] <= FOUND || isnan(slope))
            continue;
        sum += slope;
        size += measure_slope(s->rows, i, false);
        n++;
    }
    real("slope_mean", size / n);
    real("slope_origin_mean", sum / n);
}

static void print_truth(const struct stats *s)
{
    size_t g = s->truth->d_sae, m = s->sae->d_sae;
    double there = 0, back = 0, share = 0;
    for (size_t i = 0; i < g; i++) {
        there += s->found[i] / (double)g;
        share += (s->found[i] > FOUND) / (double)g;
    }
    for (size_t i = 0; i < m; i++)
        back += s->nearest_cos[i] / (double)m;
    count("true_features", g);
    real("mmcs_truth_to_dict", there);
    real("mmcs_dict_to_truth", back);
    real("mmcs_one_to_one", s->one_to_one);
    real("found_share", share);
    if (!o.codes)
        return;
    double *frequency = mem_alloc(g, sizeof *frequency), *scale = mem_alloc(g, sizeof *scale);
    for (size_t i = 0; i < g; i++) {
        const struct measure_feature *f = &s->rows->truth[i];
        frequency[i] = (double)f->count;
        scale[i] = f->count ? f->sum[0] / (double)f->count : 0;
    }
    print_quarters("mmcs_frequency", frequency, s->found, g);
    print_quarters("mmcs_scale", scale, s->found, g);
    print_slopes(s);
    free(frequency);
    free(scale);
}

static void collect(const struct stats *s)
{
    shown.n = 0;
    count("d_sae", s->m);
    if (s->sae)
        count("d_model", s->sae->d_model);
    if (s->rows)
        print_rows(s->rows);
    if (s->sae)
        print_directions(&s->shape);
    if (s->truth)
        print_truth(s);
}

/* Leave those that --only names, in its order. */
static void choose(void)
{
    size_t n = 0, cap = 0;
    struct statistic *kept = NULL;
    for (const char *at = o.only; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        size_t len = strcspn(at, ","), i = 0;
        while (i < shown.n && (strlen(shown.item[i].name) != len || strncmp(shown.item[i].name, at, len)))
            i++;
        if (i == shown.n)
            opt_misuse("--only: no statistic '%.*s' is printed here", (int)(len < 60 ? len : 60), at);
        kept = mem_grow(kept, &cap, n + 1, sizeof *kept);
        kept[n++] = shown.item[i];
    }
    if (!o.only)
        return;
    free(shown.item);
    shown.item = kept;
    shown.n = n;
    shown.cap = cap;
}

static void print_value(struct table *t, const struct statistic *s)
{
    if (s->whole)
        table_count(t, s->count);
    else
        table_real(t, s->real);
}

static int print_summary(const struct stats *s)
{
    static const char *const names[] = { "statistic", "value" };
    collect(s);
    choose();
    struct table *t = table_create_keyed(names, 2);
    for (size_t i = 0; i < shown.n; i++) {
        table_text(t, shown.item[i].name);
        print_value(t, &shown.item[i]);
    }
    return table_finish(t);
}

/* One line a dictionary. */
static int print_wide(const struct stats *all, size_t n)
{
    const char **names = NULL;
    struct table *t = NULL;
    for (size_t k = 0; k < n; k++) {
        collect(&all[k]);
        choose();
        if (!t) {
            names = mem_alloc(shown.n + 1, sizeof *names);
            names[0] = "sae";
            for (size_t i = 0; i < shown.n; i++)
                names[i + 1] = mem_string(shown.item[i].name);
            t = table_create(names, shown.n + 1);
        }
        table_text(t, all[k].path);
        for (size_t i = 0; i < shown.n; i++)
            print_value(t, &shown.item[i]);
    }
    return table_finish(t);
}

/* ---- one line for each feature ---- */

static void feature_rows(struct table *t, const struct measure *r, size_t i)
{
    const struct measure_feature *f = &r->feature[i];
    size_t neuron;
    table_real(t, density(r, i));
    table_count(t, f->count);
    table_real(t, f->sum[0] / (double)r->rows);
    table_real(t, f->max);
    table_real(t, f->count ? f->sum[0] / (double)f->count : 0);
    table_count(t, f->last);
    table_real(t, measure_skew(r, i));
    table_real(t, measure_kurtosis(r, i));
    if (!r->cross)
        return;
    table_real(t, measure_neuron(r, i, &neuron));
    if (f->count)
        table_count(t, neuron);
    else
        table_empty(t);
}

static void real_or_empty(struct table *t, double v)
{
    if (isnan(v))
        table_empty(t);
    else
        table_real(t, v);
}

static void feature_direction(struct table *t, const struct sae *sae, const struct direction *s, size_t i)
{
    const float *bias = sae->b_enc ? sae->b_enc : sae->b_mag;
    real_or_empty(t, bias ? (double)bias[i] : NAN);
    table_real(t, s->dec_norm);
    real_or_empty(t, s->enc_norm);
    real_or_empty(t, s->align);
    real_or_empty(t, s->denoise);
    real_or_empty(t, s->overlap);
    if (isnan(s->overlap))
        table_empty(t);
    else
        table_count(t, s->overlap_with);
    table_real(t, s->peak);
    table_count(t, s->peak_at);
    table_real(t, s->participation);
    table_real(t, s->capacity);
}

static void feature_truth(struct table *t, const struct stats *s, size_t i)
{
    table_count(t, s->nearest[i]);
    table_real(t, s->nearest_cos[i]);
    if (!o.codes)
        return;
    real_or_empty(t, measure_slope(s->rows, i, false));
    real_or_empty(t, measure_slope(s->rows, i, true));
}

static size_t names_add(const char **names, size_t n, const char *const *more)
{
    for (; *more; more++)
        names[n++] = *more;
    return n;
}

static int print_features(const struct stats *s)
{
    static const char *const rows[] = { "density", "count", "mean", "max", "mean_active", "last", "skew", "kurtosis", NULL };
    static const char *const neurons[] = { "neuron_corr", "neuron", NULL };
    static const char *const directions[] = { "bias", "dec_norm", "enc_norm", "align", "denoise", "overlap", "overlap_with",
                                              "max_d", "max_at", "participation", "capacity", NULL };
    static const char *const truth[] = { "truth", "truth_cos", NULL }, *const slopes[] = { "slope", "slope_origin", NULL };
    const char *names[32] = { "feature", "label" };
    struct labels *labels = labels_open(o.labels, s->m);
    size_t n = labels ? 2 : 1;
    if (s->rows)
        n = names_add(names, n, rows);
    if (s->rows && s->rows->cross)
        n = names_add(names, n, neurons);
    if (s->sae)
        n = names_add(names, n, directions);
    if (s->truth)
        n = names_add(names, n, truth);
    if (o.codes)
        n = names_add(names, n, slopes);
    struct table *t = table_create(names, n);
    for (size_t i = 0; i < s->m; i++) {
        table_count(t, i);
        if (labels)
            labels_cell(t, labels, i);
        if (s->rows)
            feature_rows(t, s->rows, i);
        if (s->sae)
            feature_direction(t, s->sae, &s->shape.each[i], i);
        if (s->truth)
            feature_truth(t, s, i);
    }
    labels_free(labels);
    return table_finish(t);
}

/* ---- the histogram ---- */

/* Bins of equal width in log10 density that end at 1, and one before them, without borders, of features that never fire. */
static int print_hist(const struct measure *r)
{
    static const char *const names[] = { "lo", "hi", "count", "share" };
    double step = (double)o.hist;
    size_t bins = (size_t)ceil(log10((double)r->rows) * step - 1e-9) + (r->rows == 1);
    uint64_t *bin = mem_zero(bins + 1, sizeof *bin);
    for (size_t i = 0; i < r->of.m; i++) {
        double below = -log10(density(r, i)) * step;        /* bins below density 1; infinite for a dead one */
        size_t k = r->feature[i].count ? (size_t)(below + 1e-9) : bins;
        bin[k < bins || !r->feature[i].count ? k : bins - 1]++;
    }
    struct table *t = table_create(names, 4);
    for (size_t k = bins + 1; k-- > 0;) {
        if (k == bins) {
            table_empty(t);
            table_empty(t);
        } else {
            table_real(t, -(double)(k + 1) / step);
            table_real(t, k ? -(double)k / step : 0);
        }
        table_count(t, bin[k]);
        table_real(t, (double)bin[k] / (double)r->of.m);
    }
    free(bin);
    return table_finish(t);
}

/* The dictionaries are there: measure what there is to be measured. */
static void measure(struct stats *all, size_t n, struct stream_in *in)
{
    struct statrows how = { .coded = o.coded, .codes = o.codes, .neurons = !o.no_neurons && !o.hist };
    struct statrows_of *of = mem_zero(n, sizeof *of);
    row_selector_options(&how.where, o.where, o.token);
    for (size_t k = 0; k < n; k++)
        of[k] = (struct statrows_of){ all[k].path, all[k].sae, &all[k].shape, o.codes ? all[k].nearest : NULL,
                                      o.codes ? all[k].truth->d_sae : 0, NULL };
    statrows_read(&how, of, n, in);
    for (size_t k = 0; k < n; k++)
        all[k].rows = of[k].rows;
    row_selector_free(&how.where);
    free(of);
}

static void check_options(size_t saes, bool stream)
{
    if (o.features + !!o.hist + !!o.only > 1)
        opt_misuse("--features, --hist and --only exclude each other");
    if (o.labels && !o.features)
        opt_misuse("--labels goes with --features");
    if (!stream && (o.hist || o.coded || o.codes || o.window || o.where || o.token))
        opt_misuse("--hist, --coded, --codes, --window, --where and --token want activations: sae-stat SAE ACTS (- is standard "
                   "input)");
    if (o.codes && !o.truth)
        opt_misuse("--codes wants --truth");
    if (!saes && (o.truth || o.coded))
        opt_misuse("--truth and --coded want a dictionary");
    if (saes > 1 && (o.features || o.hist || o.coded))
        opt_misuse("--features, --hist and --coded are of one dictionary");
}

/* Does the stream go with so many dictionaries? */
static void check_stream(const struct stream_in *in, size_t saes)
{
    if (in->kind == STREAM_ACTS && !saes)
        tool_die_data("%s: a stream of acts where codes are wanted, unless a dictionary is named: sae-stat SAE ACTS",
                      stream_name(in));
    if (in->kind == STREAM_CODES && (saes > 1 || o.coded))
        tool_die_data("%s: a stream of codes where acts are wanted", stream_name(in));
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table_of_options);
    bool stream = argc == 0 || statrows_is_stream(argv[argc - 1], argc == 1);
    size_t saes = (size_t)argc - (stream && argc), n = saes ? saes : 1;
    struct stats *all = mem_zero(n, sizeof *all);
    check_options(saes, stream);
    struct stream_in *in = stream ? tool_open(argc, argv, argc ? argc - 1 : 0) : NULL;
    if (in)
        check_stream(in, saes);
    struct sae *truth = o.truth ? cli_sae(o.truth) : NULL;
    for (size_t k = 0; k < saes; k++) {
        all[k] = (struct stats){ .path = argv[k], .sae = cli_sae(argv[k]) };
        all[k].m = all[k].sae->d_sae;
        all[k].shape = geometry_of(all[k].sae->w_dec, all[k].sae->w_enc, all[k].m, all[k].sae->d_model);
        if (truth)
            compare_truth(&all[k], truth);
    }
    if (!saes)
        all->m = in->d;
    if (in)
        measure(all, n, in);
    stream_close(in);
    return saes > 1     ? print_wide(all, n)
           : o.hist     ? print_hist(all->rows)
           : o.features ? print_features(all)
                        : print_summary(all);
}
