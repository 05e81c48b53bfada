/* sae-stat: numbers that say how good a dictionary is: how sparse, how exact, how alive, how near to the neurons, and how
 * near to the truth where that is known.
 *
 *   rows x --> codes f --> x_hat: sums over all rows (maths/measure.h)       d_i, e_i alone: maths/geometry.h */
/* SPDX-License-Identifier: MIT */
#include "ground/mem.h"
#include "maths/cosine.h"
#include "maths/geometry.h"
#include "maths/measure.h"
#include "maths/vec.h"
#include "tools/saetool.h"
#include "tools/table.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_MOST = 1 << 26 };          /* cells of a cost matrix that one-to-one matching may use */
#define NEURON_LIKE 0.3                 /* a correlation above which a feature counts as a neuron's */
#define FOUND 0.9                       /* a cosine above which a true feature counts as found */

static struct {
    const char *coded, *truth, *codes;
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
    { OPT_COUNT, .name = "window", .var = &o.window, .arg = "ROWS", .help = "a feature is dead that did not fire in the last "
      "ROWS rows", .lo = 1, .hi = 9e15, .shown = "all rows" },
    { OPT_FLAG, .name = "no-neurons", .var = &o.no_neurons, .help = "no correlations with neurons; they take d_sae x d_model "
      "x 8 bytes of memory" },
    { .type = OPT_GROUP, .help = "What to print" },
    { OPT_FLAG, .name = "features", .var = &o.features, .help = "instead, a line for each feature" },
    { OPT_COUNT, .name = "hist", .var = &o.hist, .arg = "BINS", .help = "instead, a histogram of log10 density, BINS bins to a "
      "factor of ten", .lo = 1, .hi = 1000, .shown = "" },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-stat", .synopsis = "[OPTION]... SAE [ACTS]",
    .about = "Measure a dictionary, by itself and, where there is a stream of activations, on its rows.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_JSON, .min_operands = 1, .max_operands = 2,
    .version = tool_version_arithmetic,
};

/* What all tables are made from. */
struct stats {
    struct sae *sae;
    struct geometry shape;
    struct measure *rows;               /* NULL without ACTS */
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
        vec_normalise(x + i * s->d_model, s->d_model, 1e-30f);
    return x;
}

static void compare_truth(struct stats *s)
{
    size_t m = s->sae->d_sae, d = s->sae->d_model, g;
    struct cosine_stats c;
    s->truth = tool_sae(o.truth);
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

/* ---- reading along ---- */

/* A stream of codes read beside ACTS, whose batches may be cut elsewhere. */
struct beside {
    struct stream_in *in;
    struct batch b;
    size_t at;                          /* rows of b that are used up */
};

static void beside_open(struct beside *s, const char *path, size_t features, const char *who)
{
    *s = (struct beside){ .in = stream_open(path) };
    if (!s->in)
        tool_die();
    tool_want(s->in, STREAM_CODES, features, who);
}

/* The codes of the next n rows. */
static void beside_take(struct beside *s, size_t n, struct codes *out)
{
    codes_reset(out, s->in->d);
    while (n) {
        if (s->at == s->b.n) {
            int r = stream_next(s->in, &s->b);
            if (r < 0)
                tool_die();
            if (!r)
                tool_die_data("%s: has fewer rows than the activations", stream_name(s->in));
            s->at = 0;
        }
        for (; n && s->at < s->b.n; s->at++, n--) {
            uint32_t from = s->b.ptr[s->at], to = s->b.ptr[s->at + 1];
            codes_push(out, s->b.idx + from, s->b.val + from, to - from);
        }
    }
}

static void beside_end(struct beside *s)
{
    if (s->at < s->b.n || stream_next(s->in, &s->b))
        tool_die_data("%s: has more rows than the activations", stream_name(s->in));
    stream_close(s->in);
}

static void measure_rows(struct stats *s, char **argv)
{
    struct sae *sae = s->sae;
    struct codes codes = { .n = 0 }, true_codes = { .n = 0 };
    struct beside coded, truth;
    struct batch b;
    struct stream_in *in = tool_open(2, argv, 1);
    tool_want(in, STREAM_ACTS, sae->d_model, argv[0]);
    tool_sae_fits(sae, in);
    tool_slice(in, sae->d_sae > sae->d_model ? sae->d_sae : sae->d_model);
    struct measure_of of = { sae->d_model, sae->d_sae, sae->w_dec, sae->b_dec, s->shape.unit_gram, s->shape.pass,
                             !o.no_neurons && !o.hist, NULL, 0 };
    if (o.coded)
        beside_open(&coded, o.coded, sae->d_sae, argv[0]);
    if (o.codes) {
        of.truth = s->nearest, of.truths = s->truth->d_sae;
        beside_open(&truth, o.codes, of.truths, o.truth);
    }
    s->rows = measure_new(&of);
    float *x_hat = mem_align(in->most * sae->d_model, sizeof *x_hat);
    while (tool_next(in, &b)) {
        if (o.coded)
            beside_take(&coded, b.n, &codes);
        else
            sae_encode(sae, b.x, b.n, &codes);
        if (o.codes)
            beside_take(&truth, b.n, &true_codes);
        sae_decode(sae, &codes, x_hat);
        measure_add(s->rows, b.x, x_hat, &codes, o.codes ? &true_codes : NULL);
    }
    if (o.coded)
        beside_end(&coded);
    if (o.codes)
        beside_end(&truth);
    if (!s->rows->rows)
        tool_die_data("%s: a stream without rows", stream_name(in));
    stream_close(in);
    codes_free(&codes);
    codes_free(&true_codes);
    free(x_hat);
}

/* ---- one line for each statistic ---- */

static void real(struct table *t, const char *name, double value)
{
    table_text(t, name);
    table_real(t, value);
}

static void count(struct table *t, const char *name, uint64_t value)
{
    table_text(t, name);
    table_count(t, value);
}

static double density(const struct measure *r, size_t i)
{
    return (double)r->feature[i].count / (double)r->rows;
}

static void print_activity(struct table *t, const struct measure *r)
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
    count(t, "dead", dead);
    count(t, "dead_window", window);
    count(t, "below_1e-5", below);
    count(t, "above_1e-2", above2);
    count(t, "above_1e-1", above1);
}

static void print_moments(struct table *t, const struct measure *r)
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
    real(t, "skew_mean", skew / alive);
    real(t, "kurtosis_mean", kurtosis / alive);
    if (!r->cross)
        return;
    real(t, "neuron_corr_mean", best / alive);
    real(t, "neuron_corr_share", like / alive);
}

static void print_rows(struct table *t, const struct measure *m)
{
    struct measure_report r = measure_report(m);
    double d = (double)m->of.d;
    count(t, "rows", m->rows);
    real(t, "l0", r.l0);
    real(t, "l1", r.l1);
    real(t, "mse", r.mse);
    real(t, "nmse", r.nmse);
    real(t, "fvu", r.fvu);
    real(t, "variance_explained", r.explained);
    real(t, "cosine", r.cosine);
    real(t, "norm_ratio", r.ratio);
    real(t, "gamma", r.gamma);
    print_activity(t, m);
    print_moments(t, m);
    real(t, "input_skew", r.skew);
    real(t, "input_skew_pooled", r.skew_pooled);
    real(t, "linear_error", r.pass);
    real(t, "interference_var", r.interference);
    real(t, "interference_law", r.power / d);
    real(t, "l0_over_d", r.l0 / d);
}

static void print_directions(struct table *t, const struct geometry *g)
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
    real(t, "dec_norm_mean", norm);
    real(t, "align_mean", align);
    real(t, "denoise_mean", denoise);
    real(t, "overlap_mean", overlap / n);
    real(t, "max_d_mean", peak);
    real(t, "participation_mean", part);
    real(t, "participation_random", 2 * d / 3.14159265358979323846);
    real(t, "capacity_mean", g->capacity / m);
    real(t, "capacity_sum", g->capacity);
    real(t, "frame_potential", g->frame_potential);
    real(t, "frame_potential_least", g->m > g->d ? m * m / d : m);
    real(t, "tied_distance", g->tied_distance);
    real(t, "linear_distance", g->pass_distance);
    real(t, "bound_variance", d);
    real(t, "bound_jl", d / (8 * log(m)));
}

/* What the quarters of the true features are taken by. */
static const double *quarter_key;

static int descending(const void *a, const void *b)
{
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return quarter_key[x] < quarter_key[y] ? 1 : quarter_key[x] > quarter_key[y] ? -1 : x < y ? -1 : 1;
}

/* Mean of found over each quarter of the true features, the largest key first. */
static void print_quarters(struct table *t, const char *name, const double *key, const double *found, size_t n)
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
        real(t, label, sum / (double)(hi - lo));
        free(label);
    }
    free(order);
}

static void print_slopes(struct table *t, const struct stats *s)
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
    real(t, "slope_mean", size / n);
    real(t, "slope_origin_mean", sum / n);
}

static void print_truth(struct table *t, const struct stats *s)
{
    size_t g = s->truth->d_sae, m = s->sae->d_sae;
    double there = 0, back = 0, share = 0;
    for (size_t i = 0; i < g; i++) {
        there += s->found[i] / (double)g;
        share += (s->found[i] > FOUND) / (double)g;
    }
    for (size_t i = 0; i < m; i++)
        back += s->nearest_cos[i] / (double)m;
    count(t, "true_features", g);
    real(t, "mmcs_truth_to_dict", there);
    real(t, "mmcs_dict_to_truth", back);
    real(t, "mmcs_one_to_one", s->one_to_one);
    real(t, "found_share", share);
    if (!o.codes)
        return;
    double *frequency = mem_alloc(g, sizeof *frequency), *scale = mem_alloc(g, sizeof *scale);
    for (size_t i = 0; i < g; i++) {
        const struct measure_feature *f = &s->rows->truth[i];
        frequency[i] = (double)f->count;
        scale[i] = f->count ? f->sum[0] / (double)f->count : 0;
    }
    print_quarters(t, "mmcs_frequency", frequency, s->found, g);
    print_quarters(t, "mmcs_scale", scale, s->found, g);
    print_slopes(t, s);
    free(frequency);
    free(scale);
}

static int print_summary(const struct stats *s)
{
    static const char *const names[] = { "statistic", "value" };
    struct table *t = table_create(names, 2);
    count(t, "d_sae", s->sae->d_sae);
    count(t, "d_model", s->sae->d_model);
    if (s->rows)
        print_rows(t, s->rows);
    print_directions(t, &s->shape);
    if (s->truth)
        print_truth(t, s);
    return table_finish(t);
}

/* ---- one line for each feature ---- */

static void feature_rows(struct table *t, const struct measure *r, size_t i)
{
    const struct measure_feature *f = &r->feature[i];
    size_t neuron;
    table_real(t, density(r, i));
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
    static const char *const rows[] = { "density", "mean", "max", "mean_active", "last", "skew", "kurtosis", NULL };
    static const char *const neurons[] = { "neuron_corr", "neuron", NULL };
    static const char *const directions[] = { "bias", "dec_norm", "enc_norm", "align", "denoise", "overlap", "overlap_with",
                                              "max_d", "max_at", "participation", "capacity", NULL };
    static const char *const truth[] = { "truth", "truth_cos", NULL }, *const slopes[] = { "slope", "slope_origin", NULL };
    const char *names[32] = { "feature" };
    size_t n = 1;
    if (s->rows)
        n = names_add(names, n, rows);
    if (s->rows && s->rows->cross)
        n = names_add(names, n, neurons);
    n = names_add(names, n, directions);
    if (s->truth)
        n = names_add(names, n, truth);
    if (o.codes)
        n = names_add(names, n, slopes);
    struct table *t = table_create(names, n);
    for (size_t i = 0; i < s->sae->d_sae; i++) {
        table_count(t, i);
        if (s->rows)
            feature_rows(t, s->rows, i);
        feature_direction(t, s->sae, &s->shape.each[i], i);
        if (s->truth)
            feature_truth(t, s, i);
    }
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

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table_of_options);
    if (o.features && o.hist)
        opt_misuse("--features and --hist exclude each other");
    if (argc < 2 && (o.hist || o.coded || o.codes || o.window))
        opt_misuse("--hist, --coded, --codes and --window want activations: sae-stat SAE ACTS (- is standard input)");
    if (o.codes && !o.truth)
        opt_misuse("--codes wants --truth");
    struct stats s = { .sae = tool_sae(argv[0]) };
    s.shape = geometry_of(s.sae->w_dec, s.sae->w_enc, s.sae->d_sae, s.sae->d_model);
    if (o.truth)
        compare_truth(&s);
    if (argc > 1)
        measure_rows(&s, argv);
    return o.hist ? print_hist(s.rows) : o.features ? print_features(&s) : print_summary(&s);
}
