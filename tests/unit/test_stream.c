/* test_stream: a small stream read after every change that one bit, one cut or one record makes to it. Whatever is handed
 * out before the error must be a beginning of the truth. Also slices, columns that travel, and numbers that are not finite. */
/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "data/batch_select.h"
#include "data/stream.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- a stream of two sections ---- */

static const uint32_t doc[] = { 0, 0, 1 }, ctx[] = { 0, 0, 1 }, pos[] = { 1, 2, 1 }, tok[] = { 9, 8, 7 }, text_end[] = { 2, 3, 5 };
static const uint32_t label_end[] = { 3, 3, 8 };
#define LABEL "abc\xc3\xa9!\n?"
static const float x[] = { 1, -2, 0.5f, 4, 1e-3f, 3 };
static const uint32_t ptr[] = { 0, 2, 2, 3 }, idx[] = { 0, 4, 1 };
static const float val[] = { 1.5f, 2, 0.25f };

static void add_rows(struct batch *b, enum stream_kind kind)
{
    if (kind == STREAM_ACTS) {
        batch_add(b, "x", DTYPE_F32, 3, 2, false, x);
    } else {
        batch_add(b, "ptr", DTYPE_U32, 4, 0, false, ptr);
        batch_add(b, "idx", DTYPE_U32, 3, 0, false, idx);
        batch_add(b, "val", DTYPE_F32, 3, 0, false, val);
    }
    batch_add(b, "doc", DTYPE_U32, 3, 0, false, doc);
    batch_add(b, "ctx", DTYPE_U32, 3, 0, false, ctx);
    batch_add(b, "pos", DTYPE_U32, 3, 0, false, pos);
    batch_add(b, "tok", DTYPE_U32, 3, 0, false, tok);
    batch_add(b, "text", DTYPE_U8, 5, 0, false, "ab\ncd");
    batch_add(b, "text_end", DTYPE_U32, 3, 0, false, text_end);
    batch_add(b, "mine", DTYPE_U16, 3, 2, true, "abcdefghijkl");
    batch_add(b, "whole", DTYPE_U8, 4, 0, false, "wxyz");
    batch_add_text(b, "label", "label_end", LABEL, label_end);
}

static void write_stream(const char *path, int zlevel, enum stream_kind kind)
{
    json_t *head = stream_head(kind, kind == STREAM_ACTS ? 2 : 5, DTYPE_F32);
    struct stream_out *s = stream_create(io_create(path, zlevel), head);
    struct batch b = { .n = 3 };
    add_rows(&b, kind);
    int bad = stream_put(s, &b) || stream_put(s, &b) || stream_section(s, head) || stream_put(s, &b) || stream_finish(s);
    if (bad)
        puts(err_text());
    json_decref(head);
}

/* ---- all that a reader sees, as text ---- */

static void dump_column(char **to, const struct column *c)
{
    *to += sprintf(*to, " %s:%d:%d:%d:", c->name, (int)c->type, c->row, (int)c->rule);
    for (size_t i = 0; i < column_bytes(c); i++)
        *to += sprintf(*to, "%02x", ((const uint8_t *)c->data)[i]);
}

static void dump_label(char **to, const struct batch *b, size_t i)
{
    size_t len;
    const uint8_t *text = column_text(b, batch_column(b, "label"), i, &len);
    *to += sprintf(*to, " <%.*s>", (int)len, text);
}

/* Returns 0 at a good end, -1 with a sentence. `most` as in the stream. */
static int dump(const char *path, char *to, size_t most, bool columns)
{
    struct stream_in *s = stream_open(path);
    struct batch b;
    int r = -1;
    *to = 0;
    if (!s)
        return -1;
    s->max_rows = most;
    while ((r = stream_next(s, &b)) > 0)
        for (size_t i = 0; i < b.n; i++) {
            size_t len;
            const uint8_t *text = batch_text(&b, i, &len);
            to += sprintf(to, "%d %d %d: %u %u %u %u %.*s", (int)b.section, (int)b.row + (int)i, s->kind, b.doc[i], b.ctx[i],
                          b.pos[i], b.tok[i], (int)len, text);
            for (size_t k = 0; k < s->d && b.x; k++)
                to += sprintf(to, " %a", (double)b.x[i * s->d + k]);
            for (uint32_t k = b.ptr ? b.ptr[i] : 0; b.ptr && k < b.ptr[i + 1]; k++)
                to += sprintf(to, " %u=%a", b.idx[k], (double)b.val[k]);
            dump_label(&to, &b, i);
            for (size_t k = 0; k < b.cols && columns && i == 0; k++)
                dump_column(&to, &b.col[k]);
            *to++ = '\n';
            *to = 0;
        }
    stream_close(s);
    return r;
}

static char *raw_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "r");
    char *p = malloc(1 << 16);
    *n = fread(p, 1, 1 << 16, f);
    fclose(f);
    return p;
}

/* ---- changes ---- */

static char truth[20000], got[20000];

enum verdict { REFUSED, SAME, BELIEVED };

/* The rows that a reader gets of these bytes, to `got`. They are many: the file is one in memory. */
static int read_changed(const char *p, size_t n)
{
    static int fd = -1;
    char path[40];
    if (fd < 0)
        fd = memfd_create("changed", 0);
    if (ftruncate(fd, 0) || pwrite(fd, p, n, 0) != (ssize_t)n)
        perror("changed");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return dump(path, got, 0, true);
}

/* What a reader makes of these bytes. */
static enum verdict judge(const char *p, size_t n)
{
    int r = read_changed(p, n);
    if (r < 0)
        return err_status() == ERR_DATA && !strncmp(truth, got, strlen(got)) ? REFUSED : BELIEVED;
    return strcmp(truth, got) ? BELIEVED : SAME;
}

static void flips(const char *name, char *p, size_t n, bool raw)
{
    size_t count[3] = { 0 };
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            p[i] ^= (char)(1 << bit);
            count[judge(p, n)]++;
            p[i] ^= (char)(1 << bit);
        }
    ok(count[BELIEVED] == 0 && (!raw || count[SAME] == 0) && count[REFUSED] > 8 * n - 64,
       "%s: every bit flipped: %zu refused, %zu without effect, %zu believed", name, count[0], count[1], count[2]);
}

/* A cut between the sections leaves a complete stream; all others are errors. */
static void cuts(const char *name, const char *p, size_t n)
{
    size_t count[3] = { 0 };
    for (size_t i = 0; i < n; i++) {
        int r = read_changed(p, i);
        bool prefix = !strncmp(truth, got, strlen(got));
        count[r < 0 && err_status() == ERR_DATA && prefix ? REFUSED : prefix && i > n / 3 ? SAME : BELIEVED]++;
    }
    ok(count[BELIEVED] == 0 && count[SAME] == 1, "%s: cut at every place: %zu refused, %zu between sections, %zu believed", name,
       count[0], count[1], count[2]);
}

/* Where the records of a raw stream begin; at[count] is its end. */
static size_t records(const char *path, size_t at[20])
{
    struct io_in *in = io_open(path);
    struct frame f = { .bins = 0 };
    size_t n = 0;
    at[0] = 0;
    while (frame_read(in, &f) > 0) {
        at[n + 1] = at[n] + f.bytes;
        n++;
    }
    frame_free(&f);
    io_close(in);
    return n;
}

static void shuffled(const char *p, size_t n)
{
    size_t at[20], count = records("raw", at), believed = 0;
    char *q = malloc(2 * n);
    ok(count == 7 && at[count] == n, "%zu records", count);
    for (size_t i = 0; i < count; i++) {
        size_t len = at[i + 1] - at[i];
        memcpy(q, p, at[i]);
        memcpy(q + at[i], p + at[i + 1], n - at[i + 1]);
        believed += judge(q, n - len) != REFUSED;               /* lost */
        memcpy(q, p, at[i + 1]);
        memcpy(q + at[i + 1], p + at[i], n - at[i]);
        believed += judge(q, n + len) != REFUSED;               /* doubled */
        for (size_t k = i + 1; k < count; k++) {                /* two swapped */
            char *to = q;
            for (size_t j = 0; j < count; j++) {
                size_t which = j == i ? k : j == k ? i : j;
                memcpy(to, p + at[which], at[which + 1] - at[which]);
                to += at[which + 1] - at[which];
            }
            believed += memcmp(p, q, n) && judge(q, n) != REFUSED;
        }
    }
    ok(believed == 0, "a record lost, doubled, two swapped: %zu believed", believed);
    free(q);
}

static void changes(enum stream_kind kind)
{
    const char *name = kind == STREAM_ACTS ? "acts" : "codes";
    char label[40];
    size_t n;
    write_stream("raw", 0, kind);
    write_stream("packed", 1, kind);
    ok(dump("raw", truth, 0, true) == 0 && dump("packed", got, 0, true) == 0 && !strcmp(truth, got) && strlen(truth) > 500,
       "%s: raw and zstd read the same", name);
    char *p = raw_bytes("raw", &n);
    flips(name, p, n, true);
    cuts(name, p, n);
    shuffled(p, n);
    free(p);
    p = raw_bytes("packed", &n);
    snprintf(label, sizeof label, "%s, zstd", name);
    flips(label, p, n, false);
    cuts(label, p, n);
    free(p);
}

/* ---- slices and picks ---- */

static void slices(enum stream_kind kind)
{
    char whole[20000];
    write_stream("raw", 0, kind);
    int r = dump("raw", whole, 0, false);
    for (size_t most = 1; most <= 3; most++)
        ok(r == 0 && dump("raw", got, most, false) == 0 && !strcmp(whole, got), "in slices of %zu: the same rows", most);
    struct stream_in *s = stream_open("raw");
    struct batch b, kept;
    s->max_rows = 2;
    ok(stream_next(s, &b) == 1 && b.n == 2 && batch_column(&b, "whole") && batch_column(&b, "mine")->shape[0] == 2,
       "columns of the batch as a whole go with its first rows");
    batch_select_keep(&kept, &b);
    ok(stream_next(s, &b) == 1 && b.n == 1 && !batch_column(&b, "whole") && !memcmp(batch_column(&b, "mine")->data, "ijkl", 4),
       "and not with the others; those of rows with theirs");
    ok(b.text_end[0] == 2 && batch_column(&b, "text")->shape[0] == 2 && (kind == STREAM_ACTS ||
       (b.ptr[0] == 0 && b.ptr[1] == 1 && batch_column(&b, "idx")->shape[0] == 1 && b.idx[0] == 1 && b.val[0] == 0.25f)),
       "offsets begin at 0 again");
    size_t len;
    const uint8_t *label = column_text(&b, batch_column(&b, "label"), 0, &len);
    ok(len == 5 && !memcmp(label, &LABEL[3], 5) && batch_column(&b, "label")->shape[0] == 5, "a text column likewise");
    ok(kept.n == 2 && kept.pos[1] == 2 && kept.text_end[1] == 3 && !memcmp(kept.text, "ab\n", 3) &&
       !memcmp(batch_column(&kept, "mine")->data, "abcdefgh", 8) && (kind == STREAM_ACTS ? kept.x[3] == 4 : kept.val[1] == 2),
       "a batch that is kept outlives the next read");
    batch_select_keep_free(&kept);
    stream_close(s);
}

static void picks(enum stream_kind kind)
{
    static const size_t rows[] = { 2, 0, 2 };
    struct batch b, out;
    write_stream("raw", 0, kind);
    struct stream_in *s = stream_open("raw");
    int r = stream_next(s, &b);
    batch_select(&out, &b, rows, 3);
    const uint32_t *end = batch_column(&out, "text_end")->data, *position = batch_column(&out, "pos")->data;
    ok(r == 1 && out.n == 3 && end[0] == 2 && end[1] == 4 && end[2] == 6 && !memcmp(batch_column(&out, "text")->data, "cdabcd", 6) &&
       position[0] == 1 && position[1] == 1 && !memcmp(batch_column(&out, "mine")->data, "ijklabcdijkl", 12) &&
       !batch_column(&out, "whole"), "rows 2, 0, 2: text, positions, a column of ours; none of the batch as a whole");
    size_t len;
    const uint8_t *label = column_text(&out, batch_column(&out, "label"), 2, &len);
    ok(batch_column(&out, "label")->shape[0] == 13 && len == 5 && !memcmp(label, &LABEL[3], 5), "and a text column");
    if (kind == STREAM_ACTS) {
        ok(!memcmp(batch_column(&out, "x")->data, (float[]){ x[4], x[5], x[0], x[1], x[4], x[5] }, 24), "their numbers");
    } else {
        ok(!memcmp(batch_column(&out, "ptr")->data, (uint32_t[]){ 0, 1, 3, 4 }, 16) &&
           !memcmp(batch_column(&out, "idx")->data, (uint32_t[]){ 1, 0, 4, 1 }, 16) &&
           !memcmp(batch_column(&out, "val")->data, (float[]){ 0.25f, 1.5f, 2, 0.25f }, 16), "their codes");
    }
    batch_select_free(&out);
    batch_select(&out, &b, rows, 0);
    ok(out.n == 0 && batch_column(&out, "text")->shape[0] == 0, "no rows at all");
    batch_select_free(&out);
    stream_close(s);
}

/* ---- text columns that are not what they claim ---- */

struct claim {
    const char *what;
    struct column text, ends;           /* a name of NULL: there is none */
    const char *sentence;
};

/* A batch whose text column and ends are these; its reading ends in a sentence. */
static void claimed(const struct claim *c)
{
    json_t *head = stream_head(STREAM_ACTS, 2, DTYPE_F32);
    struct stream_out *out = stream_create(io_create("claimed", 0), head);
    struct batch b = { .n = 3 };
    batch_add(&b, "x", DTYPE_F32, 3, 2, false, x);
    if (c->text.name)
        b.col[b.cols++] = c->text;
    if (c->ends.name)
        b.col[b.cols++] = c->ends;
    int bad = stream_put(out, &b) || stream_finish(out);
    struct stream_in *in = stream_open("claimed");
    int r = bad ? 1 : stream_next(in, &b);
    ok(c->sentence ? r == -1 && err_status() == ERR_DATA && strstr(err_text(), c->sentence) : r == 1, "%s: %s", c->what,
       c->sentence ? err_text() : "taken");
    stream_close(in);
    json_decref(head);
}

static void claims(void)
{
#define TEXT(type_, size) { .name = "label", .type = type_, .rank = 1, .shape = { size }, .rule = COLUMN_TEXT, .data = LABEL }
#define ENDS(type_, rank_, n, ...) \
    { .name = "label_end", .type = type_, .rank = rank_, .shape = { n, 1 }, .data = (uint32_t[]){ __VA_ARGS__ } }
    static const struct column none;
    const struct claim list[] = {
        { "right", TEXT(DTYPE_U8, 8), ENDS(DTYPE_U32, 1, 3, 3, 3, 8), NULL },
        { "empty", TEXT(DTYPE_U8, 0), ENDS(DTYPE_U32, 1, 3, 0, 0, 0), NULL },
        { "no ends", TEXT(DTYPE_U8, 8), none, "columns label and label_end come together" },
        { "ends alone mean nothing", none, ENDS(DTYPE_U32, 1, 3, 3, 3, 8), NULL },
        { "too few", TEXT(DTYPE_U8, 8), ENDS(DTYPE_U32, 1, 2, 3, 8), "column label_end: not u32 of" },
        { "of another type", TEXT(DTYPE_U8, 8), ENDS(DTYPE_I32, 1, 3, 3, 3, 8), "column label_end: not u32 of" },
        { "a matrix", TEXT(DTYPE_U8, 8), ENDS(DTYPE_U32, 2, 3, 3, 3, 8), "column label_end: not" },
        { "falling", TEXT(DTYPE_U8, 8), ENDS(DTYPE_U32, 1, 3, 4, 3, 8), "column label_end: row 1: 3 is out of order" },
        { "beyond the bytes", TEXT(DTYPE_U8, 8), ENDS(DTYPE_U32, 1, 3, 3, 3, 9), "column label_end: row 2: 9 is out of" },
        { "bytes of no row", TEXT(DTYPE_U8, 8), ENDS(DTYPE_U32, 1, 3, 3, 3, 7), "column label: 8 bytes, the last row's end at 7" },
        { "words instead of bytes", TEXT(DTYPE_U32, 2), ENDS(DTYPE_U32, 1, 3, 0, 0, 2), "column label: not u8 of" },
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        claimed(&list[i]);
}

/* ---- not finite ---- */

static void not_finite(void)
{
    float bad[] = { 1, 2, 3, 4, 5, INFINITY };
    struct batch b = { .n = 3 };
    json_t *head = stream_head(STREAM_ACTS, 2, DTYPE_F32);
    batch_add(&b, "x", DTYPE_F32, 3, 2, false, bad);
    struct stream_out *s = stream_create(io_create("bad", 0), head);
    ok(stream_put(s, &b) == -1 && err_status() == ERR_DATA && strstr(err_text(), "bad: row 2: "), "a writer refuses infinity: %s",
       err_text());
    s->allow_nan = true;
    int r = stream_put(s, &b);
    bad[3] = NAN;
    ok(!r && !stream_put(s, &b) && !stream_finish(s), "unless it is told to let it pass");
    struct stream_in *in = stream_open("bad");
    ok(stream_next(in, &b) == -1 && err_status() == ERR_DATA && strstr(err_text(), "bad: record 1: row 2: "),
       "a reader names record and row: %s", err_text());
    stream_close(in);
    in = stream_open("bad");
    in->allow_nan = true;
    ok(stream_next(in, &b) == 1 && isinf(b.x[5]) && stream_next(in, &b) == 1 && isnan(b.x[3]) && stream_next(in, &b) == 0,
       "unless it is told to let them pass");
    ok(!json_object_get(stream_end(in), "stats"), "such a section states no means");
    stream_close(in);
    json_decref(head);
    head = stream_head(STREAM_CODES, 5, DTYPE_F16);
    static const uint16_t halves[] = { 0x3c00, 0x7c00, 0x3c00 };
    b = (struct batch){ .n = 3 };
    batch_add(&b, "ptr", DTYPE_U32, 4, 0, false, (uint32_t[]){ 0, 1, 1, 3 });
    batch_add(&b, "idx", DTYPE_U32, 3, 0, false, (uint32_t[]){ 0, 1, 2 });
    batch_add(&b, "val", DTYPE_F16, 3, 0, false, halves);
    s = stream_create(io_create("bad", 0), head);
    ok(stream_put(s, &b) == -1 && strstr(err_text(), "row 2: "), "codes in halves alike: %s", err_text());
    stream_abort(s);
    json_decref(head);
}

static void totals(void)
{
    struct batch b;
    write_stream("raw", 0, STREAM_ACTS);
    struct stream_in *s = stream_open("raw");
    while (stream_next(s, &b) > 0)
        ;
    const json_t *stats = json_object_get(stream_end(s), "stats");
    double norm = 0, square = 0;
    for (int i = 0; i < 3; i++) {
        double q = (double)x[2 * i] * x[2 * i] + (double)x[2 * i + 1] * x[2 * i + 1];
        norm += sqrt(q) / 3, square += q / 3;
    }
    ok(s->total_rows == 9 && s->total_batches == 3 && s->section == 1, "9 rows in 3 batches of 2 sections");
    is_near(json_number_value(json_object_get(stats, "mean_norm")), norm, 1e-12, "mean norm of the rows");
    is_near(json_number_value(json_object_get(stats, "mean_sq")), square, 1e-12, "mean square of the rows");
    stream_close(s);
}

int main(void)
{
    changes(STREAM_ACTS);
    changes(STREAM_CODES);
    slices(STREAM_ACTS);
    slices(STREAM_CODES);
    picks(STREAM_ACTS);
    picks(STREAM_CODES);
    claims();
    not_finite();
    totals();
    return done_testing();
}
