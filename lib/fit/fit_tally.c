/* SPDX-License-Identifier: MIT */
#include "fit/fit_tally.h"
#include "base/mem.h"

#include <math.h>
#include <stdlib.h>

struct fit_tally fit_tally_new(size_t d_model, size_t d_sae)
{
    return (struct fit_tally){ .spread = stats_new(d_model), .last = mem_zero(d_sae, sizeof(uint64_t)),
                               .features = d_sae };
}

void fit_tally_free(struct fit_tally *t)
{
    stats_free(&t->spread);
    free(t->last);
    t->last = NULL;
}

struct fit_report fit_tally_report(const struct fit_tally *t, uint64_t window)
{
    double n = (double)t->rows, about = stats_about_mean(&t->spread);
    struct fit_report r = { .rows = t->rows };
    if (t->rows) {
        r.loss = t->loss / n;
        r.mse = t->error / n / (double)t->spread.d;
        r.l0 = t->active / n;
        r.fvu = about > 0 ? t->error / about : t->error > 0 ? INFINITY : 0;
    }
    for (size_t i = 0; i < t->features; i++)
        r.dead += t->seen >= window && t->seen - t->last[i] >= window;
    return r;
}

void fit_tally_reset(struct fit_tally *t)
{
    stats_reset(&t->spread);
    t->rows = 0;
    t->loss = t->error = t->active = 0;
}
