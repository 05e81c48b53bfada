/* checkpoint: a checkpoint of the fits that share one stream, as a safetensors file.
 *
 *   I.NAME, I.NAME.m, I.NAME.v     f32   parameter NAME (W_enc...) of fit I and its moments
 *   I.unit                         f32   rows derived from a parameter, where the kind has them
 *   I.state.NN.NAME                f64   what the kind keeps besides
 *   I.counters, I.last             u64   steps, rows, random state; when each feature last fired
 *   I.numbers, I.spread            f64   scale, first loss and sums; sums of rows
 *   __metadata__                         format = "saetools fit 1", what the tool adds, digest (SHA-256 of all)
 *
 * All that the next step depends on is there, except the rows: those come from the input, read again. The shuffle
 * buffer is not stored (it may be larger than all else), for its order follows from the seed: whoever resumes takes as
 * many rows from it as had been used. */
/* SPDX-License-Identifier: MIT */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "fit/fit.h"

#include <jansson.h>

struct fitstate;

/* Write, complete or not at all. fit[i] may be NULL: one that has ended. meta (str -> str) is stored beside. Returns 0,
 * or -1 and a sentence: of data, with no file written, when a parameter is not finite. */
int checkpoint_save(const char *path, struct fit *const *fit, size_t n, const json_t *meta) ERR_CHECKED;

/* Open and check format and digest. NULL and a sentence (with the path) on failure. */
struct fitstate *checkpoint_open(const char *path);
void checkpoint_close(struct fitstate *s);
/* The metadata, str -> str, borrowed. */
const json_t *checkpoint_meta(const struct fitstate *s);

/* Put fit i into f, new and with the same options. Returns 0, or -1 and a sentence (with the path) where the file lacks
 * something or has it in another shape. */
int checkpoint_restore(const struct fitstate *s, size_t i, struct fit *f) ERR_CHECKED;

#endif
