/* test_edit: what the words of an edit mean, how edits compose, and what is refused. */
/* SPDX-License-Identifier: MIT */
#include "data/stream.h"
#include "tap.h"
#include "tools/edit.h"

#include <string.h>

enum { M = 8 };

/* f' of every feature for f = 0, 1, ... 7, after the edits (separated by ;), as text. */
static const char *after(const char *edits)
{
    static char out[200], words[200];
    struct edits e;
    edits_begin(&e, M);
    strcpy(words, edits);
    for (char *at = strtok(words, ";"); at; at = strtok(NULL, ";"))
        if (edits_add(&e, at)) {
            edits_free(&e);
            return err_text();
        }
    edits_settle(&e);
    *out = 0;
    for (uint32_t i = 0; i < M; i++)
        sprintf(out + strlen(out), i ? " %g" : "%g", (double)i + edits_change(&e, i, (float)i));
    size_t changed = 0;
    for (uint32_t i = 0; i < M; i++)
        changed += e.scale[i] != 1 || e.shift[i] != 0;
    if (changed != e.n)
        strcat(out, " (the list is wrong)");
    for (size_t k = 1; k < e.n; k++)
        if (e.list[k] <= e.list[k - 1])
            strcat(out, " (the list falls)");
    edits_free(&e);
    return out;
}

static void write_codes(const char *path)
{
    static const uint32_t ptr[] = { 0, 2, 2, 3, 4 }, idx[] = { 1, 5, 5, 7 };
    static const float val[] = { 2, 1, 3, 10 };
    struct batch b = { .n = 4 };
    json_t *head = stream_head(STREAM_CODES, M, DTYPE_F32);
    struct stream_out *s = stream_create(io_create(path, 0), head);
    batch_add(&b, "ptr", DTYPE_U32, 5, 0, false, ptr);
    batch_add(&b, "idx", DTYPE_U32, 4, 0, false, idx);
    batch_add(&b, "val", DTYPE_F32, 4, 0, false, val);
    if (stream_put(s, &b) || stream_finish(s))
        puts(err_text());
    json_decref(head);
}

static void put(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f))
        perror(path);
}

static void files(void)
{
    static const char text[] = "# a remark\n\nzero 1\r\n  set 2 9\nscale 2 2";
    struct edits e;
    edits_begin(&e, M);
    put("edits", text, sizeof text - 1);
    int r = edits_add_file(&e, "edits");
    ok(r == 0 && e.scale[1] == 0 && e.scale[2] == 0 && e.shift[2] == 18, "a file of edits: remarks, blank lines, no last newline");
    put("edits", "zero 1\nzap 2\n", 13);
    ok(edits_add_file(&e, "edits") == -1 && !strncmp(err_text(), "edits: line 2: ", 15), "its errors name file and line: %s",
       err_text());
    put("edits", "zero 1\n\0zero 2\n", 15);
    ok(edits_add_file(&e, "edits") == -1, "a zero byte in it is refused, not taken for its end");
    ok(edits_add_file(&e, "none") == -1 && err_status() == ERR_SYSTEM, "a missing one");
    edits_free(&e);
}

int main(void)
{
    static const struct {
        const char *edits, *want;
    } good[] = {
        { "", "0 1 2 3 4 5 6 7" },
        { "zero 3", "0 1 2 0 4 5 6 7" },
        { "zero 1,4-6", "0 0 2 3 0 0 0 7" },
        { "zero all", "0 0 0 0 0 0 0 0" },
        { "set 0,2 -1.5", "-1.5 1 -1.5 3 4 5 6 7" },
        { "scale 2-3 3", "0 1 6 9 4 5 6 7" },
        { "add 7-7 0.25", "0 1 2 3 4 5 6 7.25" },
        { "keep 2,3", "0 0 2 3 0 0 0 0" },
        { "  add\t2   1 ", "0 1 3 3 4 5 6 7" },
        { "add 2 1;scale 2 10", "0 1 30 3 4 5 6 7" },
        { "scale 2 10;add 2 1", "0 1 21 3 4 5 6 7" },
        { "set all 1;keep 4;add 0 2", "2 0 0 0 1 0 0 0" },
        { "scale 6 0.5;scale 6 2", "0 1 2 3 4 5 6 7" },
        { "mean 1,5-7 codes", "0 0.5 2 3 4 1 0 2.5" },
    };
    static const char *const bad[] = { "", "zap 1", "zero", "zero 1 2", "zero 8", "zero -1", "zero 3-1", "zero 1,", "zero 1,,2",
                                       "zero 1x", "zero 1-", "set 1", "set 1 x", "set 1 nan", "set 1 1e39", "add 1 inf", "scale all",
                                       "mean 1", "keep", "zero 99999999999999999999999999" };
    write_codes("codes");
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const char *got = after(good[i].edits);
        ok(!strcmp(got, good[i].want), "'%s' gives %s", good[i].edits, got);
    }
    struct edits e;
    edits_begin(&e, M);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(edits_add(&e, bad[i]) == -1 && err_status() == ERR_USAGE && !strncmp(err_text(), "edit '", 6), "'%s' is refused: %s",
           bad[i], err_text());
    ok(edits_add(&e, "mean 1 none") == -1 && err_status() == ERR_SYSTEM, "a missing file is the system's error: %s", err_text());
    edits_free(&e);
    edits_begin(&e, M + 1);
    ok(edits_add(&e, "mean 1 codes") == -1 && err_status() == ERR_DATA, "codes of another width: %s", err_text());
    edits_free(&e);
    files();
    return done_testing();
}
