/* test_labels: files that name features, good and bad. */
/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "cli/labels.h"
#include "tap.h"

#include <string.h>
#include <unistd.h>

static const char path[] = "test_labels.tsv";

static struct labels *load(const char *text, size_t len, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(text, 1, len, f) != len || fclose(f))
        perror(path);
    struct labels *l = labels_load(path, n);
    unlink(path);
    return l;
}

static int is_name(const struct labels *l, size_t feature, const char *want)
{
    const char *got = labels_name(l, feature);
    return want ? got && !strcmp(got, want) : !got;
}

static void good(void)
{
    static const char text[] = "# mine\n\n0\tfirst\n7\tFrench -ance, \xc3\xa9\r\n1K\tfar away\n0\tfirst, again\n3\tno line end";
    struct labels *l = load(text, sizeof text - 1, 1001);
    ok(l != NULL, "a file of labels: %s", l ? "" : err_text());
    ok(is_name(l, 7, "French -ance, \xc3\xa9"), "a name, the carriage return taken off");
    ok(is_name(l, 0, "first, again"), "a later line renames");
    ok(is_name(l, 3, "no line end") && is_name(l, 1000, "far away"), "the last line; 1K");
    ok(is_name(l, 1, NULL) && is_name(l, 1001, NULL) && is_name(l, SIZE_MAX, NULL), "features without a name");
    labels_free(l);
    l = load("", 0, 5);
    ok(l && is_name(l, 0, NULL), "an empty file names nothing");
    labels_free(l);
    ok(is_name(NULL, 0, NULL), "nor do no labels");
    labels_free(NULL);
    ok(labels_open(NULL, 5) == NULL, "no file, no labels");
}

static void bad(const char *text, size_t len, const char *words)
{
    struct labels *l = load(text, len, 10);
    ok(!l && err_status() == ERR_DATA && strstr(err_text(), words) && strstr(err_text(), path), "refused: %s", err_text());
    labels_free(l);
}

int main(void)
{
    good();
    bad("0\ta\n10\tb\n", 10, "line 2: '10' is not a feature from 0 to 9");
    bad("0\ta\n\n#\n-1\tb\n", 12, "line 4: '-1' is not");
    bad("x\ta\n", 4, "line 1: 'x' is not");
    bad("\ta\n", 3, "line 1: '' is not");
    bad("0 a\n", 4, "line 1: not a feature, a tab and a name");
    bad("0\t\n", 3, "line 1: no name");
    bad("0\ta\xff\n", 5, "line 1: a name that is not UTF-8");
    bad("0\ta\tb\n", 6, "line 1: a control character");
    bad("0\ta\0\n", 5, "line 1: a zero byte");
    bad("0\0\ta\n", 5, "line 1: a zero byte");
    ok(labels_load("there/is/none", 10) == NULL && err_status() == ERR_SYSTEM, "a missing file: %s", err_text());
    return done_testing();
}
