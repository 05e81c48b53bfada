/* test_edit: what the words of an edit mean, how edits compose, where they apply, and what is refused. */
/* SPDX-License-Identifier: MIT */
#include "base/io.h"
#include "data/npy.h"
#include "data/stream.h"
#include "dict/kind.h"
#include "kinds/kinds.h"
#include "tap.h"
#include "patch/edit.h"

#include <stdlib.h>
#include <string.h>

enum { M = 8 };

/* A dictionary whose features are the dimensions: f_i = gain x_i, d_i = unit vector i. */
static struct sae *neurons(float gain)
{
    struct sae *s = sae_new(kind_find("relu"), M, M);
    for (size_t i = 0; i < M; i++) {
        s->w_enc[i * M + i] = gain;
        s->w_dec[i * M + i] = 1;
    }
    return s;
}

/* Row x = 0, 1, ... 7 at position 0, and the same at 1 whose token is " a"; contexts 3 and 4. After the edits (separated
 * by ;), row r as text. */
static const char *after_in(struct sae *sae, const char *edits, size_t n, size_t r, bool replace)
{
    static char out[200], words[200];
    static const float x[2 * M] = { 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7 };
    static const uint32_t pos[] = { 0, 1 }, ctx[] = { 3, 4 }, end[] = { 1, 3 };
    struct batch b = { .n = n, .x = x };
    batch_add(&b, "doc", DTYPE_U32, n, 0, true, ctx);
    batch_add(&b, "ctx", DTYPE_U32, n, 0, true, ctx);
    batch_add(&b, "pos", DTYPE_U32, n, 0, true, pos);
    batch_add(&b, "text", DTYPE_U8, end[n - 1], 0, false, "b a");
    batch_add(&b, "text_end", DTYPE_U32, n, 0, true, end);
    batch_point(&b);
    float y[2 * M];
    bool changed[2];
    struct edits e;
    edit_begin(&e, sae);
    strcpy(words, edits);
    bool bad = false;
    for (char *at = strtok(words, ";"); at && !bad; at = strtok(NULL, ";"))
        bad = edit_add(&e, at);
    if (!bad)
        edit_ready(&e);
    if (bad || edit_rows(&e, &b, NULL, replace, y, changed) || edit_end(&e)) {
        edit_free(&e);
        return err_text();
    }
    *out = 0;
    for (uint32_t i = 0; i < M; i++)
        sprintf(out + strlen(out), i ? " %g" : "%g", y[r * M + i] + 0.0);
    if (changed[r] != (replace || memcmp(x, y + r * M, M * sizeof *y) != 0))
        strcat(out, " (changed is wrong)");
    edit_free(&e);
    return out;
}

static struct sae *one;

static const char *after(const char *edits)
{
    return after_in(one, edits, 1, 0, false);
}

/* Codes at the places of rows(): doc 0, ctx 0, pos 0 and up, or others. */
static void write_codes(const char *path, size_t n, uint32_t first_pos)
{
    static const uint32_t ptr[] = { 0, 2, 2, 3, 4 }, doc[] = { 3, 4, 5, 6 }, idx[] = { 1, 5, 5, 7 };
    static const float val[] = { 2, 1, 3, 10 };
    uint32_t pos[4];
    struct batch b = { .n = n };
    json_t *head = stream_head(STREAM_CODES, M, DTYPE_F32);
    struct stream_out *s = stream_create(io_create(path, 0), head);
    for (uint32_t i = 0; i < 4; i++)
        pos[i] = first_pos + i;
    batch_add(&b, "ptr", DTYPE_U32, n + 1, 0, false, ptr);
    batch_add(&b, "idx", DTYPE_U32, ptr[n], 0, false, idx);
    batch_add(&b, "val", DTYPE_F32, ptr[n], 0, false, val);
    batch_add(&b, "pos", DTYPE_U32, n, 0, true, pos);
    batch_add(&b, "doc", DTYPE_U32, n, 0, true, doc);
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

/* An array file of f32. */
static void write_npy(const char *path, size_t rank, size_t rows, const float *x)
{
    struct npy h = { .type = DTYPE_F32, .rank = rank, .shape = { rank == 1 ? M : rows, M } };
    unsigned char buf[NPY_HEADER_MAX + 3 * M * sizeof *x];
    size_t n = npy_write_header(buf, &h);
    memcpy(buf + n, x, rows * M * sizeof *x);
    put(path, (const char *)buf, n + rows * M * sizeof *x);
}

static void files(void)
{
    static const char text[] = "# a remark\n\nzero 1\r\n  set 2 9\nscale 2 2 @ 0:3";
    struct edits e;
    edit_begin(&e, one);
    put("edits", text, sizeof text - 1);
    int r = edit_add_file(&e, "edits");
    ok(r == 0 && e.n == 3 && e.list[0].feature[0] == 1 && e.list[1].shift[0] == 9 && e.list[2].where.test[0].list.item[0].hi == 3,
       "a file of edits: remarks, blank lines, no last newline");
    put("edits", "zero 1\nzap 2\n", 13);
    ok(edit_add_file(&e, "edits") == -1 && !strncmp(err_text(), "edits: line 2: ", 15), "its errors name file and line: %s",
       err_text());
    put("edits", "zero 1\n\0zero 2\n", 15);
    ok(edit_add_file(&e, "edits") == -1, "a zero byte in it is refused, not taken for its end");
    ok(edit_add_file(&e, "none") == -1 && err_status() == ERR_SYSTEM, "a missing one");
    edit_free(&e);
}

/* The dictionary whose encoder is twice as long: f = 2 x, so that zero F overshoots and silence F does not. */
static void untied(void)
{
    struct sae *two = neurons(2);
    const char *got = after_in(two, "zero 3,4", 1, 0, false);
    ok(!strcmp(got, "0 1 2 -3 -4 5 6 7"), "untied: zero takes off f d: %s", got);
    got = after_in(two, "set 5 1;silence 3-5", 1, 0, false);
    ok(!strcmp(got, "0 1 2 0 0 0 6 7"), "untied: silence takes off f / <e,d>, whatever came before: %s", got);
    two->w_enc[0] = -1;
    got = after_in(two, "silence 0", 1, 0, false);
    ok(strstr(got, "does not fall along") && err_status() == ERR_USAGE, "and not where that cannot be: %s", got);
    free(two->w_enc);
    two->w_enc = NULL;
    got = after_in(two, "silence 1", 1, 0, false);
    ok(strstr(got, "not one matrix") != NULL, "nor without an encoder: %s", got);
    sae_free(two);
}

/* Rows that go along. */
static void along(void)
{
    const char *got = after_in(one, "copy 1,5 two", 2, 0, false);
    ok(!strcmp(got, "0 2 2 3 4 1 6 7"), "copy: the values of the other stream: %s", got);
    got = after_in(one, "copy 1,5 two", 2, 1, false);
    ok(!strcmp(got, "0 0 2 3 4 0 6 7"), "where it is silent: 0: %s", got);
    got = after_in(one, "add 1 1;copy 1 two;scale 1 2;add 5 1;copy 5 two", 2, 0, false);
    ok(!strcmp(got, "0 4 2 3 4 1 6 7"), "composed with others: %s", got);
    got = after_in(one, "copy all two", 2, 0, true);
    ok(!strcmp(got, "0 2 0 0 0 1 0 0"), "all, with --replace: the other reconstruction: %s", got);
    got = after_in(one, "copy 1 codes", 2, 0, false);
    ok(strstr(got, "codes: goes on behind") == got, "longer: %s", got);
    got = after_in(one, "copy 1 codes", 1, 0, false);
    ok(strstr(got, "codes: goes on behind") == got, "longer than one row: %s", got);
    write_codes("short", 1, 0);
    got = after_in(one, "copy 1 short", 2, 0, false);
    ok(strstr(got, "short: ends after 1 rows") == got && err_status() == ERR_DATA, "shorter: %s", got);
    write_codes("other", 2, 1);
    got = after_in(one, "copy 1 other", 2, 0, false);
    ok(strstr(got, "other: row 0 is not the same place: pos 1, the row it goes with has pos 0") == got, "misaligned: %s", got);
    got = after("copy 1 none");
    ok(strstr(got, "none: ") == got && err_status() == ERR_SYSTEM, "missing: %s", got);
}

static void places(void)
{
    static const struct {
        const char *edits;
        bool first, second;             /* are rows 0 and 1 changed */
    } cases[] = {
        { "zero 5 @ 0", true, false }, { "zero 5 @ 1", false, true }, { "zero 5 @ 0:1", true, true },
        { "zero 5 @ last", true, true }, { "zero 5 @ ctx=4", false, true }, { "zero 5 @ doc=3", true, false },
        { "zero 5 @ ctx=3:4 doc=4", false, true }, { "zero 5 @ 0 ctx=4", false, false }, { "zero 5 @ ctx=4 token= a", false, true },
        { "zero 5 @ ctx=4 token= a ", false, false }, { "zero 5 @ token= a", false, true }, { "zero 5 @ token=b", true, false },
        { "zero 5 @ token=\\x62", true, false }, { "zero 5 @ token=\\x20a", false, true }, { "zero 5 @ token=a", false, false },
        { "zero 5 @ 2:9 ", false, false }, { "zero 5 @   0 ", true, false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t r = 0; r < 2; r++) {
            bool hit = r ? cases[i].second : cases[i].first;
            const char *got = after_in(one, cases[i].edits, 2, r, false);
            ok(!strcmp(got, hit ? "0 1 2 3 4 0 6 7" : "0 1 2 3 4 5 6 7"), "'%s', row %zu: %s", cases[i].edits, r, got);
        }
    const char *got = after_in(one, "add 5 1;scale 5 2 @ 1;add 5 1 @ 0", 2, 1, false);
    ok(!strcmp(got, "0 1 2 3 4 12 6 7"), "edits of different rows compose: %s", got);
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
        { "silence 2,3", "0 1 0 0 4 5 6 7" },
        { "add 2 1;silence 2", "0 1 0 3 4 5 6 7" },
        { "silence 2;add 2 1", "0 1 1 3 4 5 6 7" },
        { "vector 2 v.npy", "2 1 2 3 4 5 6 15" },
        { "vector -0.5 flat.npy", "-0.5 1 2 3 4 5 6 5" },
        { "remove 2,5", "0 1 0 3 4 0 6 7" },
        { "remove 7;add 7 2", "0 1 2 3 4 5 6 2" },
        { "add 7 2;remove 7", "0 1 2 3 4 5 6 0" },
        { "add 7 2;remove 7;scale 7 2;add 7 1", "0 1 2 3 4 5 6 10" },
        { "remove all", "0 0 0 0 0 0 0 0" },
        { "remove span.npy", "0.5 0.5 0 3 4 5 6 7" },
        { "error error.npy", "error.npy: not a stream of activations or codes" },
    };
    static const char *const bad[] = { "", "zap 1", "zero", "zero 1 2", "zero 8", "zero -1", "zero 3-1", "zero 1,", "zero 1,,2",
                                       "zero 1x", "zero 1-", "set 1", "set 1 x", "set 1 nan", "set 1 1e39", "add 1 inf", "scale all",
                                       "mean 1", "keep", "copy 1", "silence", "silence 1 2", "vector 1", "vector x v.npy", "vector 1e39 v.npy", "remove 9",
                                       "remove", "error", "zero 1 @ x", "zero 1 @ 3:2", "zero 1 @ ", "zero 1 @ ctx=", "zero 1 @ ctx=x", "zero 1 @ 1 2x", "vector 3e38 v.npy", "zero 99999999999999999999999999" };
    static const float v[] = { 1, 0, 0, 0, 0, 0, 0, 4 }, span[] = { 1, -1, 0, 0, 0, 0, 0, 0, 2, -2, 0, 0, 0, 0, 0, 0, 1, -1, 3, 0, 0, 0, 0, 0 };
    one = neurons(1);
    write_codes("codes", 4, 0);
    write_codes("two", 2, 0);
    write_npy("v.npy", 2, 1, v);
    write_npy("flat.npy", 1, 1, v);
    write_npy("span.npy", 2, 3, span);
    put("error.npy", "no stream", 9);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        const char *got = after(good[i].edits);
        ok(!strcmp(got, good[i].want), "'%s' gives %s", good[i].edits, got);
    }
    struct edits e;
    edit_begin(&e, one);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(edit_add(&e, bad[i]) == -1 && err_status() == ERR_USAGE && !strncmp(err_text(), "edit '", 6), "'%s' is refused: %s",
           bad[i], err_text());
    ok(edit_add(&e, "mean 1 none") == -1 && err_status() == ERR_SYSTEM, "a missing file is the system's error: %s", err_text());
    edit_free(&e);
    struct sae *wide = sae_new(kind_find("relu"), M, M + 1);
    edit_begin(&e, wide);
    ok(edit_add(&e, "mean 1 codes") == -1 && err_status() == ERR_DATA, "codes of another width: %s", err_text());
    ok(edit_add(&e, "copy 1 codes") == -1 && err_status() == ERR_DATA, "codes of another width: %s", err_text());
    ok(edit_add(&e, "error codes") == -1 && err_status() == ERR_DATA, "codes for an error: %s", err_text());
    ok(edit_add(&e, "vector 1 span.npy") == -1 && err_status() == ERR_DATA, "three vectors: %s", err_text());
    edit_free(&e);
    sae_free(wide);
    files();
    untied();
    along();
    places();
    sae_free(one);
    return done_testing();
}
