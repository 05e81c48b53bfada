/* SPDX-License-Identifier: MIT */
#include "fit/unit_rows.h"
#include "maths/vec.h"

void unit_rows_project(float *g, const float *u, size_t d)
{
    vec_axpy(g, (float)-vec_dot_wide(g, u, d), u, d);
}

void unit_rows_constrain(struct fit *f, size_t i)
{
    vec_normalize(f->dec + i * f->o.d_model, f->o.d_model, 1e-8f);
}

void unit_rows_gradient(const struct fit *f, size_t i, float *const g[SAE_TENSORS])
{
    unit_rows_project(g[SAE_W_DEC], f->dec + i * f->o.d_model, f->o.d_model);
}
