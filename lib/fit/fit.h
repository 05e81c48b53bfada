/* fit: a dictionary being fitted: parameters, moments, counters, and the work of one batch.
 *
 * One loss for every kind and preset: L = mean over the batch of |x_hat - x|^2 + lambda S(f). Rows x are scaled by s
 * (--normalize) on their way in, and s is folded out of the finished dictionary. Several fits may live side by side.
 * The same rows, options and seed give the same bytes with any number of threads. */
/* SPDX-License-Identifier: MIT */
#ifndef FIT_H
#define FIT_H

#include "base/err.h"
#include "base/rng.h"
#include "dict/kind.h"
#include "fit/fit_tally.h"
#include "fit/state.h"
#include "maths/sparse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where b_dec begins, for kinds that have one; NONE: it is 0 and stays so. */
enum fit_center { FIT_CENTER_ZERO, FIT_CENTER_MEAN, FIT_CENTER_MEDIAN, FIT_CENTER_NONE };

struct fit_options {
    const struct kind *kind;
    size_t d_model, d_sae;
    double l1;                          /* lambda of the loss above */
    double lr, beta1, beta2, eps;       /* Adam */
    uint64_t steps;                     /* updates there will be; 0: not known, then decay must be 0 */
    uint64_t warmup, l1_warmup;         /* updates in which the rate, lambda, rise from 0 */
    double decay;                       /* share of all updates, at the end, in which the rate falls to 0 */
    enum fit_center center;
    bool apply_b_dec;                   /* pi = E (x - b_dec) + b_enc */
    bool rms;                           /* fit s x with E|s x|^2 = d_model */
    uint64_t dead_window;               /* a feature is dead that has not fired in so many rows */
    uint64_t seed;

    /* What follows is off, or as a kind would have it anyway, when it is zero; fit_options_usual() gives the rest. */
    size_t k;                           /* features a row, for kinds that fix it */
    double theta0, bandwidth;           /* jumprelu: thresholds at the start; width of the kernel about them */
    double target_l0;                   /* jumprelu: S is (L0 / target - 1)^2 instead of L0 */
    size_t aux_k;                       /* dead features that explain what the others leave */
    double aux_weight;                  /* the weight of that */
    bool norm_weighted;                 /* S = sum f_i |d_i|, decoder norms free; folded to unit norm at export */
    double p_start, p_end;              /* S = sum f^p, p falling from one to the other; p_end 1: never */
    double p_from, p_to;                /* as shares of all steps: where it begins to fall, where it has fallen */
    double ortho;                       /* weight of the penalty on decoder rows that are alike */
    int ortho_kind;                     /* enum fit_ortho */
    double recon;                       /* weight of |x_hat - x|^2; 1 */
    double clip;                        /* largest norm of the whole gradient; 0: any */
    size_t enc_layers;                  /* layers of the encoder, 1: E alone */
    int inner;                          /* enum fit_inner, of layers before the last */
    size_t prefixes;                    /* matryoshka: nested dictionaries */
    bool tied_init;                     /* the encoder begins as the decoder's copy */
    bool orthogonal;                    /* the decoder begins orthogonal, as far as its shape lets it */
    double dec_norm;                    /* norm of decoder rows at the start, where it is free; 1 */
    size_t inner_iterations;            /* fista: iterations for each batch */
    uint64_t resample_every;            /* steps between events of resampling (see resample.h); 0: never */
    uint64_t resample_last;             /* no event after this step */
    uint64_t resample_rows;             /* rows to draw from at an event */
    bool resample_center;               /* new rows are of x - b_dec rather than x */
    bool cosine;                        /* the rate falls along a cosine, not a line, over the share `decay` */
};

/* The penalties of `ortho`: gamma sum over pairs <d_i, d_j>^2; the largest cosine to others of a chunk, squared
 * [OrtSAE]; mean cosine + mean of each row's largest + largest of all. */
enum fit_ortho { FIT_ORTHO_FRAME, FIT_ORTHO_CHUNKS, FIT_ORTHO_MAX };

/* Named numbers a kind keeps from step to step besides parameters; part of every checkpoint. */
enum { FIT_STATES = 16 };
struct fit_state {
    char name[24];
    double *p;                          /* (n), owned by the fit */
    size_t n;
};

/* One learned tensor with its moments: (rows, width) each; p is NULL for a tensor the kind does not learn. */
struct fit_param {
    float *p, *m, *v;
    size_t rows, width;
};

/* What a step is to do with the gradient. */
enum fit_mode { FIT_UPDATE, FIT_GRADIENT, FIT_MEASURE };

struct fit {
    struct fit_options o;
    struct rng rng;
    uint64_t step;                      /* updates done */
    double scale;                       /* s */
    struct fit_param param[SAE_TENSORS];
    float *enc, *dec;                   /* (d_sae, d_model) rows e_i, d_i as the arithmetic uses them: parameters, or */
    float *unit;                        /* this, owned: derived from one by the kind; NULL for the others */
    struct fit_state state[FIT_STATES]; /* what fit_state_add() made, in that order; p NULL behind the last */
    void *priv;                         /* private to the kind, which frees it in its release hook */
    struct fit_tally tally;             /* of the fit itself */
    double first_loss;                  /* L of the first batch */
    uint64_t dead_since;                /* rows ever when the watch for the next event of resampling began */
    uint64_t resampled;                 /* features resampled, ever */

    /* ---- the work of one batch; n rows ---- */
    enum fit_mode mode;
    double l1;                          /* lambda in force */
    size_t n, cap;
    float *x, *r;                       /* (n, d_model): s x, less b_dec if apply_b_dec; x_hat - s x */
    double *error, *loss;               /* (n) |r|^2, and the row's part of L */
    double batch_loss, batch_square;    /* L; mean |s x|^2 */
    struct codes f;                     /* the features that fire, with their values */
    float *g;                           /* for each pair of f: d(row's L) / d pi */
    size_t g_cap;
    struct codes_by_feature by_feature;
    float *gradient[SAE_TENSORS];       /* FIT_GRADIENT: where rows of gradients go, shaped as the parameters */
    struct fit_work *work;              /* private to step.c */
};

/* A fit with its parameters not yet set. Never NULL; fit_free() it. */
struct fit *fit_new(const struct fit_options *o);
void fit_free(struct fit *f);

/* Begin: s and b_dec from the rows x (n, d_model), n > 0, the other parameters from the seed; then the kind's begin
 * hook. Returns 0, or -1 and the sentence of that hook. */
int fit_begin(struct fit *f, const float *x, size_t n) ERR_CHECKED;

/* The kind's constrain hook for every feature. */
void fit_constrain(struct fit *f);

/* One update from the batch x (n, d_model), n > 0. Returns 0; -1 and a sentence that says what to change when the loss
 * is not finite or has grown out of hand, and then nothing was updated. */
int fit_step(struct fit *f, const float *x, size_t n) ERR_CHECKED;

/* Add to t the numbers of x (n, d_model), at full lambda. The fit stays as it is. */
void fit_measure(struct fit *f, const float *x, size_t n, struct fit_tally *t);

/* The gradient of L on the batch x, at full lambda: for each tensor the kind learns, gradient[t] (rows, width) of
 * f->param[t]. Returns L. The fit stays as it is. */
double fit_gradient(struct fit *f, const float *x, size_t n, float *const gradient[SAE_TENSORS]);

/* Are all parameters finite? 0, or -1 and a sentence. */
int fit_check(const struct fit *f) ERR_CHECKED;

/* The dictionary in the units of raw x. NULL and a sentence when a parameter is not finite. sae_free() it. */
struct sae *fit_export(const struct fit *f);

#endif
