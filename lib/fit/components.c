/* SPDX-License-Identifier: MIT */
#include "fit/components.h"
#include "base/mem.h"
#include "fit/step.h"
#include "maths/largest.h"
#include "maths/linalg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* An eigenvalue below this share of the largest is rounding of f32 rows. */
#define LEAST 1e-10

size_t components_of(const struct fit *f, size_t most, const char *why)
{
    size_t m = f->o.d_sae;
    if (m % 2 == 0 && m >= 2 && m / 2 <= most)
        return m / 2;
    if (most == SIZE_MAX)
        err_usage("--kind %s: d_sae is %zu, not an even number from 2 up: each component is two features",
                  f->o.kind->name, m);
    else
        err_usage("--kind %s: d_sae is %zu, not an even number from 2 to %zu: each component is two features, and %s",
                  f->o.kind->name, m, 2 * most, why);
    return 0;
}

void components_center(struct fit *f, const double *mean)
{
    for (size_t j = 0; j < f->o.d_model; j++)
        f->param[SAE_B_DEC].p[j] = (float)mean[j];
    f->o.apply_b_dec = true;
}

void components_pair(float *enc, float *dec, size_t d, size_t j, const double *e, const double *dir)
{
    double size = 0;
    for (size_t i = 0; i < d; i++)
        size += dir[i] * dir[i];
    size = sqrt(size);
    float *e_row = enc + 2 * j * d, *d_row = dec + 2 * j * d;
    for (size_t i = 0; i < d; i++) {
        e_row[i] = (float)(e[i] * size);
        d_row[i] = (float)(dir[i] / size);
        e_row[d + i] = -e_row[i];
        d_row[d + i] = -d_row[i];
    }
}

int components_spectrum(const float *x, size_t n, size_t d, struct components_spectrum *out)
{
    double count = 0;
    *out = (struct components_spectrum){ .d = d, .mean = mem_zero(d, sizeof(double)), .vector = mem_zero(d * d, sizeof(double)),
                              .value = mem_zero(d, sizeof(double)) };
    struct moments m = { d, &count, out->mean, out->vector };
    linalg_moments_add(&m, x, n);
    linalg_moments_covariance(&m, out->vector);
    int bad = linalg_eigen(out->vector, d, out->value);
    out->rank = bad ? 0 : linalg_rank(out->value, d, LEAST);
    if (!bad && !out->rank)
        bad = err_data("all rows of the first buffer are the same: there is nothing to fit");
    if (bad)
        components_spectrum_free(out);
    return bad;
}

void components_spectrum_free(struct components_spectrum *s)
{
    free(s->mean);
    free(s->vector);
    free(s->value);
}

void components_spectrum_scaled(const struct components_spectrum *s, size_t count, double power, double *out)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < s->d; j++)
            out[i * s->d + j] = s->vector[i * s->d + j] * pow(s->value[i], power / 2);
}

static size_t fires(const struct fit *f, const float *dot, uint32_t *idx, float *val)
{
    size_t n = step_fires_relu(f, dot, idx, val);
    return f->o.k ? largest_pairs(idx, val, n, f->o.k) : n;
}

void components_step(struct fit *f)
{
    step_encode(f, fires);
    step_rows(f, step_row_plain);
}

void components_finish(const struct fit *f, struct sae *out)
{
    out->k = f->o.k;
}
