/* peak: the sgemm rate of this machine now, in GFLOP/s, one BLAS thread on each of N pool threads: the roofline that
 * the bench holds the tools against. Usage: peak THREADS; prints the rate and the BLAS core. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "maths/blas.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N = 1024, ROUNDS = 24 };

static float *a[256], *b[256], *c[256];

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void multiply(void *arg, size_t i, int worker)
{
    (void)arg;
    (void)worker;
    blas_nt(N, N, N, a[i], N, b[i], N, 0, c[i], N);
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : par_default();
    double best = 0;
    if (threads < 1 || threads > 256)
        return 2;
    blas_start();
    par_start(threads);
    for (int i = 0; i < threads; i++) {
        a[i] = mem_align(N * N, sizeof(float));
        b[i] = mem_align(N * N, sizeof(float));
        c[i] = mem_align(N * N, sizeof(float));
        for (size_t k = 0; k < N * N; k++)
            a[i][k] = b[i][k] = (float)(k % 17) - 8;
    }
    for (int r = 0; r < ROUNDS; r++) {
        double t = seconds();
        par_for((size_t)threads, multiply, NULL);
        double rate = 2.0 * N * N * N * threads / (seconds() - t) * 1e-9;
        best = rate > best ? rate : best;
    }
    printf("%.1f %s\n", best, blas_core(NULL));
    return 0;
}
