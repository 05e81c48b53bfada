/* SPDX-License-Identifier: MIT */
#include "fit/batch_threshold.h"
#include "fit/fit_internal.h"
#include "fit/state.h"

#include <string.h>

/* Of what batches gave before: a mean over some hundred of them does not lag in a short fit. */
#define KEEP 0.99

static const char state[] = "threshold";

/* The running sum of smallest values, and of their weights: their ratio is a mean from the first batch on. */
double batch_threshold(const struct fit *f)
{
    for (size_t i = 0; i < FIT_STATES && f->state[i].p; i++)
        if (!strcmp(f->state[i].name, state))
            return f->state[i].p[1] > 0 ? f->state[i].p[0] / f->state[i].p[1] : 0;
    return 0;
}

void batch_threshold_encode(struct fit *f)
{
    double threshold = batch_threshold(f);
    auxk_encode(f, step_fires_relu);
    if (f->mode == FIT_MEASURE && threshold > 0)
        f->work->least = step_keep_above(f, (float)threshold);
    else
        f->work->least = step_keep_largest(f, f->o.k * f->n);
}

void batch_threshold_end(struct fit *f)
{
    double *s = fit_state_add(f, state, 2);
    if (f->mode != FIT_UPDATE || !fit_is_sound(f) || !(f->work->least > 0))
        return;
    s[0] = KEEP * s[0] + (1 - KEEP) * f->work->least;
    s[1] = KEEP * s[1] + (1 - KEEP);
}

void batch_threshold_finish(const struct fit *f, struct sae *out)
{
    for (size_t i = 0; i < f->o.d_sae; i++)
        out->threshold[i] = (float)batch_threshold(f);
}
