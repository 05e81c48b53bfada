/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/end.h"
#include "base/err.h"
#include "base/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { TEMPS = 64, MAPS = 1024, NAME = 200 };

/* ---- temporary files ---- */

static char *volatile temps[TEMPS];

int end_remove(char *path)
{
    for (int slot = 0; slot < TEMPS; slot++)
        if (!temps[slot]) {
            temps[slot] = path;
            return slot;
        }
    return -1;
}

void end_keep(int slot)
{
    temps[slot] = NULL;
}

static void remove_temps(void)
{
    for (int i = 0; i < TEMPS; i++)
        if (temps[i])
            unlink(temps[i]);
}

void end_now(int status, const char *line, size_t n)
{
    static atomic_flag ending = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&ending))
        for (;;)
            pause();
    remove_temps();
    while (n) {
        ssize_t w = write(2, line, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w <= 0)
            break;
        line += w;
        n -= (size_t)w;
    }
    _exit(status);
}

/* ---- mapped files ---- */

/* More files than there is room for are read without this safety. */
static struct {
    const char *volatile p;
    volatile size_t n;
    char name[NAME];
} maps[MAPS];

void end_mapped(const void *p, size_t n, const char *name)
{
    for (int i = 0; i < MAPS; i++)
        if (!maps[i].p) {
            maps[i].n = n;
            err_mask(maps[i].name, NAME, name);
            maps[i].p = p;
            return;
        }
}

void end_unmapped(const void *p)
{
    for (int i = 0; i < MAPS; i++)
        if (maps[i].p == p)
            maps[i].p = NULL;
}

/* Put together by hand: printf may not be called from here. */
static void die_saying(const char *const *part)
{
    char line[3 * NAME];
    size_t n = 0;
    for (; *part; part++)
        for (const char *c = *part; *c && n < sizeof line; c++)
            line[n++] = *c;
    end_now(ERR_SYSTEM, line, n);
}

/* ---- faults ---- */

_Thread_local volatile sig_atomic_t end_unchecked;
static struct sigaction before_bus, before_segv;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    enum { NEAR_ZERO = 1 << 20 };
    const char *at = info->si_addr;
    (void)context;
    if (end_unchecked && (uintptr_t)at < NEAR_ZERO)
        die_saying((const char *const[]){ err_program, ": out of memory\n", NULL });
    for (int i = 0; i < MAPS; i++) {
        const char *p = maps[i].p;
        if (p && at >= p && (size_t)(at - p) < maps[i].n)
            die_saying((const char *const[]){ err_program, ": ", maps[i].name,
                ": cannot be read any more: it was cut short while in use, or its disk fails\n", NULL });
    }
    remove_temps();
    sigaction(sig, sig == SIGBUS ? &before_bus : &before_segv, NULL);       /* it happens again as we return */
}

/* ---- signals ---- */

static void on_signal(int sig)
{
    int saved = errno;
    remove_temps();
    signal(sig, SIG_DFL);
    raise(sig);
    errno = saved;
}

static void handle(int sig, const struct sigaction *how)
{
    struct sigaction old;
    sigaction(sig, NULL, &old);
    if ((old.sa_flags & SA_SIGINFO) || old.sa_handler != SIG_IGN)
        sigaction(sig, how, NULL);
}

void end_tidy_on_signals(void)
{
    static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ };
    struct sigaction end = { .sa_handler = on_signal }, fault = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
    static bool entered;
    if (!entered) {
        entered = true;
        atexit(remove_temps);
        sigaction(SIGBUS, &fault, &before_bus);
        sigaction(SIGSEGV, &fault, &before_segv);
    }
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        handle(signals[i], &end);
}
