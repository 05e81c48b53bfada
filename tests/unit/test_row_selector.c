/* test_row_selector: which rows the words mean, of columns of every type, and what is refused. (Where they lie over batches and
 * sections: tests/cases/patch.t.) */
/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "tap.h"
#include "data/row_selector.h"

#include <string.h>

enum { N = 6 };

static const uint32_t doc[N] = { 0, 0, 0, 1, 1, 7 }, ctx[N] = { 0, 0, 1, 2, 2, 3 }, pos[N] = { 1, 2, 1, 1, 2, 5 };
static const uint32_t text_end[N] = { 1, 3, 3, 5, 8, 9 }, label_end[N] = { 2, 4, 9, 11, 14, 14 };
static const int32_t score[N] = { -3, 0, 3, 4, -1, 10 };
static const float weight[N] = { 0.5f, -1, 3, 3.5f, 4, 1e30f };
static const double exact[N] = { 0.1, 0.2, 0.3, -0.1, 1e300, 0 };
static const uint64_t big[N] = { 0, 1, UINT64_MAX, 4294967296, 5, 1 };
static const uint8_t bits[2 * N] = { 0 }, flag[N] = { 1, 0, 1, 0, 0, 1 };

static struct batch rows(size_t n)
{
    struct batch b = { .n = n, .record = 3 };
    batch_add(&b, "doc", DTYPE_U32, n, 0, true, doc);
    batch_add(&b, "ctx", DTYPE_U32, n, 0, true, ctx);
    batch_add(&b, "pos", DTYPE_U32, n, 0, true, pos);
    batch_add(&b, "text", DTYPE_U8, text_end[n - 1], 0, false, "a b\n zzz=");
    batch_add(&b, "text_end", DTYPE_U32, n, 0, true, text_end);
    batch_add_text(&b, "label", "label_end", "frdefr deesen3", label_end);
    batch_add(&b, "score", DTYPE_I32, n, 0, true, score);
    batch_add(&b, "weight", DTYPE_F32, n, 0, true, weight);
    batch_add(&b, "exact", DTYPE_F64, n, 0, true, exact);
    batch_add(&b, "big", DTYPE_U64, n, 0, true, big);
    batch_add(&b, "flag", DTYPE_U8, n, 0, true, flag);
    batch_add(&b, "bits", DTYPE_U8, n, 2, true, bits);
    batch_add(&b, "loose", DTYPE_U32, 2, 0, false, doc);
    batch_point(&b);
    return b;
}

/* The rows of the first n that words choose, as text, or the sentence. */
static const char *chosen_of(const char *words, size_t n, const struct batch *next)
{
    static char out[100];
    struct row_selector w = { .n = 0 };
    struct batch b = rows(n);
    bool chosen[N];
    ssize_t got = -1;
    strcpy(out, "");
    if (!row_selector_words(&w, words) && (got = row_selector_rows(&w, &b, next, chosen)) >= 0)
        for (size_t i = 0; i < n; i++)
            if (chosen[i] && got-- > 0)
                sprintf(out + strlen(out), *out ? " %zu" : "%zu", i);
    if (got > 0)
        strcat(out, " (the count is wrong)");
    row_selector_free(&w);
    return got < 0 ? err_text() : out;
}

static void words(void)
{
    static const struct {
        const char *words, *rows;
    } cases[] = {
        { "1", "0 2 3" }, { "1:2", "0 1 2 3 4" }, { "1-2", "0 1 2 3 4" }, { "2,5", "1 4 5" }, { "pos=2,5", "1 4 5" }, { "all", "0 1 2 3 4 5" },
        { "last", "1 2 4 5" }, { "doc=0", "0 1 2" }, { "doc=1,7", "3 4 5" }, { "ctx=1:2 2", "4" }, { "doc!=0", "3 4 5" }, { "last doc=0", "1 2" },
        { "label=fr", "0" }, { "label=de", "1" }, { "label=fr\\ de", "2" }, { "label=fr\\x20de", "2" }, { "label=es", "3" }, { "label=en3", "4" },
        { "label=", "5" }, { "label!=fr", "1 2 3 4 5" }, { "label!=fr last", "1 2 4 5" }, { "label=fr de", "'de' is not POS, LO:HI or last, nor a list of positions" },
        { "token=a", "0" }, { "token= b", "1" }, { "token=", "2" }, { "token=\\n ", "3" }, { "token=zzz", "4" }, { "token==", "5" }, { "text=zzz", "4" },
        { "doc=1 token=zzz", "4" }, { "doc=1 token!=zzz", "3" }, { "doc=0 token=zzz", "" }, { "score=3", "2" }, { "score=-3", "0" }, { "score=-3:0", "0 1 4" }, { "score=3-4,10", "2 3 5" },
        { "score!=3-4,10", "0 1 4" }, { "weight=3", "2" }, { "weight=3:4", "2 3 4" }, { "weight=-1:0.5", "0 1" }, { "weight=3-4", "2 3 4" }, { "weight=0.5", "0" },
        { "exact=0.1", "0" }, { "exact=0.1:0.3", "0 1 2" }, { "big=4294967296", "3" }, { "big=1,5", "1 4 5" }, { "flag=1", "0 2 5" }, { "flag!=1", "1 3 4" },
        { "  2\t doc=0 ", "1" }, { "weight=3:2", "column weight is of numbers: '3:2' is none" }, { "score=x", "column score is of numbers: 'x' is none" },
        { "none=1", "no column none to choose rows by in record 3" }, { "bits=0", "column bits does not say one thing of each row" },
        { "loose=0", "column loose does not say one thing of each row" }, { "x:y", "'x:y' is not POS, LO:HI or last, nor a list of positions" },
        { "doc=x", "'doc=x' is not doc=N or doc=LO:HI, nor a list of them" }, { "doc=", "'doc=' is not doc=N or doc=LO:HI, nor a list of them" },
        { "La=1", "'La=1' is not COLUMN=VALUE" }, { "=1", "'=1' is not COLUMN=VALUE" }, { "last!", "'last!' is not POS, LO:HI or last, nor a list of positions" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = chosen_of(cases[i].words, N, NULL);
        ok(!strcmp(got, cases[i].rows), "'%s': %s", cases[i].words, got);
    }
}

/* The last row of a context where the batch ends inside it. */
static void behind(void)
{
    struct batch same = rows(N), lacks = { .n = 1 }, other = rows(N);
    same.ctx = ctx + 4;
    other.ctx = ctx + 4;
    other.section = 1;
    const char *got = chosen_of("last", 4, &same);
    ok(!strcmp(got, "1 2"), "the context goes on behind: %s", got);
    got = chosen_of("last", 5, &same);
    ok(!strcmp(got, "1 2"), "still: %s", got);
    got = chosen_of("last", 4, &other);
    ok(!strcmp(got, "1 2 3"), "the same number in another section is another context: %s", got);
    got = chosen_of("last", 4, &lacks);
    ok(!strcmp(got, "1 2 3"), "nothing is known of the batch behind: %s", got);
    got = chosen_of("last", 4, NULL);
    ok(!strcmp(got, "1 2 3"), "the end: %s", got);
}

int main(void)
{
    words();
    behind();
    return done_testing();
}
