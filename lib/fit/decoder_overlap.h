/* decoder_overlap: a penalty on decoder rows that are alike. With u_i = d_i / |d_i| and c_ij = <u_i, u_j>, gamma times
 *
 *   FIT_ORTHO_FRAME    sum_ij c_ij^2 = |U^T U|_F^2, at least m^2 / d  [the frame potential, Benedetto and Fickus 2003]
 *   FIT_ORTHO_CHUNKS   1/m sum_i max_{j != i in i's chunk} c_ij^2, chunks drawn anew each step       [OrtSAE 2025]
 *   FIT_ORTHO_MAX      mean_{i != j} c_ij + mean_i max_{j != i} c_ij + max_{i != j} c_ij */
/* SPDX-License-Identifier: MIT */
#ifndef DECODER_OVERLAP_H
#define DECODER_OVERLAP_H

#include "fit/fit.h"

/* Compute it and leave its gradient with respect to the rows d_i for step_update(). Returns it, 0 when there is none.
 * Where norms are held at 1 the gradient is that with respect to u_i, which a projection makes the same. */
double decoder_overlap_penalty(struct fit *f);

/* How many chunks, and the features in the order in which they fill them: piece c of `size` in a row. */
size_t decoder_overlap_chunks(const struct fit *f, uint32_t *order, size_t *size);

#endif
