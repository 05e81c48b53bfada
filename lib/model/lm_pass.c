/* The forward pass: which operations of the list are needed for what the taps see, and running these. */
/* SPDX-License-Identifier: MIT */
#include "ground/mem.h"
#include "model/lm_inside.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers ---- */

struct lm_work *lm_work_new(const struct lm *m)
{
    struct lm_work *w = mem_zero(1, sizeof *w);
    w->ops = m->list.ops;
    w->ropes = m->list.ropes;
    w->runs = mem_zero(w->ops, sizeof *w->runs);
    w->kept = mem_zero(w->ops, sizeof *w->kept);
    w->saved = mem_zero(3 * w->ops, sizeof *w->saved);
    w->turns = mem_zero(w->ropes, sizeof *w->turns);
    return w;
}

static void free_all(struct rows *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(rows[i].p);
}

void lm_work_free(struct lm_work *w)
{
    if (!w)
        return;
    free_all(w->value, SLOTS);
    free_all(w->grad, SLOTS);
    free_all(w->saved, 3 * w->ops);
    free_all(w->turns, w->ropes);
    free_all(&w->scores, 1);
    free_all(&w->dscores, 1);
    free_all(&w->inverse, 1);
    free(w->runs);
    free(w->kept);
    free(w->saved);
    free(w->turns);
    free(w);
}

float *rows_room(struct rows *r, size_t items)
{
    if (items > r->items || !r->p) {
        free(r->p);
        r->p = mem_align(items, sizeof *r->p);
        r->items = items;
    }
    return r->p;
}

/* Cosines, then sines (length, half) of p times a pair's speed at position p. */
static void fill_turns(float *cosine, const struct rope *rope, size_t length)
{
    float *sine = cosine + length * rope->half;
    for (size_t i = 0; i < rope->half; i++)
        for (size_t p = 0; p < length; p++) {
            cosine[p * rope->half + i] = (float)cos((double)p * rope->speed[i]);
            sine[p * rope->half + i] = (float)sin((double)p * rope->speed[i]);
        }
}

void pass_reserve(struct pass *p)
{
    const struct list *l = &p->m->list;
    size_t longest = 1;
    for (size_t i = 0; i < p->b->count; i++) {
        size_t n = p->b->start[i + 1] - p->b->start[i];
        longest = n > longest ? n : longest;
    }
    if (longest <= p->w->context)
        return;
    p->w->context = longest;
    for (size_t i = 0; i < l->ropes; i++)
        fill_turns(rows_room(&p->w->turns[i], 2 * longest * l->rope[i].half), &l->rope[i], longest);
}

/* ---- what is needed ---- */

static bool tapped(const struct pass *p, const struct op *o)
{
    for (size_t i = 0; i < p->n_taps; i++)
        if (p->taps[i].hook->op == o)
            return true;
    return false;
}

/* From the last operation to the first: what writes a slot that is needed behind it has to run, and needs what it reads. */
static void mark(struct pass *p, size_t from, size_t to, int want)
{
    bool need[SLOTS] = { false };
    if (want != NONE)
        need[want] = true;
    for (size_t i = to; i-- > from;) {
        const struct op *o = &p->m->list.op[i];
        bool runs = op_any(need, o->out);
        if (o->kind == &op_hook)
            runs = tapped(p, o) && (runs || p->keep == SIZE_MAX);
        if (runs)
            op_put(need, o->out, false);
        if (runs || (o->kind->keeps && i >= p->keep))
            op_put(need, o->in, true);
        p->w->runs[i] = runs;
    }
}

/* ---- running ---- */

/* Is a slot written by one of [from, to)? */
static bool written(const struct pass *p, size_t from, size_t to, signed char slot)
{
    bool set[SLOTS] = { false };
    set[slot] = true;
    for (size_t i = from; i < to; i++)
        if (p->w->runs[i] && op_any(set, p->m->list.op[i].out))
            return true;
    return false;
}

/* Keep what operation i reads: where it stands, or a copy when [i, to) write over it. */
static void keep(struct pass *p, size_t i, size_t to)
{
    const signed char *in = p->m->list.op[i].in;
    for (int k = 0; k < 3 && in[k] != NONE; k++) {
        float *x = p->w->value[in[k]].p;
        if (written(p, i, to, in[k])) {
            size_t items = p->n * p->m->list.width[in[k]];
            x = memcpy(rows_room(&p->w->saved[p->w->copies++], items), x, items * sizeof *x);
        }
        p->w->kept[i][k] = x;
    }
}

void pass_run(struct pass *p, size_t from, size_t to, int want)
{
    mark(p, from, to, want);
    p->w->copies = 0;
    for (size_t i = from; i < to; i++) {
        const struct op_kind *kind = p->m->list.op[i].kind;
        if (kind->keeps && i >= p->keep)
            keep(p, i, to);
        if (p->w->runs[i])
            kind->forward(p, &p->m->list.op[i]);
    }
}

void lm_forward(const struct lm *m, struct lm_work *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps)
{
    struct pass p = { m, w, b, taps, n_taps, b->start[b->count] - b->start[0], SIZE_MAX };
    if (p.n == 0)
        return;
    pass_reserve(&p);
    pass_run(&p, 0, m->list.ops, NONE);
}

void lm_resume(const struct lm *m, struct lm_work *w, const struct lm_batch *b, int layer, const float *rows,
               const struct lm_tap *taps, size_t n_taps)
{
    struct pass p = { m, w, b, taps, n_taps, b->start[b->count] - b->start[0], SIZE_MAX };
    size_t items = p.n * m->c.d_model, from = 0;
    if (p.n == 0)
        return;
    while (m->list.op[from].layer < layer)
        from++;
    pass_reserve(&p);
    memcpy(rows_room(&w->value[RESID], items), rows, items * sizeof *rows);
    pass_run(&p, from, m->list.ops, NONE);
}
