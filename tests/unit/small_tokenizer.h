/* small_tokenizer: writes a tokenizer.json small enough to tokenize by hand. Byte b is token b, so ids of single bytes
 * are written as characters; merge k makes token 256+k. */
/* SPDX-License-Identifier: MIT */
#ifndef SMALL_TOKENIZER_H
#define SMALL_TOKENIZER_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Names as in the file: Ġ is a space, Ċ a newline, Ã© the two bytes of é. The later ones would join pieces if the
 * splitter did not keep them apart. */
static const char *const small_merge[][2] = {
    { "h", "e" }, { "t", "he" }, { "Ġ", "the" }, { "a", "b" }, { "b", "c" }, { "ab", "c" }, { "c", "a" },
    { "Ġ", "Ġ" }, { "Ã", "©" }, { "'", "s" }, { "a", "a" }, { "a", "1" }, { "1", "!" }, { "!", "a" },
    { "Ċ", "Ġ" }, { "Ġ", "a" }, { "Ġ", "1" }, { "Ġ", "!" }, { "Ċ", "a" }, { "Ċ", "Ċ" }, { "Ġ", "Ċ" },
};
enum {
    HE = 256, THE, _THE, AB, BC, ABC, CA, __, E_ACUTE, APO_S, AA, A1, ONE_BANG, BANG_A, NL_, _A, _ONE, _BANG, NL_A,
    NLNL, _NL, END, FOUR, TWO, MASK, PAD, CAT, E_BANG, SMALL_SIZE
};

struct small {
    const char *normalizer;     /* JSON; NULL: {"type":"NFC"} */
    const char *pre;            /* JSON; NULL: ByteLevel without a prefix space */
    const char *model;          /* members put before vocab, each with a comma behind; NULL: none */
    const char *more_added;     /* entries put behind the others, each with a comma before; NULL: none */
    int missing_byte;           /* left out of the vocabulary when above 0 */
    bool pairs;                 /* merges as lists of two instead of strings */
};

static inline void small_byte(FILE *f, int byte)
{
    int c = byte, k = 0;
    bool plain = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    for (int b = 0; b < byte; b++)
        k += !((b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad));
    c = plain ? byte : 0x100 + k;
    fprintf(f, c == '"' || c == '\\' ? "\"\\%c\": %d" : c < 0x80 ? "\"%c\": %d" : "\"\\u%04x\": %d", c, byte);
}

static inline void small_vocab(FILE *f, const struct small *s)
{
    for (int b = 0; b < 256; b++)
        if (!s->missing_byte || b != s->missing_byte) {
            small_byte(f, b);
            fputs(", ", f);
        }
    for (size_t k = 0; k < sizeof small_merge / sizeof *small_merge; k++)
        fprintf(f, "\"%s%s\": %d, ", small_merge[k][0], small_merge[k][1], 256 + (int)k);
    fprintf(f, "\"<|end|>\": %d", END);
}

static inline void small_merges(FILE *f, const struct small *s)
{
    if (!s->pairs)
        fputs("\"#version: 0.2\", ", f);
    for (size_t k = 0; k < sizeof small_merge / sizeof *small_merge; k++)
        fprintf(f, s->pairs ? "%s[\"%s\", \"%s\"]" : "%s\"%s %s\"", k ? ", " : "", small_merge[k][0],
                small_merge[k][1]);
}

static inline void small_added(FILE *f, int id, const char *content, const char *flags)
{
    fprintf(f, "%s{\"id\": %d, \"content\": \"%s\"%s}", id == END ? "" : ", ", id, content, flags);
}

/* Write DIR/tokenizer.json. */
static inline void small_write(const char *dir, struct small s)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    FILE *f = fopen(path, "w");
    if (!f)
        abort();
    fputs("{\"added_tokens\": [", f);
    small_added(f, END, "<|end|>", ", \"special\": true, \"normalized\": false");
    small_added(f, FOUR, "    ", ", \"normalized\": true");
    small_added(f, TWO, "  ", ", \"normalized\": true");
    small_added(f, MASK, "<mask>", ", \"lstrip\": true, \"normalized\": false");
    small_added(f, PAD, "<pad>", ", \"rstrip\": true, \"normalized\": false");
    small_added(f, CAT, "cat", ", \"single_word\": true, \"normalized\": true");
    small_added(f, E_BANG, "e\xcc\x81!", ", \"normalized\": true");
    fprintf(f, "%s], \"normalizer\": %s, \"pre_tokenizer\": %s, \"model\": {\"type\": \"BPE\", %s \"vocab\": {",
            s.more_added ? s.more_added : "", s.normalizer ? s.normalizer : "{\"type\": \"NFC\"}",
            s.pre ? s.pre : "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}", s.model ? s.model : "");
    small_vocab(f, &s);
    fputs("}, \"merges\": [", f);
    small_merges(f, &s);
    fputs("]}}\n", f);
    if (fclose(f))
        abort();
}

/* A folder of our own; small_remove() takes it away with the files named, a NULL behind the last. */
static inline const char *small_folder(void)
{
    static char dir[4096];
    const char *tmp = getenv("TMPDIR");
    snprintf(dir, sizeof dir, "%s/saetools-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(dir))
        abort();
    return dir;
}

static inline void small_remove(const char *dir, const char *const *files)
{
    for (; *files; files++) {
        char path[4200];
        snprintf(path, sizeof path, "%s/%s", dir, *files);
        unlink(path);
    }
    rmdir(dir);
}

#endif
