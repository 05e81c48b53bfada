/* where: which rows are meant, in the words that every tool takes: by position, by document, by token, by any column.
 *
 *   WHERE = TEST [TEST]...     a row is meant when all hold
 *
 *     LIST                     its position in the context is in the list (ground/ranges.h): 0  3:9  1,4-6
 *     last                     it is the last row of its context
 *     COLUMN=VALUE             what the column says of it: of a column of numbers a LIST, or LO:HI with any numbers;
 *                              of a column of text exactly these bytes
 *     COLUMN!=VALUE            anything else
 *     token=STR  token!=STR    its token is exactly STR, or is not: the last test, all that is left, blanks and all
 *
 * Text is written as tables print it: \n, \t, \\, \xHH; in VALUE also "\ " for a blank. */
/* SPDX-License-Identifier: MIT */
#ifndef WHERE_H
#define WHERE_H

#include "data/stream.h"
#include "ground/ranges.h"

#include <sys/types.h>

struct where_test {
    char *column;
    bool other;                         /* != */
    struct ranges list;                 /* VALUE as a list; n 0: it is none */
    double lo, hi;                      /* VALUE as a number or an interval; NaN: it is none */
    char *bytes;                        /* VALUE as text, len bytes */
    size_t len;
};

struct where {
    bool last;
    struct where_test *test;            /* with last, all must hold; none: every row */
    size_t n, cap;
};

/* Narrow w by words: several tests; one LIST or last; one token. where_token() cannot fail. Returns 0, or -1 and a
 * sentence; either way where_free() it. */
int where_words(struct where *w, const char *words) ERR_CHECKED;
int where_at(struct where *w, const char *at) ERR_CHECKED;
void where_token(struct where *w, const char *printed);
void where_free(struct where *w);

/* The option lines of a tool; `var` is its const char *. `what` begins the help: "only rows". */
#define WHERE_OPTION(to, what)                                                                                              \
    { OPT_STRING, .name = "where", .var = (to), .arg = "WHERE", .help = what " where all of this holds: POS, LO:HI or a list " \
      "of positions, last, COLUMN=VALUE or COLUMN!=VALUE (doc, ctx, pos, tok, any other), token=STR", .shown = "",          \
      .numbers = true }
#define TOKEN_OPTION(to, what)                                                                                              \
    { OPT_STRING, .name = "token", .var = (to), .arg = "STR", .help = what " whose token is exactly STR (\\n, \\t, \\\\ and "  \
      "\\xHH as tables print them)", .shown = "", .numbers = true }
/* Narrow w to what these options say, NULL where they are not given; misuse exits. */
void where_options(struct where *w, const char *where, const char *token);

/* Which rows of b are meant: chosen (b->n). next: the first row behind b, NULL at the end of the stream; not looked at
 * unless w->last. Returns how many, or -1 and a sentence, without the stream's name, where b lacks a column that w asks
 * about or holds something else in it. */
ssize_t where_rows(const struct where *w, const struct batch *b, const struct batch *next, bool *chosen) ERR_CHECKED;
/* The same of one row that is no batch's, for a w out of where_at(). */
bool where_place(const struct where *w, size_t pos, bool last);

/* The bytes of a printed text; *len of them, and a zero byte. free() them. */
char *where_bytes(const char *printed, size_t *len);

#endif
