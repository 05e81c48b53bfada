/* Pieces of contexts are the unit of work, one thread each, as everywhere; what they sum is added up in their order. */
/* SPDX-License-Identifier: MIT */
#include "act_splice/gradient.h"
#include "base/mem.h"
#include "base/par.h"
#include "cli/placed.h"
#include "cli/table.h"
#include "cli/tool.h"
#include "data/npy.h"
#include "data/row_selector.h"
#include "model/lm_backward.h"
#include "patch/metric.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct {
    const struct grad_job *job;
    const struct lm *m;
    const struct lm_hook *hook;
    struct metric metric;
    struct row_selector at, moved;             /* where the metric is read; what an attack moves */
    struct lm_backward **work;              /* one for each thread */
} g;

/* ---- one piece ---- */

struct piece {
    const struct splice_group *group;
    size_t first, contexts;             /* of the group */
    size_t base, rows;                  /* its tokens in the group */
    const float *delta;                 /* attack: added to the rows that are moved; else NULL */
    size_t reads;                       /* out: how many rows the metric was read at */
    double value;                       /* out */
};

static bool within(const struct row_selector *w, const struct splice_group *of, size_t c, size_t i)
{
    return row_selector_place(w, i - of->start[c], i + 1 == of->start[c + 1]);
}

static bool is_read(const struct splice_group *of, size_t c, size_t i)
{
    if (g.metric.kind == METRIC_NLL && i + 1 == of->start[c + 1])
        return false;                   /* nothing is known to come next */
    if (!g.job->at && g.metric.kind != METRIC_NLL)
        return i + 1 == of->start[c + 1];
    return g.job->at ? within(&g.at, of, c, i) : !g.job->counts || g.job->counts(of, c, i);
}

static bool is_moved(const struct splice_group *of, size_t c, size_t i)
{
    return of->row[0].given[i] && within(&g.moved, of, c, i) && (!g.job->counts || g.job->counts(of, c, i));
}

/* Call fn for every token of the piece: context and token of the group. */
#define EACH_TOKEN(run, c, i) \
    for (size_t c = (run)->first, c##_end = c + (run)->contexts; c < c##_end; c++) \
        for (size_t i = (run)->group->start[c]; i < (run)->group->start[c + 1]; i++)

/* The tap at the hook. */
static void put_rows(void *arg, float *rows, size_t n)
{
    const struct piece *p = arg;
    size_t d = g.hook->width;
    (void)n;
    EACH_TOKEN(p, c, i) {
        float *to = rows + (i - p->base) * d;
        if (p->group->row[0].given[i])
            memcpy(to, p->group->row[0].x + i * d, d * sizeof *to);
        for (size_t j = 0; p->delta && j < d && is_moved(p->group, c, i); j++)
            to[j] += p->delta[j];
    }
}

static double read_row(void *arg, size_t row, float *logits)
{
    const struct piece *p = arg;
    size_t i = p->base + row;
    uint32_t next = g.metric.kind == METRIC_NLL ? p->group->tok[i + 1] : 0;
    return metric_row(&g.metric, logits, lm_shape(g.m)->n_vocab, next);
}

/* The metric over the piece, and its gradient (rows, width) where grad is not NULL. */
static void run_piece(struct piece *p, int worker, float *grad)
{
    size_t *start = mem_alloc(p->contexts + 1, sizeof *start), *row = mem_alloc(p->rows, sizeof *row);
    for (size_t c = 0; c <= p->contexts; c++)
        start[c] = p->group->start[p->first + c] - p->base;
    p->reads = 0;
    EACH_TOKEN(p, c, i)
        if (is_read(p->group, c, i))
            row[p->reads++] = i - p->base;
    struct lm_batch b = { p->group->tok + p->base, start, p->contexts };
    struct lm_tap tap = { g.hook, put_rows, p };
    struct lm_objective number = { row, p->reads, read_row, p };
    if (lm_backward_gradient(g.m, g.work[worker], &b, &tap, 1, g.hook, &number, &p->value, grad))
        tool_die();
    free(start);
    free(row);
}

static struct piece piece_of(const struct splice_group *of, size_t i)
{
    const struct splice_piece *s = &of->piece[i];
    size_t base = of->start[s->first];
    return (struct piece){ of, s->first, s->count, base, of->start[s->first + s->count] - base, NULL, 0, 0 };
}

/* ---- the gradient as a stream ---- */

struct writing {
    const struct splice_group *group;
    float *grad;                        /* (tokens, width) */
    uint64_t *reads;                    /* one for each piece */
};

static void grad_piece(void *arg, size_t i, int worker)
{
    struct writing *w = arg;
    struct piece p = piece_of(w->group, i);
    run_piece(&p, worker, w->grad + p.base * g.hook->width);
    w->reads[i] = p.reads;
}

/* The rows of the group that were given, in their order. */
static void write_group(struct stream_out *out, const struct stream_in *in, const struct splice_group *of,
                        const float *grad)
{
    size_t width = g.hook->width, at_once = STREAM_PAYLOAD / sizeof(float) / width + 1, n = 0, left = 0;
    size_t *at = mem_alloc(at_once, sizeof *at), *context = mem_alloc(at_once, sizeof *context);
    float *x = mem_alloc(at_once * width, sizeof *x);
    for (size_t i = 0; i < of->tokens; i++)
        left += of->row[0].given[i];
    for (size_t c = 0; c < of->contexts; c++)
        for (size_t i = of->start[c]; i < of->start[c + 1]; i++) {
            if (!of->row[0].given[i])
                continue;
            at[n] = i;
            context[n] = c;
            memcpy(x + n++ * width, grad + i * width, width * sizeof *x);
            left--;
            if (n == at_once || !left) {
                placed_put(out, in, of, NULL, at, context, n, x, width);
                n = 0;
            }
        }
    free(at);
    free(context);
    free(x);
}

static json_t *changes(void)
{
    json_t *grad = json_pack("{s:s}", "metric", g.job->metric);
    json_t *all = json_pack("{s:s,s:s,s:o}", "kind", "acts", "dtype", "f32", "grad", grad);
    if (!all || (g.job->at && json_object_set_new(grad, "at", json_string(g.job->at))))
        mem_die(0);
    return all;
}

static void none_read(void)
{
    tool_die_data("%s is read nowhere: no context has such a position", g.job->metric);
}

static int write_gradient(struct splice *s, char **inputs, size_t n)
{
    struct stream_in *in = splice_stream(s, 0);
    struct splice_group of = { .contexts = 0 };
    struct writing w = { .group = &of };
    size_t grad_cap = 0, reads_cap = 0;
    uint64_t reads = 0, rows = 0;
    int r = splice_next(s, &of);        /* what cannot be read leaves no output behind */
    if (r < 0)
        tool_die();
    struct stream_out *out = tool_create(in, changes(), inputs, n);
    for (; r > 0; r = splice_next(s, &of)) {
        w.grad = mem_grow(w.grad, &grad_cap, of.tokens * g.hook->width, sizeof *w.grad);
        w.reads = mem_grow(w.reads, &reads_cap, of.pieces, sizeof *w.reads);
        par_for(of.pieces, grad_piece, &w);
        for (size_t i = 0; i < of.pieces; i++)
            reads += w.reads[i];
        write_group(out, in, &of, w.grad);
        rows += of.tokens;
        tool_progress(rows, 0, NULL);
    }
    if (r < 0)
        tool_die();
    if (!reads)
        none_read();
    free(w.grad);
    free(w.reads);
    splice_group_free(&of);
    return tool_finish(out);
}

/* ---- the search for a vector ---- */

static struct {
    struct splice_group *group;
    size_t groups, group_cap;
    struct piece *piece;
    size_t pieces, piece_cap;
    double *part;                       /* (pieces, width): the gradient at the vector */
    float *delta;                       /* (width): the vector being tried */
    uint64_t reads, moved;
} all;

static void read_all(struct splice *s)
{
    int r;
    do {
        all.group = mem_grow(all.group, &all.group_cap, all.groups + 1, sizeof *all.group);
        all.group[all.groups] = (struct splice_group){ .contexts = 0 };
        r = splice_next(s, &all.group[all.groups]);
        if (r < 0)
            tool_die();
        all.groups += r > 0;
    } while (r > 0);
    for (size_t k = 0; k < all.groups; k++)
        for (size_t i = 0; i < all.group[k].pieces; i++) {
            all.piece = mem_grow(all.piece, &all.piece_cap, all.pieces + 1, sizeof *all.piece);
            struct piece *p = &all.piece[all.pieces++];
            *p = piece_of(&all.group[k], i);
            EACH_TOKEN(p, c, t)
                all.moved += is_moved(p->group, c, t);
        }
    all.part = mem_alloc(all.pieces * g.hook->width, sizeof *all.part);
    all.delta = mem_alloc(g.hook->width, sizeof *all.delta);
}

static void try_piece(void *arg, size_t k, int worker)
{
    struct piece *p = &all.piece[k];
    size_t d = g.hook->width;
    float *grad = mem_alloc(p->rows * d, sizeof *grad);
    double *sum = all.part + k * d;
    (void)arg;
    p->delta = all.delta;
    run_piece(p, worker, grad);
    memset(sum, 0, d * sizeof *sum);
    EACH_TOKEN(p, c, i)
        for (size_t j = 0; j < d && is_moved(p->group, c, i); j++)
            sum[j] += grad[(i - p->base) * d + j];
    free(grad);
}

/* The mean of the metric with `vector` (width) added, and its gradient there. */
static double try_vector(const double *vector, double *grad)
{
    size_t d = g.hook->width;
    double value = 0;
    for (size_t j = 0; j < d; j++)
        all.delta[j] = (float)vector[j];
    par_for(all.pieces, try_piece, NULL);
    memset(grad, 0, d * sizeof *grad);
    all.reads = 0;
    for (size_t k = 0; k < all.pieces; k++) {
        value += all.piece[k].value;
        all.reads += all.piece[k].reads;
        for (size_t j = 0; j < d; j++)
            grad[j] += all.part[k * d + j];
    }
    if (!all.reads)
        none_read();
    for (size_t j = 0; j < d; j++)
        grad[j] /= (double)all.reads;
    return value / (double)all.reads;
}

static double norm_of(const double *x, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++)
        sum += x[j] * x[j];
    return sqrt(sum);
}

/* out = `norm` times the direction of a / |a| + step b / |b|. */
static void turn(double *out, const double *a, const double *b, double step, double norm, size_t d)
{
    double by_a = norm_of(a, d), by_b = norm_of(b, d);
    for (size_t j = 0; j < d; j++)
        out[j] = (by_a > 0 ? a[j] / by_a : 0) + (by_b > 0 ? step * b[j] / by_b : 0);
    double now = norm_of(out, d);
    for (size_t j = 0; j < d; j++)
        out[j] *= now > 0 ? norm / now : 0;
}

/* Climb on the sphere: along the gradient, back onto it; a step that does not lead up is halved. The first point is where
 * the gradient at zero leads. Returns how often the metric was computed. */
static int64_t climb(double *best, double *grad, double *value)
{
    size_t d = g.hook->width;
    double *next = mem_alloc(d, sizeof *next), *next_grad = mem_alloc(d, sizeof *next_grad), step = 1;
    int64_t tries = 0;
    memset(next, 0, d * sizeof *next);
    turn(best, next, grad, 1, g.job->norm, d);
    *value = try_vector(best, grad);
    for (; tries < g.job->iterations && step > 1e-3; tries++) {
        turn(next, best, grad, step, g.job->norm, d);
        double at = try_vector(next, next_grad);
        tool_progress((uint64_t)tries, (uint64_t)g.job->iterations, g.job->metric);
        if (at > *value) {
            memcpy(best, next, d * sizeof *best);
            memcpy(grad, next_grad, d * sizeof *grad);
            *value = at;
            step *= 1.5;
        } else {
            step /= 2;
        }
    }
    tool_progress_end();
    free(next);
    free(next_grad);
    return tries + 1;
}

static void write_vector(const double *vector)
{
    unsigned char head[NPY_HEADER_MAX];
    size_t d = g.hook->width;
    struct npy h = { .type = DTYPE_F32, .rank = 1, .shape = { d } };
    float *x = mem_alloc(d, sizeof *x), *stored = mem_alloc(d, sizeof *stored);
    for (size_t j = 0; j < d; j++)
        x[j] = (float)vector[j];
    dtype_store(stored, x, DTYPE_F32, d);
    struct iovec iov[2] = { { head, npy_write_header(head, &h) }, { stored, d * sizeof *stored } };
    struct io_out *out = io_create(opt.output, (int)opt.zlevel);
    if (!out || io_put(out, iov, 2) || io_commit(out))
        tool_die();
    free(x);
    free(stored);
}

static int attack(struct splice *s)
{
    static const char *const names[] = { "statistic", "value" };
    size_t d = g.hook->width;
    double *vector = mem_zero(d, sizeof *vector), *grad = mem_alloc(d, sizeof *grad), after;
    read_all(s);
    if (!all.moved)
        tool_die_data("%s: no row to move", stream_name(splice_stream(s, 0)));
    double before = try_vector(vector, grad), slope = norm_of(grad, d);
    if (!(slope > 0))
        tool_die_data("%s does not depend on the rows that are moved", g.job->metric);
    int64_t tries = climb(vector, grad, &after);
    if (!(after > before))
        tool_warn("note: no vector of norm %g was found that raises %s", g.job->norm, g.job->metric);
    write_vector(vector);
    struct table *t = table_create_at("-", names, 2);
    const struct { const char *name; double value; } rows[] = {
        { "positions_read", (double)all.reads }, { "rows_moved", (double)all.moved }, { "norm", g.job->norm },
        { "tries", (double)tries }, { "before", before }, { "after", after },
        { "first_order", before + slope * g.job->norm },
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        table_text(t, rows[i].name);
        table_real(t, rows[i].value);
    }
    for (size_t k = 0; k < all.groups; k++)
        splice_group_free(&all.group[k]);
    free(all.group);
    free(all.piece);
    free(all.part);
    free(all.delta);
    free(vector);
    free(grad);
    return table_finish(t);
}

int gradient_main(const struct grad_job *job, struct lm *m, const struct tokenizer *t, struct splice *s,
                     const struct lm_hook *hook, char **inputs, size_t n)
{
    g.job = job;
    g.m = m;
    g.hook = hook;
    if (metric_parse(&g.metric, job->metric, t, lm_shape(m)->n_vocab) || (job->at && row_selector_at(&g.at, job->at)) ||
        (job->attack_at && row_selector_at(&g.moved, job->attack_at)))
        tool_die();
    if (!strcmp(hook->name, "logits"))
        opt_misuse("--%s: not at the logits: metrics are computed from them", job->attack ? "attack" : "grad");
    if (job->attack && !opt.output)
        opt_misuse("--attack writes its vector to -o FILE");
    if (job->attack && !(job->norm > 0))
        opt_misuse("--attack needs --norm R above 0");
    g.work = mem_alloc((size_t)par_threads(), sizeof *g.work);
    for (int i = 0; i < par_threads(); i++)
        g.work[i] = lm_backward_new(m);
    int status = job->attack ? attack(s) : write_gradient(s, inputs, n);
    for (int i = 0; i < par_threads(); i++)
        lm_backward_free(g.work[i]);
    free(g.work);
    return status;
}
