/* ids: token ids, as they come out of a tokenizer. */
/* SPDX-License-Identifier: MIT */
#ifndef IDS_H
#define IDS_H

#include <stddef.h>
#include <stdint.h>

/* A growing list of token ids; a zeroed struct is an empty one; free(id). */
struct ids {
    uint32_t *id;
    size_t n, cap;
};
/* Put one behind the others. */
void ids_push(struct ids *list, uint32_t id);

#endif
