/* cli_blas: what tools that multiply say about the arithmetic in use. */
/* SPDX-License-Identifier: MIT */
#ifndef CLI_BLAS_H
#define CLI_BLAS_H

/* Ready the BLAS for one-threaded calls; with -v say which kernels it uses and whether an exported variable slows it. */
void cli_blas_start(void);
/* --version -v: the BLAS and its kernels, the SIMD level of our own. */
void cli_blas_version(void);

#endif
