/* end: what must happen however the program ends.
 *
 * Temporary files are entered before they exist and taken out when they have their final name; what is still entered is
 * removed at exit, by a signal that ends the program, and by end_now(). Mapped files are entered so that one that shrinks
 * under its reader (SIGBUS) is an error like any other. Nothing here allocates. */
/* SPDX-License-Identifier: MIT */
#ifndef END_H
#define END_H

#include <signal.h>
#include <stddef.h>

/* Remove the file `path` (borrowed until end_keep()) should the program end. Returns its slot, -1 when none is free. */
int end_remove(char *path);
void end_keep(int slot);

/* Bytes [p, p + n) are a file's, mapped: reading them may fail. name is copied as far as it fits. */
void end_mapped(const void *p, size_t n, const char *name);
void end_unmapped(const void *p);

/* Not 0 while this thread runs code of a library that uses memory without looking whether it got any: what it then does near
 * address 0 is told as want of memory. */
extern _Thread_local volatile sig_atomic_t end_unchecked;

/* End the process at once, from any thread: one caller writes its line (with the newline) to standard error, removes
 * temporary files and exits with `status`; the others wait for that. No exit handler runs, so threads may go on computing. */
void end_now(int status, const char *line, size_t n) __attribute__((noreturn));

/* Remove temporary files at exit and when a signal ends the program (it is raised again). A signal that was ignored when
 * the program began stays ignored. A bad read of a mapped file, or of memory that a library did not get, is one line and
 * status 1. */
void end_tidy_on_signals(void);

#endif
