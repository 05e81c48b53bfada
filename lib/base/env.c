/* In a file of its own: whoever asks for a variable links it, and must not link the BLAS with it. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* OpenBLAS starts a thread for each core while it is being loaded; where threads or memory are limited it then raises SIGINT,
 * or hangs. Its own variable stops that, but it is read before any code of a program runs: only the function that reads it is
 * in reach. For all other names this is getenv() as it is everywhere. */
char *getenv(const char *name)
{
    static char one[] = "1";
    size_t n = strlen(name);
    if (!strcmp(name, "OPENBLAS_NUM_THREADS"))
        return one;
    for (char **e = environ; e && *e; e++)
        if (!strncmp(*e, name, n) && (*e)[n] == '=')
            return *e + n + 1;
    return NULL;
}
