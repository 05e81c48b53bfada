/* spool: a temporary file without a name, in $TMPDIR or /tmp: bytes are added at its end and read from any place. It is gone
 * when it is freed, or when the program ends in whatever way. */
/* SPDX-License-Identifier: MIT */
#ifndef SPOOL_H
#define SPOOL_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

struct spool;

/* NULL and a sentence on failure. */
struct spool *spool_new(void);
void spool_free(struct spool *s);
/* Bytes added so far. */
uint64_t spool_size(const struct spool *s);
int spool_add(struct spool *s, const void *p, size_t n) ERR_CHECKED;
/* n bytes from `at` on, which must be there, to buf. */
int spool_read(struct spool *s, uint64_t at, void *buf, size_t n) ERR_CHECKED;

#endif
