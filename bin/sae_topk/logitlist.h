/* logitlist: sae-topk --logits: the tokens that features promote and suppress along the straight path to the logits. */
/* SPDX-License-Identifier: MIT */
#ifndef LOGITLIST_H
#define LOGITLIST_H

#include "cli/labels.h"
#include "dict/sae.h"

/* Print for each of the features listed (n) its k most promoted and most suppressed tokens: a line a rank, or with --json an
 * object a feature. hook NULL: the one the dictionary was fitted on. `path` names the dictionary in messages. Returns the exit
 * status of main(). */
int logitlist_main(const struct sae *sae, const char *path, const char *model, const char *hook, const size_t *feature,
                   size_t n, size_t k, const struct labels *labels);

#endif
