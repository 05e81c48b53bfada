/* optim: Adam, one row of a parameter at a time, and the schedules of rate and penalty. */
/* SPDX-License-Identifier: MIT */
#ifndef OPTIM_H
#define OPTIM_H

#include <stddef.h>
#include <stdint.h>

/* The step all rows of one update share; made by optim_adam_step(). */
struct adam {
    float keep1, new1;      /* beta1, 1 - beta1: each rounded by itself, since 1 - 0.999f is off by 1e-5 */
    float keep2, new2;
    float eps;
    float rate;             /* lr / (1 - beta1^t) */
    float spread;           /* 1 / sqrt(1 - beta2^t) */
};

/* Update number t (from 1) at learning rate lr. */
struct adam optim_adam_step(double lr, double beta1, double beta2, double eps, uint64_t t);

/* One row of n items: gradient g, moments m and v, parameter p.
 * m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2; p -= rate m / (spread sqrt(v) + eps). [Kingma 2015,
 * Algorithm 1]
 * A row without gradient still moves while m is not 0: every row must be given every time. */
void optim_adam_row(const struct adam *a, float *p, float *m, float *v, const float *g, size_t n);

/* How a value goes from 0 to its full size and back over a fit of `total` steps: linear up in `warmup` steps, then 1,
 * then linear down to 0 behind the last step over the last `decay` (0..1) of all steps. step counts from 0; total 0:
 * not known, no decay. */
double optim_schedule_factor(uint64_t step, uint64_t warmup, double decay, uint64_t total);

#endif
