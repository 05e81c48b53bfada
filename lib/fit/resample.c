/* SPDX-License-Identifier: MIT */
#include "fit/resample.h"
#include "base/mem.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define USUAL_SIZE 0.2

enum { PIECE = 1024 };

struct racer {
    double time;
    size_t i;
};

static int by_time(const void *a, const void *b)
{
    const struct racer *x = a, *y = b;
    if (x->time != y->time)
        return x->time < y->time ? -1 : 1;
    return x->i < y->i ? -1 : x->i > y->i;
}

size_t resample_draw(struct rng *rng, const double *weight, size_t n, size_t k, size_t *out)
{
    struct racer *r = mem_alloc(n, sizeof *r);
    size_t running = 0;
    for (size_t i = 0; i < n; i++) {
        double u = 1 - rng_uniform(rng);        /* drawn for all, so that one weight does not shift the others */
        if (weight[i] > 0)
            r[running++] = (struct racer){ -log(u) / weight[i], i };
    }
    qsort(r, running, sizeof *r, by_time);
    if (k > running)
        k = running;
    for (size_t j = 0; j < k; j++)
        out[j] = r[j].i;
    free(r);
    return k;
}

bool resample_due(const struct fit *f)
{
    uint64_t every = f->o.resample_every;
    return every && f->step && f->step % every == 0 && f->step <= f->o.resample_last;
}

/* Those of the n rows to draw from: all, or some at random; in ascending order. */
static size_t *choose_rows(struct fit *f, size_t n, size_t *chosen)
{
    size_t *list = mem_alloc(n, sizeof *list), room = 0;
    size_t want = f->o.resample_rows && f->o.resample_rows < n ? (size_t)f->o.resample_rows : n;
    for (size_t i = 0; i < n && room < want; i++)
        if (rng_below(&f->rng, n - i) < want - room)
            list[room++] = i;
    *chosen = room;
    return list;
}

/* The loss of each of those rows under the fit as it is; returns their mean. */
static double measure(struct fit *f, const float *x, const size_t *list, size_t n, double *loss)
{
    size_t d = f->o.d_model;
    struct fit_tally t = fit_tally_new(d, f->o.d_sae);
    float *part = mem_align(PIECE * d, sizeof *part);
    for (size_t from = 0; from < n; from += PIECE) {
        size_t rows = n - from < PIECE ? n - from : PIECE;
        for (size_t r = 0; r < rows; r++)
            memcpy(part + r * d, x + list[from + r] * d, d * sizeof *part);
        fit_measure(f, part, rows, &t);
        memcpy(loss + from, f->loss, rows * sizeof *loss);
    }
    double mean = n ? t.loss / (double)n : 0;
    free(part);
    fit_tally_free(&t);
    return mean;
}

static bool is_dead(const struct fit *f, size_t i)
{
    return f->tally.last[i] <= f->dead_since;
}

/* Mean norm of the rows of the features that are alive; 1 when there are none. */
static double mean_alive(const struct fit *f, const float *rows)
{
    double sum = 0;
    size_t alive = 0, d = f->o.d_model;
    for (size_t i = 0; i < f->o.d_sae; i++)
        if (!is_dead(f, i)) {
            sum += sqrt(vec_dot_wide(rows + i * d, rows + i * d, d));
            alive++;
        }
    return alive && sum > 0 ? sum / (double)alive : 1;
}

/* The direction a new feature takes from a row: s x, less b_dec where that was asked for, at norm 1. Returns false when
 * it has none. */
static bool direction(const struct fit *f, const float *x, float *out)
{
    size_t d = f->o.d_model;
    memcpy(out, x, d * sizeof *out);
    vec_scale(out, (float)f->scale, d);
    if (f->o.resample_center && f->param[SAE_B_DEC].p)
        vec_sub(out, out, f->param[SAE_B_DEC].p, d);
    double norm = sqrt(vec_dot_wide(out, out, d));
    vec_scale(out, norm > 0 ? (float)(1 / norm) : 0, d);
    return norm > 0 && isfinite(norm);
}

static void set_row(struct fit *f, enum sae_tensor t, size_t i, const float *unit, double size)
{
    struct fit_param *p = &f->param[t];
    size_t at = i * p->width;
    if (!p->p)
        return;
    for (size_t j = 0; j < p->width; j++)
        p->p[at + j] = unit ? (float)(size * (double)unit[j]) : 0;
    memset(p->m + at, 0, p->width * sizeof *p->m);
    memset(p->v + at, 0, p->width * sizeof *p->v);
}

/* Feature i begins anew along `unit`. */
static void on_resample(struct fit *f, size_t i, const float *unit, double enc, double dec)
{
    set_row(f, SAE_W_DEC, i, unit, dec);
    set_row(f, SAE_W_ENC, i, unit, enc);
    for (enum sae_tensor t = 0; t < SAE_TENSORS; t++)
        if (sae_tensors[t].per_feature && !sae_tensors[t].per_input)
            set_row(f, t, i, NULL, 0);
    if (f->o.kind->on_resample)
        f->o.kind->on_resample(f, i);
    if (f->o.kind->constrain)
        f->o.kind->constrain(f, i);
}

struct resampled resample_run(struct fit *f, const float *x, size_t n)
{
    size_t m = f->o.d_sae, d = f->o.d_model;
    struct resampled r = { .feature = mem_alloc(m, sizeof *r.feature) };
    for (size_t i = 0; i < m; i++)
        if (is_dead(f, i))
            r.feature[r.dead++] = (uint32_t)i;
    size_t *list = choose_rows(f, n, &r.rows);
    double *loss = mem_alloc(r.rows, sizeof *loss), *weight = mem_alloc(r.rows, sizeof *weight);
    float *unit = mem_align(d, sizeof *unit);
    r.before = measure(f, x, list, r.rows, loss);
    for (size_t k = 0; k < r.rows; k++)
        weight[k] = direction(f, x + list[k] * d, unit) ? loss[k] * loss[k] : 0;
    r.row = mem_alloc(r.dead, sizeof *r.row);
    r.loss = mem_alloc(r.dead, sizeof *r.loss);
    r.n = resample_draw(&f->rng, weight, r.rows, r.dead, r.row);
    double size = f->o.kind->resample_enc_norm > 0 ? f->o.kind->resample_enc_norm : USUAL_SIZE;
    double enc = size * (f->param[SAE_W_ENC].p ? mean_alive(f, f->param[SAE_W_ENC].p) : 1);
    double dec = f->o.norm_weighted && f->param[SAE_W_DEC].p ? mean_alive(f, f->param[SAE_W_DEC].p) : 1;
    for (size_t k = 0; k < r.n; k++) {
        r.loss[k] = loss[r.row[k]];
        r.row[k] = list[r.row[k]];
        direction(f, x + r.row[k] * d, unit);
        on_resample(f, r.feature[k], unit, enc, dec);
    }
    f->resampled += r.n;
    free(list);
    free(loss);
    free(weight);
    free(unit);
    return r;
}

void resample_free(struct resampled *r)
{
    free(r->feature);
    free(r->row);
    free(r->loss);
}
