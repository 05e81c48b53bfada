/* SPDX-License-Identifier: MIT */
#include "fit/auxk.h"
#include "base/mem.h"
#include "fit/fit_internal.h"
#include "fit/state.h"
#include "maths/largest.h"
#include "maths/vec.h"

#include <math.h>

static void find_dead(struct fit *f)
{
    const struct fit_tally *t = &f->tally;
    struct fit_work *w = f->work;
    w->dead_n = 0;
    if (!f->o.aux_k || !(f->o.aux_weight > 0) || t->seen < f->o.dead_window)
        return;
    w->dead = mem_grow(w->dead, &w->dead_cap, f->o.d_sae, sizeof *w->dead);
    for (size_t i = 0; i < f->o.d_sae; i++)
        if (t->seen - t->last[i] >= f->o.dead_window)
            w->dead[w->dead_n++] = (uint32_t)i;
}

static size_t dead_fires(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    const float *bias = f->param[SAE_B_ENC].p;
    size_t n = 0;
    for (size_t j = 0; j < f->work->dead_n; j++) {
        uint32_t i = f->work->dead[j];
        idx[n] = i;
        val[n] = dot[i] + bias[i];
        n += val[n] > 0;
    }
    return n > f->o.aux_k ? largest_pairs(idx, val, n, f->o.aux_k) : n;
}

void auxk_encode(struct fit *f, step_fires fires)
{
    find_dead(f);
    if (f->work->dead_n)
        step_encode_two(f, fires, dead_fires);
    else
        step_encode(f, fires);
}

/* e = -r, so what is left of it is z D + r. */
static double row_loss(struct fit *f, size_t row)
{
    struct step_list *s = step_second(f);
    size_t d = f->o.d_model;
    float *r = s->r + row * d;
    step_decode(f, &s->c, row, f->r + row * d, r);
    step_back(f, &s->c, row, r, 2 * s->weight, s->g);
    return s->weight * vec_dot_wide(r, r, d);
}

static double variance(const struct fit *f)
{
    struct spread s = stats_new(f->o.d_model);
    stats_add(&s, f->r, f->n, 1);
    double about = stats_about_mean(&s), least = 1e-6 * s.square;      /* below that it is rounding: of one row, say */
    stats_free(&s);
    return about > least ? about / (double)f->n : 0;
}

size_t auxk_add(struct fit *f, struct step_term *term, size_t terms)
{
    if (!f->work->dead_n || !fit_is_sound(f))
        return terms;
    struct step_list *s = step_second(f);
    s->weight = f->o.aux_weight / variance(f);
    if (!isfinite(s->weight))               /* nothing is left, or all rows leave the same */
        return terms;
    step_rows_more(f, row_loss);
    term[terms] = step_term_second(f, true);
    return terms + 1;
}
