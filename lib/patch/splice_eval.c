/* SPDX-License-Identifier: MIT */
#include "patch/splice_eval.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/logits.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void splice_eval_begin(struct splice_eval *s, const struct lm *m)
{
    size_t threads = (size_t)par_threads();
    *s = (struct splice_eval){ .m = m };
    s->work = mem_alloc(threads, sizeof *s->work);
    for (size_t i = 0; i < threads; i++)
        s->work[i] = lm_work_new(m);
    s->clean = mem_zero(threads, sizeof *s->clean);
    s->resid = mem_zero(threads, sizeof *s->resid);
    s->clean_cap = mem_zero(threads, sizeof *s->clean_cap);
    s->resid_cap = mem_zero(threads, sizeof *s->resid_cap);
}

void splice_eval_free(struct splice_eval *s)
{
    for (int i = 0; i < par_threads(); i++) {
        lm_work_free(s->work[i]);
        free(s->clean[i]);
        free(s->resid[i]);
    }
    free(s->work);
    free(s->clean);
    free(s->resid);
    free(s->clean_cap);
    free(s->resid_cap);
    free(s->wanted);
    free(s->score);
    free(s->moved);
    free(s->moved_tok);
    free(s->moved_by);
    free(s->likely_tok);
    free(s->likely_p);
}

void splice_eval_reserve(struct splice_eval *s, const struct splice_group *g)
{
    size_t n = g->tokens;
    s->wanted = mem_grow(s->wanted, &s->wanted_cap, n, sizeof *s->wanted);
    s->score = mem_grow(s->score, &s->score_cap, n, sizeof *s->score);
    s->moved = mem_grow(s->moved, &s->moved_cap, n, sizeof *s->moved);
    s->moved_tok = mem_grow(s->moved_tok, &s->moved_tok_cap, 2 * n * s->k + 1, sizeof *s->moved_tok);
    s->moved_by = mem_grow(s->moved_by, &s->moved_by_cap, 2 * n * s->k + 1, sizeof *s->moved_by);
    s->likely_tok = mem_grow(s->likely_tok, &s->likely_tok_cap, 2 * n * s->likely + 1, sizeof *s->likely_tok);
    s->likely_p = mem_grow(s->likely_p, &s->likely_p_cap, 2 * n * s->likely + 1, sizeof *s->likely_p);
    memset(s->wanted, true, n * sizeof *s->wanted);
}

/* ---- one piece ---- */

struct job {
    struct splice_eval *s;
    const struct splice_group *g;
    size_t lo;
};

/* A pass of one piece: what its taps write to. */
struct view {
    struct splice_eval *s;
    const struct splice_group *g;
    size_t piece, base;                 /* base: token of the piece's first row */
    enum score_pass pass;
    float *clean, *resid;               /* (rows, n_vocab), (rows, d_model) */
    uint32_t *scratch_idx;              /* (n_vocab) each, with k or likely */
    float *scratch_val;
};

static void take_resid(void *arg, float *rows, size_t n)
{
    const struct view *v = arg;
    memcpy(v->resid, rows, n * lm_shape(v->s->m)->d_model * sizeof *rows);
}

static void take_clean(void *arg, float *rows, size_t n)
{
    const struct view *v = arg;
    memcpy(v->clean, rows, n * lm_shape(v->s->m)->n_vocab * sizeof *rows);
}

static void list_moved(const struct view *v, size_t t, const float *clean, const float *rows)
{
    struct splice_eval *s = v->s;
    size_t k = s->k, n = lm_shape(s->m)->n_vocab, at = 2 * t * k;
    s->moved[t].ups = logits_changes(clean, rows, n, 1, k, s->moved_tok + at, s->moved_by + at, v->scratch_idx, v->scratch_val);
    s->moved[t].downs = logits_changes(clean, rows, n, -1, k, s->moved_tok + at + k, s->moved_by + at + k, v->scratch_idx,
                                       v->scratch_val);
}

static void list_likely(const struct view *v, size_t t, const float *clean, const float *rows)
{
    struct splice_eval *s = v->s;
    size_t k = s->likely, n = lm_shape(s->m)->n_vocab, at = 2 * t * k;
    logits_likely(clean, n, k, s->likely_tok + at, s->likely_p + at, v->scratch_idx, v->scratch_val);
    logits_likely(rows, n, k, s->likely_tok + at + k, s->likely_p + at + k, v->scratch_idx, v->scratch_val);
}

/* Token t with the next one, SIZE_MAX for the last of a context. */
static void compare_row(const struct view *v, size_t t, size_t next, const float *clean, const float *row)
{
    struct score *score = &v->s->score[t];
    size_t n = lm_shape(v->s->m)->n_vocab;
    double lse_clean, lse;
    score->kl[v->pass] = logits_kl(clean, row, n, &lse_clean, &lse);
    score->nll[v->pass] = next == SIZE_MAX ? NAN : lse - row[v->g->tok[next]];
    if (v->pass != SCORE_SPLICED)
        return;
    score->next = next != SIZE_MAX;
    score->nll_clean = next == SIZE_MAX ? NAN : lse_clean - clean[v->g->tok[next]];
    score->changed = logits_top(clean, n) != logits_top(row, n);
    if (v->s->k)
        list_moved(v, t, clean, row);
    if (v->s->likely)
        list_likely(v, t, clean, row);
}

static void compare_rows(void *arg, float *rows, size_t n)
{
    const struct view *v = arg;
    const struct splice_group *g = v->g;
    const struct splice_piece *p = &g->piece[v->piece];
    size_t width = lm_shape(v->s->m)->n_vocab;
    (void)n;
    for (size_t c = p->first; c < p->first + p->count; c++)
        for (size_t t = g->start[c]; t < g->start[c + 1]; t++) {
            size_t r = (t - v->base) * width;
            if (v->s->wanted[t])
                compare_row(v, t, t + 1 < g->start[c + 1] ? t + 1 : SIZE_MAX, v->clean + r, rows + r);
        }
}

/* The clean pass also shows the residual stream from which the others go on. */
static const float *run_clean(struct view *v, struct lm_work *w)
{
    const struct lm *m = v->s->m;
    const struct lm_hook *shown, *logits = lm_hook_find(m, "logits");
    struct lm_tap taps[2] = { { logits, take_clean, v } };
    splice_layer(m, v->g, &shown);
    taps[1] = (struct lm_tap){ shown, take_resid, v };
    splice_forward(m, w, v->g, v->piece, SPLICE_CLEAN, NULL, NULL, taps, shown ? 2 : 1);
    return shown ? v->resid : NULL;
}

static void run_piece(void *arg, size_t i, int worker)
{
    static const enum splice_with with[SCORE_PASSES] = { SPLICE_ROWS, SPLICE_ZERO, SPLICE_MEAN };
    const struct job *j = arg;
    struct splice_eval *s = j->s;
    const struct splice_piece *p = &j->g->piece[j->lo + i];
    size_t base = j->g->start[p->first], rows = j->g->start[p->first + p->count] - base, vocab = lm_shape(s->m)->n_vocab;
    s->clean[worker] = mem_grow(s->clean[worker], &s->clean_cap[worker], rows * vocab, sizeof **s->clean);
    s->resid[worker] = mem_grow(s->resid[worker], &s->resid_cap[worker], rows * lm_shape(s->m)->d_model, sizeof **s->resid);
    struct view v = { s, j->g, j->lo + i, base, SCORE_SPLICED, s->clean[worker], s->resid[worker], NULL, NULL };
    v.scratch_idx = mem_alloc(s->k || s->likely ? vocab : 1, sizeof *v.scratch_idx);
    v.scratch_val = mem_alloc(s->k || s->likely ? vocab : 1, sizeof *v.scratch_val);
    const float *resid = run_clean(&v, s->work[worker]);
    for (int pass = 0; pass < SCORE_PASSES; pass++) {
        struct lm_tap tap = { lm_hook_find(s->m, "logits"), compare_rows, &v };
        v.pass = (enum score_pass)pass;
        if (pass == SCORE_SPLICED || (pass == SCORE_ZERO ? s->zero : s->mean))
            splice_forward(s->m, s->work[worker], j->g, v.piece, with[pass], s->means, resid, &tap, 1);
    }
    free(v.scratch_idx);
    free(v.scratch_val);
}

void splice_eval_run(struct splice_eval *s, const struct splice_group *g, size_t lo, size_t hi)
{
    struct job j = { s, g, lo };
    par_for(hi - lo, run_piece, &j);
}
