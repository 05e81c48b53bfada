/* sae-cossim: cosine similarities between the directions of one dictionary or two.
 *
 * One operand: every row with every other one. Two: rows of A with rows of B, a row's own twin included. Signed. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/ranges.h"
#include "base/rng.h"
#include "cli/cli_sae.h"
#include "cli/labels.h"
#include "cli/table.h"
#include "maths/cosine.h"
#include "maths/vec.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MATCH_MOST = 1 << 26 };      /* cells of a cost matrix that one-to-one matching may use */

static struct {
    const char *ranks, *hubs, *features, *labels;
    bool summary, matrix, random, neurons, encoder, match, lines;
    int64_t hist;
} o = { .ranks = NULL };

static const struct opt table_of_options[] = {
    { .type = OPT_GROUP, .help = "Which directions" },
    { OPT_FLAG, .name = "encoder", .var = &o.encoder, .help = "encoder rows (of W_enc transposed), not decoder rows" },
    { OPT_FLAG, .name = "neurons", .var = &o.neurons, .help = "against the neuron basis instead of B" },
    { .type = OPT_GROUP, .help = "What to print" },
    { OPT_STRING, .letter = 'k', .name = "ranks", .var = &o.ranks, .arg = "LIST", .help = "ranks of each feature's "
      "cosines and the features they are with, 1 the largest: numbers and ranges LO-HI, as 1-5", .shown = "1, with -f 1-10" },
    { OPT_STRING, .letter = 'f', .name = "features", .var = &o.features, .arg = "LIST", .help = "only these features of A, in "
      "this order, a line a rank", .shown = "all" },
    { OPT_FLAG, .name = "long", .var = &o.lines, .help = "a line a rank instead of two columns a rank" },
    { OPT_FLAG, .name = "summary", .var = &o.summary, .help = "instead, means, RMS and quantiles over all; mean max cosine "
      "(MMCS) in both directions and one-to-one" },
    { OPT_FLAG, .name = "random", .var = &o.random, .help = "the summary, beside that of random rows of the same shape and "
      "the exact law of random directions" },
    { OPT_FLAG, .name = "matrix", .var = &o.matrix, .help = "instead, all cosines" },
    { OPT_FLAG, .name = "match", .var = &o.match, .help = "instead, the one-to-one pairing of features with the largest sum of "
      "cosines" },
    { OPT_COUNT, .name = "hist", .var = &o.hist, .arg = "BINS", .help = "instead, a histogram of each row's largest cosine",
      .lo = 1, .hi = 1e6, .shown = "" },
    { OPT_STRING, .name = "hubs", .var = &o.hubs, .arg = "LO,HI", .help = "instead, of how many features each is the nearest "
      "one, at a cosine from LO to HI", .shown = "" },
    LABELS_OPTION(&o.labels),
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-cossim", .synopsis = "[OPTION]... A [B]",
    .about = "Compare the feature directions of a dictionary with each other, or with those of another one.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_SEED | OPT_JSON, .min_operands = 1, .max_operands = 2,
    .version = cli_blas_version,
};

/* ---- directions ---- */

struct rows {
    float *x;                       /* (n,d), unit rows; a zero row stays zero */
    size_t n, d;
};

static struct rows load_rows(const char *path)
{
    struct sae *s = cli_sae(path);
    if (o.encoder && !s->w_enc)
        tool_die_data("%s: a dictionary without an encoder", path);
    struct rows r = { mem_align(s->d_sae * s->d_model, sizeof(float)), s->d_sae, s->d_model };
    memcpy(r.x, o.encoder ? s->w_enc : s->w_dec, r.n * r.d * sizeof *r.x);
    for (size_t i = 0; i < r.n; i++)
        vec_normalize(r.x + i * r.d, r.d, 1e-30f);
    sae_free(s);
    return r;
}

static struct rows neuron_rows(size_t d)
{
    struct rows r = { mem_zero(d * d, sizeof(float)), d, d };
    for (size_t i = 0; i < d; i++)
        r.x[i * d + i] = 1;
    return r;
}

static struct rows random_rows(size_t n, size_t d, uint64_t stream)
{
    struct rows r = { mem_align(n * d, sizeof(float)), n, d };
    struct rng g;
    rng_seed(&g, (uint64_t)opt.seed, stream);
    for (size_t i = 0; i < n * d; i++)
        r.x[i] = (float)rng_normal(&g);
    for (size_t i = 0; i < n; i++)
        vec_normalize(r.x + i * d, d, 1e-30f);
    return r;
}

/* ---- ranks ---- */

static size_t *rank, ranks, most_rank;

static void parse_ranks(size_t limit)
{
    struct ranges list;
    char *few = mem_format("1-%zu", limit < 10 ? limit : 10);
    if (ranges_parse(&list, o.ranks ? o.ranks : o.features ? few : "1", "a rank", 1, (int64_t)limit))
        opt_misuse("-k: %s", err_text());
    rank = ranges_list(&list, &ranks);
    for (size_t i = 0; i < ranks; i++)
        most_rank = rank[i] > most_rank ? rank[i] : most_rank;
    ranges_free(&list);
    free(few);
}

/* ---- the features of A that are shown ---- */

static size_t *shown;                   /* (as many as rows are compared) their numbers; NULL: all */
static struct labels *labels;

static size_t number_of(size_t r)
{
    return shown ? shown[r] : r;
}

/* Those rows of a that -f names. */
static struct rows choose_rows(const struct rows *a)
{
    struct ranges list;
    struct rows r = { .d = a->d };
    if (ranges_parse(&list, o.features, "a feature", 0, (int64_t)a->n - 1))
        opt_misuse("-f: %s", err_text());
    shown = ranges_list(&list, &r.n);
    ranges_free(&list);
    r.x = mem_align(r.n * r.d, sizeof *r.x);
    for (size_t i = 0; i < r.n; i++)
        memcpy(r.x + i * r.d, a->x + shown[i] * r.d, r.d * sizeof *r.x);
    return r;
}

static void print_feature(struct table *t, size_t feature)
{
    table_count(t, feature);
    if (labels)
        labels_cell(t, labels, feature);
}

/* "feature", and with labels "label": how many names that is. */
static size_t name_feature(const char **names)
{
    names[0] = "feature";
    names[1] = "label";
    return labels ? 2 : 1;
}

/* ---- the tables ---- */

static int print_ranks(const struct cosine_stats *s, size_t n)
{
    const char **names = mem_alloc(2 + 2 * ranks, sizeof *names);
    size_t columns = name_feature(names);
    for (size_t i = 0; i < ranks; i++) {
        names[columns++] = mem_format("cos_%zu", rank[i]);
        names[columns++] = mem_format("nearest_%zu", rank[i]);
    }
    struct table *t = table_create(names, columns);
    for (size_t r = 0; r < n; r++) {
        print_feature(t, number_of(r));
        for (size_t i = 0; i < ranks; i++) {
            table_real(t, s->nearest[r].item[rank[i] - 1].key);
            table_count(t, s->nearest[r].item[rank[i] - 1].order);
        }
    }
    return table_finish(t);
}

/* A line a rank. Neighbors within one dictionary have labels as well. */
static int print_long(const struct cosine_stats *s, size_t n, bool same)
{
    const char *names[6];
    size_t columns = name_feature(names);
    names[columns++] = "rank";
    names[columns++] = "neighbor";
    if (labels && same)
        names[columns++] = "neighbor_label";
    names[columns++] = "cosine";
    struct table *t = table_create(names, columns);
    for (size_t r = 0; r < n; r++)
        for (size_t i = 0; i < ranks; i++) {
            const struct largest_item *near = &s->nearest[r].item[rank[i] - 1];
            print_feature(t, number_of(r));
            table_count(t, rank[i]);
            table_count(t, near->order);
            if (labels && same)
                labels_cell(t, labels, near->order);
            table_real(t, near->key);
        }
    return table_finish(t);
}

/* Of some rows of a dictionary beside all of it: a row is no neighbor of its own. */
static void leave_out_self(struct cosine_stats *s, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        struct largest *near = &s->nearest[r];
        size_t at = 0;
        while (at < near->n && near->item[at].order != number_of(r))
            at++;
        if (at < near->n)
            memmove(&near->item[at], &near->item[at + 1], (near->n - at - 1) * sizeof *near->item);
    }
}

static int list_nearest(const struct rows *a, const struct rows *b)
{
    struct cosine_stats s;
    struct rows some = *a;
    bool same = a == b;
    if (o.features) {
        some = choose_rows(a);
        cosine_all(some.x, some.n, b->x, b->n, b->d, false, most_rank + same, &s);
        if (same)
            leave_out_self(&s, some.n);
    } else {
        cosine_all(a->x, a->n, b->x, b->n, a->d, same, most_rank, &s);
    }
    return o.lines || o.features ? print_long(&s, some.n, same) : print_ranks(&s, some.n);
}

static int print_matrix(const struct rows *all, const struct rows *b)
{
    struct rows a = o.features ? choose_rows(all) : *all;
    const char **names = mem_alloc(b->n + 2, sizeof *names);
    size_t columns = name_feature(names);
    for (size_t c = 0; c < b->n; c++)
        names[columns++] = mem_format("%zu", c);
    struct table *t = table_create(names, columns);
    for (size_t r = 0; r < a.n; r++) {
        print_feature(t, number_of(r));
        for (size_t c = 0; c < b->n; c++)
            table_real(t, vec_dot(a.x + r * a.d, b->x + c * b->d, a.d));
    }
    return table_finish(t);
}

/* A row of A that the smaller B leaves without a partner has empty cells. */
static int print_match(const struct rows *a, const struct rows *b)
{
    const char *names[4];
    size_t columns = name_feature(names), *partner = mem_alloc(a->n, sizeof *partner);
    names[columns++] = "match";
    names[columns++] = "cos";
    cosine_match(a->x, a->n, b->x, b->n, a->d, partner);
    struct table *t = table_create(names, columns);
    for (size_t r = 0; r < a->n; r++) {
        print_feature(t, r);
        if (partner[r] == SIZE_MAX) {
            table_empty(t);
            table_empty(t);
            continue;
        }
        table_count(t, partner[r]);
        table_real(t, vec_dot(a->x + r * a->d, b->x + partner[r] * b->d, a->d));
    }
    free(partner);
    return table_finish(t);
}

static int print_hist(const struct cosine_stats *s, size_t n)
{
    static const char *const names[] = { "lo", "hi", "count", "share" };
    size_t bins = (size_t)o.hist;
    uint64_t *count = mem_zero(bins, sizeof *count);
    for (size_t r = 0; r < n; r++) {
        double at = (s->nearest[r].item[0].key + 1) / 2 * (double)bins;
        count[at < 0 ? 0 : at >= (double)bins ? bins - 1 : (size_t)at]++;
    }
    struct table *t = table_create(names, 4);
    for (size_t i = 0; i < bins; i++) {
        table_real(t, -1 + 2.0 * (double)i / (double)bins);
        table_real(t, -1 + 2.0 * (double)(i + 1) / (double)bins);
        table_count(t, count[i]);
        table_real(t, (double)count[i] / (double)n);
    }
    free(count);
    return table_finish(t);
}

static void parse_hubs(double *lo, double *hi)
{
    char *text = mem_string(o.hubs), *comma = strchr(text, ',');
    if (comma)
        *comma = 0;
    if (!comma || opt_real(text, lo) || opt_real(comma + 1, hi) || *lo > *hi)
        opt_misuse("--hubs: '%s' is not LO,HI", o.hubs);
    free(text);
}

static int print_hubs(const struct cosine_stats *s, size_t na, size_t nb)
{
    const char *names[3];
    size_t columns = name_feature(names);
    names[columns++] = "in_degree";
    struct largest order = { .k = nb };
    uint64_t *degree = mem_zero(nb, sizeof *degree);
    double lo, hi;
    parse_hubs(&lo, &hi);
    for (size_t r = 0; r < na; r++)
        if (s->nearest[r].item[0].key >= lo && s->nearest[r].item[0].key <= hi)
            degree[s->nearest[r].item[0].order]++;
    for (size_t c = 0; c < nb; c++)
        if (degree[c])
            largest_push(&order, (double)degree[c], c, NULL);
    largest_sort(&order);
    struct table *t = table_create(names, columns);
    for (size_t i = 0; i < order.n; i++) {
        print_feature(t, order.item[i].order);
        table_count(t, (uint64_t)order.item[i].key);
    }
    largest_free(&order);
    free(degree);
    return table_finish(t);
}

/* ---- --summary ---- */

static const double quantile[] = { 0.05, 0.25, 0.5, 0.75, 0.95 };
enum { QUANTILES = 5, OTHERS = 14 };

struct summary {
    double *value;                  /* OTHERS + ranks */
    const char **name;
    size_t n;
};

static struct summary make_summary(void)
{
    struct summary s = { mem_zero(OTHERS + ranks, sizeof *s.value), mem_zero(OTHERS + ranks, sizeof *s.name), 0 };
    return s;
}

static void add(struct summary *s, const char *name, double value)
{
    s->name[s->n] = name;
    s->value[s->n++] = value;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void add_best(struct summary *s, double *best, size_t n)
{
    static const char *const names[] = { "cos_1_q05", "cos_1_q25", "cos_1_q50", "cos_1_q75", "cos_1_q95" };
    double sum = 0, sq = 0;
    for (size_t i = 0; i < n; i++)
        sum += best[i];
    for (size_t i = 0; i < n; i++)
        sq += (best[i] - sum / (double)n) * (best[i] - sum / (double)n);
    qsort(best, n, sizeof *best, ascending);
    add(s, "cos_1_sd", n > 1 ? sqrt(sq / (double)(n - 1)) : 0);
    for (size_t i = 0; i < QUANTILES; i++)
        add(s, names[i], best[(size_t)(quantile[i] * (double)(n - 1) + 0.5)]);
    add(s, "cos_1_max", best[n - 1]);
}

static struct summary summarize(const struct rows *a, const struct rows *b)
{
    struct summary s = make_summary();
    struct cosine_stats c;
    bool same = a == b;
    cosine_all(a->x, a->n, b->x, b->n, a->d, same, most_rank, &c);
    add(&s, "mean", c.sum / (double)c.pairs);
    add(&s, "rms", sqrt(c.sum_sq / (double)c.pairs));
    double *best = mem_alloc(a->n, sizeof *best), back = 0;
    for (size_t i = 0; i < ranks; i++) {
        double sum = 0;
        for (size_t r = 0; r < a->n; r++)
            sum += c.nearest[r].item[rank[i] - 1].key;
        add(&s, mem_format("cos_%zu_mean", rank[i]), sum / (double)a->n);
    }
    for (size_t r = 0; r < a->n; r++)
        best[r] = c.nearest[r].item[0].key;
    add_best(&s, best, a->n);
    double there = 0;
    for (size_t r = 0; r < a->n; r++)
        there += best[r];
    for (size_t i = 0; i < b->n; i++)
        back += c.best_b[i];
    add(&s, "mmcs_a_to_b", there / (double)a->n);
    add(&s, "mmcs_b_to_a", back / (double)b->n);
    double matched = NAN;
    if (!same && a->n <= MATCH_MOST / b->n) {
        size_t *partner = mem_alloc(a->n, sizeof *partner);
        matched = cosine_match(a->x, a->n, b->x, b->n, a->d, partner);
        free(partner);
    }
    add(&s, "one_to_one_mean", matched);
    cosine_free(&c, a->n);
    free(best);
    return s;
}

/* What random directions give, where the law says it: the same lines. */
static struct summary law_of(const struct rows *a, const struct rows *b)
{
    struct summary s = make_summary();
    size_t n = b->n - (a == b);
    double at[QUANTILES], mean = NAN;
    add(&s, "mean", 0);
    add(&s, "rms", 1 / sqrt((double)a->d));
    for (size_t i = 0; i < ranks; i++)
        add(&s, "", cosine_law(a->d, n, rank[i], NULL, NULL, 0).mean);
    struct cosine_law one = cosine_law(a->d, n, 1, quantile, at, QUANTILES);
    mean = one.mean;
    add(&s, "cos_1_sd", one.sd);
    for (size_t i = 0; i < QUANTILES; i++)
        add(&s, "", at[i]);
    size_t pairs = a == b ? a->n * n / 2 : a->n * n;        /* any two of them are independent, and so nearly are all */
    add(&s, "cos_1_max", cosine_law(a->d, pairs, 1, NULL, NULL, 0).mean);
    add(&s, "mmcs_a_to_b", mean);
    add(&s, "mmcs_b_to_a", a == b ? mean : cosine_law(a->d, a->n, 1, NULL, NULL, 0).mean);
    add(&s, "one_to_one_mean", NAN);
    return s;
}

static int print_summary(const struct rows *a, const struct rows *b)
{
    static const char *const names[] = { "statistic", "measured", "random", "law" };
    struct summary s = summarize(a, b), random = { .n = 0 }, law = { .n = 0 };
    if (o.random) {
        struct rows x = random_rows(a->n, a->d, 1), y = a == b ? x : random_rows(b->n, b->d, 2);
        random = summarize(&x, a == b ? &x : &y);
        law = law_of(a, b);
    }
    struct table *t = table_create_keyed(names, o.random ? 4 : 2);
    double sizes[] = { (double)a->n, (double)b->n, (double)a->d, cosine_welch(a->d, a->n) };
    const char *size_names[] = { "rows_a", "rows_b", "d_model", "welch_bound" };
    for (size_t i = 0; i < 4; i++) {
        table_text(t, size_names[i]);
        for (int k = 0; k < (o.random ? 3 : 1); k++)
            table_real(t, sizes[i]);
    }
    for (size_t i = 0; i < s.n; i++) {
        table_text(t, s.name[i]);
        table_real(t, s.value[i]);
        if (o.random) {
            table_real(t, random.value[i]);
            table_real(t, law.value[i]);
        }
    }
    return table_finish(t);
}

int main(int argc, char **argv)
{
    tool_begin(&argc, &argv, &usage, table_of_options);
    o.summary |= o.random;
    if (o.summary + o.matrix + o.match + (o.hist > 0) + (o.hubs != NULL) > 1)
        opt_misuse("--summary, --random, --matrix, --match, --hist and --hubs exclude each other");
    if (o.features && (o.summary || o.match || o.hist || o.hubs))
        opt_misuse("-f goes with -k, --long and --matrix only");
    if (o.lines && (o.summary || o.matrix || o.match || o.hist || o.hubs))
        opt_misuse("--long goes with -k and -f only");
    if (o.labels && (o.summary || o.hist || (o.hubs && (argc > 1 || o.neurons))))
        opt_misuse("--labels: there is no feature of A to name");
    if (o.neurons && argc > 1)
        opt_misuse("--neurons takes one dictionary");
    struct rows a = load_rows(argv[0]), other = { .n = 0 }, *b = &a;
    if (o.neurons)
        other = neuron_rows(a.d), b = &other;
    else if (argc > 1)
        other = load_rows(argv[1]), b = &other;
    if (b->d != a.d)
        tool_die_data("%s: rows are %zu wide, %s has %zu", argv[1], b->d, argv[0], a.d);
    if (b == &a && a.n < 2)
        tool_die_data("%s: one feature has no other to compare with", argv[0]);
    if (o.match && b == &a)
        opt_misuse("--match wants two dictionaries, or --neurons");
    if (o.match && a.n > MATCH_MOST / b->n)
        tool_die_data("%s: %zu and %zu features are too many to pair: their product is to be at most %d", argv[0], a.n, b->n,
                      MATCH_MOST);
    if (o.random && a.d < 2)
        tool_die_data("%s: directions in one dimension follow no law", argv[0]);
    parse_ranks(b->n - (b == &a));
    labels = labels_open(o.labels, a.n);
    if (o.matrix)
        return print_matrix(&a, b);
    if (o.match)
        return print_match(&a, b);
    if (o.summary)
        return print_summary(&a, b);
    if (!o.hist && !o.hubs)
        return list_nearest(&a, b);
    struct cosine_stats s;
    cosine_all(a.x, a.n, b->x, b->n, a.d, b == &a, most_rank, &s);
    return o.hist ? print_hist(&s, a.n) : print_hubs(&s, a.n, b->n);
}
