/* Only the CBLAS is linked; what belongs to one BLAS alone (threads, the name of its kernels) is looked up. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "maths/blas.h"
#include "base/end.h"
#include "base/mem.h"
#include "base/par.h"

#include <cblas.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>

/* Kernel sets that were written for AVX-512. */
static int is_wide(const char *core)
{
    static const char *const wide[] = { "SkylakeX", "Cooperlake", "Sapphirerapids", "Zen5" };
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        if (!strcasecmp(core, wide[i]))
            return 1;
    return 0;
}

static int is_room(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p != MAP_FAILED && munmap(p, bytes) == 0;
}

/* OpenBLAS tries for ever to get memory that it is refused, but it keeps what it has once had: let it have now what one
 * product in each thread takes, as far as there is room. With room for fewer, there are fewer threads. */
static void reserve(void)
{
    enum { MOST = 128, EACH = (32 << 22) + (1 << 20) };     /* its largest buffer, 128 MiB, of which it uses little */
    void *(*take)(int), (*give)(void *), *held[MOST];
    int n = 0, wanted = par_threads() < MOST ? par_threads() : MOST;
    *(void **)&take = dlsym(RTLD_DEFAULT, "blas_memory_alloc");
    *(void **)&give = dlsym(RTLD_DEFAULT, "blas_memory_free");
    if (!take || !give)
        return;
    while (n < wanted && is_room(EACH))
        held[n++] = take(0);
    for (int i = 0; i < n; i++)
        give(held[i]);
    if (!n)
        mem_die(EACH);
    if (n < wanted)
        par_start(n);
}

void blas_start(void)
{
    static int started;
    void (*openblas)(int), (*blis)(long);
    if (started++)
        return;
    *(void **)&openblas = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
    *(void **)&blis = dlsym(RTLD_DEFAULT, "bli_thread_set_num_threads");
    if (openblas)
        openblas(1);
    if (blis)
        blis(1);
    reserve();
}

const char *blas_core(const char **slow)
{
    char *(*corename)(void);
    *(void **)&corename = dlsym(RTLD_DEFAULT, "openblas_get_corename");
    const char *core = corename ? corename() : "unknown", *held = getenv("OPENBLAS_CORETYPE");
    int wide_cpu = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    wide_cpu = __builtin_cpu_supports("avx512f");
#endif
    if (slow)
        *slow = corename && held && *held && wide_cpu && !is_wide(core) ? "OPENBLAS_CORETYPE" : NULL;
    return core;
}

static void multiply(int ta, int tb, size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                     size_t ldb, float beta, float *c, size_t ldc)
{
    if (m == 0 || n == 0)
        return;
    if (k == 0) {
        for (size_t i = 0; i < m && beta == 0; i++)
            memset(c + i * ldc, 0, n * sizeof *c);
        return;
    }
    end_unchecked = 1;          /* OpenBLAS's AVX-512 kernels of small products */
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)m, (int)n, (int)k,
                1, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    end_unchecked = 0;
}

void blas_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
             float beta, float *c, size_t ldc)
{
    multiply(0, 1, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void blas_nn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
             float beta, float *c, size_t ldc)
{
    multiply(0, 0, m, n, k, a, lda, b, ldb, beta, c, ldc);
}

void blas_tn(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b, size_t ldb,
             float beta, float *c, size_t ldc)
{
    multiply(1, 0, m, n, k, a, lda, b, ldb, beta, c, ldc);
}
