/* blas: sgemm with one BLAS thread, row-major. Callers cut work into fixed pieces and run them on the pool (par). */
/* SPDX-License-Identifier: MIT */
#ifndef BLAS_H
#define BLAS_H

#include <stddef.h>

/* Tell the BLAS to use one thread, and take the memory that products on every thread of the pool need; where there is less,
 * the pool gets fewer threads. Called by every tool that multiplies, before the first product. */
void blas_start(void);
/* The kernel set in use ("Cooperlake"), or "unknown". When the CPU has AVX-512 but OPENBLAS_CORETYPE holds the BLAS to
 * older kernels, *slow (may be NULL) is set to the name of the variable, else to NULL. */
const char *blas_core(const char **slow);

/* C (m,n) = A (m,k) B^T + beta C, B is (n,k); = A B + beta C, B is (k,n); = A^T B + beta C, A is (k,m), B is (k,n).
 * lda, ldb, ldc: distance between rows in items. beta is 0 or 1. Any of m, n, k may be 0. */
void blas_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
             float beta, float *c, size_t ldc);
void blas_nn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
             float beta, float *c, size_t ldc);
void blas_tn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
             float beta, float *c, size_t ldc);

#endif
