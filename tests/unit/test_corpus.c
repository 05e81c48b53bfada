/* Files to contexts: documents, numbers, BOS, separators wherever a read may cut them, and what is refused. */
/* SPDX-License-Identifier: MIT */
#include "base/io.h"
#include "base/mem.h"
#include "model/corpus.h"
#include "small_tokenizer.h"
#include "tap.h"

static const char *dir;
static struct tokenizer *t;

struct setup {
    enum corpus_input input;
    const char *split;
    size_t ctx_len;             /* 0: 4 */
    int64_t bos;                /* 0: none */
    size_t n_vocab;             /* 0: the tokenizer's */
    bool zstd;
};

static char *put_file(const char *name, const void *bytes, size_t n, bool zstd)
{
    char *path = mem_format("%s/%s", dir, name);
    struct io_out *out = io_create(path, zstd ? 1 : 0);
    struct iovec part = { (void *)(uintptr_t)bytes, n };
    if (!out || io_put(out, &part, 1) || io_commit(out))
        abort();
    return path;
}

static struct corpus *open_setup(struct setup s, char **paths, size_t n)
{
    return corpus_open(paths, n, s.input, s.split, t, s.ctx_len ? s.ctx_len : 4, s.bos ? s.bos : -1,
                       s.n_vocab ? s.n_vocab : tokenizer_size(t));
}

/* All contexts as text: "doc.ctx<>:ids ..." with < where a document begins, > where it ends, ids of printable bytes as
 * characters, BOS as ^; "!" and the sentence where it fails. free() it. */
static char *tell(struct corpus *c)
{
    char *all = mem_string(""), *more;
    struct context x;
    int r = -1;
    while (c && (r = corpus_next(c, &x)) == 1) {
        more = mem_format("%s%s%u.%u%s%s:", all, *all ? " " : "", x.doc, x.ctx, x.first ? "<" : "", x.last ? ">" : "");
        free(all), all = more;
        for (size_t i = 0; i < x.n; i++) {
            bool plain = x.tok[i] > ' ' && x.tok[i] < 127;
            more = i == 0 && x.bos ? mem_format("%s^", all) : mem_format(plain ? "%s%c" : "%s(%u)", all, x.tok[i]);
            free(all), all = more;
        }
    }
    if (r < 0) {
        more = mem_format("%s!%s", all, err_text());
        free(all), all = more;
    }
    corpus_close(c);
    return all;
}

/* Up to a "!" the same; behind it, want is somewhere in the sentence. */
static void check_files(struct setup s, char **paths, size_t n, const char *want, const char *what)
{
    char *got = tell(open_setup(s, paths, n));
    size_t same = strcspn(want, "!");
    bool equal = !strncmp(got, want, same) && got[same] == want[same];
    equal = equal && (!want[same] || strstr(got + same, want + same + 1));
    ok(equal, "%s", what);
    if (!equal)
        printf("# got %s\n# want %s\n", got, want);
    free(got);
}

static void check(struct setup s, const char *text, const char *want, const char *what)
{
    char *path = put_file("a", text, strlen(text), s.zstd);
    check_files(s, &path, 1, want, what);
    free(path);
}

static void test_text(void)
{
    struct setup text = { .input = CORPUS_TEXT };
    check(text, "xyz", "0.0<>:xyz", "a file is a document");
    check(text, "wxyz", "0.0<>:wxyz", "a full context is the last");
    check(text, "wxyzw", "0.0<:wxyz 0.1>:w", "a document longer than the context");
    check(text, "x\nz\n", "0.0<>:x(10)z(10)", "newlines are text");
    check((struct setup){ .bos = END }, "wxyzw", "0.0<:^wxy 0.1>:^zw", "BOS begins every context");
    check((struct setup){ .zstd = true }, "xyz", "0.0<>:xyz", "zstd");
    check((struct setup){ .split = "##" }, "##x##y#z####w##", "0.0<>:x 1.1<>:y#z 2.2<>:w", "a separator");
    check((struct setup){ .split = "##" }, "x###y", "0.0<>:x 1.1<>:#y", "the first separator is taken");
    check((struct setup){ .split = "<|end|>" }, "<|end|>the<|end|>the", "0.0<>:(257) 1.1<>:(257)",
          "it becomes no token");
    check((struct setup){ .input = CORPUS_TEXT }, "the<|end|>x", "0.0<>:(257)(277)x", "without --split it does");
}

static void test_lines(void)
{
    struct setup lines = { .input = CORPUS_LINES }, jsonl = { .input = CORPUS_JSONL }, ids = { .input = CORPUS_IDS };
    check(lines, "xy\n\nvwxyz\nw", "0.0<>:xy 1.1<:vwxy 1.2>:z 2.3<>:w", "lines");
    check(lines, "\n\n", "", "nothing but empty lines");
    check(jsonl, "{\"text\": \"x\\ny\", \"n\": 1234567890123456789012345}\n\n{\"meta\": {}, \"text\": \"\\u0000z\"}",
          "0.0<>:x(10)y 1.1<>:(0)z", "jsonl");
    check(jsonl, "{\"text\": \"x\"}\n{\"text\": 7}\n", "0.0<>:x!a: line 2: no \"text\" string", "jsonl without text");
    check(jsonl, "{\"text\": \"x\"}\n\n{\"text\": \"x\n", "0.0<>:x!a: line 3: not JSON", "jsonl cut short");
    check(jsonl, "[\"text\"]\n", "!a: line 1: not a JSON object", "jsonl of something else");
    check(ids, "120 121\t122\r\n\n 119\n256", "0.0<>:xyz 1.1<>:w 2.2<>:(256)", "ids");
    check(ids, "119 120 121 122 ", "0.0<>:wxyz", "blanks behind a full context");
    check(ids, "120\n120 9999\n", "0.0<>:x!a: line 2: token id 9999 is not below", "an id beyond the model's");
    check(ids, "99999999999999999999999999", "!a: line 1: token id", "an id beyond all numbers");
    check(ids, "120 x\n", "!a: line 1: not a list of decimal token ids", "words for ids");
    check(ids, "-1\n", "!a: line 1: not a list", "a negative id");
}

static void test_refusals(void)
{
    struct setup text = { .input = CORPUS_TEXT };
    check(text, "", "!a: empty input", "an empty file");
    check((struct setup){ .n_vocab = 257 }, "the", "!token id 257 is not below the model's 257",
          "a tokenizer beyond the model");
    check((struct setup){ .bos = 300, .n_vocab = 300 }, "x", "!BOS", "BOS beyond the model");
    check((struct setup){ .bos = END, .ctx_len = 1 }, "x", "!no room", "a context of BOS alone");
    check((struct setup){ .split = "" }, "x", "!separator of documents is empty", "an empty separator");
    check((struct setup){ .input = CORPUS_IDS, .split = "x" }, "1", "!for input text only", "a separator for ids");
    char *missing = mem_format("%s/none", dir), *empty = put_file("a", "", 0, false);
    char *some = put_file("b", "xy", 2, false);
    check_files(text, (char *[]){ missing }, 1, "!none: cannot open", "a missing file");
    check_files(text, (char *[]){ empty, empty }, 2, "!empty input", "two empty files");
    check_files(text, (char *[]){ empty, some, empty, some }, 4, "0.0<>:xy 1.1<>:xy", "documents end with files");
    check_files((struct setup){ .input = CORPUS_IDS }, (char *[]){ some }, 1, "!b: line 1", "the right file's name");
    free(missing);
    free(empty);
    free(some);
}

/* A line of JSON longer than a read, a document with a large id far behind, both followed by something short. */
static void test_far(void)
{
    enum { FAR = 300000 };
    char *text = mem_alloc(FAR, 2), *z = mem_alloc(FAR, 1);
    memset(z, 'z', FAR);
    int n = sprintf(text, "{\"text\": \"w\", \"pad\": \"%.*s\"}\n{\"text\": \"x\"}\n{\"text\": \"y\"}\n", FAR, z);
    char *path = put_file("a", text, (size_t)n, false);
    check_files((struct setup){ .input = CORPUS_JSONL }, &path, 1, "0.0<>:w 1.1<>:x 2.2<>:y", "a long line of jsonl");
    free(path);
    for (int i = 0; i < FAR; i++)
        z[i] = i % 2 ? '!' : 'z';
    n = sprintf(text, "%.*s the", FAR, z);
    path = put_file("a", text, (size_t)n, false);
    struct corpus *c = open_setup((struct setup){ .ctx_len = 1000, .n_vocab = 257 }, &path, 1);
    struct context x;
    int r, contexts = 0;
    while ((r = corpus_next(c, &x)) == 1)
        contexts++;
    ok(r == -1 && strstr(err_text(), "token id 258") && contexts > FAR / 2000, "an id beyond the model, far behind");
    corpus_close(c);
    free(path);
    free(text);
    free(z);
}

/* A text longer than any buffer, with separators in every position to the borders of reads: each document is whole. */
static void test_long(void)
{
    enum { DOCS = 60000 };
    char *text = mem_alloc(DOCS, 20), word[64];
    size_t n = 0;
    for (int i = 0; i < DOCS; i++) {
        n += (size_t)sprintf(text + n, "%d", i);
        memset(text + n, 'z', (size_t)(i % 7));
        n += (size_t)(i % 7);
        n += (size_t)sprintf(text + n, "<|end|>");
    }
    char *path = put_file("a", text, n, false);
    struct corpus *c = open_setup((struct setup){ .split = "<|end|>", .ctx_len = 7, .bos = END }, &path, 1);
    struct context x;
    int wrong = 0, r;
    size_t tokens = 0, contexts = 0;
    uint32_t docs = 0;
    while (c && (r = corpus_next(c, &x)) == 1) {
        wrong += x.ctx != contexts++ || x.doc != docs || x.first != (tokens == 0);
        wrong += x.n > 7 || x.tok[0] != END || !x.bos;
        for (size_t i = 1; i < x.n; i++, tokens++) {
            size_t digits = (size_t)sprintf(word, "%u", docs);
            wrong += x.tok[i] != (uint32_t)(tokens < digits ? word[tokens] : 'z');
        }
        if (x.last) {
            wrong += tokens != (size_t)sprintf(word, "%u", docs) + docs % 7;
            docs++;
            tokens = 0;
        }
    }
    ok(c && r == 0 && wrong == 0 && docs == DOCS, "%u documents across the borders of reads", docs);
    corpus_close(c);
    free(path);
    free(text);
}

int main(void)
{
    dir = small_folder();
    small_write(dir, (struct small){ .normalizer = "null" });
    t = tokenizer_load(dir);
    ok(t != NULL, "the tokenizer");
    test_text();
    test_lines();
    test_refusals();
    test_far();
    test_long();
    tokenizer_free(t);
    small_remove(dir, (const char *const[]){ "tokenizer.json", "a", "b", NULL });
    return done_testing();
}
