/* nonlin: what a transformer does between its matrix products, f32, whole arrays at a time, without libm.
 * Errors stay within 2e-7 of the true value (relative, or absolute where the value is below 1). */
/* SPDX-License-Identifier: MIT */
#ifndef NONLIN_H
#define NONLIN_H

#include <stddef.h>

enum nonlin {
    NONLIN_GELU,            /* x Phi(x), Phi the normal distribution function    [Hendrycks and Gimpel 2016] */
    NONLIN_GELU_TANH,       /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))     [the same, its approximation] */
    NONLIN_RELU,            /* max(x, 0) */
    NONLIN_SILU,            /* x sigmoid(x) */
    NONLIN_QUICK_GELU       /* x sigmoid(1.702 x) */
};

/* By the name a checkpoint's config.json uses ("gelu", "gelu_new"...); -1 for one that is not known here. */
int nonlin_find(const char *name);

/* x := f(x), n items in place. */
void nonlin_apply(enum nonlin f, float *x, size_t n);

/* x := tanh(x), n items in place, to an absolute error of 2e-7. */
void nonlin_tanh(float *x, size_t n);

/* Scores s (rows, cols), row distance ld; row i may look at its first `first` + i columns (at least 1, at most cols).
 * Row := exp(scale (s - its maximum)) there and 0 behind, scale > 0; inverse[i] := 1 / its sum. */
void nonlin_softmax(float *s, size_t ld, size_t rows, size_t cols, size_t first, float scale, float *inverse);

/* out (n,d) = (x - mean) / sqrt(variance + eps), row by row; mean and variance are summed in double. x == out is fine.
 * [Ba, Kiros and Hinton 2016] */
void nonlin_normalize(float *out, const float *x, size_t n, size_t d, double eps);
/* out (n,d) = x gain + bias, gain and bias (d). No overlap. */
void nonlin_gain(float *out, const float *x, const float *gain, const float *bias, size_t n, size_t d);

/* Rotate one row of heads (n_head, d_head) in place: in each head the pairs (i, i + half), i < half, by the angles whose
 * cosines and sines are given (half each). [Su 2021, eq. 34; NeoX pairs halves] */
void nonlin_rotate(float *x, size_t n_head, size_t d_head, size_t half, const float *cosine, const float *sine);

/* ---- the same backwards: from the gradient of a number at a step's output to its gradient at the input ---- */
/* g := g f'(x), n items; x is what f was applied to. */
void nonlin_apply_back(enum nonlin f, float *g, const float *x, size_t n);
/* g (rows, cols) := scale p (g - sum_j p_j g_j), row by row: from weights p that sum to 1, behind nonlin_softmax(), to its
 * scores. Both have row distance ld. */
void nonlin_softmax_back(float *g, const float *p, size_t ld, size_t rows, size_t cols, float scale);
/* g (n,d), the gradient at what nonlin_normalize(x) gives, becomes the one at x; sums in double. */
void nonlin_normalize_back(float *g, const float *x, size_t n, size_t d, double eps);
/* The rotation by the opposite angles, which is the transpose of nonlin_rotate(). */
void nonlin_rotate_back(float *x, size_t n_head, size_t d_head, size_t half, const float *cosine, const float *sine);

#endif
