/* The backward pass: the list from its end, each operation its own way back. Layers are run again from the residual stream
 * that was kept in front of them; the logits are made in blocks of rows, for they are wide. */
/* SPDX-License-Identifier: MIT */
#include "model/lm_backward.h"
#include "base/mem.h"
#include "model/lm_internal.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD_ROWS = 64 };                    /* of logits held at once */

struct lm_backward {
    struct lm_work *all, *head;             /* of the batch; of a block of rows behind the last norm */
    struct rows kept;                       /* (layers, rows, d_model): the residual stream in front of each */
};

struct lm_backward *lm_backward_new(const struct lm *m)
{
    struct lm_backward *w = mem_zero(1, sizeof *w);
    w->all = lm_work_new(m);
    w->head = lm_work_new(m);
    return w;
}

void lm_backward_free(struct lm_backward *w)
{
    if (!w)
        return;
    lm_work_free(w->all);
    lm_work_free(w->head);
    free(w->kept.p);
    free(w);
}

/* The way back from `to` to `from`, which is not gone through any more. */
static void run_back(struct pass *p, size_t from, size_t to)
{
    for (size_t i = to; i-- > from;) {
        const struct op *o = &p->m->list.op[i];
        if (!o->kind->backward || !(p->w->live & o->writes))
            continue;
        o->kind->backward(p, o);
        p->w->live = (p->w->live & ~o->writes) | o->reads;
    }
}

/* ---- the head ---- */

/* The number's parts in a block of rows, whose gradient then is in that slot of p->w which the head reads. */
static double head_block(struct pass *p, const struct lm_objective *number, const size_t *row, bool want)
{
    const struct list *l = &p->m->list;
    struct rows *logits = &p->w->buf[LOGITS], *grad = &p->w->buf[GRAD + LOGITS], spare = *grad;
    double value = 0;
    lm_pass_run(p, l->head, l->ops, LOGITS);
    for (size_t i = 0; i < p->n; i++)
        value += number->fn(number->arg, row[i], logits->p + i * l->width[LOGITS]);
    if (!want)
        return value;
    *grad = *logits;                            /* they have become their gradient */
    p->w->live = 1u << LOGITS;
    run_back(p, l->head, l->ops);
    *grad = spare;
    return value;
}

/* The number, and the gradient at what the head reads. */
static double head(const struct pass *p, struct lm_work *block, const struct lm_objective *number, bool want)
{
    const struct list *l = &p->m->list;
    int slot = l->op[l->head].in[0];
    size_t d = l->width[slot];
    double value = 0;
    const float *x = p->w->buf[slot].p;
    float *grad = lm_room(&p->w->buf[GRAD + slot], p->n * d), *to = lm_room(&block->buf[slot], HEAD_ROWS * d);
    memset(grad, 0, p->n * d * sizeof *grad);
    p->w->live = 1u << slot;
    for (size_t from = 0; from < number->n; from += HEAD_ROWS) {
        const size_t *row = number->row + from;
        size_t n = number->n - from < HEAD_ROWS ? number->n - from : HEAD_ROWS;
        struct pass q = { .m = p->m, .w = block, .b = p->b, .n = n, .keep = l->head };
        for (size_t i = 0; i < n; i++)
            memcpy(to + i * d, x + row[i] * d, d * sizeof *to);
        value += head_block(&q, number, row, want);
        for (size_t i = 0; want && i < n; i++)
            memcpy(grad + row[i] * d, block->buf[GRAD + slot].p + i * d, d * sizeof *grad);
    }
    return value;
}

static size_t layer_begin(const struct list *l, size_t end)
{
    size_t from = end - 1;
    while (from > 0 && l->op[from - 1].layer == l->op[end - 1].layer)
        from--;
    return from;
}

/* From the head's input back to the operation behind the hook, layer by layer, each run again from its own input. */
static void way_back(struct pass *p, size_t from, size_t to)
{
    size_t items = p->n * p->m->list.width[RESID];
    run_back(p, from > p->keep ? from : p->keep, to);
    while ((to = from) > p->keep) {
        from = layer_begin(&p->m->list, to);
        int layer = p->m->list.op[from].layer;
        if (layer >= 0) {
            memcpy(p->w->buf[RESID].p, p->stream + (size_t)(layer - p->first) * items, items * sizeof(float));
            lm_pass_run(p, from, to, NONE);
        }
        run_back(p, from > p->keep ? from : p->keep, to);
    }
}

int lm_backward_gradient(const struct lm *m, struct lm_backward *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps,
                const struct lm_hook *at, const struct lm_objective *number, double *value, float *grad)
{
    const struct list *l = &m->list;
    struct pass p = { m, w->all, b, taps, n_taps, b->start[b->count] - b->start[0], .keep = SIZE_MAX };
    size_t behind = (size_t)(at->op - l->op) + 1, last = layer_begin(l, l->head);
    *value = 0;
    if (behind > l->head)
        return err_usage("no gradient at the logits: the number is computed from them");
    if (!p.n)
        return 0;
    p.first = l->op[behind].layer < 0 ? 0 : l->op[behind].layer;
    p.stream = lm_room(&w->kept, (m->c.n_layer - (size_t)p.first) * p.n * l->width[RESID]);
    lm_pass_reserve(&p);
    lm_pass_run(&p, 0, last, RESID);
    p.keep = behind;
    lm_pass_run(&p, last, l->head, l->op[l->head].in[0]);
    *value = head(&p, w->head, number, grad != NULL);
    if (!grad)
        return 0;
    way_back(&p, last, l->head);
    memcpy(grad, p.w->buf[GRAD + at->op->in[0]].p, p.n * at->width * sizeof *grad);
    return 0;
}
