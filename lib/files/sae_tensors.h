/* sae_tensors: the tensors of a dictionary as files hold them: names, shapes, checks, and back into memory.
 * Shared by the forms a dictionary may be stored in. */
/* SPDX-License-Identifier: MIT */
#ifndef SAE_TENSORS_H
#define SAE_TENSORS_H

#include "data/safetensors.h"
#include "dict/kind.h"

#define TENSORS_FORMAT "saetools 1"
enum { TENSORS_HEX = 65 };

/* Width and number of features, from W_dec. */
int sae_tensors_size(const struct safetensors *file, size_t *d_model, size_t *d_sae) ERR_CHECKED;
/* What is there agrees with the kind: all it needs, of the right shapes, and nothing that would change what it means. */
int sae_tensors_check(const struct safetensors *file, const struct kind *kind, size_t d_model, size_t d_sae) ERR_CHECKED;
/* Fill the tensors that s has, converted to f32, W_enc put on its feet; all must be finite. */
int sae_tensors_read(struct sae *s, const struct safetensors *file) ERR_CHECKED;
/* Describe the tensors of s as they are stored; data is borrowed but for W_enc, turned over into *turned, which the caller
 * frees. Returns how many. */
size_t sae_tensors_list(const struct sae *s, struct tensor out[SAE_TENSORS], float **turned);
/* SHA-256 of all that says what the codes are: of kind, k, l1, apply_b_dec_to_input and activation_scale as the
 * metadata spell them, then of the tensors in the order of their names: name, type, shape, data. */
void sae_tensors_digest(const struct tensor *t, size_t n, const json_t *meta, char hex[TENSORS_HEX]);
/* SHA-256 of all metadata but the digest: each key and its value with a zero byte behind, in the order of the keys' bytes. */
void sae_tensors_seal(const json_t *meta, char hex[TENSORS_HEX]);
/* The metadata of a file with these tensors of s that are ours: format, kind, sizes, numbers and digest. json_decref() it. */
json_t *sae_tensors_metadata(const struct sae *s, const struct tensor *t, size_t n);

#endif
