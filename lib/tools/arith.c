/* SPDX-License-Identifier: MIT */
#include "tools/arith.h"
#include "maths/blas.h"
#include "maths/clones.h"
#include "tools/tool.h"

#include <stdio.h>

void tool_arithmetic(void)
{
    const char *slow;
    blas_start();
    const char *core = blas_core(&slow);
    tool_note("BLAS core %s, own kernels %s", core, CLONES_LEVEL);
    if (slow)
        tool_note("%s holds the BLAS to older kernels than this CPU has: unset it for full speed", slow);
}

void tool_version_arithmetic(void)
{
    const char *slow;
    blas_start();
    printf("BLAS core %s, own kernels %s\n", blas_core(&slow), CLONES_LEVEL);
    if (slow)
        printf("%s holds the BLAS to older kernels than this CPU has\n", slow);
}
