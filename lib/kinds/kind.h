/* kind: the table of dictionary kinds. A kind is one file that fills in a struct kind, and one line of the table.
 *
 * Every kind ends as f = encode(x), x_hat = f W_dec + b_dec. How it finds f is its pair of encoding hooks; how it is
 * fitted is its `step`, put together from the pieces of step.h. Nothing outside a kind's file asks which kind it is. */
/* SPDX-License-Identifier: MIT */
#ifndef KIND_H
#define KIND_H

#include "kinds/sae.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fit;
struct recipe;

/* The tensors a dictionary may have, in the order they are written. */
enum sae_tensor {
    SAE_W_ENC, SAE_B_ENC, SAE_W_DEC, SAE_B_DEC, SAE_THRESHOLD, SAE_B_GATE, SAE_B_MAG, SAE_R_MAG, SAE_TENSORS
};
#define SAE_HAS(tensor) (1u << (tensor))

struct sae_tensor_info {
    const char *name;               /* in the file */
    bool per_feature, per_input;    /* (d_sae, d_model), (d_sae) or (d_model) */
    bool scales;                    /* is in the units of x: divided by s when the scale of --normalize is folded in */
    size_t at;                      /* offset of its pointer in struct sae */
};
extern const struct sae_tensor_info sae_tensors[SAE_TENSORS];

/* Rows and width of a tensor as it is held in memory. */
size_t sae_tensor_rows(enum sae_tensor t, size_t d_sae);
size_t sae_tensor_width(enum sae_tensor t, size_t d_model);
/* The place of its pointer. */
float **sae_tensor(struct sae *s, enum sae_tensor t);

struct kind {
    const char *name;
    const char *about;              /* one line for --help */
    unsigned saves;                 /* SAE_HAS() of the tensors of a finished dictionary */
    unsigned learns;                /* of those with a gradient and moments while it is fitted */
    const struct recipe *usual;     /* how it is fitted when the user says no more */

    /* Encoding one row. screen: dot[i] is within slack * enc_norm[i] of the exact <e_i, x>; list every feature that
     * could fire (ascending, room for d_sae; val is scratch). settle: val holds the exact dots of those listed;
     * keep those that fire, with their values. Both return how many. */
    size_t (*screen)(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val);
    size_t (*settle)(const struct sae *s, uint32_t *idx, float *val, size_t n);

    /* Fitting. init draws the parameters; constrain restores, after the parameters of feature i have been set or moved,
     * what must hold for them and what is derived from them; step does what a batch asks for (see step.h); finish,
     * where there is one, completes a dictionary into which the parameters have been copied. */
    void (*init)(struct fit *f);
    void (*constrain)(struct fit *f, size_t i);
    void (*step)(struct fit *f);
    void (*finish)(const struct fit *f, struct sae *out);
};

/* All kinds, ending with NULL; and their names in the same order. */
extern const struct kind *const kinds[];
extern const char *const kind_names[];
/* NULL when there is none of that name. */
const struct kind *kind_find(const char *name);

/* The hooks of f = relu(pi), which several kinds share. */
size_t kind_screen_relu(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val);
size_t kind_settle_relu(const struct sae *s, uint32_t *idx, float *val, size_t n);

#endif
