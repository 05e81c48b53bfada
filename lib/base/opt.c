/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "base/opt.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/par.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct opt_common opt;

enum { MOST = 96, HELP = 256, VERSION };

static const struct opt_usage *usage_of;
static struct opt all[MOST];                /* the tool's table and the common options behind it */
static bool given[MOST];
static size_t count;
static const char *level_word;              /* -z's own value, before it is parsed */

static const struct {
    unsigned need;
    struct opt o;
} common[] = {
    { 0, { .type = OPT_GROUP, .help = "Common options" } },
    { OPT_OUTPUT, { .type = OPT_STRING, .letter = 'o', .name = "output", .var = &opt.output, .arg = "FILE",
        .help = "write to FILE, complete or not at all", .shown = "standard output" } },
    { OPT_ZSTD, { .type = OPT_STRING, .letter = 'z', .name = "compress", .var = &level_word, .arg = "[LEVEL]",
        .help = "zstd, level 1 to 19 (1 when not said; also when FILE ends in .zst)", .shown = "" } },
    { 0, { .type = OPT_COUNT, .letter = 'j', .name = "threads", .var = &opt.threads, .arg = "N",
        .help = "threads; never changes a byte of the output", .lo = 1, .hi = 256,
        .shown = "the cores at hand; 1 under GNU parallel" } },
    { 0, { .type = OPT_COUNT, .letter = 's', .name = "seed", .var = &opt.seed, .arg = "N",
        .help = "seed of everything random", .lo = 0, .hi = 9007199254740992.0, .numbers = true } },
    { OPT_JSON, { .type = OPT_FLAG, .name = "json", .var = &opt.json,
        .help = "one JSON object a line instead of a table" } },
    { OPT_HISTORY, { .type = OPT_FLAG, .name = "no-history", .var = &opt.no_history,
        .help = "leave this tool's entry out of the history" } },
    { OPT_NAN, { .type = OPT_FLAG, .name = "allow-nan", .var = &opt.allow_nan,
        .help = "let NaN and infinity pass", .numbers = true } },
    { 0, { .type = OPT_FLAG, .letter = 'q', .name = "quiet", .var = &opt.quiet, .help = "no progress, no notes" } },
    { 0, { .type = OPT_FLAG, .letter = 'v', .name = "verbose", .var = &opt.verbose,
        .help = "progress as lines; more notes" } },
    { 0, { .type = OPT_FLAG, .letter = 'h', .name = "help", .help = "print this and exit" } },
    { 0, { .type = OPT_FLAG, .letter = 'V', .name = "version", .help = "print the version and exit; with -v also the "
        "arithmetic in use" } },
};

void opt_misuse(const char *format, ...)
{
    char raw[900], line[900];
    va_list ap;
    va_start(ap, format);
    vsnprintf(raw, sizeof raw, format, ap);
    va_end(ap);
    err_mask(line, sizeof line, raw);
    fprintf(stderr, "%s: %s (see %s --help)\n", err_program, line, err_program);
    exit(ERR_USAGE);
}

int opt_real(const char *text, double *out)
{
    char *end;
    if (!*text || strchr(" \t\n", *text))
        return -1;
    errno = 0;
    double v = strtod(text, &end);
    if (*end || isnan(v) || (errno == ERANGE && fabs(v) > 1))
        return -1;
    *out = v;
    return 0;
}

/* Multiply *v by 10^e, exactly; -1 where that is no whole number or too large. */
static int shift(int64_t *v, long e)
{
    for (; e > 0 && *v; e--)
        if (__builtin_mul_overflow(*v, 10, v))
            return -1;
    for (; e < 0 && *v; e++, *v /= 10)
        if (*v % 10)
            return -1;
    return 0;
}

/* Digits, one point among them at most: *v without the point, *e minus how many stand behind it. NULL where there are none. */
static const char *take_digits(const char *at, int64_t *v, long *e)
{
    bool point = false, any = false;
    int64_t sign = *at == '-' ? -1 : 1;
    at += *at == '-' || *at == '+';
    for (*v = 0, *e = 0;; at++) {
        if (*at == '.' && !point) {
            point = true;
        } else if (*at >= '0' && *at <= '9') {
            if (__builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, sign * (*at - '0'), v))
                return NULL;
            any = true;
            *e -= point;
        } else {
            return any ? at : NULL;
        }
    }
}

int opt_count(const char *text, int64_t *out)
{
    static const char units[] = "KkMG";
    static const int powers[] = { 3, 3, 6, 9 };
    int64_t v;
    long e, more;
    const char *at = take_digits(text, &v, &e), *unit;
    if (!at)
        return -1;
    if (*at == 'e' || *at == 'E') {
        char *end;
        more = strtol(at + 1, &end, 10);
        if (end == at + 1 || strchr(" \t\n", at[1]) || more < -1000 || more > 1000)
            return -1;
        e += more;
        at = end;
    } else if (*at && (unit = strchr(units, *at))) {
        e += powers[unit - units];
        at++;
    }
    if (*at || shift(&v, e))
        return -1;
    *out = v;
    return 0;
}

/* "--l1" or "-n": how messages name an option. */
static const char *name_of(const struct opt *o)
{
    static char buf[80];
    if (o->name)
        snprintf(buf, sizeof buf, "--%s", o->name);
    else
        snprintf(buf, sizeof buf, "-%c", o->letter);
    return buf;
}

static void range_words(const struct opt *o, char *buf, size_t size)
{
    const char *what = o->type == OPT_COUNT ? "a whole number" : o->type == OPT_REALS
        ? "a list of numbers, each" : "a number";
    if (o->lo == o->hi)
        snprintf(buf, size, "%s", what);
    else if (o->hi >= 9e15)
        snprintf(buf, size, "%s from %.15g up", what, o->lo);
    else
        snprintf(buf, size, "%s from %.15g to %.15g", what, o->lo, o->hi);
}

static void bad_number(const struct opt *o, const char *value)
{
    char range[120];
    range_words(o, range, sizeof range);
    opt_misuse("%s: '%s' is not %s", name_of(o), value, range);
}

static bool in_range(const struct opt *o, double v)
{
    return isfinite(v) && (o->lo == o->hi || (v >= o->lo && v <= o->hi));
}

static void choose(const struct opt *o, const char *value)
{
    char names[400] = "";
    for (int i = 0; o->choices[i]; i++) {
        if (!strcmp(o->choices[i], value)) {
            *(int *)o->var = i;
            return;
        }
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", o->choices[i]);
    }
    opt_misuse("%s: '%s' is not one of %s", name_of(o), value, names);
}

static void take_reals(const struct opt *o, const char *value)
{
    struct opt_reals *list = o->var;
    size_t cap = 0, word_cap = 0;
    for (size_t i = 0; i < list->n; i++)
        free(list->word[i]);
    free(list->word);
    free(list->item);
    *list = (struct opt_reals){ .n = 0 };
    for (const char *at = value;; at++) {
        size_t len = strcspn(at, ",");
        list->item = mem_grow(list->item, &cap, list->n + 1, sizeof *list->item);
        list->word = mem_grow(list->word, &word_cap, list->n + 1, sizeof *list->word);
        list->word[list->n] = mem_bytes(at, len);
        if (opt_real(list->word[list->n], &list->item[list->n]) || !in_range(o, list->item[list->n]))
            bad_number(o, value);
        list->n++;
        at += len;
        if (!*at)
            return;
    }
}

static void take(const struct opt *o, const char *value)
{
    struct opt_list *list;
    double real;
    int64_t whole;
    switch (o->type) {
    case OPT_FLAG:
        *(bool *)o->var = true;
        break;
    case OPT_COUNT:
        if (opt_count(value, &whole) || !in_range(o, (double)whole))
            bad_number(o, value);
        *(int64_t *)o->var = whole;
        break;
    case OPT_REAL:
        if (opt_real(value, &real) || !in_range(o, real))
            bad_number(o, value);
        *(double *)o->var = real;
        break;
    case OPT_STRING:
        *(const char **)o->var = value;
        break;
    case OPT_CHOICE:
        choose(o, value);
        break;
    case OPT_LIST:
        list = o->var;
        list->item = mem_grow(list->item, &list->cap, list->n + 1, sizeof *list->item);
        list->item[list->n++] = value;
        break;
    case OPT_REALS:
        take_reals(o, value);
        break;
    case OPT_END:
    case OPT_GROUP:
        break;
    }
}

/* ---- --help ---- */

static void default_words(const struct opt *o, char *buf, size_t size)
{
    *buf = 0;
    if (o->shown)
        snprintf(buf, size, "%s", o->shown);
    else if (o->type == OPT_COUNT)
        snprintf(buf, size, "%lld", (long long)*(int64_t *)o->var);
    else if (o->type == OPT_REAL && !isnan(*(double *)o->var))
        snprintf(buf, size, "%.6g", *(double *)o->var);
    else if (o->type == OPT_CHOICE)
        snprintf(buf, size, "%s", o->choices[*(int *)o->var]);
    else if (o->type == OPT_STRING && *(const char **)o->var)
        snprintf(buf, size, "%s", *(const char **)o->var);
}

/* "[1 to 256; default 8]", "[a|b; default a]" or nothing. */
static void limits_words(const struct opt *o, char *buf, size_t size)
{
    char range[300] = "", def[200];
    if (o->type == OPT_CHOICE) {
        for (int i = 0; o->choices[i]; i++) {
            size_t n = strlen(range);
            snprintf(range + n, sizeof range - n, "%s%s", i ? "|" : "", o->choices[i]);
        }
    } else if ((o->type == OPT_COUNT || o->type == OPT_REAL || o->type == OPT_REALS) && o->lo != o->hi) {
        if (o->hi >= 9e15)
            snprintf(range, sizeof range, "%.15g up", o->lo);
        else
            snprintf(range, sizeof range, "%.15g to %.15g", o->lo, o->hi);
    }
    default_words(o, def, sizeof def);
    *buf = 0;
    if (*range || *def)
        snprintf(buf, size, "[%s%s%s%s]", range, *range && *def ? "; " : "", *def ? "default " : "", def);
}

/* Print words of text from column `at`, broken at column 100, later lines indented. */
static void wrap(const char *text, size_t at, size_t indent)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (at + n > 100) {
            printf("\n%*s", (int)indent, "");
            at = indent;
        }
        else if (at > indent)
            putchar(' ');
        printf("%.*s", (int)n, text);
        at += n + 1;
        text += n;
        text += strspn(text, " ");
    }
    putchar('\n');
}

static void help(void)
{
    printf("Usage: %s %s\n%s\n", usage_of->tool, usage_of->synopsis, usage_of->about);
    for (size_t i = 0; i < count; i++) {
        const struct opt *o = &all[i];
        char left[120], limits[520], text[1400];
        if (o->type == OPT_GROUP) {
            printf("\n%s:\n", o->help);
            continue;
        }
        bool glued = o->arg && o->arg[0] == '[';
        snprintf(left, sizeof left, "  %c%c%s%s%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                 o->letter && o->name ? ", " : "  ", o->name ? "--" : "", o->name ? o->name : "",
                 o->arg ? (glued ? (o->name ? "[=" : "") : " ") : "", o->arg ? (glued && o->name ? o->arg + 1 : o->arg) : "");
        limits_words(o, limits, sizeof limits);
        snprintf(text, sizeof text, "%s%s%s", o->help, *limits ? " " : "", limits);
        printf("%-28s", left);
        if (strlen(left) > 26)
            printf("\n%28s", "");
        wrap(text, 28, 28);
    }
}

/* ---- --completion: the table as lines, of which the Makefile makes the shells' completions ---- */

static const char *value_form(const struct opt *o)
{
    switch (o->type) {
    case OPT_FLAG:
        return "flag";
    case OPT_COUNT:
    case OPT_REAL:
    case OPT_REALS:
        return "number";
    case OPT_CHOICE:
        return "choice";
    case OPT_LIST:
        return "words";
    default:
        return o->var ? "word" : "flag";
    }
}

/* A line an option: letter, long name, form of the value, its name, choices separated by blanks, help. Tabs between
 * them; "-" stands for none. */
static void completion(void)
{
    for (size_t i = 0; i < count; i++) {
        const struct opt *o = &all[i];
        if (o->type == OPT_GROUP)
            continue;
        printf("%c\t%s\t%s\t%s\t", o->letter ? o->letter : '-', o->name ? o->name : "-", value_form(o), o->arg ? o->arg : "-");
        for (int k = 0; o->choices && o->choices[k]; k++)
            printf("%s%s", k ? " " : "", o->choices[k]);
        printf("%s\t%s\n", o->choices ? "" : "-", o->help);
    }
}

static void finish_stdout(void)
{
    if (fflush(stdout) || ferror(stdout)) {
        fprintf(stderr, "%s: <stdout>: write error: %s\n", err_program, strerror(errno));
        exit(ERR_SYSTEM);
    }
    exit(0);
}

/* ---- parsing ---- */

static void add(const struct opt *o)
{
    if (count == MOST)
        mem_limit("more options than its table has room for");
    all[count++] = *o;
}

static void gather(const struct opt_usage *usage, const struct opt *table)
{
    for (const struct opt *o = table; o && o->type != OPT_END; o++)
        add(o);
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (!common[i].need || (common[i].need & usage->common))
            add(&common[i].o);
    for (size_t i = 0; i < count; i++)
        if (all[i].var == &opt.seed)
            all[i].numbers = usage->common & OPT_SEED;
}

/* getopt's tables from ours; each long option answers with its index + 1000. */
static void translate(char *letters, struct option *longs)
{
    size_t n = 0, l = 0;
    letters[n++] = ':';             /* a missing value answers ':' */
    for (size_t i = 0; i < count; i++) {
        const struct opt *o = &all[i];
        bool flag = o->type == OPT_FLAG, optional = o->arg && o->arg[0] == '[';
        if (o->letter) {
            letters[n++] = o->letter;
            if (!flag)
                letters[n++] = ':';
            if (!flag && optional)
                letters[n++] = ':';
        }
        if (o->name && o->type != OPT_GROUP)
            longs[l++] = (struct option){ o->name, flag ? no_argument : optional ? optional_argument : required_argument,
                                          NULL, (int)i + 1000 };
    }
    letters[n] = 0;
    longs[l] = (struct option){ NULL, 0, NULL, 0 };
}

static size_t index_of(int answer)
{
    if (answer >= 1000)
        return (size_t)answer - 1000;
    for (size_t i = 0; i < count; i++)
        if (all[i].type != OPT_GROUP && all[i].letter == answer)
            return i;
    return count;
}

static void read_words(int argc, char **argv, bool *want_help, bool *want_version)
{
    char letters[3 * MOST + 2];
    struct option longs[MOST + 1];
    translate(letters, longs);
    opterr = 0;
    for (int a; (a = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
        const char *word = argv[optind - 1];
        if (a == ':')
            opt_misuse("option %s needs a value", word);
        if (a == '?') {
            if (optopt && optopt < 1000 && index_of(optopt) == count)
                opt_misuse("unknown option -%c", optopt);
            opt_misuse("unknown or ambiguous option %s", word);
        }
        size_t i = index_of(a);
        const struct opt *o = &all[i];
        if (o->var) {
            take(o, optarg ? optarg : "1");
            given[i] = true;
        } else if (o->letter == 'h') {
            *want_help = true;
        } else {
            *want_version = true;
        }
    }
}

static void settle_common(void)
{
    if (level_word && (opt_count(level_word, &opt.zlevel) || opt.zlevel < 1 || opt.zlevel > 19))
        opt_misuse("-z: '%s' is not a level from 1 to 19", level_word);
    size_t n = opt.output ? strlen(opt.output) : 0;
    if (!opt.zlevel && n > 4 && !strcmp(opt.output + n - 4, ".zst"))
        opt.zlevel = 1;
    if (!opt.threads)
        opt.threads = par_default();
}

void opt_parse(int *argc, char ***argv, const struct opt_usage *usage, const struct opt *table)
{
    bool want_help = false, want_version = false;
    err_program = usage->tool;
    usage_of = usage;
    gather(usage, table);
    if (*argc == 2 && !strcmp((*argv)[1], "--completion")) {
        completion();
        finish_stdout();
    }
    read_words(*argc, *argv, &want_help, &want_version);
    if (want_help) {
        help();
        finish_stdout();
    }
    if (want_version) {
        printf("%s (saetools) %s\n", usage->tool, SAETOOLS_VERSION);
        if (opt.verbose && usage->version)
            usage->version();
        finish_stdout();
    }
    *argv += optind;
    *argc -= optind;
    if ((size_t)*argc < usage->min_operands)
        opt_misuse("too few operands: %s %s", usage->tool, usage->synopsis);
    if ((size_t)*argc > usage->max_operands)
        opt_misuse("unexpected operand '%s'", (*argv)[usage->max_operands]);
    settle_common();
}

bool opt_given(const void *var)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].var == var)
            return given[i];
    return false;
}

/* ---- history ---- */

char *opt_real_words(double v)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    return mem_string(text);
}

static char *reals_words(const struct opt_reals *list)
{
    char *all_words = NULL;
    for (size_t i = 0; i < list->n; i++) {
        char *word = opt_real_words(list->item[i]), *so_far = all_words;
        all_words = so_far ? mem_format("%s,%s", so_far, word) : mem_string(word);
        free(word);
        free(so_far);
    }
    return all_words;
}

static char *value_words(const struct opt *o)
{
    switch (o->type) {
    case OPT_REALS:
        return reals_words(o->var);
    case OPT_COUNT:
        return in_range(o, (double)*(int64_t *)o->var) ? mem_format("%lld", (long long)*(int64_t *)o->var) : NULL;
    case OPT_REAL:
        return in_range(o, *(double *)o->var) ? opt_real_words(*(double *)o->var) : NULL;
    case OPT_STRING:
        return *(const char **)o->var ? mem_string(*(const char **)o->var) : NULL;
    case OPT_CHOICE:
        return *(int *)o->var < 0 ? NULL : mem_string(o->choices[*(int *)o->var]);
    default:
        return NULL;
    }
}

char **opt_history(size_t *n)
{
    char **words = NULL;
    size_t cap = 0;
    *n = 0;
    for (size_t i = 0; i < count; i++) {
        const struct opt *o = &all[i];
        if (!o->numbers)
            continue;
        const struct opt_list *list = o->type == OPT_LIST ? o->var : NULL;
        size_t times = list ? list->n : o->type == OPT_FLAG ? *(bool *)o->var : 1;
        for (size_t k = 0; k < times; k++) {
            char *value = list ? mem_string(list->item[k]) : value_words(o);
            if (!value && o->type != OPT_FLAG)
                continue;
            words = mem_grow(words, &cap, *n + 2, sizeof *words);
            bool optional = o->arg && o->arg[0] == '[';     /* a value that may be missing is no word of its own */
            words[(*n)++] = optional ? mem_format("%s=%s", name_of(o), value) : mem_string(name_of(o));
            if (value && !optional)
                words[(*n)++] = value;
            else
                free(value);
        }
    }
    return words;
}
