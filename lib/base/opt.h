/* opt: one table a tool drives parsing, ranges, defaults, --help and the arguments kept in a stream's history.
 *
 * Numbers are parsed whole; a bad value names option, value and legal range and is never clamped. Options come before
 * or among operands; "--" ends them. */
/* SPDX-License-Identifier: MIT */
#ifndef OPT_H
#define OPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum opt_type {
    OPT_END,            /* ends the table */
    OPT_GROUP,          /* a heading in --help: .help */
    OPT_FLAG,           /* bool * */
    OPT_COUNT,          /* int64_t *, a whole number: 1000000, 1e6, 1M, 1.5K; K, M, G stand for 10^3, 10^6, 10^9 */
    OPT_REAL,           /* double * */
    OPT_STRING,         /* const char ** */
    OPT_CHOICE,         /* int *, an index into .choices */
    OPT_LIST,           /* struct opt_list *: may be given several times */
    OPT_REALS,          /* struct opt_reals *: numbers separated by commas */
};

struct opt_list {
    const char **item;
    size_t n, cap;
};

struct opt_reals {
    double *item;                   /* those of the last time it was given */
    char **word;                    /* each as it was written */
    size_t n;
};

struct opt {
    enum opt_type type;
    char letter;                    /* 0: none */
    const char *name;               /* the long name; NULL: none */
    void *var;                      /* holds the default before opt_parse() */
    const char *arg;                /* what --help calls the value */
    const char *help;
    double lo, hi;                  /* legal range of numbers, both ends included; lo == hi: any number */
    const char *const *choices;     /* ends with NULL */
    const char *shown;              /* the default as --help shows it; NULL: the value of *var; "": none */
    bool numbers;                   /* changes the numbers of the output: kept in history */
};

/* Which of the common options a tool has. -j, -s, -h, -V, -q and -v are everywhere. */
enum {
    OPT_OUTPUT = 1,     /* -o FILE */
    OPT_ZSTD = 2,       /* -z[LEVEL] */
    OPT_SEED = 4,       /* the seed of -s changes numbers: it is kept in history */
    OPT_HISTORY = 8,    /* --no-history */
    OPT_JSON = 16,      /* --json */
    OPT_NAN = 32,       /* --allow-nan */
    OPT_STREAM = OPT_HISTORY | OPT_NAN,
};

struct opt_usage {
    const char *tool;               /* "sae-encode" */
    const char *synopsis;           /* "[OPTION]... SAE [ACTS]" */
    const char *about;              /* one or more lines */
    unsigned common;
    size_t min_operands, max_operands;
    void (*version)(void);          /* more lines for --version -v; NULL: none */
};

/* Values of the common options. */
struct opt_common {
    const char *output;             /* NULL: standard output */
    int64_t zlevel;                 /* 0: not compressed; an output name in .zst gives 1 */
    int64_t threads, seed;
    bool quiet, verbose, no_history, allow_nan, json;
};
extern struct opt_common opt;

/* Parse. Afterwards *argv holds the operands only and *argc their number. --help and --version print to standard output
 * and exit 0; misuse is one line on stderr and exit 2. Sets err_program. */
void opt_parse(int *argc, char ***argv, const struct opt_usage *usage, const struct opt *table);

/* Was the option that fills `var` given by the user? */
bool opt_given(const void *var);

/* The options that change numbers, with their values now in force, as words that could be given again
 * ("--l1" "0.1"). The seed is among them where the tool has one. Free the words and the array. */
char **opt_history(size_t *n);

/* Misuse found after parsing: "tool: sentence", exit 2. */
void opt_misuse(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* v with the fewest digits that read back as it; free() it. */
char *opt_real_words(double v);

/* A number in full: 0, or -1 when text is not exactly one. opt_count takes 1.5e6 and K, M, G where
 * that is whole, exactly. */
int opt_real(const char *text, double *out);
int opt_count(const char *text, int64_t *out);

#endif
