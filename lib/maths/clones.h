/* clones: CLONES before a function compiles it for several x86-64 levels, the best one chosen when the program starts.
 * Elsewhere, under sanitizers (whose run-time is not ready when the choice is made) and with clang 14 (which has no clones of
 * C functions) it is compiled once. CFLAGS='-O2 -DCLONES_AT=\"x86-64-v3\"' compiles it for that level alone, so that a CPU
 * can test the levels below its own. CLONES_LEVEL names the level in use. */
/* SPDX-License-Identifier: MIT */
#ifndef CLONES_H
#define CLONES_H

#if defined(CLONES_AT)
#define CLONES __attribute__((target("arch=" CLONES_AT)))
#define CLONES_LEVEL CLONES_AT " alone"
#elif defined(__x86_64__) && defined(__ELF__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#define CLONES_LEVEL \
    (__builtin_cpu_supports("x86-64-v4") ? "x86-64-v4" : __builtin_cpu_supports("x86-64-v3") ? "x86-64-v3" : "x86-64")
#else
#define CLONES
#define CLONES_LEVEL "as compiled"
#endif

/* For the pieces of a cloned function: they must become part of each clone. */
#define INLINE static inline __attribute__((always_inline))

#endif
