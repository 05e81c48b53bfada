/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/end.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *err_program = "saetools";

void mem_die(size_t wanted)
{
    char line[200];
    int n = wanted ? snprintf(line, sizeof line, "%s: out of memory (%zu bytes wanted)\n", err_program, wanted)
                   : snprintf(line, sizeof line, "%s: out of memory\n", err_program);
    end_now(1, line, n < (int)sizeof line ? (size_t)n : sizeof line);
}

void mem_limit(const char *what)
{
    char line[200];
    int n = snprintf(line, sizeof line, "%s: %s\n", err_program, what);
    end_now(1, line, n < (int)sizeof line ? (size_t)n : sizeof line);
}

static size_t product(size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n) || n > PTRDIFF_MAX - 64)
        mem_die(SIZE_MAX);
    return n ? n : 1;
}

void *mem_alloc(size_t count, size_t size)
{
    size_t n = product(count, size);
    void *p = malloc(n);
    if (!p)
        mem_die(n);
    return p;
}

void *mem_zero(size_t count, size_t size)
{
    size_t n = product(count, size);
    void *p = calloc(n, 1);
    if (!p)
        mem_die(n);
    return p;
}

void *mem_align(size_t count, size_t size)
{
    size_t n = (product(count, size) + 63) / 64 * 64;
    void *p = aligned_alloc(64, n);
    if (!p)
        mem_die(n);
    return p;
}

void *mem_grow(void *p, size_t *cap, size_t need, size_t size)
{
    if (need <= *cap && p)
        return p;
    size_t c = *cap ? *cap : 16;
    while (c < need)
        c = c > SIZE_MAX / 2 ? need : c * 2;
    size_t n = product(c, size);
    p = realloc(p, n);
    if (!p)
        mem_die(n);
    *cap = c;
    return p;
}

char *mem_string(const char *s)
{
    return mem_bytes(s, strlen(s));
}

char *mem_bytes(const void *p, size_t n)
{
    char *s = mem_alloc(n + 1, 1);
    if (n)
        memcpy(s, p, n);
    s[n] = 0;
    return s;
}

char *mem_format(const char *format, ...)
{
    va_list ap, again;
    va_start(ap, format);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0)
        mem_die(0);
    char *s = mem_alloc((size_t)n + 1, 1);
    if (vsnprintf(s, (size_t)n + 1, format, again) != n)     /* it allocates too, for many conversions */
        mem_die(0);
    va_end(again);
    return s;
}
