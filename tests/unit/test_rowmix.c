/* test_rowmix: a shuffle gives out every row once, with all that belongs to it, in an order that each seed makes anew and
 * that is equally likely to be any; in memory, through the file, and through parts of parts. */
/* SPDX-License-Identifier: MIT */
#include "data/batch_select.h"
#include "data/rowmix.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N = 3000, D = 5 };

/* ---- rows that can be known again: everything in row i follows from i ---- */

static char *texts;
static uint32_t *text_end, *label_end, *pos, *ptr, *idx;
static float *x, *val;

static void make_rows(void)
{
    size_t text = 0, pairs = 0;
    texts = malloc(N * 20);
    text_end = malloc(N * 4), label_end = malloc(N * 4), pos = malloc(N * 4), ptr = malloc((N + 1) * 4), idx = malloc(N * 12);
    x = malloc(N * D * sizeof *x), val = malloc(N * 3 * sizeof *val);
    ptr[0] = 0;
    for (uint32_t i = 0; i < N; i++) {
        pos[i] = i;
        for (int k = 0; k < D; k++)
            x[i * D + (uint32_t)k] = (float)i + (float)k / 8;
        text += (size_t)sprintf(texts + text, "%u", i);
        text_end[i] = (uint32_t)text;
        label_end[i] = i / 2;
        for (uint32_t k = 0; k < i % 4; k++, pairs++)
            idx[pairs] = k * 7, val[pairs] = (float)i;
        ptr[i + 1] = (uint32_t)pairs;
    }
}

static char labels[N];                          /* a byte for each even row but the first */

static void batch_of(struct batch *b, enum stream_kind kind, uint32_t n)
{
    *b = (struct batch){ .n = n };
    if (kind == STREAM_ACTS) {
        batch_add(b, "x", DTYPE_F32, n, D, false, x);
    } else {
        batch_add(b, "ptr", DTYPE_U32, n + 1, 0, false, ptr);
        batch_add(b, "idx", DTYPE_U32, ptr[n], 0, false, idx);
        batch_add(b, "val", DTYPE_F32, ptr[n], 0, false, val);
    }
    batch_add(b, "pos", DTYPE_U32, n, 0, true, pos);
    batch_add(b, "whole", DTYPE_U8, 3, 0, false, "abc");
    batch_add_text(b, "text", "text_end", texts, text_end);
    batch_add_text(b, "label", "label_end", labels, label_end);
}

/* Is row r of b all that row i was? */
static bool is_row(const struct batch *b, size_t r, uint32_t i)
{
    char want[20];
    size_t len, from, n = (size_t)sprintf(want, "%u", i);
    const uint8_t *text = column_text(b, batch_column(b, "text"), r, &len);
    bool same = len == n && !memcmp(text, want, n);
    column_text(b, batch_column(b, "label"), r, &len);
    same = same && len == i / 2 - (i ? (i - 1) / 2 : 0);
    const struct column *c = batch_column(b, "x");
    if (c)
        return same && !memcmp((const float *)c->data + r * D, x + i * D, D * sizeof *x);
    batch_entries(b, batch_column(b, "idx"), r, r + 1, &from, &n);
    same = same && n == i % 4;
    for (size_t k = 0; k < n && same; k++)
        same = ((const uint32_t *)batch_column(b, "idx")->data)[from + k] == k * 7 &&
               ((const float *)batch_column(b, "val")->data)[from + k] == (float)i;
    return same;
}

/* n rows shuffled: their order to order[]. Returns how many came out right, each counted once. */
static size_t mix(enum stream_kind kind, uint32_t n, uint64_t seed, uint64_t window, size_t memory, uint32_t *order)
{
    struct rowmix *m = rowmix_new(seed, window, memory);
    struct batch b, out;
    size_t good = 0, at = 0;
    bool *seen = calloc(n, sizeof *seen), last = false;
    int r = 0;
    batch_of(&b, kind, n);
    if (rowmix_add(m, &b))
        return 0;
    while ((r = rowmix_take(m, last, &out)) > 0 || (r == 0 && !last)) {
        last = last || r == 0;
        for (size_t i = 0; i < (r ? out.n : 0); i++) {
            uint32_t which = ((const uint32_t *)batch_column(&out, "pos")->data)[i];
            good += which < n && !seen[which] && is_row(&out, i, which) && !batch_column(&out, "whole");
            seen[which] = true;
            order[at++] = which;
        }
        if (r)
            batch_select_free(&out);
    }
    rowmix_free(m);
    free(seen);
    return r || at != n ? 0 : good;
}

static void permutations(enum stream_kind kind)
{
    static uint32_t a[N], b[N];
    static const struct { const char *what; uint64_t window; size_t memory; } how[] = {
        { "in memory", 0, 64 << 20 }, { "through the file", 0, 200 << 10 }, { "through parts of parts", 0, 1 << 10 },
        { "a row at a time", 0, 0 }, { "in a window", 100, 0 }, { "in a window larger than all", 2 * N, 0 },
    };
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        size_t good = mix(kind, N, 1, how[i].window, how[i].memory, a), again = mix(kind, N, 1, how[i].window, how[i].memory, b);
        bool same = !memcmp(a, b, sizeof a), ordered = true;
        for (size_t k = 1; k < N; k++)
            ordered = ordered && a[k] > a[k - 1];
        ok(good == N && again == N && same && !ordered, "%s, %s: each row once, whole, the same order again",
           kind == STREAM_ACTS ? "acts" : "codes", how[i].what);
        mix(kind, N, 2, how[i].window, how[i].memory, b);
        ok(memcmp(a, b, sizeof a), "and another with another seed");
    }
}

/* Chi-square of the orders of 4 rows, 23 degrees of freedom: above 49.7 once in a thousand. */
static void uniform(size_t memory, const char *what)
{
    enum { TIMES = 24000 };
    size_t count[256] = { 0 }, kinds = 0;
    double chi = 0;
    for (uint64_t seed = 0; seed < TIMES; seed++) {
        uint32_t o[4];
        mix(STREAM_ACTS, 4, seed, 0, memory, o);
        count[o[0] | o[1] << 2 | o[2] << 4 | o[3] << 6]++;
    }
    for (size_t i = 0; i < 256; i++) {
        double off = (double)count[i] - TIMES / 24.0;
        kinds += count[i] > 0;
        chi += count[i] ? off * off / (TIMES / 24.0) : 0;
    }
    ok(kinds == 24 && chi < 49.7, "%s: all 24 orders of four rows, chi-square %.1f", what, chi);
}

/* Rows with other columns cannot be among them. */
static void refusals(void)
{
    struct batch b;
    struct rowmix *m = rowmix_new(0, 0, 1 << 20);
    batch_of(&b, STREAM_ACTS, 5);
    int first = rowmix_add(m, &b);
    b.cols -= 2;
    ok(!first && rowmix_add(m, &b) == -1 && err_status() == ERR_DATA && strstr(err_text(), "no column label"), "a column less: %s",
       err_text());
    b.cols += 2;
    batch_add(&b, "more", DTYPE_U8, 5, 0, true, "abcde");
    ok(rowmix_add(m, &b) == -1 && strstr(err_text(), "columns that earlier rows have not"), "a column more: %s", err_text());
    b.cols--;
    b.col[1].type = DTYPE_I32;
    ok(rowmix_add(m, &b) == -1 && strstr(err_text(), "column pos"), "a column of another type: %s", err_text());
    rowmix_free(m);
    setenv("TMPDIR", "nowhere", 1);
    m = rowmix_new(0, 0, 0);
    batch_of(&b, STREAM_ACTS, 5);
    ok(rowmix_add(m, &b) == -1 && err_status() == ERR_SYSTEM && strstr(err_text(), "nowhere/saetools."), "no folder for the file: %s",
       err_text());
    rowmix_free(m);
    unsetenv("TMPDIR");
}

int main(void)
{
    make_rows();
    permutations(STREAM_ACTS);
    permutations(STREAM_CODES);
    uniform(1 << 20, "in memory");
    uniform(200, "through parts of parts");
    refusals();
    return done_testing();
}
