/* layout: the tensors a dictionary may have: their names, their shapes, their places in struct sae. */
/* SPDX-License-Identifier: MIT */
#ifndef LAYOUT_H
#define LAYOUT_H

#include "dict/sae.h"

#include <stdbool.h>
#include <stddef.h>

/* The tensors a dictionary may have, in the order they are written. */
enum sae_tensor {
    SAE_W_ENC, SAE_B_ENC, SAE_W_DEC, SAE_B_DEC, SAE_THRESHOLD, SAE_B_GATE, SAE_B_MAG, SAE_R_MAG,
    SAE_W_INNER, SAE_B_INNER,           /* of the first of SAE_INNER layers before the last; then those of the others */
    SAE_TENSORS = SAE_W_INNER + 2 * SAE_INNER
};
#define SAE_HAS(tensor) (1u << (tensor))

struct sae_tensor_info {
    const char *name;               /* in the file */
    bool per_feature, per_input;    /* (d_sae, d_model), (d_sae) or (d_model) */
    bool scales;                    /* is in the units of x: divided by s when the scale of --normalize is folded in */
    size_t at;                      /* offset of its pointer in struct sae */
    bool inner, square;             /* is of a layer before the last, which no kind must have; (d_model, d_model) */
};
extern const struct sae_tensor_info sae_tensors[SAE_TENSORS];

/* Rows and width of a tensor as it is held in memory; a square one is one row here. */
size_t sae_tensor_rows(enum sae_tensor t, size_t d_sae);
size_t sae_tensor_width(enum sae_tensor t, size_t d_model);
/* The place of its pointer. */
float **sae_tensor(struct sae *s, enum sae_tensor t);

#endif
