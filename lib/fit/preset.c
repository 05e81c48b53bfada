/* SPDX-License-Identifier: MIT */
#include "fit/preset.h"
#include "fit/state.h"

const char *const preset_l1_unit_names[] = { "canonical", "cunningham", "sharkey", NULL };

double preset_l1_canonical(double l1, enum l1_units units, size_t d_model, size_t d_sae)
{
    switch (units) {
    case L1_CUNNINGHAM:
        return l1 * (double)d_model;
    case L1_SHARKEY:
        return l1 * (double)d_model / (double)d_sae;
    default:
        return l1;
    }
}

/* What recipes may leave open: take it from r where it is there. */
static void add_extras(struct fit_options *o, const struct preset *r)
{
    o->k = r->k ? r->k : o->k;
    o->theta0 = r->theta0 > 0 ? r->theta0 : o->theta0;
    o->bandwidth = r->bandwidth > 0 ? r->bandwidth : o->bandwidth;
    o->aux_k = r->aux_k ? r->aux_k : o->aux_k;
    o->aux_weight = r->aux_weight > 0 ? r->aux_weight : o->aux_weight;
    o->p_end = r->p_end > 0 ? r->p_end : o->p_end;
    o->dead_window = r->dead_window ? r->dead_window : o->dead_window;
    o->prefixes = r->prefixes ? r->prefixes : o->prefixes;
    o->inner_iterations = r->inner_iterations ? r->inner_iterations : o->inner_iterations;
}

struct fit_options preset_options(const struct preset *r, const struct kind *kind)
{
    struct fit_options o = fit_options_usual();
    o.kind = kind;
    add_extras(&o, kind->defaults);
    add_extras(&o, r);
    o.lr = r->lr;
    o.beta1 = r->beta1;
    o.beta2 = r->beta2;
    o.eps = r->eps;
    o.warmup = r->warmup;
    o.l1_warmup = r->l1_warmup;
    o.decay = r->decay;
    o.cosine = r->cosine;
    o.center = r->center;
    o.apply_b_dec = r->apply_b_dec;
    o.rms = r->rms;
    o.norm_weighted = r->norm_weighted;
    o.orthogonal = r->orthogonal;
    o.tied_init = !r->untied_init;
    o.clip = r->clip;
    if (r->dec_norm > 0)
        o.dec_norm = r->dec_norm;
    return o;
}

/* Sharkey 2022 and its replications: alpha is 10^(-1/2) of the grid 10^-2 to 10^2, for its own toy data. */
static const struct preset sharkey = {
    .name = "sharkey", .about = "untied, no b_dec, orthogonal at the start, alpha in its own units",
    .kind = "relu", .ratio = 2, .l1 = 0.316, .units = L1_SHARKEY, .batch = 256,
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .center = FIT_CENTER_NONE, .orthogonal = true,
    .untied_init = true,
};

/* Cunningham 2023, section 3 and its code: alpha of the residual-stream dictionaries, for rows as large as that
 * model's. */
static const struct preset cunningham = {
    .name = "cunningham", .about = "tied, Adam 1e-3 constant, alpha 8.6e-4 in its own units, rows as they are",
    .kind = "tied", .ratio = 4, .l1 = 8.6e-4, .units = L1_CUNNINGHAM, .batch = 256,
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .center = FIT_CENTER_ZERO,
};

/* Bricken 2023, which states neither rate nor lambda, and a batch (8192) for 8 thousand million rows: these are of the
 * kind's usual recipe. */
static const struct preset anthropic = {
    .name = "anthropic", .about = "b_dec from the geometric median and taken from the encoder's input too",
    .kind = "relu", .ratio = 8, .l1 = 1.5, .rms = true, .batch = 256,
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true,
    .resample = true,
};

/* The follow-up of April 2024. Size and batch are ours. */
static const struct preset anthropic_2024 = {
    .name = "anthropic-2024", .about = "free decoder norms, weighed by the penalty",
    .kind = "relu", .ratio = 8, .l1 = 5, .rms = true, .batch = 256, .lr = 5e-5, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 1e-8, .decay = 0.2, .l1_warmup_share = 0.05, .center = FIT_CENTER_ZERO, .norm_weighted = true,
    .dec_norm = 0.1, .clip = 1,
};

#define PRESETS \
    PRESET(sharkey) \
    PRESET(cunningham) \
    PRESET(anthropic) \
    PRESET(anthropic_2024) \
    PRESET(recipe_good)

#define PRESET(x) &x,
const struct preset *const presets[] = { PRESETS NULL };
#undef PRESET
const char *const preset_names[] = { "sharkey", "cunningham", "anthropic", "anthropic-2024", "good", NULL };
