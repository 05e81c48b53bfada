/* vec: products and sums of f32 vectors in one fixed order, the same for every caller, batch size and BLAS.
 * Values that are stored or compared come from here. n is in items; x and y never overlap. */
/* SPDX-License-Identifier: MIT */
#ifndef VEC_H
#define VEC_H

#include <stddef.h>

float vec_dot(const float *x, const float *y, size_t n);            /* sum x_i y_i, f32 lanes */
double vec_dot_wide(const float *x, const float *y, size_t n);      /* the same, accumulated in double */
void vec_axpy(float *y, float a, const float *x, size_t n);         /* y += a x */
void vec_scale(float *y, float a, size_t n);                        /* y *= a */
void vec_add(float *y, const float *x, size_t n);                   /* y += x */
void vec_sub(float *out, const float *x, const float *y, size_t n); /* out = x - y */
/* x / max(norm, floor) in place; returns the norm it had. */
float vec_normalize(float *x, size_t n, float floor);
/* -1 when all n values are finite, else the index of the first that is not. */
ptrdiff_t vec_first_nonfinite(const float *x, size_t n);

#endif
