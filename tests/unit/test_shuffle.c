/* Every row comes out once, in an order that is random and follows from the seed. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "data/shuffle.h"
#include "tap.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct numbers {
    size_t next, end;
    bool broken;
};

/* Rows (i, -i). */
static ssize_t numbers(void *arg, float *out, size_t n)
{
    struct numbers *s = arg;
    size_t got = 0;
    if (s->broken)
        return err_data("a source that fails");
    for (; got < n && s->next < s->end; got++, s->next++) {
        out[2 * got] = (float)s->next;
        out[2 * got + 1] = -(float)s->next;
    }
    return (ssize_t)got;
}

/* All rows to out, taken `step` at a time. Returns how many. */
static size_t drain(size_t rows, size_t end, size_t step, uint64_t seed, float *out)
{
    struct numbers src = { .end = end };
    struct shuffle *s = shuffle_new(rows, 2, seed, numbers, &src);
    size_t n = 0;
    for (ssize_t got; (got = shuffle_take(s, out + 2 * n, step)) > 0;)
        n += (size_t)got;
    shuffle_free(s);
    return n;
}

static void check(size_t rows, size_t end)
{
    float *a = mem_alloc(2 * (end + 8), sizeof *a), *b = mem_alloc(2 * (end + 8), sizeof *b);
    char *seen = mem_zero(end, 1);
    size_t n = drain(rows, end, 7, 1, a), once = 0, window = 1, moved = 0;
    for (size_t i = 0; i < n; i++) {
        size_t v = (size_t)a[2 * i];
        once += v < end && !seen[v]++ && a[2 * i + 1] == -a[2 * i];
        window &= v < i + rows;             /* a row cannot come before it was in the buffer */
        moved += v != i;
    }
    ok(n == end && once == end, "buffer of %zu: each of %zu rows once", rows, end);
    ok(window, "none before its time");
    ok(rows < 2 || end < 10 || moved > end / 2, "out of order");
    ok(drain(rows, end, 3, 1, b) == end && !memcmp(a, b, 2 * end * sizeof *a),
       "the same however many are taken at a time");
    drain(rows, end, 7, 2, b);
    ok(rows < 2 || end < 10 || memcmp(a, b, 2 * end * sizeof *a), "another seed, another order");
    free(a);
    free(b);
    free(seen);
}

int main(void)
{
    check(1, 20);
    check(16, 0);
    check(16, 1);
    check(16, 16);
    check(16, 1000);
    check(5000, 1000);

    struct numbers src = { .end = 10 };
    struct shuffle *s = shuffle_new(4, 2, 0, numbers, &src);
    size_t n;
    ok(shuffle_fill(s) == 0, "fills");
    const float *row = shuffle_rows(s, &n);
    ok(n == 4 && row[0] == 0 && row[6] == 3, "and shows the first rows of the input");
    src.broken = true;
    src.next = 0;
    float out[20];
    shuffle_free(s);
    s = shuffle_new(4, 2, 0, numbers, &src);
    ok(shuffle_take(s, out, 10) == -1, "a failing source is an error");
    shuffle_free(s);
    return done_testing();
}
