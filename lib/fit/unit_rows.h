/* unit_rows: decoder rows held at unit norm. */
/* SPDX-License-Identifier: MIT */
#ifndef UNIT_ROWS_H
#define UNIT_ROWS_H

#include "fit/fit.h"

/* g -= <g, u> u: what is left of g in the plane that touches the unit sphere at u (d). */
void unit_rows_project(float *g, const float *u, size_t d);

/* Decoder rows at unit norm, and gradients in its plane. */
void unit_rows_constrain(struct fit *f, size_t i);
void unit_rows_gradient(const struct fit *f, size_t i, float *const g[SAE_TENSORS]);

#endif
