/* tap: what a test program needs to speak TAP (https://testanything.org), for tests/run or prove to read.
 *
 *   int main(void) { ok(1 + 1 == 2, "sums"); is_near(sqrt(2), 1.41421356, 1e-8, "roots"); return done_testing(); }   */
/* SPDX-License-Identifier: MIT */
#ifndef TAP_H
#define TAP_H

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

static int tap_run, tap_failed;

static inline void tap_line(int cond, const char *fmt, va_list args)
{
    tap_run++;
    tap_failed += !cond;
    printf("%sok %d - ", cond ? "" : "not ", tap_run);
    vprintf(fmt, args);
    putchar('\n');
    fflush(stdout);             /* a test that crashes later leaves what it had shown */
}

/* One test: passes if cond is not 0. fmt names it; neither newlines nor '#' in it. */
__attribute__((format(printf, 2, 3))) static inline void ok(int cond, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    tap_line(cond, fmt, args);
    va_end(args);
}

/* One test: |got - want| <= tol; NaN never passes. */
__attribute__((format(printf, 4, 5))) static inline void is_near(double got, double want, double tol, const char *fmt, ...)
{
    int cond = fabs(got - want) <= tol;
    va_list args;
    va_start(args, fmt);
    tap_line(cond, fmt, args);
    va_end(args);
    if (!cond)
        printf("# got %.17g, want %.17g, difference %.3g above %.3g\n", got, want, got - want, tol);
}

/* The plan; its value is main()'s: 0 if every test passed. */
static inline int done_testing(void)
{
    printf("1..%d\n", tap_run);
    return tap_failed != 0;
}

#endif
