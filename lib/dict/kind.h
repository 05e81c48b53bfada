/* kind: what a kind of dictionary is: one file that fills in a struct kind, and one line of the table in kinds.c.
 *
 * Every kind ends as f = encode(x), x_hat = f W_dec + b_dec. How it finds f is its pair of encoding hooks; how it is
 * fitted is its `step`, put together from the pieces of step.h. Nothing outside a kind's file asks which kind it is. */
/* SPDX-License-Identifier: MIT */
#ifndef KIND_H
#define KIND_H

#include "dict/layout.h"

#include <stddef.h>
#include <stdint.h>

struct fit;
struct preset;

/* Options of a fit that not every kind can honor; the rest of struct fit_options means something to all of them. */
enum {
    USES_ADAM = 1 << 0,             /* lr, beta1, beta2, eps, warmup, decay: it goes down a gradient */
    USES_L1 = 1 << 1,               /* l1, l1_warmup */
    USES_CENTER = 1 << 2,           /* center: b_dec begins where one likes */
    USES_K = 1 << 3,                /* k */
    USES_THETA = 1 << 4,            /* theta0, bandwidth, target_l0 */
    USES_AUX = 1 << 5,              /* aux_k, aux_weight */
    USES_NORM_WEIGHT = 1 << 6,      /* norm_weighted */
    USES_P = 1 << 7,                /* p_start, p_end, p_from, p_to */
    USES_ORTHO = 1 << 8,            /* ortho, ortho_kind */
    USES_RECON = 1 << 9,            /* recon */
    USES_CLIP = 1 << 10,            /* clip */
    USES_LAYERS = 1 << 11,          /* enc_layers, inner */
    USES_PREFIXES = 1 << 12,        /* prefixes */
    USES_TIED_INIT = 1 << 13,       /* tied_init */
    USES_DEC_NORM = 1 << 14,        /* dec_norm */
    USES_ITERATIONS = 1 << 15,      /* inner_iterations */
    USES_RESAMPLE = 1 << 16,        /* resample_* */
    USES_INIT = 1 << 17,            /* rows or a dictionary to begin from */
    USES_SCALE = 1 << 18,           /* rms: it is not the same on rows of another size */
};

struct kind {
    const char *name;
    const char *about;              /* one line for --help */
    unsigned saves;                 /* SAE_HAS() of the tensors of a finished dictionary */
    unsigned learns;                /* of those with a gradient and moments while it is fitted */
    unsigned accepts;                  /* USES_ bits */
    const struct preset *defaults;     /* how it is fitted when the user says no more */

    /* Encoding one row. candidates: dot[i] is within slack * enc_norm[i] of the exact <e_i, x>; list every feature that
     * could fire (ascending, room for d_sae; val is scratch). select: val holds the exact dots of those listed;
     * keep those that fire, with their values. Both return how many. */
    size_t (*candidates)(const struct sae *s, const float *dot, float slack, uint32_t *idx, float *val);
    size_t (*select)(const struct sae *s, uint32_t *idx, float *val, size_t n);

    /* Fitting. begin, where there is one, is called when the scale s and b_dec are set, with the first rows x
     * (n, d_model) times s: kinds that look at the data as a whole do so here, and refuse what they cannot do (-1 and a
     * sentence, of usage where the command line is wrong). init, where there is one, comes next and draws the
     * parameters; constrain restores, after the parameters of feature i have been set or moved, what must hold for
     * them and what is derived from them; step does what a batch asks for (see step.h); finish, where there is one,
     * completes a dictionary into which the parameters have been copied; release, where there is one, frees f->priv.
     * What begin and init leave behind is in parameters and in fit_state_add(); all else is made again from these, for
     * a resumed fit runs neither, but has constrain called for every feature. */
    int (*begin)(struct fit *f, const float *x, size_t n);
    void (*release)(struct fit *f);
    void (*init)(struct fit *f);
    void (*constrain)(struct fit *f, size_t i);
    void (*step)(struct fit *f);
    void (*finish)(const struct fit *f, struct sae *out);

    /* Resampling (see resample.h): the norm of a new encoder row as a share of the mean of those alive, 0: 0.2; and what
     * is to be done, besides setting the rows, and every other parameter of feature i to 0, with their moments. */
    double resample_enc_norm;
    void (*on_resample)(struct fit *f, size_t i);
    /* Beginning from a dictionary: set the parameters of feature i that are not tensors of the same name in s, which are
     * copied. */
    void (*warm_start)(struct fit *f, const struct sae *s, size_t i);
};

#endif
