/* SPDX-License-Identifier: MIT */
#include "fit/penalty.h"
#include "base/mem.h"
#include "base/par.h"
#include "fit/fit_internal.h"
#include "fit/state.h"
#include "fit/unit_rows.h"
#include "maths/vec.h"

#include <math.h>

enum { JUMPS = 10, QUEUE = 10, ROWS = 256 };

/* The slope of v^p is that at this v below it. */
#define LEAST 1e-6

/* ---- norms ---- */

static void norm_piece(void *arg, size_t piece, int worker)
{
    struct fit *f = arg;
    size_t d = f->o.d_model;
    (void)worker;
    for (size_t i = piece * ROWS; i < f->o.d_sae && i < (piece + 1) * ROWS; i++)
        f->work->norm[i] = (float)sqrt(vec_dot_wide(f->dec + i * d, f->dec + i * d, d));
}

/* ---- the power ---- */

static bool anneals(const struct fit_options *o)
{
    return o->p_end > 0 && o->p_end != o->p_start && o->steps > 0;
}

/* Jumps done at a step. */
static int jumps_at(const struct fit_options *o, uint64_t step)
{
    double from = o->p_from * (double)o->steps, span = (o->p_to - o->p_from) * (double)o->steps;
    double done = ((double)step - from) / (span > 0 ? span : 1e-9) * JUMPS;
    return done < 1 ? 0 : done >= JUMPS ? JUMPS : (int)done;
}

static double power_after(const struct fit_options *o, int jumps)
{
    return o->p_start + (o->p_end - o->p_start) * jumps / JUMPS;
}

/* The number of jumps that comes after this one; several at once when there are fewer steps than jumps. */
static int next_jump(const struct fit_options *o, uint64_t step, int jumps)
{
    int next = jumps_at(o, step + 1);
    return next > jumps ? next : jumps < JUMPS ? jumps + 1 : JUMPS;
}

/* What is kept: jumps done, the factor on lambda, batches in the queue, and of each its S at p and at the next p. */
struct anneal {
    double *jumps, *factor, *queued, *now, *next;
};

static struct anneal anneal_of(struct fit *f)
{
    double *s = fit_state_add(f, "p-annealing", 3 + 2 * QUEUE);
    return (struct anneal){ s, s + 1, s + 2, s + 3, s + 3 + QUEUE };
}

static void anneal_begin(struct fit *f)
{
    struct anneal a = anneal_of(f);
    int jumps = jumps_at(&f->o, f->step);
    size_t queued = (size_t)fmin(*a.queued, QUEUE);
    if (*a.factor == 0)
        *a.factor = 1;
    if (f->mode == FIT_UPDATE && jumps != (int)*a.jumps) {
        double now = 0, next = 0;
        for (size_t i = 0; i < queued; i++) {
            now += a.now[i];
            next += a.next[i];
        }
        if (now > 0 && next > 0)
            *a.factor *= now / next;
        *a.jumps = jumps;
        *a.queued = 0;
    }
    f->work->p = power_after(&f->o, (int)*a.jumps);
    f->l1 *= *a.factor;
}

void penalty_begin(struct fit *f)
{
    size_t m = f->o.d_sae;
    if (f->o.norm_weighted) {
        f->work->norm = mem_grow(f->work->norm, &f->work->norm_cap, m, sizeof(float));
        par_for((m + ROWS - 1) / ROWS, norm_piece, f);
    }
    f->work->p = 1;
    if (anneals(&f->o))
        anneal_begin(f);
    else if (f->o.p_start > 0)
        f->work->p = f->o.p_start;
}

/* Sum of (f n)^p over all pairs. */
static double sum_powers(const struct fit *f, const struct codes *c, double p)
{
    double sum = 0;
    for (size_t j = 0; j < c->ptr[c->n]; j++)
        sum += pow(fmax(c->val[j] * (f->o.norm_weighted ? f->work->norm[c->idx[j]] : 1), LEAST), p);
    return sum;
}

void penalty_end(struct fit *f, const struct codes *c)
{
    if (f->mode != FIT_UPDATE || !anneals(&f->o) || !fit_is_sound(f))
        return;
    struct anneal a = anneal_of(f);
    int next = next_jump(&f->o, f->step, (int)*a.jumps);
    size_t at = (size_t)*a.queued % QUEUE;
    a.now[at] = sum_powers(f, c, f->work->p);
    a.next[at] = sum_powers(f, c, power_after(&f->o, next));
    *a.queued += 1;
}

/* ---- rows and features ---- */

/* d(v^p) / dv */
static double slope(double v, double p)
{
    return p == 1 ? 1 : p * pow(fmax(v, LEAST), p - 1);
}

double penalty_row(const struct fit *f, const uint32_t *idx, const float *val, size_t k, float *g)
{
    const float *norm = f->o.norm_weighted ? f->work->norm : NULL;
    double sum = 0, p = f->work->p;
    for (size_t j = 0; j < k; j++) {
        double n = norm ? norm[idx[j]] : 1, v = val[j] * n;
        g[j] += (float)(f->l1 * n * slope(v, p));
        sum += p == 1 ? v : pow(fmax(v, LEAST), p);
    }
    return f->l1 * sum;
}

double penalty_row_l1(struct fit *f, size_t row)
{
    size_t from = f->f.ptr[row], k = f->f.ptr[row + 1] - from;
    step_row_plain(f, row);
    return penalty_row(f, f->f.idx + from, f->f.val + from, k, f->g + from);
}

void penalty_decoder(const struct fit *f, const struct codes *c, const struct codes_by_feature *by_feature, size_t i, float *g)
{
    size_t d = f->o.d_model;
    if (!f->o.norm_weighted) {
        unit_rows_project(g, f->dec + i * d, d);
        return;
    }
    double norm = f->work->norm[i], sum = 0;
    for (size_t j = by_feature->start[i]; j < by_feature->start[i + 1]; j++) {
        double val = c->val[by_feature->at[j]];
        sum += val * slope(val * norm, f->work->p);
    }
    if (norm > 0)
        vec_axpy(g, (float)(f->l1 * sum / norm / (double)f->n), f->dec + i * d, d);
}

void penalty_constrain(struct fit *f, size_t i)
{
    if (!f->o.norm_weighted)
        unit_rows_constrain(f, i);
}

void penalty_fold(const struct fit *f, struct sae *out)
{
    static const enum sae_tensor grows[] = { SAE_B_ENC, SAE_B_GATE, SAE_B_MAG, SAE_THRESHOLD };
    size_t d = f->o.d_model;
    for (size_t i = 0; f->o.norm_weighted && i < f->o.d_sae; i++) {
        float norm = vec_normalize(out->w_dec + i * d, d, 1e-30f);
        vec_scale(out->w_enc + i * d, norm, d);
        for (size_t t = 0; t < sizeof grows / sizeof *grows; t++)
            if (*sae_tensor(out, grows[t]))
                (*sae_tensor(out, grows[t]))[i] *= norm;
    }
}
