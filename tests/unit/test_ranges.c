/* test_ranges: the one grammar of lists and ranges. */
/* SPDX-License-Identifier: MIT */
#include "base/ranges.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The numbers of words as text, in the order of ranges_list(), or the sentence. */
static const char *of(const char *words, int64_t lo, int64_t hi)
{
    static char out[400];
    struct ranges r;
    size_t n;
    *out = 0;
    if (ranges_parse(&r, words, "a feature", lo, hi)) {
        ranges_free(&r);
        return err_text();
    }
    size_t *list = ranges_list(&r, &n);
    for (size_t i = 0; i < n; i++)
        sprintf(out + strlen(out), i ? " %zu" : "%zu", list[i]);
    if (n != ranges_count(&r))
        strcat(out, " (the count is wrong)");
    free(list);
    ranges_free(&r);
    return out;
}

static void is_list(const char *words, const char *want)
{
    const char *got = of(words, 0, 15);
    ok(!strcmp(got, want), "'%s': %s", words, got);
}

/* Does each v of 0 to hi + 1 belong exactly when a plain scan of the items says so? */
static void membership(const char *words, int64_t hi)
{
    struct ranges r;
    bool *mark = calloc((size_t)hi + 1, sizeof *mark), bad = ranges_parse(&r, words, "a position", 0, hi) != 0;
    if (!bad)
        ranges_mark(&r, mark);
    for (int64_t v = 0; v <= hi + 1 && !bad; v++) {
        bool is = false;
        for (size_t i = 0; i < r.n; i++)
            is |= v >= r.item[i].lo && v <= r.item[i].hi;
        bad = ranges_has(&r, v) != is || (v <= hi && mark[v] != is);
    }
    ok(!bad, "has and mark, of '%s'", words);
    ranges_free(&r);
    free(mark);
}

int main(void)
{
    static const char *const bad[] = { "", ",", "1,", ",1", "1,,2", "a", "-1", "1-", "-", ":3", "3:", "1-2-3", "1:2-3", " 1",
                                       "1 ", "1-16", "16", "20-30", "3-x", "0x1", "1.5", "+1", "1-+2", "alle", "all-3",
                                       "99999999999999999999", "1-99999999999999999999" };
    is_list("3", "3");
    is_list("0", "0");
    is_list("3,5-9,12:14", "3 5 6 7 8 9 12 13 14");
    is_list("5-5", "5");
    is_list("9,1,9,0-2", "9 1 0 2");
    is_list("8-10,1-3,2-9", "8 9 10 1 2 3 4 5 6 7");
    is_list("all", "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15");
    is_list("7,all", "7 0 1 2 3 4 5 6 8 9 10 11 12 13 14 15");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(strstr(of(bad[i], 0, 15), "is not a feature from 0 to 15, nor a range LO-HI of them") && err_status() == ERR_USAGE,
           "refused: '%s'", bad[i]);
    ok(!strcmp(of("1,9-5", 0, 15), "'9-5' runs backwards"), "backwards: %s", err_text());
    ok(!strncmp(of("1,17", 0, 15), "'17' is not", 11), "the item is quoted, not the list: %s", err_text());
    ok(strstr(of("0,1", 1, 3), "'0' is not a feature from 1 to 3") != NULL, "a range that begins at 1: %s", err_text());
    ok(!strcmp(of("all", 1, 3), "1 2 3"), "all of it");
    membership("3,5-9,12:14", 20);
    membership("0", 3);
    membership("4-6,7,1-2,9-9,8", 12);
    membership("all", 12);
    membership("12,0,2,4,6,8,10,3-5", 12);
    struct ranges r;
    ok(ranges_parse(&r, "0-9000000000000000,9000000000000001", "a row", 0, INT64_MAX) == 0 && r.merged == 1 &&
       ranges_count(&r) == 9000000000000002 && ranges_has(&r, 4000000000) && !ranges_has(&r, 9000000000000002),
       "large numbers cost no memory");
    ranges_free(&r);
    ok(ranges_parse(&r, "9223372036854775807,0", "a row", 0, INT64_MAX) == 0 && ranges_has(&r, INT64_MAX) &&
       !ranges_has(&r, 1), "the largest number");
    ranges_free(&r);
    ok(!ranges_has(&(struct ranges){ .n = 0 }, 0) && !ranges_count(&(struct ranges){ .n = 0 }), "no list: nothing");
    return done_testing();
}
