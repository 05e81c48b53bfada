/* direct_logit: what a direction at a hook point does to the logits by itself, past all later layers.
 *
 *   v -> (W_down or W_O) -> r in the residual stream -> gain (r - mean of r) -> U -> less the mean over the vocabulary
 *
 * The last norm divides the residual stream by its standard deviation, which depends on the token; here that is 1. So adding
 * c v where it is s moves the logit of token t by c / s times what is given, as far as the norm's scale and the layers
 * between stay as they are; a shift of all logits alike, which moves no prediction, is taken out. */
/* SPDX-License-Identifier: MIT */
#ifndef DIRECT_LOGIT_H
#define DIRECT_LOGIT_H

#include "model/lm.h"

/* Is there such a path: a point of the residual stream, what is added to it, attn.hook_z, mlp.hook_post, or
 * ln_final.hook_normalized (where the mean is not taken out, for it comes behind the norm)? 0, or -1 and a sentence. */
int direct_logit_check(const struct lm_hook *hook) ERR_CHECKED;

/* out (n, n_vocab) for rows v (n, width of the hook). Single-threaded; any thread may call it. */
void direct_logit(const struct lm *m, const struct lm_hook *hook, const float *v, size_t n, float *out);

#endif
