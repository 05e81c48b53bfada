/* clones: CLONES before a function compiles it for several x86-64 levels, the best one chosen when the program starts.
 * Elsewhere, and under sanitizers (whose run-time is not ready when the choice is made), it is compiled once. */
/* SPDX-License-Identifier: MIT */
#ifndef CLONES_H
#define CLONES_H

#if defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

/* For the pieces of a cloned function: they must become part of each clone. */
#define INLINE static inline __attribute__((always_inline))

#endif
