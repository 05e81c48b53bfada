/* SPDX-License-Identifier: MIT */
#include "tools/arith.h"
#include "maths/blas.h"
#include "tools/tool.h"

#include <stdio.h>

static const char *level(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_supports("x86-64-v4") ? "x86-64-v4" : __builtin_cpu_supports("x86-64-v3") ? "x86-64-v3" : "x86-64";
#else
    return "portable";
#endif
}

void tool_arithmetic(void)
{
    const char *slow;
    blas_start();
    const char *core = blas_core(&slow);
    tool_note("BLAS core %s, own kernels %s", core, level());
    if (slow)
        tool_note("%s holds the BLAS to older kernels than this CPU has: unset it for full speed", slow);
}

void tool_version_arithmetic(void)
{
    const char *slow;
    blas_start();
    printf("BLAS core %s, own kernels %s\n", blas_core(&slow), level());
    if (slow)
        printf("%s holds the BLAS to older kernels than this CPU has\n", slow);
}
