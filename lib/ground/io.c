/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ground/io.h"
#include "ground/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { CHUNK = 1 << 17, WINDOW_LOG = 27, TEMPS = 64 };

/* ---- reading ---- */

struct io_in {
    char *name;
    int fd;
    bool regular, ended;        /* ended: read() has returned 0 */
    unsigned char *raw;         /* bytes as they came: raw[at, have) are not used yet */
    size_t at, have;
    ZSTD_DStream *z;            /* NULL: not compressed */
    bool mid_frame;             /* the decoder is inside a frame */
    bool started;
    unsigned char ahead[64];    /* decoded bytes that io_peek() has looked at */
    size_t ahead_at, ahead_have;
};

struct io_in *io_open(const char *path)
{
    bool std = !path || !strcmp(path, "-");
    int fd = std ? 0 : open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || (S_ISDIR(st.st_mode) && (errno = EISDIR))) {
        err_sys("cannot open");
        err_in(std ? "<stdin>" : path);
        if (fd > 0)
            close(fd);
        return NULL;
    }
    struct io_in *in = mem_zero(1, sizeof *in);
    in->name = mem_string(std ? "<stdin>" : path);
    in->fd = fd;
    in->regular = !std && S_ISREG(st.st_mode);
    in->raw = mem_alloc(CHUNK, 1);
    return in;
}

void io_close(struct io_in *in)
{
    if (!in)
        return;
    if (in->fd > 0)
        close(in->fd);
    ZSTD_freeDStream(in->z);
    free(in->raw);
    free(in->name);
    free(in);
}

const char *io_name(const struct io_in *in)
{
    return in->name;
}

bool io_seekable(const struct io_in *in)
{
    return in->regular;
}

static const volatile sig_atomic_t *stop_flag;

void io_stop_on(const volatile sig_atomic_t *flag)
{
    stop_flag = flag;
}

static ssize_t fill(int fd, void *buf, size_t n)
{
    ssize_t r;
    do
        r = read(fd, buf, n);
    while (r < 0 && errno == EINTR && !(stop_flag && *stop_flag));
    return r;
}

/* Make sure at least one raw byte is there unless the input has ended. */
static int refill(struct io_in *in)
{
    if (in->at < in->have || in->ended)
        return 0;
    ssize_t r = fill(in->fd, in->raw, CHUNK);
    if (r < 0)
        return err_sys("read error"), err_in(in->name);
    in->at = 0;
    in->have = (size_t)r;
    in->ended = r == 0;
    return 0;
}

/* Look at the first bytes: zstd frames and skippable frames begin a compressed input. */
static int detect(struct io_in *in)
{
    in->started = true;
    while (in->have < 4 && !in->ended) {
        ssize_t r = fill(in->fd, in->raw + in->have, CHUNK - in->have);
        if (r < 0)
            return err_sys("read error"), err_in(in->name);
        in->have += (size_t)r;
        in->ended = r == 0;
    }
    const unsigned char *b = in->raw;
    bool frame = in->have >= 4 && b[0] == 0x28 && b[1] == 0xb5 && b[2] == 0x2f && b[3] == 0xfd;
    bool skippable = in->have >= 4 && (b[0] & 0xf0) == 0x50 && b[1] == 0x2a && b[2] == 0x4d && b[3] == 0x18;
    if (in->have >= 2 && b[0] == 0x1f && b[1] == 0x8b)
        return err_data("gzip is not read here: use gzip -dc"), err_in(in->name);
    if (!frame && !skippable)
        return 0;
    in->z = ZSTD_createDStream();
    if (!in->z || ZSTD_isError(ZSTD_DCtx_setParameter(in->z, ZSTD_d_windowLogMax, WINDOW_LOG)))
        mem_die(0);
    return 0;
}

static ssize_t decode(struct io_in *in, void *buf, size_t n)
{
    ZSTD_outBuffer out = { buf, n, 0 };
    while (out.pos == 0) {
        if (refill(in))
            return -1;
        if (in->at == in->have) {       /* the end: only a frame boundary is a good place for it */
            if (in->mid_frame)
                return err_data("zstd data cut short"), err_in(in->name);
            return 0;
        }
        ZSTD_inBuffer src = { in->raw, in->have, in->at };
        size_t left = ZSTD_decompressStream(in->z, &out, &src);
        in->at = src.pos;
        if (ZSTD_isError(left)) {
            if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
                mem_die(0);
            return err_data("damaged zstd data: %s", ZSTD_getErrorName(left)), err_in(in->name);
        }
        in->mid_frame = left != 0;
    }
    return (ssize_t)out.pos;
}

ssize_t io_some(struct io_in *in, void *buf, size_t n)
{
    if (in->ahead_at < in->ahead_have) {
        size_t k = in->ahead_have - in->ahead_at;
        k = k < n ? k : n;
        memcpy(buf, in->ahead + in->ahead_at, k);
        in->ahead_at += k;
        return (ssize_t)k;
    }
    if (!in->started && detect(in))
        return -1;
    if (in->z)
        return decode(in, buf, n);
    if (n >= CHUNK && in->at == in->have && !in->ended) {  /* large reads go straight to their place */
        ssize_t r = fill(in->fd, buf, n);
        if (r < 0)
            return err_sys("read error"), err_in(in->name);
        in->ended = r == 0;
        return r;
    }
    if (refill(in))
        return -1;
    size_t k = in->have - in->at;
    k = k < n ? k : n;
    memcpy(buf, in->raw + in->at, k);
    in->at += k;
    return (ssize_t)k;
}

ssize_t io_read(struct io_in *in, void *buf, size_t n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = io_some(in, (char *)buf + got, n - got);
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
    }
    return (ssize_t)got;
}

ssize_t io_peek(struct io_in *in, void *buf, size_t n)
{
    n = n < sizeof in->ahead ? n : sizeof in->ahead;
    size_t kept = in->ahead_have - in->ahead_at;
    memmove(in->ahead, in->ahead + in->ahead_at, kept);
    in->ahead_at = in->ahead_have = 0;              /* io_some() must read on, not from here */
    while (kept < n) {
        ssize_t r = io_some(in, in->ahead + kept, n - kept);
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        kept += (size_t)r;
    }
    in->ahead_have = kept;
    size_t k = kept < n ? kept : n;
    memcpy(buf, in->ahead, k);
    return (ssize_t)k;
}

/* ---- whole files ---- */

const void *io_map(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    const void *p = NULL;
    if (fd < 0 || fstat(fd, &st) || (S_ISDIR(st.st_mode) && (errno = EISDIR))) {
        err_sys("cannot open");
    } else if (!S_ISREG(st.st_mode)) {
        err_data("not a regular file");
    } else if (st.st_size == 0) {
        *len = 0;
        p = "";
    } else {
        *len = (size_t)st.st_size;
        p = mmap(NULL, *len, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            p = NULL, err_sys("cannot map");
    }
    if (fd >= 0)
        close(fd);
    if (!p)
        err_in(path);
    return p;
}

void io_unmap(const void *p, size_t len)
{
    if (p && len)
        munmap((void *)(uintptr_t)p, len);
}

char *io_slurp(const char *path, size_t limit, size_t *len)
{
    struct io_in *in = io_open(path);
    if (!in)
        return NULL;
    char *buf = NULL;
    size_t cap = 0, n = 0;
    for (;;) {
        buf = mem_grow(buf, &cap, n + CHUNK + 1, 1);
        ssize_t r = io_some(in, buf + n, cap - n - 1);
        if (r < 0)
            goto bad;
        if (r == 0)
            break;
        n += (size_t)r;
        if (n > limit) {
            err_data("larger than %zu bytes", limit);
            err_in(in->name);
            goto bad;
        }
    }
    buf[n] = 0;
    *len = n;
    io_close(in);
    return buf;
bad:
    io_close(in);
    free(buf);
    return NULL;
}

/* ---- writing ---- */

struct io_out {
    char *name;                 /* for messages */
    char *final;                /* NULL: written in place */
    int fd, temp;               /* temp: slot in temps[], -1 when there is none */
    ZSTD_CCtx *z;
    unsigned char *packed;
    size_t packed_cap;
};

/* Names a signal handler may unlink: set before the file exists, cleared after the rename. */
static char *volatile temps[TEMPS];

static void remove_temps(void)
{
    for (int i = 0; i < TEMPS; i++)
        if (temps[i])
            unlink(temps[i]);
}

static void on_signal(int sig)
{
    int saved = errno;
    remove_temps();
    signal(sig, SIG_DFL);
    raise(sig);
    errno = saved;
}

void io_hold_standard(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            mem_die(0);
}

void io_tidy_on_signals(void)
{
    static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
    atexit(remove_temps);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction sa = { .sa_handler = on_signal }, old;
        sigaction(signals[i], NULL, &old);
        if (old.sa_handler != SIG_IGN)
            sigaction(signals[i], &sa, NULL);
    }
}

static int create_temp(struct io_out *out, const char *path)
{
    int slot = 0;
    while (slot < TEMPS && temps[slot])
        slot++;
    if (slot == TEMPS)
        return errno = EMFILE, -1;
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    char *temp = mem_format("%.*s.%s.%ld.part", (int)(base - path), path, base, (long)getpid());
    temps[slot] = temp;
    out->fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out->fd < 0 && errno == EEXIST && unlink(temp) == 0)    /* left by a killed process with our number */
        out->fd = open(temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out->fd < 0) {
        int saved = errno;
        temps[slot] = NULL;
        free(temp);
        errno = saved;
        return -1;
    }
    out->temp = slot;
    out->final = mem_string(path);
    return 0;
}

static void release(struct io_out *out)
{
    ZSTD_freeCCtx(out->z);
    free(out->packed);
    free(out->final);
    free(out->name);
    free(out);
}

struct io_out *io_create(const char *path, int zlevel)
{
    struct io_out *out = mem_zero(1, sizeof *out);
    bool std = !path || !strcmp(path, "-");
    struct stat st;
    out->temp = -1;
    out->name = mem_string(std ? "<stdout>" : path);
    if (std) {
        out->fd = fcntl(1, F_DUPFD_CLOEXEC, 3);     /* closing the copy reports late errors as closing 1 would */
    } else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {   /* a device or a pipe cannot be renamed over */
        out->fd = open(path, O_WRONLY | O_CLOEXEC);
    } else if (create_temp(out, path)) {
        out->fd = -1;
    }
    if (out->fd < 0) {
        err_sys("cannot create");
        err_in(out->name);
        release(out);
        return NULL;
    }
    if (zlevel) {
        out->z = ZSTD_createCCtx();
        if (!out->z || ZSTD_isError(ZSTD_CCtx_setParameter(out->z, ZSTD_c_compressionLevel, zlevel)) ||
            ZSTD_isError(ZSTD_CCtx_setParameter(out->z, ZSTD_c_checksumFlag, 1)))
            mem_die(0);
    }
    return out;
}

const char *io_out_name(const struct io_out *out)
{
    return out->name;
}

static int write_all(struct io_out *out, struct iovec *iov, int n)
{
    while (n > 0) {
        if (iov->iov_len == 0) {
            iov++, n--;
            continue;
        }
        ssize_t w = writev(out->fd, iov, n < IOV_MAX ? n : IOV_MAX);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return err_sys("write error"), err_in(out->name);
        for (; n > 0 && (size_t)w >= iov->iov_len; iov++, n--)
            w -= (ssize_t)iov->iov_len;
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + w;
            iov->iov_len -= (size_t)w;
        }
    }
    return 0;
}

/* One frame of all parts: content size known, checksum on. */
static int put_frame(struct io_out *out, struct iovec *iov, int n)
{
    size_t total = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    size_t bound = ZSTD_compressBound(total);
    out->packed = mem_grow(out->packed, &out->packed_cap, bound, 1);
    ZSTD_outBuffer dst = { out->packed, out->packed_cap, 0 };
    size_t r = ZSTD_CCtx_reset(out->z, ZSTD_reset_session_only);
    if (!ZSTD_isError(r))
        r = ZSTD_CCtx_setPledgedSrcSize(out->z, total);
    for (int i = 0; i <= n && !ZSTD_isError(r); i++) {
        ZSTD_inBuffer src = { i < n ? iov[i].iov_base : NULL, i < n ? iov[i].iov_len : 0, 0 };
        do
            r = ZSTD_compressStream2(out->z, &dst, &src, i < n ? ZSTD_e_continue : ZSTD_e_end);
        while (!ZSTD_isError(r) && (i < n ? src.pos < src.size : r != 0));
    }
    if (ZSTD_isError(r)) {
        if (ZSTD_getErrorCode(r) == ZSTD_error_memory_allocation)
            mem_die(0);
        errno = EIO;
        return err_sys("zstd: %s", ZSTD_getErrorName(r)), err_in(out->name);
    }
    struct iovec one = { out->packed, dst.pos };
    return write_all(out, &one, 1);
}

int io_put(struct io_out *out, struct iovec *iov, int n)
{
    return out->z ? put_frame(out, iov, n) : write_all(out, iov, n);
}

/* -1 where we may not read it: then the name is as safe as the system makes it by itself. */
static int open_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? mem_bytes(path, (size_t)(slash - path) + 1) : mem_string(".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    return fd;
}

/* Rename to the final name and make that last. A failure leaves no file, not even a complete one. */
static int take_name(const char *temp, const char *final)
{
    int folder = open_folder_of(final), bad = 0;
    if (rename(temp, final))
        bad = err_sys("cannot rename to it");
    else if (folder >= 0 && fsync(folder) && errno != EINVAL)
        bad = err_sys("write error"), unlink(final);
    if (folder >= 0)
        close(folder);
    return bad;
}

int io_commit(struct io_out *out)
{
    int bad = 0;
    if (out->final && fsync(out->fd))
        bad = err_sys("write error");
    if (close(out->fd) && !bad)
        bad = err_sys("write error");
    if (out->final) {
        char *temp = temps[out->temp];
        bad = bad ? bad : take_name(temp, out->final);
        if (bad)
            unlink(temp);
        temps[out->temp] = NULL;
        free(temp);
    }
    if (bad)
        err_in(out->name);
    release(out);
    return bad;
}

void io_abort(struct io_out *out)
{
    if (!out)
        return;
    close(out->fd);
    if (out->temp >= 0) {
        char *temp = temps[out->temp];
        unlink(temp);
        temps[out->temp] = NULL;
        free(temp);
    }
    release(out);
}
