/* io: whole reads and whole writes.
 *
 * Inputs: "-" or NULL is standard input; zstd (told by its first bytes) is decoded on the way; short transfers and
 * EINTR are harmless. Outputs: standard output, or a file that is complete or absent: it is written under a temporary
 * name of its own beside the final one and renamed by io_commit(); it keeps owner and rights of the file it replaces. Symbolic
 * links are followed and stay. What is no file (a terminal, a pipe, /dev/fd/N) is written as it is. Exits and signals that end
 * the program remove temporary files (end.h). */
/* SPDX-License-Identifier: MIT */
#ifndef IO_H
#define IO_H

#include "base/err.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* ---- reading ---- */
struct io_in;

/* Open for reading; NULL and a sentence (with the name) on failure. io_close() releases it. */
struct io_in *io_open(const char *path);
void io_close(struct io_in *in);

/* "<stdin>" or the path; for messages. */
const char *io_name(const struct io_in *in);
/* A regular file that can be opened again from its start (several epochs). */
bool io_seekable(const struct io_in *in);

/* Show up to n (<= 64) of the next bytes without consuming them. Returns how many there are, -1 on error. */
ssize_t io_peek(struct io_in *in, void *buf, size_t n) ERR_CHECKED;
/* Read n bytes, fewer only at the end of the input. Returns the count, -1 on error. */
ssize_t io_read(struct io_in *in, void *buf, size_t n) ERR_CHECKED;
/* Read what is at hand, at least 1 byte, at most n; 0 at the end, -1 on error. For text. */
ssize_t io_some(struct io_in *in, void *buf, size_t n) ERR_CHECKED;

/* ---- whole files ---- */
/* Map a file read-only. *len is its size; an empty file gives a valid pointer. NULL and a sentence on failure. */
const void *io_map(const char *path, size_t *len);
void io_unmap(const void *p, size_t len);
/* Read a whole file of at most `limit` bytes, and if it is compressed 8 MiB or 32 times its size; zero-terminated, *len
 * without the zero; free() it. NULL on failure. */
char *io_slurp(const char *path, size_t limit, size_t *len);

/* ---- writing ---- */
struct io_out;

/* Create. path NULL or "-": standard output. zlevel 0: as it is; otherwise zstd at that level, one frame for each
 * io_put(). NULL and a sentence (with the name) on failure. */
struct io_out *io_create(const char *path, int zlevel);
const char *io_out_name(const struct io_out *out);
/* Write all parts, in one unit (one zstd frame). Returns 0 or -1. iov is used as scratch. */
int io_put(struct io_out *out, struct iovec *iov, int n) ERR_CHECKED;
/* Flush, fsync, close, rename to the final name. Releases out. Returns 0 or -1; a file that has its name keeps it even when its
 * folder cannot be made to last. */
int io_commit(struct io_out *out) ERR_CHECKED;
/* Close and remove. Releases out. */
void io_abort(struct io_out *out);

/* The temporary file that a killed run has left of the output `path`, or NULL: one that nobody holds a lock on. free() it. On
 * a file system of several machines that does not share locks it may be another machine's, so nothing removes it. */
char *io_left_part(const char *path);

/* Where descriptors 0, 1 or 2 came closed, put something there that neither reads nor writes, so that no file of ours gets
 * their number and then a message. Returns 0 or -1. */
int io_hold_standard(void) ERR_CHECKED;
/* While *flag is not 0, reading that a signal interrupts fails with EINTR instead of going on. */
void io_stop_on(const volatile sig_atomic_t *flag);

#endif
