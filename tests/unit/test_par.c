/* test_par: every piece once, whatever their number and the number of threads; workers are told apart. */
/* SPDX-License-Identifier: MIT */
#include "base/par.h"
#include "tap.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 5000 };
static atomic_int times[MOST], inside[64], bad;

static void piece(void *arg, size_t i, int worker)
{
    if (arg != (void *)times || worker < 0 || worker >= par_threads() || atomic_fetch_add(&inside[worker], 1))
        bad++;                      /* a scratch area would have had two users */
    times[i]++;
    for (volatile int k = 0; k < 200; k++)
        ;
    atomic_fetch_sub(&inside[worker], 1);
}

int main(void)
{
    static const size_t pieces[] = { 0, 1, 2, 3, 17, MOST };
    static const int threads[] = { 1, 2, 3, 8 };
    ok(par_default() >= 1, "a number of threads by itself: %d", par_default());
    setenv("PARALLEL_SEQ", "1", 1);
    ok(par_default() == 1, "one under GNU parallel");
    for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
        par_start(threads[t]);
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
            int wrong = 0;
            memset(times, 0, sizeof times);
            bad = 0;
            for (int again = 0; again < 20; again++)
                par_for(pieces[p], piece, times);
            for (size_t i = 0; i < MOST; i++)
                wrong += times[i] != (i < pieces[p] ? 20 : 0);
            ok(wrong == 0 && bad == 0, "%zu pieces on %d threads: each once", pieces[p], par_threads());
        }
    }
    return done_testing();
}
