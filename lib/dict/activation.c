/* SPDX-License-Identifier: MIT */
#include "dict/activation.h"
#include "maths/largest.h"

#include <math.h>

#define ROUND 0x1p-22f          /* of adding a bias */

size_t activation_candidates_relu(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val)
{
    return sparse_above(dot, s->b_enc, slack, s->enc_norm, s->d_sae, idx, val);
}

size_t activation_select_relu(const struct sae *s, uint32_t *idx, float *val, size_t n)
{
    size_t kept = 0;
    for (size_t j = 0; j < n; j++) {
        float pi = val[j] + s->b_enc[idx[j]];
        idx[kept] = idx[j];
        val[kept] = pi;
        kept += !(pi <= 0);         /* NaN is kept: it must not pass for silence */
    }
    return kept;
}

size_t activation_candidates_topk(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val)
{
    size_t n = activation_candidates_relu(s, dot, slack, idx, val), kept = 0;
    if (!s->k || n <= s->k)
        return n;
    /* The k-th largest pi is no less than the least of any k of them: of those that seem largest, each at its lowest.
     * Adding the bias rounds once more than the bound of the dots allows for. */
    largest_pairs(idx, val, n, s->k);
    float least = INFINITY;
    for (size_t j = 0; j < s->k; j++) {
        float low = val[j] - slack * s->enc_norm[idx[j]] - ROUND * fabsf(val[j]);
        if (!(low >= least))
            least = isnan(low) ? -INFINITY : low;
    }
    for (size_t j = 0; j < n; j++) {
        float high = val[j] + slack * s->enc_norm[idx[j]] + ROUND * fabsf(val[j]);
        idx[kept] = idx[j];
        val[kept] = val[j];
        kept += !(high < least);
    }
    return largest_pairs(idx, val, kept, kept);
}

size_t activation_select_topk(const struct sae *s, uint32_t *idx, float *val, size_t n)
{
    n = activation_select_relu(s, idx, val, n);
    return s->k ? largest_pairs(idx, val, n, s->k) : n;
}

size_t activation_candidates_threshold(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val)
{
    size_t n = activation_candidates_relu(s, dot, slack, idx, val), kept = 0;
    for (size_t j = 0; j < n; j++) {
        float high = val[j] + slack * s->enc_norm[idx[j]] + ROUND * fabsf(val[j]);
        idx[kept] = idx[j];
        kept += !(high <= s->threshold[idx[j]]);
    }
    return kept;
}

size_t activation_select_threshold(const struct sae *s, uint32_t *idx, float *val, size_t n)
{
    size_t kept = 0;
    n = activation_select_relu(s, idx, val, n);
    for (size_t j = 0; j < n; j++) {
        idx[kept] = idx[j];
        val[kept] = val[j];
        kept += !(val[j] <= s->threshold[idx[j]]);
    }
    return kept;
}
