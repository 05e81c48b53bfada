/* SPDX-License-Identifier: MIT */
#include "maths/optim.h"
#include "maths/clones.h"

#include <math.h>

struct adam optim_adam_step(double lr, double beta1, double beta2, double eps, uint64_t t)
{
    return (struct adam){
        .keep1 = (float)beta1,
        .new1 = (float)(1 - beta1),
        .keep2 = (float)beta2,
        .new2 = (float)(1 - beta2),
        .eps = (float)eps,
        .rate = (float)(lr / (1 - pow(beta1, (double)t))),
        .spread = (float)(1 / sqrt(1 - pow(beta2, (double)t))),
    };
}

CLONES void optim_adam_row(const struct adam *a, float *restrict p, float *restrict m, float *restrict v,
                     const float *restrict g, size_t n)
{
    float keep1 = a->keep1, new1 = a->new1, keep2 = a->keep2, new2 = a->new2;
    float rate = a->rate, spread = a->spread, eps = a->eps;
    for (size_t i = 0; i < n; i++) {
        m[i] = keep1 * m[i] + new1 * g[i];
        v[i] = keep2 * v[i] + new2 * g[i] * g[i];
        p[i] -= rate * m[i] / (spread * sqrtf(v[i]) + eps);
    }
}

double optim_schedule_factor(uint64_t step, uint64_t warmup, double decay, uint64_t total)
{
    double up = step + 1 < warmup ? (double)(step + 1) / (double)warmup : 1;
    double span = decay * (double)total, left = step < total ? (double)(total - step) : 0;
    double down = span > 0 && left < span ? left / span : 1;
    return up * down;
}
