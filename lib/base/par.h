/* par: one pool of threads. Work is cut into pieces whose number and borders never depend on the number of threads,
 * each piece writes only its own part of the result, and no sum is split between pieces unless the caller adds the
 * parts in a fixed order. So -j never changes a byte. */
/* SPDX-License-Identifier: MIT */
#ifndef PAR_H
#define PAR_H

#include <stddef.h>

/* Threads this process should use when the user says nothing: 1 under GNU parallel (PARALLEL_SEQ is set),
 * otherwise the cores in our affinity mask. */
int par_default(void);

/* Say how many threads the pool has, the caller included; they are started by the first par_for() with work for two.
 * Called by tool_begin(), and by blas_start() where memory is short, before the first par_for(). Without
 * it everything runs in the caller. */
void par_start(int threads);
int par_threads(void);

/* fn(arg, piece, worker) for piece = 0..pieces-1, in no stated order; worker < par_threads() names a scratch area.
 * Returns when all are done. Not to be nested. */
void par_for(size_t pieces, void (*fn)(void *arg, size_t piece, int worker), void *arg);

#endif
