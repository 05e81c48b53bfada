/* The toy model of superposition: G sparse features through d < G hidden numbers and back,
 *
 *   h = sum_g c_g W_g,   c_hat = relu(W h + b),   loss = sum_g (c_g - c_hat_g)^2
 *
 * trained on codes that are drawn like those of the rows. Afterwards h is what the rows are: u_g = W_g / |W_g|, and
 * |W_g| becomes part of the feature's scale. [Elhage 2022, "Demonstrating Superposition"] */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "maths/optim.h"
#include "maths/vec.h"
#include "toy/toy_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 512, ROWS = 32, FEATURES = 8 };

/* The rows learnt from are none of those written. */
#define TRAINING_ROWS ((uint64_t)1 << 52)

#define RATE 5e-3                   /* falls linearly to 0 over the second half */

struct train {
    const struct toy *t;
    size_t g, d;
    float *w, *b;                   /* (g,d), (g) */
    float *moment[4];               /* of w: m, v; of b: m, v */
    struct codes codes;
    struct codes_by_feature columns;
    float *h, *back;                /* (BATCH,d): h, and dloss/dh */
    float *e;                       /* (BATCH,g): dloss/d(W h + b) */
    float *sum;                     /* (workers,d) one row of dloss/dW */
    struct adam adam;
};

static void forward_piece(void *arg, size_t piece, int worker)
{
    struct train *s = arg;
    size_t g = s->g, d = s->d;
    (void)worker;
    for (size_t r = piece * ROWS; r < (piece + 1) * ROWS; r++) {
        uint32_t from = s->codes.ptr[r], k = s->codes.ptr[r + 1] - from;
        const uint32_t *idx = s->codes.idx + from;
        float *h = s->h + r * d, *back = s->back + r * d, *e = s->e + r * g;
        sparse_sum(idx, s->codes.val + from, k, s->w, NULL, d, h);
        memset(back, 0, d * sizeof *back);
        for (size_t i = 0, at = 0; i < g; i++) {
            float c_hat = vec_dot(s->w + i * d, h, d) + s->b[i];
            float c = at < k && idx[at] == i ? s->codes.val[from + at++] : 0;
            e[i] = c_hat > 0 ? 2 * (c_hat - c) / BATCH : 0;
            if (e[i] != 0)
                vec_axpy(back, e[i], s->w + i * d, d);
        }
    }
}

/* dW_i = sum over rows of e_i h + c_i back; db_i = sum of e_i. */
static void update_piece(void *arg, size_t piece, int worker)
{
    struct train *s = arg;
    size_t d = s->d;
    float *sum = s->sum + (size_t)worker * d;
    for (size_t i = piece * FEATURES; i < s->g && i < (piece + 1) * FEATURES; i++) {
        float bias = 0;
        memset(sum, 0, d * sizeof *sum);
        for (size_t r = 0; r < BATCH; r++) {
            float e = s->e[r * s->g + i];
            bias += e;
            if (e != 0)
                vec_axpy(sum, e, s->h + r * d, d);
        }
        for (uint32_t at = s->columns.start[i]; at < s->columns.start[i + 1]; at++)
            vec_axpy(sum, s->codes.val[s->columns.at[at]], s->back + s->columns.row[at] * d, d);
        optim_adam_row(&s->adam, s->w + i * d, s->moment[0] + i * d, s->moment[1] + i * d, sum, d);
        optim_adam_row(&s->adam, s->b + i, s->moment[2] + i, s->moment[3] + i, &bias, 1);
    }
}

static void train_make(struct train *s, const struct toy *t)
{
    size_t g = t->o.g, d = t->o.d;
    struct rng r = toy_rng(t->o.seed, TOY_OF_WEIGHTS, 0);
    *s = (struct train){ .t = t, .g = g, .d = d };
    s->w = mem_align(g * d, sizeof *s->w);
    s->b = mem_zero(g, sizeof *s->b);
    for (int i = 0; i < 4; i++)
        s->moment[i] = mem_zero(i < 2 ? g * d : g, sizeof(float));
    s->h = mem_align(BATCH * d, sizeof *s->h);
    s->back = mem_align(BATCH * d, sizeof *s->back);
    s->e = mem_align(BATCH * g, sizeof *s->e);
    s->sum = mem_align((size_t)par_threads() * d, sizeof *s->sum);
    for (size_t i = 0; i < g * d; i++)
        s->w[i] = (float)(rng_normal(&r) * sqrt(2.0 / (double)(g + d)));
}

static void train_free(struct train *s)
{
    for (int i = 0; i < 4; i++)
        free(s->moment[i]);
    free(s->w);
    free(s->b);
    free(s->h);
    free(s->back);
    free(s->e);
    free(s->sum);
    codes_free(&s->codes);
    columns_free(&s->columns);
}

void toy_train(struct toy *t)
{
    struct train s;
    size_t d = t->o.d;
    train_make(&s, t);
    for (uint64_t step = 0; step < t->o.train; step++) {
        toy_codes(t, TRAINING_ROWS + step * BATCH, BATCH, &s.codes);
        codes_columns(&s.codes, &s.columns);
        s.adam = optim_adam_step(RATE * optim_schedule_factor(step, 0, 0.5, t->o.train), 0.9, 0.999, 1e-8, step + 1);
        par_for(BATCH / ROWS, forward_piece, &s);
        par_for((s.g + FEATURES - 1) / FEATURES, update_piece, &s);
    }
    memcpy(t->direction, s.w, t->o.g * d * sizeof *s.w);
    for (size_t g = 0; g < t->o.g; g++)
        t->scale[g] *= vec_normalize(t->direction + g * d, d, 1e-30f);
    train_free(&s);
}
