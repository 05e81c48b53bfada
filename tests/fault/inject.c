/* inject: a library for LD_PRELOAD that makes the system fail on request, once main() has begun.
 *
 *   INJECT_ALLOC=N              the N-th allocation fails (N+: and all after it)
 *   INJECT_CALL=write:28:N      the N-th write or writev (fsync, close, rename, fcntl) fails with this errno; close closes
 *   INJECT_SHORT=1              read, write and writev move 1 byte a call, and every third call is interrupted (EINTR)
 *   INJECT_PEAK=FILE            gets the line of /proc/self/status that tells the peak of memory, as the program exits
 *   INJECT_DONE=FILE            is created as a fault happens, so that a sweep knows its end
 *
 * For glibc: the allocator behind malloc() is called by the name it has there. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static long alloc_at, call_at;          /* which one fails; 0: none */
static int alloc_on;                    /* and those after it */
static char call_name[16];
static int call_errno, short_transfers, armed;
static atomic_long allocs, calls, transfers;
static const char *done;

static void happened(void)
{
    int fd = done ? (int)syscall(SYS_openat, AT_FDCWD, done, O_WRONLY | O_CREAT, 0666) : -1;
    if (fd >= 0)
        syscall(SYS_close, fd);
}

static void read_wishes(void)
{
    const char *alloc = getenv("INJECT_ALLOC"), *call = getenv("INJECT_CALL");
    done = getenv("INJECT_DONE");
    short_transfers = getenv("INJECT_SHORT") != NULL;
    alloc_at = alloc ? atol(alloc) : 0;
    alloc_on = alloc && strchr(alloc, '+');
    if (call && sscanf(call, "%15[a-z]:%d:%ld", call_name, &call_errno, &call_at) != 3)
        abort();
    armed = 1;
}

static int (*true_main)(int, char **, char **);

static int begin(int argc, char **argv, char **envp)
{
    read_wishes();
    return true_main(argc, argv, envp);
}

typedef int start_main(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void), void (*)(void), void *);
start_main __libc_start_main;

int __libc_start_main(int (*main_of)(int, char **, char **), int argc, char **argv, void (*init)(void), void (*fini)(void),
                      void (*rtld_fini)(void), void *stack_end)
{
    start_main *next = (start_main *)dlsym(RTLD_NEXT, "__libc_start_main");
    true_main = main_of;
    return next(begin, argc, argv, init, fini, rtld_fini, stack_end);
}

__attribute__((destructor)) static void write_peak(void)
{
    const char *path = getenv("INJECT_PEAK");
    FILE *in = path ? fopen("/proc/self/status", "r") : NULL, *out = in ? fopen(path, "w") : NULL;
    for (char line[200]; out && fgets(line, sizeof line, in);)
        if (!strncmp(line, "VmHWM:", 6))
            fputs(line, out);
    if (out)
        fclose(out);
}

/* ---- memory ---- */

static int no_memory(void)
{
    if (!armed || !alloc_at)
        return 0;
    long n = atomic_fetch_add(&allocs, 1) + 1;
    if (n != alloc_at && !(alloc_on && n > alloc_at))
        return 0;
    happened();
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t n)
{
    return no_memory() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
    return no_memory() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    return no_memory() ? NULL : __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
    return no_memory() ? NULL : __libc_memalign(align, n);
}

void *memalign(size_t align, size_t n);
void *memalign(size_t align, size_t n)
{
    return no_memory() ? NULL : __libc_memalign(align, n);
}

int posix_memalign(void **p, size_t align, size_t n)
{
    *p = no_memory() ? NULL : __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

/* ---- files ---- */

static int fails(const char *name)
{
    if (!armed || !call_at || strcmp(name, call_name) || atomic_fetch_add(&calls, 1) + 1 != call_at)
        return 0;
    happened();
    errno = call_errno;
    return 1;
}

static int interrupted(void)
{
    if (!short_transfers || !armed || atomic_fetch_add(&transfers, 1) % 3 != 2)
        return 0;
    errno = EINTR;
    return 1;
}

static size_t shortened(size_t n)
{
    return short_transfers && armed && n ? 1 : n;
}

ssize_t read(int fd, void *buf, size_t n)
{
    return interrupted() ? -1 : syscall(SYS_read, fd, buf, shortened(n));
}

ssize_t write(int fd, const void *buf, size_t n)
{
    return interrupted() || fails("write") ? -1 : syscall(SYS_write, fd, buf, shortened(n));
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    if (interrupted() || fails("write"))
        return -1;
    if (!short_transfers)
        return syscall(SYS_writev, fd, iov, n);
    while (n && !iov->iov_len)
        iov++, n--;
    return n ? syscall(SYS_write, fd, iov->iov_base, shortened(iov->iov_len)) : 0;
}

int fsync(int fd)
{
    return fails("fsync") ? -1 : (int)syscall(SYS_fsync, fd);
}

int close(int fd)
{
    int r = (int)syscall(SYS_close, fd);
    return fails("close") ? -1 : r;
}

int fcntl(int fd, int what, ...)
{
    va_list ap;
    va_start(ap, what);
    long arg = va_arg(ap, long);
    va_end(ap);
    return fails("fcntl") ? -1 : (int)syscall(SYS_fcntl, fd, what, arg);
}

int fcntl64(int fd, int what, ...) __attribute__((alias("fcntl")));

int rename(const char *from, const char *to)
{
    return fails("rename") ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
