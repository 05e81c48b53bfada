/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/io.h"
#include "base/end.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { CHUNK = 1 << 17, WINDOW_LOG = 27, PACKED_FREE = 8 << 20, PACKED_TIMES = 32 };

/* ---- reading ---- */

struct io_in {
    char *name;
    int fd;
    bool regular, ended;        /* ended: read() has returned 0 */
    unsigned char *raw;         /* bytes as they came: raw[at, have) are not used yet */
    size_t at, have, taken;     /* taken: of the input, in all */
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

static ssize_t fill(struct io_in *in, void *buf, size_t n)
{
    ssize_t r;
    do
        r = read(in->fd, buf, n);
    while (r < 0 && errno == EINTR && !(stop_flag && *stop_flag));
    in->taken += r > 0 ? (size_t)r : 0;
    return r;
}

/* Make sure at least one raw byte is there unless the input has ended. */
static int refill(struct io_in *in)
{
    if (in->at < in->have || in->ended)
        return 0;
    ssize_t r = fill(in, in->raw, CHUNK);
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
        ssize_t r = fill(in, in->raw + in->have, CHUNK - in->have);
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
        ssize_t r = fill(in, buf, n);
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
        else
            end_mapped(p, *len, path);
    }
    if (fd >= 0)
        close(fd);
    if (!p)
        err_in(path);
    return p;
}

void io_unmap(const void *p, size_t len)
{
    if (!p || !len)
        return;
    end_unmapped(p);
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
        if (n > limit || (in->z && n > PACKED_FREE && n / PACKED_TIMES > in->taken)) {
            if (n > limit)
                err_data("larger than %zu bytes", limit);
            else
                err_data("unpacks to more than 8 MiB and %d times its size", PACKED_TIMES);
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
    char *final, *temp;         /* NULL: written in place */
    int fd, slot;               /* slot: of temp, see end.h */
    ZSTD_CCtx *z;
    unsigned char *packed;
    size_t packed_cap;
};

int io_hold_standard(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd ? O_RDONLY : O_WRONLY) < 0)
            return err_sys("/dev/null: cannot open");
    return 0;
}

/* ---- names of outputs ---- */

/* The descriptor that a path stands for ("/dev/fd/3", what /dev/stdout leads to), or -1: opened by such a name a file would
 * begin anew instead of going on where the shell has it. */
static int descriptor_of(const char *path)
{
    static const char *const folders[] = { "/dev/fd/", "/proc/self/fd/" };
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const char *digits = path + strlen(folders[i]);
        if (!strncmp(path, folders[i], strlen(folders[i])) && *digits && strlen(digits) < 6 &&
            digits[strspn(digits, "0123456789")] == 0)
            return atoi(digits);
    }
    return -1;
}

/* What the symbolic link at path says, from the working directory; NULL when it is none. */
static char *follow(const char *path)
{
    char text[PATH_MAX];
    const char *slash = strrchr(path, '/');
    ssize_t n = readlink(path, text, sizeof text - 1);
    if (n < 0)
        return NULL;
    text[n] = 0;
    return *text == '/' || !slash ? mem_string(text) : mem_format("%.*s/%s", (int)(slash - path), path, text);
}

/* Where an output goes that is asked for at path: links are followed, to a file that may not exist yet, and stay. NULL with
 * errno where they go in a circle. */
static char *resolve(const char *path)
{
    enum { LINKS = 40 };
    char *at = mem_string(path);
    for (int i = 0; i < LINKS; i++) {
        char *next = descriptor_of(at) < 0 ? follow(at) : NULL;
        if (!next)
            return at;
        free(at);
        at = next;
    }
    free(at);
    return errno = ELOOP, NULL;
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

enum { BASE_MAX = 200 };        /* bytes of the final name in a temporary one, which has a limit of its own */

static char *temp_name(const char *path)
{
    const char *base = base_of(path);
    uint64_t number;
    struct timespec t;
    if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number) {
        clock_gettime(CLOCK_REALTIME, &t);
        number = (uint64_t)t.tv_nsec << 32 ^ (uint64_t)t.tv_sec ^ (uint64_t)getpid() << 16;
    }
    return mem_format("%.*s.%.*s.%010llx.part", (int)(base - path), path, BASE_MAX, base,
                      (unsigned long long)number & 0xffffffffff);
}

/* Is `entry` what temp_name() could have made for base? */
static bool is_part_of(const char *entry, const char *base)
{
    size_t n = strlen(base) < BASE_MAX ? strlen(base) : BASE_MAX;
    return entry[0] == '.' && !strncmp(entry + 1, base, n) && entry[1 + n] == '.' &&
           strspn(entry + 2 + n, "0123456789abcdef") == 10 && !strcmp(entry + 12 + n, ".part");
}

static bool is_held(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool held = fd < 0 || flock(fd, LOCK_SH | LOCK_NB);
    if (fd >= 0)
        close(fd);
    return held;
}

char *io_left_part(const char *path)
{
    char *final = resolve(path), *part = NULL;
    if (!final)
        return NULL;
    const char *base = base_of(final);
    char *folder = base > final ? mem_bytes(final, (size_t)(base - final)) : mem_string("./");
    DIR *d = opendir(folder);
    for (struct dirent *e; d && !part && (e = readdir(d));)
        if (is_part_of(e->d_name, base)) {
            part = mem_format("%s%s", base > final ? folder : "", e->d_name);
            if (is_held(part))
                free(part), part = NULL;
        }
    if (d)
        closedir(d);
    free(folder);
    free(final);
    return part;
}

/* ---- temporary files ---- */

/* Open a new file under a name that nobody has, and hold a lock on it while it is written, by which io_left_part() knows that it
 * is. Whoever removed it meanwhile, taking it for left behind, makes us try again. */
static int open_temp(struct io_out *out, mode_t mode)
{
    enum { TRIES = 100 };
    struct stat st;
    for (int i = 0; i < TRIES; i++) {
        out->temp = temp_name(out->final);
        out->slot = end_remove(out->temp);
        if (out->slot < 0)
            return errno = EMFILE, -1;
        out->fd = open(out->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (out->fd >= 0) {
            flock(out->fd, LOCK_EX);            /* a file system without locks has none to be seen either */
            if (fstat(out->fd, &st) == 0 && st.st_nlink)
                return 0;
            close(out->fd);
        }
        int saved = errno;
        end_keep(out->slot);
        free(out->temp);
        out->temp = NULL;
        errno = saved;
        if (out->fd < 0 && errno != EEXIST)
            return -1;
    }
    return -1;
}

/* The file that is replaced gives its successor owner and rights, as if it were written over. */
static void take_rights(int fd, const struct stat *old)
{
    mode_t mode = old->st_mode & 0777;
    if (geteuid() == 0 && fchown(fd, old->st_uid, (gid_t)-1))
        mode &= ~(mode_t)077;
    if (fchown(fd, (uid_t)-1, old->st_gid))
        mode &= ~(mode_t)070;
    if (fchmod(fd, mode))
        fchmod(fd, 0600);
}

static void release(struct io_out *out)
{
    ZSTD_freeCCtx(out->z);
    free(out->packed);
    free(out->final);
    free(out->temp);
    free(out->name);
    free(out);
}

/* Sets fd, and for a file of its own also final and temp. */
static int open_output(struct io_out *out, const char *path)
{
    struct stat st;
    char *final = resolve(path);
    if (!final)
        return -1;
    int fd = descriptor_of(final), missing = stat(final, &st);
    if (fd >= 0) {
        out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    } else if (!missing && !S_ISREG(st.st_mode)) {      /* a device or a pipe cannot be renamed over */
        out->fd = open(final, O_WRONLY | O_CLOEXEC);
    } else {
        out->final = final;
        if (open_temp(out, missing ? 0666 : st.st_mode & 0777))
            return -1;
        if (!missing)
            take_rights(out->fd, &st);
        return 0;
    }
    free(final);
    return out->fd < 0 ? -1 : 0;
}

struct io_out *io_create(const char *path, int zlevel)
{
    struct io_out *out = mem_zero(1, sizeof *out);
    bool std = !path || !strcmp(path, "-");
    out->name = mem_string(std ? "<stdout>" : path);
    if (open_output(out, std ? "/dev/fd/1" : path)) {   /* closing a copy of 1 reports late errors as closing 1 would */
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

/* Rename to the final name and make that last. Once renamed it stays: what it replaced is gone. */
static int take_name(const char *temp, const char *final)
{
    int folder = open_folder_of(final), bad = 0;
    if (rename(temp, final))
        bad = err_sys("cannot rename to it");
    else if (folder >= 0 && fsync(folder) && errno != EINVAL)
        bad = err_sys("is complete, but may not outlast a failure of the system: its folder cannot be written");
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
        bad = bad ? bad : take_name(out->temp, out->final);
        if (bad)
            unlink(out->temp);
        end_keep(out->slot);
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
    if (out->final) {
        unlink(out->temp);
        end_keep(out->slot);
    }
    release(out);
}
