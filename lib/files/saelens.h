/* saelens: a dictionary as SAELens leaves it: a directory with cfg.json and sae_weights.safetensors.
 *
 *   version 6:       { architecture, d_in, d_sae, apply_b_dec_to_input, normalize_activations, k, metadata { ... } }
 *   5 and earlier:   flat, with activation_fn_str, activation_fn_kwargs { k }, hook_name or hook_point, model_name
 *
 * Architectures standard, topk, jumprelu (as which batchtopk and matryoshka are saved) and gated become our kinds of the
 * same codes. Decoder norms of a top-k dictionary that ranks by them, and scaling factors, are folded into the matrices. */
/* SPDX-License-Identifier: MIT */
#ifndef SAELENS_H
#define SAELENS_H

#include "dict/sae.h"

/* Load a directory. NULL and a sentence (with the path) on failure, also for what our files cannot say, as rows that are
 * normalized on their way in. sae_free() it. */
struct sae *saelens_load(const char *dir);

#endif
