/* The forward pass: which operations of the list are needed for what the taps see, and running these. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "model/lm_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- buffers ---- */

struct lm_work *lm_work_new(const struct lm *m)
{
    struct lm_work *w = mem_zero(1, sizeof *w);
    w->buffers = TURNS + m->list.ropes + 3 * m->list.ops;
    w->buf = mem_zero(w->buffers, sizeof *w->buf);
    w->runs = mem_zero(m->list.ops, sizeof *w->runs);
    w->kept = mem_zero(m->list.ops, sizeof *w->kept);
    return w;
}

void lm_work_free(struct lm_work *w)
{
    if (!w)
        return;
    for (size_t i = 0; i < w->buffers; i++)
        free(w->buf[i].p);
    free(w->buf);
    free(w->runs);
    free(w->kept);
    free(w);
}

float *lm_room(struct rows *r, size_t items)
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

void lm_pass_reserve(struct pass *p)
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
        fill_turns(lm_room(&p->w->buf[TURNS + i], 2 * longest * l->rope[i].half), &l->rope[i], longest);
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
    unsigned need = 1u << want;
    for (size_t i = to; i-- > from;) {
        const struct op *o = &p->m->list.op[i];
        bool runs = need & o->writes;
        if (o->kind == &op_hook)
            runs = tapped(p, o) && (runs || p->keep == SIZE_MAX);
        if (runs)
            need &= ~o->writes;
        if (runs || (o->kind->keeps && i >= p->keep))
            need |= o->reads;
        p->w->runs[i] = runs;
    }
}

/* ---- running ---- */

/* Is a slot written by one of [from, to)? */
static bool written(const struct pass *p, size_t from, size_t to, int slot)
{
    for (size_t i = from; i < to; i++)
        if (p->w->runs[i] && p->m->list.op[i].writes >> slot & 1)
            return true;
    return false;
}

/* Keep what operation i reads: where it stands, or a copy when [i, to) write over it. */
static void keep(struct pass *p, size_t i, size_t to)
{
    const struct op *o = &p->m->list.op[i];
    for (int k = 0; k < o->kind->keeps; k++) {
        float *x = p->w->buf[o->in[k]].p;
        size_t items = p->n * p->m->list.width[o->in[k]];
        if (written(p, i, to, o->in[k]))
            x = memcpy(lm_room(&p->w->buf[p->w->next++], items), x, items * sizeof *x);
        p->w->kept[i][k] = x;
    }
}

static void keep_stream(struct pass *p, const struct op *o)
{
    size_t items = p->n * p->m->list.width[RESID];
    if (p->stream && o->layer >= p->first && o->layer != o[-1].layer)
        memcpy(p->stream + (size_t)(o->layer - p->first) * items, p->w->buf[RESID].p, items * sizeof(float));
}

void lm_pass_run(struct pass *p, size_t from, size_t to, int want)
{
    const struct op *op = p->m->list.op;
    mark(p, from, to, want);
    p->w->next = TURNS + p->m->list.ropes;
    for (size_t i = from; i < to; i++) {
        if (i >= p->keep)
            keep(p, i, to);
        else if (p->keep == SIZE_MAX)
            keep_stream(p, &op[i]);
        if (p->w->runs[i])
            op[i].kind->forward(p, &op[i]);
    }
}

static void run(const struct lm *m, struct lm_work *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps,
                size_t from, const float *rows)
{
    struct pass p = { m, w, b, taps, n_taps, b->start[b->count] - b->start[0], .keep = SIZE_MAX };
    size_t items = p.n * m->list.width[RESID];
    if (p.n == 0)
        return;
    lm_pass_reserve(&p);
    if (rows)
        memcpy(lm_room(&w->buf[RESID], items), rows, items * sizeof *rows);
    lm_pass_run(&p, from, m->list.ops, NONE);
}

void lm_forward(const struct lm *m, struct lm_work *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps)
{
    run(m, w, b, taps, n_taps, 0, NULL);
}

void lm_resume(const struct lm *m, struct lm_work *w, const struct lm_batch *b, int layer, const float *rows,
               const struct lm_tap *taps, size_t n_taps)
{
    size_t from = 0;
    while (m->list.op[from].layer < layer)
        from++;
    run(m, w, b, taps, n_taps, from, rows);
}
