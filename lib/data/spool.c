/* SPDX-License-Identifier: MIT */
#include "data/spool.h"
#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct spool {
    FILE *file;
    uint64_t size;
};

struct spool *spool_new(void)
{
    const char *folder = getenv("TMPDIR");
    char *path = mem_format("%s/saetools.XXXXXX", folder && *folder ? folder : "/tmp");
    int fd = mkstemp(path);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w+");
    if (!file)
        err_sys("%s: cannot make a temporary file", path);
    if (fd >= 0)
        unlink(path);
    if (fd >= 0 && !file)
        close(fd);
    free(path);
    if (!file)
        return NULL;
    struct spool *s = mem_zero(1, sizeof *s);
    s->file = file;
    return s;
}

void spool_free(struct spool *s)
{
    if (s)
        fclose(s->file);
    free(s);
}

uint64_t spool_size(const struct spool *s)
{
    return s->size;
}

int spool_add(struct spool *s, const void *p, size_t n)
{
    if (n && fwrite(p, 1, n, s->file) != n)
        return err_sys("temporary file: write error");
    s->size += n;
    return 0;
}

int spool_read(struct spool *s, uint64_t at, void *buf, size_t n)
{
    char *to = buf;
    if (fflush(s->file))
        return err_sys("temporary file: write error");
    while (n) {
        ssize_t r = pread(fileno(s->file), to, n, (off_t)at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r <= 0) {
            errno = r ? errno : EIO;
            return err_sys("temporary file: read error");
        }
        to += r;
        at += (uint64_t)r;
        n -= (size_t)r;
    }
    return 0;
}
