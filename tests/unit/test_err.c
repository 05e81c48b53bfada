/* test_err: the sentence, its status, what stands in front of it, and that nothing of a hostile name reaches a terminal. */
/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "base/utf8.h"
#include "tap.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void *other_thread(void *arg)
{
    (void)arg;
    err_data("of another thread");
    return NULL;
}

static void sentences(void)
{
    ok(err_data("record %d", 7) == -1 && !strcmp(err_text(), "record 7") && err_status() == ERR_DATA, "err_data");
    ok(err_usage("no") == -1 && !strcmp(err_text(), "no") && err_status() == ERR_USAGE, "err_usage");
    errno = ENOENT;
    ok(err_sys("cannot open") == -1 && !strcmp(err_text(), "cannot open: No such file or directory") &&
       err_status() == ERR_SYSTEM, "err_sys appends what errno means");
    ok(err_in("a.saes") == -1 && !strcmp(err_text(), "a.saes: cannot open: No such file or directory") &&
       err_status() == ERR_SYSTEM, "err_in puts the name in front and keeps the status");
    pthread_t id;
    ok(!pthread_create(&id, NULL, other_thread, NULL) && !pthread_join(id, NULL) && strstr(err_text(), "a.saes"),
       "each thread has its own sentence");
}

static void masks(void)
{
    char out[64], small[4];
    err_mask(out, sizeof out, "a\tb\nc\033[31m\177d");
    ok(!strcmp(out, "a?b?c?[31m?d"), "control characters are masked: %s", out);
    err_mask(out, sizeof out, "\xc3\xa9 \xff \xe2\x82 \xf0\x9f\x98\x80");
    ok(!strcmp(out, "\xc3\xa9 ? ?? \xf0\x9f\x98\x80"), "UTF-8 stays, what is not UTF-8 is masked: %s", out);
    err_mask(out, sizeof out, "a\xc2\x9b" "2J \xe2\x80\xae" "b\xe2\x80\x8d" "c\xf3\xa0\x81\x81");
    ok(!strcmp(out, "a?2J ?b\xe2\x80\x8d" "c?"), "so are C1 controls, overrides of direction and tags, one '?' each: %s", out);
    err_mask(small, sizeof small, "ab\xc3\xa9z");
    ok(!strcmp(small, "ab"), "a character that does not fit is left out whole");
    err_data("%s", "x\ny");
    err_in("bad\nname");
    ok(!strcmp(err_text(), "bad?name: x?y"), "sentence and name are masked");
    char *name = malloc(5001);
    memset(name, 'n', 5000);
    name[5000] = 0;
    err_data("%s", name);
    ok(strlen(err_text()) < 1100 && err_in(name) == -1 && strlen(err_text()) < 1100, "long texts are cut");
    free(name);
}

static size_t encode(unsigned char b[4], unsigned cp)
{
    size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1;)
        b[i] = 0x80 | (cp >> 6 * (n - 1 - i) & 63);
    b[0] = n == 1 ? (unsigned char)cp : (unsigned char)((0xf00 >> n & 0xff) | cp >> 6 * (n - 1));
    return n;
}

/* Code points that must not reach a terminal, as ranges, against what the function says of every one. */
static void printable(void)
{
    static const unsigned steer[][2] = { { 0, 0x1f }, { 0x7f, 0x9f }, { 0x61c, 0x61c }, { 0x200e, 0x200f }, { 0x2028, 0x202e },
                                         { 0x2066, 0x206f }, { 0xfff9, 0xfffb }, { 0xe0000, 0xe007f } };
    size_t bad = 0;
    for (unsigned cp = 1; cp < 0x110000; cp++) {
        unsigned char b[4];
        size_t n = encode(b, cp);
        bool may = cp < 0xd800 || cp > 0xdfff;
        for (size_t i = 0; i < sizeof steer / sizeof *steer; i++)
            may = may && !(cp >= steer[i][0] && cp <= steer[i][1]);
        bad += utf8_printable(b, n) != (may ? n : 0);
    }
    ok(!bad, "every code point is printable or one that steers: %zu wrong", bad);
}

/* Against the definition: encode every code point, and count the sequences of two and three bytes that are well formed. */
static void characters(void)
{
    size_t bad = 0, found = 0;
    for (unsigned cp = 1; cp < 0x110000; cp++) {
        unsigned char b[4];
        size_t n = encode(b, cp);
        bool surrogate = cp >= 0xd800 && cp < 0xe000;
        bad += utf8_length(b, n) != (surrogate ? 0 : n) || (n > 1 && utf8_length(b, n - 1) != 0);
    }
    ok(bad == 0, "every code point but the surrogates, and none of them cut short: %zu wrong", bad);
    for (unsigned v = 0; v < 1 << 24; v++) {
        unsigned char b[3] = { (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v };
        found += utf8_length(b, 3) == 3;
    }
    ok(found == 0x10000 - 0x800 - 0x800, "of all three bytes, %zu are a character", found);
    ok(utf8_length("\xf4\x90\x80\x80", 4) == 0 && utf8_length("\xf0\x8f\xbf\xbf", 4) == 0 &&
       utf8_length("\xf8\x88\x80\x80", 4) == 0, "four bytes beyond, overlong and of a fifth form are none");
}

int main(void)
{
    sentences();
    masks();
    printable();
    characters();
    return done_testing();
}
