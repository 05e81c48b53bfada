/* test_keymap: against an array, with keys that come, change and go; keys that differ only in their high bits. */
/* SPDX-License-Identifier: MIT */
#include "base/keymap.h"
#include "base/rng.h"
#include "tap.h"

#include <stdlib.h>

enum { KEYS = 3000 };

/* Keys 0 to KEYS - 1, moved up by `shift` bits. Returns how many answers are wrong. */
static size_t churn(int shift, uint64_t seed)
{
    struct keymap m = { .n = 0 };
    struct rng r;
    size_t wrong = 0, live = 0;
    uint64_t *value = calloc(KEYS, sizeof *value);
    rng_seed(&r, seed, 0);
    for (int step = 0; step < 40000; step++) {
        uint64_t k = rng_below(&r, KEYS), key = k << shift;
        if (rng_below(&r, 3)) {
            live += !value[k];
            keymap_set(&m, key, value[k] = 1 + rng_below(&r, 1000));
        } else {
            live -= value[k] != 0;
            keymap_remove(&m, key);
            value[k] = 0;
        }
        wrong += m.n != live;
        uint64_t other = rng_below(&r, KEYS);
        wrong += keymap_get(&m, other << shift) != value[other];
    }
    for (uint64_t k = 0; k < KEYS; k++)
        wrong += keymap_get(&m, k << shift) != value[k];
    keymap_free(&m);
    free(value);
    return wrong;
}

int main(void)
{
    struct keymap none = { .n = 0 };
    ok(keymap_get(&none, 0) == 0, "an empty map has nothing");
    keymap_remove(&none, 5);
    for (int shift = 0; shift <= 48; shift += 16)
        ok(churn(shift, (uint64_t)shift) == 0, "40000 steps with keys k << %d", shift);
    for (uint64_t k = 0; k < 1 << 20; k++)
        keymap_set(&none, k << 43, k + 1);
    ok(none.n == 1 << 20 && none.cap == 1 << 21 && keymap_get(&none, (uint64_t)77 << 43) == 78,
       "a million keys with the same low bits (quadratic, this would take an hour)");
    keymap_free(&none);
    ok(none.n == 0 && keymap_get(&none, 0) == 0, "freed, it is empty");
    return done_testing();
}
