/* saefile: a dictionary as one safetensors file.
 *
 *   W_enc [d_model, d_sae]  b_enc [d_sae]  W_dec [d_sae, d_model]  b_dec [d_model]   (F32)
 *   by kind: threshold, b_gate, b_mag, r_mag [d_sae]
 *   __metadata__: format = "saetools 1", kind, d_model, d_sae, k, l1, apply_b_dec_to_input, activation_scale, hook,
 *   model, rows, seed, history (JSON), digest: SHA-256 of the tensors and of what says how they are used, which names the
 *   dictionary and is what sae->meta has, a space, and SHA-256 of the other metadata
 *
 * Names and orientation are SAELens's, so that any safetensors reader opens the file. */
/* SPDX-License-Identifier: MIT */
#ifndef SAEFILE_H
#define SAEFILE_H

#include "base/err.h"
#include "dict/sae.h"

/* Load and check shapes, digest and finite values. NULL and a sentence (with the path) on failure. sae_free() it. */
struct sae *saefile_load(const char *path);
/* Write, complete or not at all. Keys of s->meta are stored beside those above. Returns 0, or -1 and a sentence. */
int saefile_save(const char *path, const struct sae *s) ERR_CHECKED;

#endif
