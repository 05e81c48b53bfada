/* SPDX-License-Identifier: MIT */
#include "fit/state.h"
#include "base/mem.h"
#include "maths/optim.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A loss this many times that of the first batch, and of reconstructing nothing, will not come back. */
#define OUT_OF_HAND 1e3
#define PI 3.14159265358979323846

struct fit_options fit_options_usual(void)
{
    return (struct fit_options){
        .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .dead_window = 100000, .p_start = 1, .p_end = 1,
        .p_to = 1, .recon = 1, .aux_weight = 1.0 / 32, .enc_layers = 1, .prefixes = 1, .dec_norm = 1, .tied_init = true,
    };
}

double *fit_state_add(struct fit *f, const char *name, size_t n)
{
    char cut[sizeof f->state->name];
    size_t i = 0;
    snprintf(cut, sizeof cut, "%s", name);
    while (i < FIT_STATES - 1 && f->state[i].p && strcmp(f->state[i].name, cut))
        i++;
    struct fit_state *s = &f->state[i];
    if (!s->p || s->n != n) {           /* n may differ in a checkpoint that is not ours */
        free(s->p);
        *s = (struct fit_state){ .p = mem_zero(n ? n : 1, sizeof(double)), .n = n };
        memcpy(s->name, cut, sizeof cut);
    }
    return s->p;
}

double fit_rate(const struct fit *f, uint64_t step)
{
    double up = optim_schedule_factor(step, f->o.warmup, 0, 0), down = optim_schedule_factor(step, 0, f->o.decay, f->o.steps);
    return f->o.lr * up * (f->o.cosine ? 0.5 - 0.5 * cos(PI * down) : down);
}

bool fit_is_sound(const struct fit *f)
{
    double first = f->step ? f->first_loss : f->batch_loss;
    return isfinite(f->batch_loss) && f->batch_loss <= OUT_OF_HAND * (first + f->batch_square);
}
