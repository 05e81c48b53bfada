/* SPDX-License-Identifier: MIT */
#include "dict/layout.h"

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
