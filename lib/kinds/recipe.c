/* SPDX-License-Identifier: MIT */
#include "kinds/recipe.h"

const char *const l1_unit_names[] = { "canonical", "cunningham", "sharkey", NULL };

double l1_canonical(double l1, enum l1_units units, size_t d_model, size_t d_sae)
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

/* Cunningham 2023, section 3 and its code: alpha of the residual-stream dictionaries, for rows as large as that
 * model's. */
static const struct recipe cunningham = {
    .name = "cunningham", .about = "tied, Adam 1e-3 constant, alpha 8.6e-4 in its own units, rows as they are",
    .kind = "tied", .ratio = 4, .l1 = 8.6e-4, .units = L1_CUNNINGHAM, .batch = 256,
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .center = FIT_CENTER_ZERO,
};

/* Bricken 2023, which states neither rate nor lambda, and a batch (8192) for 8 thousand million rows: these are of the
 * kind's usual recipe. */
static const struct recipe anthropic = {
    .name = "anthropic", .about = "relu, b_dec from the geometric median and taken from the encoder's input too",
    .kind = "relu", .ratio = 8, .l1 = 1.5, .rms = true, .batch = 256,
    .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true,
};

#define PRESETS \
    PRESET(cunningham) \
    PRESET(anthropic)

#define PRESET(x) &x,
const struct recipe *const presets[] = { PRESETS NULL };
#undef PRESET
#define PRESET(x) #x,
const char *const preset_names[] = { PRESETS NULL };
