/* SPDX-License-Identifier: MIT */
#include "kinds/kind.h"

#include <string.h>

/* The table: KIND(x) is struct kind kind_x, of the file x.c. */
#define KINDS \
    KIND(tied) \
    KIND(relu)

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
    [SAE_W_ENC] = { "W_enc", true, true, false, offsetof(struct sae, w_enc) },
    [SAE_B_ENC] = { "b_enc", true, false, true, offsetof(struct sae, b_enc) },
    [SAE_W_DEC] = { "W_dec", true, true, false, offsetof(struct sae, w_dec) },
    [SAE_B_DEC] = { "b_dec", false, true, true, offsetof(struct sae, b_dec) },
    [SAE_THRESHOLD] = { "threshold", true, false, true, offsetof(struct sae, threshold) },
    [SAE_B_GATE] = { "b_gate", true, false, true, offsetof(struct sae, b_gate) },
    [SAE_B_MAG] = { "b_mag", true, false, true, offsetof(struct sae, b_mag) },
    [SAE_R_MAG] = { "r_mag", true, false, false, offsetof(struct sae, r_mag) },
};

size_t sae_tensor_rows(enum sae_tensor t, size_t d_sae)
{
    return sae_tensors[t].per_feature ? d_sae : 1;
}

size_t sae_tensor_width(enum sae_tensor t, size_t d_model)
{
    return sae_tensors[t].per_input ? d_model : 1;
}

float **sae_tensor(struct sae *s, enum sae_tensor t)
{
    return (float **)(void *)((char *)s + sae_tensors[t].at);
}
