/* lm: a language model from a Hugging Face checkpoint directory, run forward on the CPU with hooks.
 *
 * GPT-2 (sequential blocks, learned positions) and GPT-NeoX/Pythia (parallel or sequential blocks, rotary positions).
 * A family is one file with the list of operations that its models are (struct lm_family). Hook points have
 * TransformerLens's names; the values are raw: nothing folded, nothing centered. */
/* SPDX-License-Identifier: MIT */
#ifndef LM_H
#define LM_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lm;

struct lm_shape {
    const char *arch;           /* "gpt2", "gpt_neox" */
    size_t n_layer, d_model, n_head, d_head, d_mlp, n_vocab, n_ctx;
    int64_t bos;                /* bos_token_id, -1 when the config names none */
    size_t params, params_non_embedding;
};

/* Open DIR: config.json, model.safetensors or model.safetensors.index.json with its shards. Weights are mapped; types
 * other than aligned F32 are converted. NULL and a sentence naming the file on failure. */
struct lm *lm_open(const char *dir);
void lm_close(struct lm *m);
const struct lm_shape *lm_shape(const struct lm *m);
/* SHA-256 (hex) of config and weights, in a fixed order of tensor names: the same for sharded and single files. */
const char *lm_digest(struct lm *m);

/* ---- hook points ---- */
struct lm_hook {
    char name[64];              /* "blocks.3.hook_resid_post" */
    int layer;                  /* -1: before the blocks; n_layer: after them */
    const struct op *op;        /* private: its place in the list of operations */
    size_t width;
};
/* All hook points this model has, in the order the forward pass reaches them. */
const struct lm_hook *lm_hooks(const struct lm *m, size_t *count);
/* Find one by TransformerLens name or short form (resid_post.3, 3.resid_post, layers.3, layers.3.mlp).
 * NULL and a sentence that lists those there are (blocks.{0..n}.… compactly). */
const struct lm_hook *lm_hook_find(const struct lm *m, const char *name);

/* ---- the forward pass ---- */
/* Several contexts laid end to end: context i is tok[start[i]..start[i+1]), at positions pos0.. in its context. */
struct lm_batch {
    const uint32_t *tok;
    const size_t *start;        /* count + 1 */
    size_t count;
};
/* What to do at a hook: fn is given the rows (n, width) of the whole batch and may read or overwrite them; what it
 * writes is what the rest of the pass uses. */
struct lm_tap {
    const struct lm_hook *hook;
    void (*fn)(void *arg, float *rows, size_t n);
    void *arg;
};
/* Buffers of one thread's forward pass; grows to the largest batch it has seen. */
struct lm_work;
struct lm_work *lm_work_new(const struct lm *m);
void lm_work_free(struct lm_work *w);

/* Run the batch up to the last tapped hook; nothing behind it is computed. Single-threaded: callers run one batch piece
 * for each pool thread, each with its own lm_work. Token ids are below n_vocab and contexts at most n_ctx long: the
 * caller has checked. Row results do not depend on which thread runs the piece. */
void lm_forward(const struct lm *m, struct lm_work *w, const struct lm_batch *b, const struct lm_tap *taps, size_t n_taps);

/* The same from the input of a layer on: rows (n, d_model), left as they are, is the residual stream before `layer`. No tap
 * may be at an earlier point. */
void lm_resume(const struct lm *m, struct lm_work *w, const struct lm_batch *b, int layer, const float *rows,
               const struct lm_tap *taps, size_t n_taps);

#endif
