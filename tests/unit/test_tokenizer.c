/* Token ids worked out by hand, the classes of characters, refusals; and ids that depend neither on how a document was
 * cut in pieces nor on how the merges are searched. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/rng.h"
#include "model/bpe.h"
#include "model/tokenizer.h"
#include "model/unicode.h"
#include "small_tokenizer.h"
#include "tap.h"

static const char *dir;

static struct tokenizer *open_small(struct small s)
{
    small_write(dir, s);
    struct tokenizer *t = tokenizer_load(dir);
    if (!t)
        printf("# %s\n", err_text());
    return t;
}

static bool same(const struct ids *a, const int *want)
{
    size_t n = 0;
    while (want[n] >= 0)
        n++;
    bool equal = a->n == n;
    for (size_t i = 0; i < n && equal; i++)
        equal = a->id[i] == (uint32_t)want[i];
    if (!equal) {
        printf("# got");
        for (size_t i = 0; i < a->n; i++)
            printf(" %u", a->id[i]);
        printf("; want");
        for (size_t i = 0; i < n; i++)
            printf(" %d", want[i]);
        putchar('\n');
    }
    return equal;
}

/* The whole text at once, and byte by byte. */
static void check(struct tokenizer *t, const char *text, const char *what, const int *want)
{
    struct ids whole = { 0 }, bytes = { 0 };
    size_t n = strlen(text);
    int bad = tokenizer_feed(t, text, n, true, &whole);
    ok(!bad && same(&whole, want), "%s", what);
    for (size_t i = 0; i < n; i++)
        bad |= tokenizer_feed(t, text + i, 1, false, &bytes);
    bad |= tokenizer_feed(t, NULL, 0, true, &bytes);
    ok(!bad && same(&bytes, want), "%s, byte by byte", what);
    free(whole.id);
    free(bytes.id);
}
#define CHECK(t, text, what, ...) check(t, text, what, (const int[]){ __VA_ARGS__ -1 })

static void test_merges(struct tokenizer *t)
{
    CHECK(t, "", "nothing",);
    CHECK(t, "the the", "merges and the space before", THE, _THE,);
    CHECK(t, "bca", "the lower rank first", BC, 'a',);
    CHECK(t, "abca", "a merge of merges", ABC, 'a',);
    CHECK(t, "aaa", "the leftmost of equals", AA, 'a',);
    CHECK(t, "aaaab", "ranks before places", AA, 'a', AB,);
    CHECK(t, "\xc3\xa9", "bytes of a character", E_ACUTE,);
    CHECK(t, "\xff" "a\xc3", "bytes that are not UTF-8", 0xff, 'a', 0xc3,);
}

static void test_splitter(struct tokenizer *t)
{
    CHECK(t, "a1!a", "letter, number, other", 'a', '1', '!', 'a',);
    CHECK(t, "he's", "a contraction", HE, APO_S,);
    CHECK(t, "he'S", "capitals are no contraction", HE, '\'', 'S',);
    CHECK(t, "!'s", "an apostrophe in a run of others", '!', '\'', 's',);
    CHECK(t, " 's", "an apostrophe with its space", ' ', '\'', 's',);
    CHECK(t, "he's1", "what follows a contraction", HE, APO_S, '1',);
    CHECK(t, "!\na", "white space that is no space stands alone", '!', '\n', 'a',);
    CHECK(t, "!\n a", "the last space goes to the word", '!', '\n', _A,);
    CHECK(t, "! \na", "the last white space is kept apart", '!', ' ', '\n', 'a',);
    CHECK(t, "!\n\n\na", "a run without its last", '!', NLNL, '\n', 'a',);
    CHECK(t, "!\n\n", "a run at the end is whole", '!', NLNL,);
    CHECK(t, "a 1 !", "space before each class", 'a', _ONE, _BANG,);
    CHECK(t, "!\xc2\xa0" "a", "no-break space is white space, but not the one that joins", '!', 0xc2, 0xa0, 'a',);
    CHECK(t, "1\xc2\xb2!", "superscript two is a number", '1', 0xc2, 0xb2, '!',);
}

static void test_added(struct tokenizer *t)
{
    CHECK(t, "a<|end|>a", "a special token", 'a', END, 'a',);
    CHECK(t, "a<|end|", "the beginning of one", 'a', '<', '|', 'e', 'n', 'd', '|',);
    CHECK(t, "!    a", "four spaces", '!', FOUR, 'a',);
    CHECK(t, "!     a", "five spaces: leftmost, longest, then the splitter", '!', FOUR, _A,);
    CHECK(t, "!       ", "seven at the end", '!', FOUR, TWO, ' ',);
    CHECK(t, "!\n   a", "a newline and three", '!', '\n', TWO, _A,);
    CHECK(t, "a \n<mask>a", "lstrip takes white space before", 'a', MASK, 'a',);
    CHECK(t, "a<pad> \n\xe2\x80\x83" "a", "rstrip takes white space behind", 'a', PAD, 'a',);
    CHECK(t, "<pad>  <mask>", "white space taken twice is taken once", PAD, MASK,);
    CHECK(t, "cat!cat", "a single word", CAT, '!', CAT,);
    CHECK(t, "cats scat", "not inside words", CA, 't', 's', ' ', 's', CA, 't',);
    CHECK(t, "\xc3\xa9" "cat", "nor behind a letter beyond ASCII", E_ACUTE, CA, 't',);
    CHECK(t, "1<|end|>cat", "a token before it is no word", '1', END, CAT,);
    CHECK(t, "a  <|end|>  a", "spaces beside a special token", 'a', TWO, END, TWO, 'a',);
}

static void test_nfc(struct tokenizer *t)
{
    CHECK(t, "e\xcc\x81", "e and an acute are composed", E_ACUTE,);
    CHECK(t, "e\xcc\xa3\xcc\x81!", "dot below first", 0xe1, 0xba, 0xb9, 0xcc, 0x81, '!',);
    CHECK(t, "e\xcc\x81\xcc\xa3!", "dot below, out of order", 0xe1, 0xba, 0xb9, 0xcc, 0x81, '!',);
    CHECK(t, "ae\xcc\x81!a", "a token whose content is composed", 'a', E_BANG, 'a',);
    CHECK(t, "a\xc3\xa9!a", "and in text that was", 'a', E_BANG, 'a',);
    CHECK(t, "\xe2\x84\xab", "a singleton", 0xc3, 0x85,);
    CHECK(t, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "Hangul by arithmetic", 0xea, 0xb0, 0x81,);
    CHECK(t, "e\xff\xcc\x81", "a broken byte keeps them apart", 'e', 0xff, 0xcc, 0x81,);
    CHECK(t, "e<|end|>\xcc\x81", "and so does a token", 'e', END, 0xcc, 0x81,);
}

/* ---- classes ---- */

static void test_classes(void)
{
    static const struct {
        int32_t cp;
        enum unicode_class class;
    } c[] = {
        { 'z', UNICODE_LETTER }, { '0', UNICODE_NUMBER }, { '_', UNICODE_OTHER }, { '\t', UNICODE_SPACE },
        { 0x0b, UNICODE_SPACE }, { 0x1c, UNICODE_OTHER }, { 0x85, UNICODE_SPACE }, { 0xa0, UNICODE_SPACE },
        { 0xaa, UNICODE_LETTER }, { 0xb2, UNICODE_NUMBER }, { 0xd7, UNICODE_OTHER }, { 0xe9, UNICODE_LETTER },
        { 0x300, UNICODE_OTHER }, { 0x416, UNICODE_LETTER }, { 0x627, UNICODE_LETTER }, { 0x64e, UNICODE_OTHER },
        { 0x663, UNICODE_NUMBER }, { 0x1680, UNICODE_SPACE }, { 0x180e, UNICODE_OTHER }, { 0x200a, UNICODE_SPACE },
        { 0x200b, UNICODE_OTHER }, { 0x2028, UNICODE_SPACE }, { 0x202f, UNICODE_SPACE }, { 0x205f, UNICODE_SPACE },
        { 0x2167, UNICODE_NUMBER }, { 0x3000, UNICODE_SPACE }, { 0x4e2d, UNICODE_LETTER }, { 0xac00, UNICODE_LETTER },
        { 0x1f600, UNICODE_OTHER }, { 0x10ffff, UNICODE_OTHER }, { UNICODE_BAD, UNICODE_OTHER },
    };
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        ok(unicode_class(c[i].cp) == c[i].class, "class of U+%04X", (unsigned)c[i].cp);
    int spaces = 0;
    for (int32_t cp = 0; cp < 0x110000; cp++)
        spaces += unicode_class(cp) == UNICODE_SPACE;
    ok(spaces == 25, "25 characters are white space");
    ok(unicode_word('_') && unicode_word(0x301) && unicode_word(0x24d0) && !unicode_word('-') && !unicode_word(0xb2),
       "characters of words");
}

static void test_utf8(void)
{
    static const char *const bad[] = {
        "\x80", "\xc0\xaf", "\xc1\xbf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\x80", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xe2(\xa1", "\xff",
    };
    int32_t cp;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(unicode_next((const uint8_t *)bad[i], strlen(bad[i]), &cp) == 1 && cp == UNICODE_BAD, "broken UTF-8 %zu", i);
    ok(unicode_next((const uint8_t *)"\xf0\x9f\x98\x80", 4, &cp) == 4 && cp == 0x1f600, "four bytes");
    ok(unicode_next((const uint8_t *)"\xf0\x9f\x98\x80", 3, &cp) == 0, "three of four");
    ok(unicode_prev((const uint8_t *)"a\xe2\x82\xac", 4, 4, &cp) == 3 && cp == 0x20ac, "backwards");
    ok(unicode_prev((const uint8_t *)"a\xe2\x82\xac", 4, 3, &cp) == 0, "no border inside a character");
    ok(unicode_prev((const uint8_t *)"a\xac\xac", 3, 3, &cp) == 1 && cp == UNICODE_BAD, "a byte without a beginning");
}

/* ---- against something simpler ---- */

static const char *const fragment[] = {
    "the", " the", "ab", "abc", "ca", "cat", "'", "'s", "'l", "l", "  ", "    ", " ", "\n", "\r\n", "1", "!", "<|end|>",
    "<|end", "<mask>", "<pad>", "<", "e", "\xcc\x81", "\xcc\xa3", "\xc3\xa9!", "\xc3", "\xa9", "\xff", "\xc2\xa0",
    "\xe2\x80\x80", "\xe4\xb8\xad", "\xe3\x80\x82", "\xd0\x98\xcc\x86", "\xe1\x84\x80", "\xe1\x85\xa1",
    "\xe1\x86\xa8", "\xf0\x9f\x98\x80",
};

static size_t random_text(struct rng *r, char *text)
{
    size_t n = 0;
    for (uint64_t k = rng_below(r, 24); k; k--) {
        const char *f = fragment[rng_below(r, sizeof fragment / sizeof *fragment)];
        memcpy(text + n, f, strlen(f));
        n += strlen(f);
    }
    return n;
}

static void test_cuts(struct tokenizer *t, const char *what)
{
    struct rng r;
    int wrong = 0;
    size_t early = 0;
    rng_seed(&r, 1, 0);
    for (int round = 0; round < 4000; round++) {
        char text[512];
        size_t n = random_text(&r, text), at = 0, most = 1 + rng_below(&r, 12);
        struct ids a = { 0 }, b = { 0 };
        wrong += tokenizer_feed(t, text, n, true, &a) != 0;
        while (at < n) {
            size_t k = 1 + rng_below(&r, most);
            k = k < n - at ? k : n - at;
            wrong += tokenizer_feed(t, text + at, k, false, &b) != 0;
            at += k;
        }
        early += b.n;
        wrong += tokenizer_feed(t, NULL, 0, true, &b) != 0;
        wrong += a.n != b.n || (a.n && memcmp(a.id, b.id, a.n * sizeof *a.id));
        free(a.id);
        free(b.id);
    }
    ok(wrong == 0, "%s: random cuts change no id", what);
    ok(early > 0, "%s: ids are settled before the end", what);
}

/* Merge by looking through all pairs, again and again. */
static size_t merge_slowly(const uint32_t (*rule)[3], size_t rules, uint32_t *s, size_t n)
{
    for (;;) {
        size_t best = rules, where = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = 0; k < best; k++)
                if (rule[k][0] == s[i] && rule[k][1] == s[i + 1])
                    best = k, where = i;
        if (best == rules)
            return n;
        s[where] = rule[best][2];
        memmove(s + where + 1, s + where + 2, (n - where - 2) * sizeof *s);
        n--;
    }
}

static void test_bpe(void)
{
    struct rng r;
    uint32_t byte_id[256];
    int wrong = 0;
    rng_seed(&r, 2, 0);
    for (uint32_t i = 0; i < 256; i++)
        byte_id[i] = i;
    for (int round = 0; round < 300; round++) {
        uint32_t rule[12][3], slow[200];
        uint8_t text[200];
        size_t n = 1 + rng_below(&r, round % 2 ? 199 : 20), rules = 0;
        struct bpe *b = bpe_new(byte_id, 12, 0);
        for (uint32_t k = 0; k < 12; k++) {
            uint32_t left = (uint32_t)rng_below(&r, 3 + k), right = (uint32_t)rng_below(&r, 3 + k), twice = 0;
            left = left < 3 ? 'a' + left : 256 + left - 3;
            right = right < 3 ? 'a' + right : 256 + right - 3;
            for (size_t i = 0; i < rules; i++)
                twice |= rule[i][0] == left && rule[i][1] == right;
            if (!twice) {
                bpe_merge(b, left, right, (uint32_t)rules, 256 + k);
                memcpy(rule[rules++], (uint32_t[]){ left, right, 256 + k }, sizeof *rule);
            }
        }
        for (size_t i = 0; i < n; i++)
            slow[i] = text[i] = (uint8_t)('a' + rng_below(&r, 3));
        struct ids out = { 0 };
        bpe_encode(b, text, n, &out);
        bpe_encode(b, text, n, &out);           /* the second time as remembered, where it is short */
        n = merge_slowly((const uint32_t (*)[3])rule, rules, slow, n);
        wrong += out.n != 2 * n || memcmp(out.id, slow, n * sizeof *slow) || memcmp(out.id + n, slow, n * sizeof *slow);
        free(out.id);
        bpe_free(b);
    }
    ok(wrong == 0, "merges by heap equal merges by search");
}

/* ---- files ---- */

static void test_questions(struct tokenizer *t)
{
    size_t n;
    const uint8_t *s = tokenizer_text(t, _THE, &n);
    ok(n == 4 && !memcmp(s, " the", 4), "text of a token");
    s = tokenizer_text(t, 0xad, &n);
    ok(n == 1 && s[0] == 0xad, "text of a byte");
    s = tokenizer_text(t, FOUR, &n);
    ok(n == 4 && !memcmp(s, "    ", 4), "text of an added token");
    ok(tokenizer_size(t) == SMALL_SIZE && !tokenizer_text(t, SMALL_SIZE, &n) && n == 0, "the number of tokens");
    ok(tokenizer_added(t, "<|end|>") == END && tokenizer_added(t, "the") == -1, "added tokens by content");
}

static void test_variants(void)
{
    struct tokenizer *t = open_small((struct small){ .pairs = true, .normalizer = "null",
        .model = "\"ignore_merges\": true,",
        .pre = "{\"type\": \"Sequence\", \"pretokenizers\": ["
               "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}]}" });
    CHECK(t, "the", "a prefix space", _THE,);
    CHECK(t, "the<|end|>the the", "after a token too, once a stretch", _THE, END, _THE, _THE,);
    CHECK(t, "the  the", "after a token of the normalised text too", _THE, TWO, _THE,);
    CHECK(t, "\nthe", "before white space that is no space", ' ', '\n', THE,);
    CHECK(t, "!e\xcc\x81", "without NFC", _BANG, 'e', 0xcc, 0x81,);
    test_cuts(t, "prefix space, no NFC");
    tokenizer_free(t);

    t = open_small((struct small){ .normalizer = "{\"type\": \"Sequence\", \"normalizers\": []}",
        .pre = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}" });
    CHECK(t, "a1!a", "no splitter: merges by rank alone", A1, BANG_A,);
    tokenizer_free(t);

    t = open_small((struct small){ .model = "\"ignore_merges\": true,",
        .more_added = ", {\"id\": 5000, \"content\": \"zz\"}" });
    CHECK(t, "!\n!", "ignore_merges leaves other pieces to the merges", '!', '\n', '!',);
    CHECK(t, "bcazz", "and a token far above the others", BC, 'a', 5000,);
    ok(tokenizer_size(t) == 5001, "ids may have gaps");
    tokenizer_free(t);
}

static void refuse(struct small s, const char *sentence)
{
    small_write(dir, s);
    struct tokenizer *t = tokenizer_load(dir);
    ok(!t && err_status() == ERR_DATA && strstr(err_text(), sentence) && strstr(err_text(), "tokenizer.json: "),
       "refused: %s", sentence);
    if (!t && !strstr(err_text(), sentence))
        printf("# %s\n", err_text());
    tokenizer_free(t);
}

static void test_refusals(void)
{
    refuse((struct small){ .normalizer = "{\"type\": \"Lowercase\"}" }, "the normalizer Lowercase is not supported");
    refuse((struct small){ .normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKC\"}]}" },
           "the normalizer NFKC is not supported");
    refuse((struct small){ .pre = "{\"type\": \"Split\"}" }, "the pre-tokenizer Split is not supported");
    refuse((struct small){ .pre = "null" }, "no pre-tokenizer");
    refuse((struct small){ .pre = "{\"type\": \"ByteLevel\", \"use_regex\": 1}" }, "use_regex is neither true nor");
    refuse((struct small){ .model = "\"dropout\": 0.1," }, "model.dropout");
    refuse((struct small){ .model = "\"end_of_word_suffix\": \"</w>\"," }, "model.end_of_word_suffix");
    refuse((struct small){ .model = "\"continuing_subword_prefix\": \"##\"," }, "model.continuing_subword_prefix");
    refuse((struct small){ .model = "\"type\": \"BPE\"," }, "duplicate object key");
    refuse((struct small){ .missing_byte = 0x99 }, "no token for byte 0x99");
    refuse((struct small){ .more_added = ", {\"id\": 300000000, \"content\": \"q\"}" }, "the id of token \"q\"");
    refuse((struct small){ .more_added = ", {\"id\": -1, \"content\": \"q\"}" }, "the id of token \"q\"");
    refuse((struct small){ .more_added = ", {\"id\": 100, \"content\": \"qq\"}" }, "two tokens have the id 100");
    refuse((struct small){ .more_added = ", {\"id\": 100, \"content\": \"q\"}" }, "the id 100, and 113 in model.vocab");
    refuse((struct small){ .more_added = ", {\"id\": 900, \"content\": \"q!\", \"lstrip\": 1}" },
           "q!: lstrip is neither");
    refuse((struct small){ .more_added = ", 7" }, "an entry without a content string");
}

int main(void)
{
    dir = small_folder();
    for (int pairs = 0; pairs < 2; pairs++) {
        struct tokenizer *t = open_small((struct small){ .pairs = pairs });
        ok(t != NULL, "merges as %s", pairs ? "pairs" : "strings");
        if (!t)
            break;
        test_merges(t);
        test_splitter(t);
        test_added(t);
        test_nfc(t);
        test_questions(t);
        test_cuts(t, "NFC");
        tokenizer_free(t);
    }
    test_classes();
    test_utf8();
    test_bpe();
    test_variants();
    test_refusals();
    small_remove(dir, (const char *const[]){ "tokenizer.json", NULL });
    ok(!tokenizer_load(dir) && err_status() == ERR_SYSTEM, "no such file");
    return done_testing();
}
