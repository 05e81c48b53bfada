/* arith: what tools that multiply say about the arithmetic in use. */
/* SPDX-License-Identifier: MIT */
#ifndef ARITH_H
#define ARITH_H

/* Ready the BLAS for one-threaded calls; with -v say which kernels it uses and whether an exported variable slows it. */
void tool_arithmetic(void);
/* --version -v: the BLAS and its kernels, the SIMD level of our own. */
void tool_version_arithmetic(void);

#endif
