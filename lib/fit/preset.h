/* preset: how a kind is fitted when the user says no more: the published presets, and the default of each kind. */
/* SPDX-License-Identifier: MIT */
#ifndef PRESET_H
#define PRESET_H

#include "fit/fit.h"

/* Objectives of the literature differ in what they average. With an objective written as given here, lambda of
 * |x_hat - x|^2 + lambda sum f is: */
enum l1_units {
    L1_CANONICAL,       /* |r|^2 + l1 sum f:                l1 */
    L1_CUNNINGHAM,      /* |r|^2 / d + l1 sum f:            l1 d */
    L1_SHARKEY,         /* |r|^2 / d + (l1 / m) sum f:      l1 d / m */
};
extern const char *const preset_l1_unit_names[];
double preset_l1_canonical(double l1, enum l1_units units, size_t d_model, size_t d_sae);

struct preset {
    const char *name, *about;
    const char *kind;
    double ratio;                       /* d_sae / d_model */
    double l1;
    enum l1_units units;
    bool rms;                           /* l1 is for rows scaled to E|x|^2 = d_model, and so fits any rows */
    size_t batch;
    double lr, beta1, beta2, eps;
    uint64_t warmup, l1_warmup;
    double decay;
    enum fit_center center;
    bool apply_b_dec;

    /* Of these, zero is what fit_options_usual() has. */
    size_t k;
    double theta0, bandwidth;
    size_t aux_k;
    double aux_weight;
    bool norm_weighted, cosine, orthogonal, untied_init;
    double dec_norm, clip, p_end;
    double l1_warmup_share;             /* l1_warmup as a share of all steps */
    bool resample;                      /* dead features */
    size_t prefixes, inner_iterations;
    uint64_t dead_window;
};

/* The options a recipe is for, those of struct fit_options that it does not speak of as usual; for a kind that is not
 * the recipe's own, what it leaves open is the kind's. */
struct fit_options preset_options(const struct preset *r, const struct kind *kind);

/* A current recipe of our choice, of the kind that is best on the whole; it is that kind's usual one. */
extern const struct preset recipe_good;

/* The presets, ending with NULL, and their names in the same order. */
extern const struct preset *const presets[];
extern const char *const preset_names[];

#endif
