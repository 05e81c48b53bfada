/* SPDX-License-Identifier: MIT */
#include "base/keymap.h"
#include "base/mem.h"

#include <stdlib.h>
#include <time.h>

/* The finalizer of splitmix64, which is one-to-one. */
static uint64_t mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Differs from run to run: where the kernel put us, and when. */
static uint64_t salt(void)
{
    static uint64_t made;
    if (!made) {
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        made = mix((uint64_t)(uintptr_t)&t ^ mix((uint64_t)t.tv_sec << 32 ^ (uint64_t)t.tv_nsec)) | 1;
    }
    return made;
}

static size_t home(const struct keymap *m, uint64_t key)
{
    return mix(mix(key ^ salt())) & (m->cap - 1);
}

/* The slot of a key, or the free one where it would go; cap is a power of 2 and some slot is free. */
static size_t find(const struct keymap *m, uint64_t key)
{
    size_t i = home(m, key);
    while (m->slot[i].value && m->slot[i].key != key)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static void grow(struct keymap *m)
{
    struct keymap bigger = { .n = m->n, .cap = m->cap ? 2 * m->cap : 64 };
    bigger.slot = mem_zero(bigger.cap, sizeof *bigger.slot);
    for (size_t i = 0; i < m->cap; i++)
        if (m->slot[i].value)
            bigger.slot[find(&bigger, m->slot[i].key)] = m->slot[i];
    free(m->slot);
    *m = bigger;
}

uint64_t keymap_get(const struct keymap *m, uint64_t key)
{
    return m->cap ? m->slot[find(m, key)].value : 0;
}

void keymap_set(struct keymap *m, uint64_t key, uint64_t value)
{
    if (4 * (m->n + 1) > 3 * m->cap)
        grow(m);
    struct keymap_slot *s = &m->slot[find(m, key)];
    m->n += !s->value;
    *s = (struct keymap_slot){ key, value };
}

/* Those behind a freed slot move up into it unless that would put them before their home. */
void keymap_remove(struct keymap *m, uint64_t key)
{
    if (!keymap_get(m, key))
        return;
    size_t mask = m->cap - 1, hole = find(m, key);
    for (size_t i = (hole + 1) & mask; m->slot[i].value; i = (i + 1) & mask)
        if (((i - home(m, m->slot[i].key)) & mask) >= ((i - hole) & mask)) {
            m->slot[hole] = m->slot[i];
            hole = i;
        }
    m->slot[hole].value = 0;
    m->n--;
}

void keymap_free(struct keymap *m)
{
    free(m->slot);
    *m = (struct keymap){ .n = 0 };
}
