/* auxk: dead features are made to explain what the others leave [Gao 2024, appendix A.2]. With e = x - x_hat, held
 * fixed, and z the aux_k largest relu(pi) of a row among the dead, L has besides
 *
 *   aux_weight / B sum |z D - e|^2 / Var(e),     Var(e) = 1/B sum |e - its mean|^2, held fixed too
 *
 * A feature is dead that has not fired in the last dead_window rows. */
/* SPDX-License-Identifier: MIT */
#ifndef AUXK_H
#define AUXK_H

#include "fit/step.h"

/* step_encode(), with the pairs of the dead in the second list when there are any. */
void auxk_encode(struct fit *f, step_fires fires);
/* After step_rows(): what this adds to the loss, and to `term`, whose first `terms` the kind has filled. Returns how
 * many there are now. */
size_t auxk_add(struct fit *f, struct step_term *term, size_t terms);

#endif
