/* test_io: the bytes that go in come out, plain and compressed, however they are asked for; named outputs are there
 * complete or not at all. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/io.h"
#include "base/rng.h"
#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

static struct rng r;

static unsigned char *random_text(size_t n)
{
    unsigned char *p = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        p[i] = (unsigned char)(rng_bits(&r) & 7);
    return p;
}

static void put(const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "w");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f))
        perror(path);
}

/* One frame of all, without a checksum, as other programs write them. */
static void put_plain_zstd(const char *path, const void *p, size_t n)
{
    size_t room = ZSTD_compressBound(n);
    void *packed = malloc(room);
    put(path, packed, ZSTD_compress(packed, room, p, n, 3));
    free(packed);
}

static void put_own(const char *path, int level, const unsigned char *p, size_t n)
{
    struct io_out *out = io_create(path, level);
    for (size_t at = 0, k; at < n; at += k) {
        k = rng_below(&r, 70000);
        k = k < n - at ? k : n - at;
        struct iovec part[3] = { { (void *)(uintptr_t)(p + at), k / 3 }, { NULL, 0 }, { (void *)(uintptr_t)(p + at + k / 3), k - k / 3 } };
        if (io_put(out, part, 3))
            puts(err_text());
    }
    if (io_commit(out))
        puts(err_text());
}

/* Reads of all sizes, peeks among them. */
static bool comes_back(const char *path, const unsigned char *p, size_t n, size_t most)
{
    struct io_in *in = io_open(path);
    size_t at = 0;
    bool good = in != NULL;
    while (good && at <= n) {
        unsigned char ahead[64], *buf = malloc(most);
        size_t want = 1 + rng_below(&r, most), look = rng_below(&r, 65);
        ssize_t seen = rng_below(&r, 3) ? 0 : io_peek(in, ahead, look);
        good &= seen >= 0 && (size_t)seen <= n - at && !memcmp(ahead, p + at, (size_t)seen);
        ssize_t got = rng_below(&r, 2) ? io_read(in, buf, want) : io_some(in, buf, want);
        good &= got >= 0 && (size_t)got <= n - at && !memcmp(buf, p + at, (size_t)got);
        free(buf);
        if (got <= 0)
            break;
        at += (size_t)got;
    }
    good &= at == n;
    io_close(in);
    return good;
}

static void round_trips(void)
{
    static const size_t sizes[] = { 0, 1, 3, 4, 1000, 131072, 131073, 900000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        size_t n = sizes[i], len;
        unsigned char *p = random_text(n);
        put_own("plain", 0, p, n);
        put_own("own.zst", 1, p, n);
        put_plain_zstd("other.zst", p, n);
        static const size_t most[] = { 1, 7, 300000 };
        for (int k = n > 200000; k < 3; k++)
            ok(comes_back("plain", p, n, most[k]) && comes_back("own.zst", p, n, most[k]) && comes_back("other.zst", p, n, most[k]),
               "%zu bytes, read up to %zu at a time: plain, frames of ours, one frame without checksum", n, most[k]);
        char *all = io_slurp("own.zst", n, &len);
        ok(all && len == n && !memcmp(all, p, n) && all[n] == 0, "all %zu bytes at once", n);
        free(all);
        ok(n == 0 || (!io_slurp("own.zst", n - 1, &len) && err_status() == ERR_DATA), "but not beyond the limit");
        const unsigned char *map = io_map("plain", &len);
        ok(map && len == n && !memcmp(map, p, n), "%zu bytes mapped", n);
        io_unmap(map, len);
        free(p);
    }
}

/* A compressed file that ends inside a frame is cut short, wherever. */
static void cuts(void)
{
    unsigned char *p = random_text(300);
    char packed[1000], buf[400];
    put_plain_zstd("whole", p, 300);
    size_t len, bad = 0;
    const char *whole = io_map("whole", &len);
    memcpy(packed, whole, len);
    for (size_t cut = 4; cut < len; cut++) {
        put("cut", packed, cut);
        struct io_in *in = io_open("cut");
        bad += io_read(in, buf, sizeof buf) != -1 || err_status() != ERR_DATA;
        io_close(in);
    }
    ok(bad == 0, "a zstd file cut at every place");
    memcpy(packed + len, "junk", 4);
    put("cut", packed, len + 4);
    struct io_in *in = io_open("cut");
    ok(io_read(in, buf, sizeof buf) == -1 && err_status() == ERR_DATA, "junk behind a frame: %s", err_text());
    io_close(in);
    put("cut", "\x1f\x8b\x08\x00\x00", 5);
    in = io_open("cut");
    ok(io_read(in, buf, 5) == -1 && err_status() == ERR_DATA && strstr(err_text(), "gzip -dc"), "gzip gets a hint: %s", err_text());
    io_close(in);
    io_unmap(whole, len);
    free(p);
}

static size_t files_here(void)
{
    DIR *d = opendir("here");
    size_t n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

static void named(void)
{
    struct iovec part = { (char[]){ "new" }, 3 };
    size_t len;
    mkdir("here", 0777);
    put("here/a", "old!", 4);
    struct io_out *out = io_create("here/a", 0);
    ok(out && !io_put(out, &part, 1), "a file that is there is written anew");
    char *text = io_slurp("here/a", 99, &len);
    ok(text && !strcmp(text, "old!"), "its old content stands until the end");
    free(text);
    ok(io_commit(out) == 0 && (text = io_slurp("here/a", 99, &len)) && !strcmp(text, "new"), "and then is replaced");
    free(text);
    out = io_create("here/b", 0);
    io_abort(out);
    ok(files_here() == 1, "an aborted file leaves nothing");
    ok(!io_create("nowhere/a", 0) && err_status() == ERR_SYSTEM && strstr(err_text(), "nowhere/a: "), "no such folder: %s", err_text());
    ok(!io_create("here", 0) && err_status() == ERR_SYSTEM, "a folder is no output: %s", err_text());
    ok(!io_open("here") && err_status() == ERR_SYSTEM && !io_map("here", &len) && err_status() == ERR_SYSTEM,
       "nor an input: %s", err_text());
    ok(!io_open("here/none") && err_status() == ERR_SYSTEM, "a missing input: %s", err_text());
    ok(symlink("a", "here/link") == 0 && chmod("here/a", 0600) == 0, "a link");
    mode_t mask = umask(0027);
    struct stat st;
    out = io_create("here/c", 0);
    ok(io_commit(out) == 0 && stat("here/c", &st) == 0 && (st.st_mode & 0777) == 0640 && st.st_size == 0,
       "a new file has the rights that umask leaves");
    umask(mask);
}

int main(void)
{
    rng_seed(&r, 21, 0);
    round_trips();
    cuts();
    named();
    return done_testing();
}
