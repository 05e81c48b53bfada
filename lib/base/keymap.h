/* keymap: a map from 64-bit keys to 64-bit values, for tables that grow with what a file holds.
 *
 * Open addressing with linear probing, at most three quarters full, 16 bytes a slot. Keys are mixed with a number that differs
 * from run to run, so that no file can be made whose keys collide; nothing may depend on the order of the slots. */
/* SPDX-License-Identifier: MIT */
#ifndef KEYMAP_H
#define KEYMAP_H

#include <stddef.h>
#include <stdint.h>

struct keymap {                         /* zeroed: empty */
    struct keymap_slot {
        uint64_t key, value;            /* value 0: a free slot */
    } *slot;
    size_t n, cap;
};

/* The value of a key, 0 when it has none. */
uint64_t keymap_get(const struct keymap *m, uint64_t key);
/* Give a key a value other than 0. */
void keymap_set(struct keymap *m, uint64_t key, uint64_t value);
/* Forget a key, if it is there. */
void keymap_remove(struct keymap *m, uint64_t key);
void keymap_free(struct keymap *m);

#endif
