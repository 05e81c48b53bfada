/* SPDX-License-Identifier: MIT */
#include "cli/cli_blas.h"
#include "cli/tool.h"
#include "maths/blas.h"
#include "maths/clones.h"

#include <stdio.h>

void cli_blas_start(void)
{
    const char *slow;
    blas_start();
    const char *core = blas_core(&slow);
    tool_note("BLAS core %s, own kernels %s", core, CLONES_LEVEL);
    if (slow)
        tool_note("%s holds the BLAS to older kernels than this CPU has: unset it for full speed", slow);
}

void cli_blas_version(void)
{
    const char *slow;
    blas_start();
    printf("BLAS core %s, own kernels %s\n", blas_core(&slow), CLONES_LEVEL);
    if (slow)
        printf("%s holds the BLAS to older kernels than this CPU has\n", slow);
}
