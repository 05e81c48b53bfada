/* SPDX-License-Identifier: MIT */
#include "patch/direct_logit.h"
#include "base/mem.h"
#include "maths/blas.h"
#include "model/lm_internal.h"

#include <stdlib.h>
#include <string.h>

/* The first operation behind `o` that reads the slot. */
static const struct op *reader(const struct op *o, int slot)
{
    do
        o++;
    while (o->kind == &op_hook || !(o->reads >> slot & 1));
    return o;
}

static bool is_final(const struct lm_hook *hook)
{
    return hook->op[1].kind == &op_gain && hook->op[2].out[0] == LOGITS;
}

/* Is what the hook shows added to the residual stream, part of it, or mapped into it by *map (else NULL)? */
static bool is_straight(const struct lm_hook *hook, const struct op **map)
{
    int slot = hook->op->in[0];
    *map = NULL;
    if (slot == RESID || slot == LOGITS)
        return slot == RESID;
    const struct op *o = reader(hook->op, slot);
    if (o->kind == &op_linear)
        *map = o, o = reader(o, slot = o->out[0]);
    return o->kind == &op_add && o->out[0] == RESID;
}

int direct_logit_check(const struct lm_hook *hook)
{
    const struct op *map;
    if (is_straight(hook, &map) || is_final(hook))
        return 0;
    return err_data("no straight path from %s to the logits: it is neither part of the residual stream nor mapped into "
                    "it by one matrix", hook->name);
}

/* What the hook's rows add to the residual stream: r (n, d). */
static void into_residual(const struct lm *m, const struct lm_hook *hook, const float *v, size_t n, float *r)
{
    size_t d = m->c.d_model;
    const struct op *map;
    if (!is_straight(hook, &map) || !map)
        memcpy(r, v, n * d * sizeof *r);
    else if (map->in_out)
        blas_nn(n, d, hook->width, v, hook->width, lm_load(m, map->weight), d, 0, r, d);
    else
        blas_nt(n, d, hook->width, v, hook->width, lm_load(m, map->weight), hook->width, 0, r, d);
}

static void less_mean(float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(x[i] - sum / (double)n);
}

void direct_logit(const struct lm *m, const struct lm_hook *hook, const float *v, size_t n, float *out)
{
    size_t d = m->c.d_model;
    float *r = mem_align(n, d * sizeof *r);
    const struct op *head = &m->list.op[m->list.head];
    const float *gain = lm_load(m, head[-1].weight), *unembed = lm_load(m, head->weight);
    into_residual(m, hook, v, n, r);
    for (size_t i = 0; i < n; i++) {
        if (!is_final(hook))
            less_mean(r + i * d, d);
        for (size_t j = 0; j < d; j++)
            r[i * d + j] *= gain[j];
    }
    blas_nt(n, m->c.n_vocab, d, r, d, unembed, d, 0, out, m->c.n_vocab);
    for (size_t i = 0; i < n; i++)
        less_mean(out + i * m->c.n_vocab, m->c.n_vocab);
    free(r);
}
