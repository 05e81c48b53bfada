/* SPDX-License-Identifier: MIT */
#include "kinds/kind.h"
#include "maths/topk.h"

#include <math.h>
#include <string.h>

#define ROUND 0x1p-22f

/* The table: KIND(x) is struct kind kind_x, of the file x.c. */
#define KINDS \
    KIND(tied) \
    KIND(relu) \
    KIND(gated) \
    KIND(rescaled) \
    KIND(topk) \
    KIND(batchtopk) \
    KIND(matryoshka) \
    KIND(jumprelu) \
    KIND(rica) \
    KIND(fista) \
    KIND(pca) \
    KIND(ica) \
    KIND(nmf) \
    KIND(random) \
    KIND(identity)

#define KIND(x) extern const struct kind kind_##x;
KINDS
#undef KIND
#define KIND(x) &kind_##x,
const struct kind *const kinds[] = { KINDS NULL };
#undef KIND
#define KIND(x) #x,
const char *const kind_names[] = { KINDS NULL };

const struct kind *kind_find(const char *name)
{
    for (size_t i = 0; kinds[i]; i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}

const struct sae_tensor_info sae_tensors[SAE_TENSORS] = {
    [SAE_W_ENC] = { "W_enc", true, true, false, offsetof(struct sae, w_enc), false, false },
    [SAE_B_ENC] = { "b_enc", true, false, true, offsetof(struct sae, b_enc), false, false },
    [SAE_W_DEC] = { "W_dec", true, true, false, offsetof(struct sae, w_dec), false, false },
    [SAE_B_DEC] = { "b_dec", false, true, true, offsetof(struct sae, b_dec), false, false },
    [SAE_THRESHOLD] = { "threshold", true, false, true, offsetof(struct sae, threshold), false, false },
    [SAE_B_GATE] = { "b_gate", true, false, true, offsetof(struct sae, b_gate), false, false },
    [SAE_B_MAG] = { "b_mag", true, false, true, offsetof(struct sae, b_mag), false, false },
    [SAE_R_MAG] = { "r_mag", true, false, false, offsetof(struct sae, r_mag), false, false },
#define INNER(l) \
    [SAE_W_INNER + 2 * (l) - 2] = { "W_enc_" #l, false, true, false, offsetof(struct sae, w_inner[l - 1]), true, true }, \
    [SAE_B_INNER + 2 * (l) - 2] = { "b_enc_" #l, false, true, false, offsetof(struct sae, b_inner[l - 1]), true, false }
    INNER(1),
    INNER(2),
    INNER(3),
    INNER(4),
    INNER(5),
    INNER(6),
    INNER(7),
#undef INNER
};

size_t sae_tensor_rows(enum sae_tensor t, size_t d_sae)
{
    return sae_tensors[t].per_feature ? d_sae : 1;
}

size_t sae_tensor_width(enum sae_tensor t, size_t d_model)
{
    return sae_tensors[t].square ? d_model * d_model : sae_tensors[t].per_input ? d_model : 1;
}

float **sae_tensor(struct sae *s, enum sae_tensor t)
{
    return (float **)(void *)((char *)s + sae_tensors[t].at);
}

size_t kind_screen_topk(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val)
{
    size_t n = kind_screen_relu(s, dot, slack, idx, val), kept = 0;
    if (!s->k || n <= s->k)
        return n;
    /* The k-th largest pi is no less than the least of any k of them: of those that seem largest, each at its lowest.
     * Adding the bias rounds once more than the bound of the dots allows for. */
    topk_pairs(idx, val, n, s->k);
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
    return topk_pairs(idx, val, kept, kept);
}

size_t kind_settle_topk(const struct sae *s, uint32_t *idx, float *val, size_t n)
{
    n = kind_settle_relu(s, idx, val, n);
    return s->k ? topk_pairs(idx, val, n, s->k) : n;
}
