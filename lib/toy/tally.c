/* SPDX-License-Identifier: MIT */
#include "toy/tally.h"
#include "base/mem.h"
#include "base/par.h"
#include "maths/vec.h"

#include <stdlib.h>

enum { FEATURES = 8 };

struct tally *tally_new(const struct toy *t, bool features, bool pairs)
{
    struct tally *a = mem_zero(1, sizeof *a);
    a->toy = t;
    a->feature = features ? mem_zero(t->o.g, sizeof *a->feature) : NULL;
    a->pair = pairs ? mem_zero(t->o.g * t->o.g, sizeof *a->pair) : NULL;
    return a;
}

void tally_free(struct tally *t)
{
    columns_free(&t->columns);
    free(t->feature);
    free(t->pair);
    free(t);
}

static void count_pairs(struct tally *t, const struct codes *c)
{
    for (size_t r = 0; r < c->n; r++)
        for (uint32_t i = c->ptr[r]; i < c->ptr[r + 1]; i++)
            for (uint32_t j = c->ptr[r]; j < c->ptr[r + 1]; j++)
                t->pair[(size_t)c->idx[i] * c->m + c->idx[j]]++;
}

struct reading {
    struct tally *t;
    const struct codes *c;
    const float *x;
};

static void read_feature(const struct reading *k, size_t g)
{
    const struct toy *toy = k->t->toy;
    const struct codes_by_feature *by = &k->t->columns;
    struct tally_feature *f = &k->t->feature[g];
    size_t d = toy->o.d;
    uint32_t at = by->start[g], end = by->start[g + 1];
    f->active += end - at;
    for (size_t r = 0; r < k->c->n; r++) {
        bool active = at < end && by->row[at] == r;
        double y = vec_dot(toy->direction + g * d, k->x + r * d, d);
        double code = active ? (double)k->c->val[by->at[at++]] : 0, z = y - code;
        bool above = y > 0.5 * (double)toy->scale[g];
        f->sum += code;
        f->sum_z += z;
        f->sum_z2 += z * z;
        f->lost += active && !above;
        f->invented += !active && above;
    }
}

static void read_piece(void *arg, size_t piece, int worker)
{
    const struct reading *k = arg;
    (void)worker;
    for (size_t g = piece * FEATURES; g < k->c->m && g < (piece + 1) * FEATURES; g++)
        read_feature(k, g);
}

void tally_add(struct tally *t, const struct codes *c, const float *clean, const float *x)
{
    size_t d = t->toy->o.d;
    struct reading k = { t, c, x };
    t->rows += c->n;
    t->active += c->ptr[c->n];
    for (size_t r = 0; r < c->n; r++) {
        t->signal += vec_dot_wide(clean + r * d, clean + r * d, d);
        for (size_t i = r * d; x != clean && i < (r + 1) * d; i++)
            t->noise += ((double)x[i] - clean[i]) * ((double)x[i] - clean[i]);
    }
    if (t->pair)
        count_pairs(t, c);
    if (t->feature) {
        codes_columns(c, &t->columns);
        par_for((c->m + FEATURES - 1) / FEATURES, read_piece, &k);
    }
}
