/* mem: allocation that never returns NULL.
 *
 * Running out of memory, in whatever thread, ends the program with one line and status 1 (end_now()).
 * Everything here is released with free(). */
/* SPDX-License-Identifier: MIT */
#ifndef MEM_H
#define MEM_H

#include <stddef.h>

/* The name that messages begin with: argv[0] without its folder. Set once by opt_parse(). */
extern const char *err_program;

/* count*size bytes (at least 1), uninitialized / zeroed / aligned to 64 bytes and uninitialized. */
void *mem_alloc(size_t count, size_t size);
void *mem_zero(size_t count, size_t size);
void *mem_align(size_t count, size_t size);

/* Room for `need` items of `size` bytes in the growing array p of *cap items; returns the (moved) array.
 * Capacity doubles, so memory follows the bytes that are really there. */
void *mem_grow(void *p, size_t *cap, size_t need, size_t size);

/* A copy of a string / of n bytes with a zero byte behind / of a printf. */
char *mem_string(const char *s);
char *mem_bytes(const void *p, size_t n);
char *mem_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Say "out of memory" (wanted 0: how much is not known) and exit 1. */
void mem_die(size_t wanted) __attribute__((noreturn));
/* Say that something is more than the program has been made for ("more than 64 columns in a batch") and exit 1. */
void mem_limit(const char *what) __attribute__((noreturn));

#endif
