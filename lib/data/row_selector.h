/* row_selector: which rows are meant, in the words that every tool takes: by position, by document, by token, by any column.
 *
 *   WHERE = TEST [TEST]...     a row is meant when all hold
 *
 *     LIST                     its position in the context is in the list (base/ranges.h): 0  3:9  1,4-6
 *     last                     it is the last row of its context
 *     COLUMN=VALUE             what the column says of it: of a column of numbers a LIST, or LO:HI with any numbers;
 *                              of a column of text exactly these bytes
 *     COLUMN!=VALUE            anything else
 *     token=STR  token!=STR    its token is exactly STR, or is not: the last test, all that is left, blanks and all
 *
 * Text is written as tables print it: \n, \t, \\, \xHH; in VALUE also "\ " for a blank. */
/* SPDX-License-Identifier: MIT */
#ifndef ROW_SELECTOR_H
#define ROW_SELECTOR_H

#include "base/ranges.h"
#include "data/stream.h"

#include <sys/types.h>

struct row_selector_test {
    char *column;
    bool other;                         /* != */
    struct ranges list;                 /* VALUE as a list; n 0: it is none */
    double lo, hi;                      /* VALUE as a number or an interval; NaN: it is none */
    char *bytes;                        /* VALUE as text, len bytes */
    size_t len;
};

struct row_selector {
    bool last;
    struct row_selector_test *test;            /* with last, all must hold; none: every row */
    size_t n, cap;
};

/* Narrow w by words: several tests; one LIST or last; one token. row_selector_token() cannot fail. Returns 0, or -1 and a
 * sentence; either way row_selector_free() it. */
int row_selector_words(struct row_selector *w, const char *words) ERR_CHECKED;
int row_selector_at(struct row_selector *w, const char *at) ERR_CHECKED;
void row_selector_token(struct row_selector *w, const char *printed);
void row_selector_free(struct row_selector *w);

/* The option lines of a tool; `var` is its const char *. `what` begins the help: "only rows". */
#define ROW_SELECTOR_OPTION(to, what)                                                                                              \
    { OPT_STRING, .name = "where", .var = (to), .arg = "WHERE", .help = what " where all of this holds: POS, LO:HI or a list " \
      "of positions, last, COLUMN=VALUE or COLUMN!=VALUE (doc, ctx, pos, tok, any other), token=STR", .shown = "",          \
      .numbers = true }
#define ROW_SELECTOR_TOKEN_OPTION(to, what)                                                                                              \
    { OPT_STRING, .name = "token", .var = (to), .arg = "STR", .help = what " whose token is exactly STR (\\n, \\t, \\\\ and "  \
      "\\xHH as tables print them)", .shown = "", .numbers = true }
/* Narrow w to what these options say, NULL where they are not given; misuse exits. */
void row_selector_options(struct row_selector *w, const char *where, const char *token);

/* Which rows of b are meant: chosen (b->n). next: the first row behind b, NULL at the end of the stream; not looked at
 * unless w->last. Returns how many, or -1 and a sentence, without the stream's name, where b lacks a column that w asks
 * about or holds something else in it. */
ssize_t row_selector_rows(const struct row_selector *w, const struct batch *b, const struct batch *next, bool *chosen) ERR_CHECKED;
/* The same of one row that is no batch's, for a w out of row_selector_at(). */
bool row_selector_place(const struct row_selector *w, size_t pos, bool last);

/* The bytes of a printed text; *len of them, and a zero byte. free() them. */
char *row_selector_bytes(const char *printed, size_t *len);

#endif
