/* The backward pass: the list from its end, each operation its own way back. Layers are run again from the residual stream
 * that was kept in front of them; the logits are made in blocks of rows, for they are wide. */
/* SPDX-License-Identifier: MIT */
#include "model/lm_back.h"
#include "ground/mem.h"
#include "model/lm_inside.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_ROWS = 64 };                    /* of logits held at once */

struct lm_back {
    struct lm_work *all, *head;             /* of the batch; of a block of rows behind the last norm */
    struct rows kept;                       /* (layers, rows, d_model): the residual stream in front of each */
};

struct lm_back *lm_back_new(const struct lm *m)
{
    struct lm_back *w = mem_zero(1, sizeof *w);
    w->all = lm_work_new(m);
    w->head = lm_work_new(m);
    return w;
}

void lm_back_free(struct lm_back *w)
{
    if (!w)
        return;
    lm_work_free(w->all);
    lm_work_free(w->head);
    free(w->kept.p);
    free(w);
}

/* Run up to the last layer's end. The residual stream in front of layers `first`... (n_layer: behind the last) goes to `to`,
 * as it is before any tap there, for the layer is run again. */
static void keep_streams(struct pass *p, int first, float *to)
{
    const struct list *l = &p->m->list;
    size_t items = p->n * l->width[RESID], from = 0, end;
    for (int layer = -1; layer <= l->layer; layer++, from = end) {
        for (end = from; end < l->ops && l->op[end].layer == layer; end++)
            ;
        if (layer >= first) {
            memcpy(to, p->w->value[RESID].p, items * sizeof *to);
            to += items;
        }
        if (layer < l->layer)
            pass_run(p, from, end, RESID);
    }
}

/* Run a layer, up to `to`, again from its input, and keep what its way back needs. */
static void run_again(struct pass *p, size_t from, size_t to, int want, const float *input)
{
    size_t items = p->n * p->m->list.width[RESID];
    memcpy(rows_room(&p->w->value[RESID], items), input, items * sizeof *input);
    pass_run(p, from, to, want);
}

/* The way back from `to` to `from`, which is not gone through any more. */
static void run_back(struct pass *p, size_t from, size_t to)
{
    for (size_t i = to; i-- > from;) {
        const struct op *o = &p->m->list.op[i];
        if (!o->kind->backward || !op_any(p->w->live, o->out))
            continue;
        o->kind->backward(p, o);
        op_put(p->w->live, o->out, false);
        op_put(p->w->live, o->in, true);
    }
}

/* ---- the head ---- */

/* The number's parts in a block of rows, whose gradient then is in that slot of p->w which the head reads. */
static double head_block(struct pass *p, const struct lm_number *number, const size_t *row, bool want)
{
    const struct list *l = &p->m->list;
    struct rows *logits = &p->w->value[LOGITS], *grad = &p->w->grad[LOGITS], spare = *grad;
    double value = 0;
    pass_run(p, l->head, l->ops, LOGITS);
    for (size_t i = 0; i < p->n; i++)
        value += number->fn(number->arg, row[i], logits->p + i * l->width[LOGITS]);
    if (!want)
        return value;
    *grad = *logits;                            /* they have become their gradient */
    memset(p->w->live, 0, sizeof p->w->live);
    p->w->live[LOGITS] = true;
    run_back(p, l->head, l->ops);
    *grad = spare;
    return value;
}

/* The number, and the gradient at what the head reads. */
static double head(const struct pass *p, struct lm_work *block, const struct lm_number *number, bool want)
{
    const struct list *l = &p->m->list;
    int slot = l->op[l->head].in[0];
    size_t d = l->width[slot];
    double value = 0;
    const float *x = p->w->value[slot].p;
    float *grad = rows_room(&p->w->grad[slot], p->n * d), *to = rows_room(&block->value[slot], HEAD_ROWS * d);
    memset(p->w->live, 0, sizeof p->w->live);
    memset(grad, 0, p->n * d * sizeof *grad);
    p->w->live[slot] = true;
    for (size_t from = 0; from < number->n; from += HEAD_ROWS) {
        const size_t *row = number->row + from;
        struct pass q = { p->m, block, p->b, NULL, 0, number->n - from < HEAD_ROWS ? number->n - from : HEAD_ROWS, l->head };
        for (size_t i = 0; i < q.n; i++)
            memcpy(to + i * d, x + row[i] * d, d * sizeof *to);
        value += head_block(&q, number, row, want);
        for (size_t i = 0; want && i < q.n; i++)
            memcpy(grad + row[i] * d, block->grad[slot].p + i * d, d * sizeof *grad);
    }
    return value;
}

/* From the head back to the operation behind `at`, layer by layer; the first kept input is the one of layer `first`. */
static double way_back(struct pass *p, struct lm_back *w, const struct lm_number *number, int first, bool want)
{
    const struct list *l = &p->m->list;
    size_t items = p->n * l->width[RESID], from, to = l->head;
    double value = 0;
    do {
        int layer = l->op[to - 1].layer;
        for (from = to; from > 0 && l->op[from - 1].layer == layer; from--)
            ;
        if (layer >= 0)
            run_again(p, from, to, to == l->head ? l->op[to].in[0] : NONE, w->kept.p + (size_t)(layer - first) * items);
        if (to == l->head)
            value = head(p, w->head, number, want);
        run_back(p, from > p->keep ? from : p->keep, to);
        to = from;
    } while (want && to > p->keep);
    return value;
}

int lm_gradient(const struct lm *m, struct lm_back *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps,
                const struct lm_hook *at, const struct lm_number *number, double *value, float *grad)
{
    struct pass p = { m, w->all, b, taps, n_taps, b->start[b->count] - b->start[0], SIZE_MAX };
    size_t behind = (size_t)(at->op - m->list.op) + 1;
    *value = 0;
    if (behind > m->list.head)
        return err_usage("no gradient at the logits: the number is computed from them");
    if (!p.n)
        return 0;
    int first = m->list.op[behind].layer < 0 ? 0 : m->list.op[behind].layer;
    pass_reserve(&p);
    keep_streams(&p, first, rows_room(&w->kept, (size_t)(m->list.layer - first + 1) * p.n * m->c.d_model));
    p.keep = behind;
    *value = way_back(&p, w, number, first, grad != NULL);
    if (grad)
        memcpy(grad, p.w->grad[at->op->in[0]].p, p.n * at->width * sizeof *grad);
    return 0;
}
