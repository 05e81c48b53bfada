/* test_opt: numbers in full, and what a command line leaves behind. Misuse, which exits, is tests/cases/options.t. */
/* SPDX-License-Identifier: MIT */
#include "base/opt.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

static void numbers(void)
{
    static const struct {
        const char *text;
        int64_t value;
    } good[] = { { "0", 0 }, { "7", 7 }, { "-3", -3 }, { "12K", 12000 }, { "12k", 12000 }, { "3M", 3000000 },
                 { "2G", 2000000000 }, { "9223372036854775807", INT64_MAX },
                 { "1e6", 1000000 }, { "2.5e5", 250000 }, { "1.5M", 1500000 }, { "1E+3", 1000 }, { "100e-2", 1 }, { ".5K", 500 },
                 { "3.0", 3 }, { "0e999", 0 }, { "-1.5e1", -15 }, { "9.223372036854775807e18", INT64_MAX } };
    static const char *const bad[] = { "", " 1", "1 ", "1.5", "1e-3", "1e", "1e+", "1e 3", "1.2.3",
                                       "1.0001K", "1e19", "1e3K", "1e99999999999", "-+1", "-", ".", ".e3", "0x10", "K", "1KB", "1T", "9223372036854775808",
                                       "9223372036854775807K", "--1", "1,2" };
    int64_t v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        ok(opt_count(good[i].text, &v) == 0 && v == good[i].value, "whole number '%s'", good[i].text);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(opt_count(bad[i], &v) == -1, "no whole number: '%s'", bad[i]);
    static const struct {
        const char *text;
        double value;
    } reals[] = { { "0.25", 0.25 }, { "-1e-3", -1e-3 }, { "1e300", 1e300 }, { "5", 5 }, { "1e-320", 1e-320 } };
    static const char *const none[] = { "", " 1", "1 ", "1x", "nan", "1e999", "1,5", "." };
    double x;
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        ok(opt_real(reals[i].text, &x) == 0 && x == reals[i].value, "number '%s'", reals[i].text);
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        ok(opt_real(none[i], &x) == -1, "no number: '%s'", none[i]);
}

static struct {
    bool flag, other;
    int64_t count;
    double real, untouched;
    const char *text;
    int choice;
    struct opt_list list;
    struct opt_reals reals;
} o = { .count = 5, .real = 0.1, .untouched = 1.0 / 3 };

static const char *const choices[] = { "red", "green", NULL };
static const struct opt table[] = {
    { OPT_FLAG, .letter = 'f', .name = "flag", .var = &o.flag, .help = "", .numbers = true },
    { OPT_FLAG, .name = "other", .var = &o.other, .help = "", .numbers = true },
    { OPT_COUNT, .letter = 'n', .name = "count", .var = &o.count, .arg = "N", .help = "", .lo = 1, .hi = 1e6, .numbers = true },
    { OPT_REAL, .name = "real", .var = &o.real, .arg = "X", .help = "", .numbers = true },
    { OPT_REAL, .name = "untouched", .var = &o.untouched, .arg = "X", .help = "", .numbers = true },
    { OPT_STRING, .name = "text", .var = &o.text, .arg = "STR", .help = "", .numbers = true },
    { OPT_CHOICE, .name = "colour", .var = &o.choice, .arg = "C", .help = "", .choices = choices, .numbers = true },
    { OPT_LIST, .letter = 'e', .name = "edit", .var = &o.list, .arg = "EDIT", .help = "", .numbers = true },
    { OPT_REALS, .name = "reals", .var = &o.reals, .arg = "X[,...]", .help = "", .lo = -1, .hi = 1e6, .numbers = true },
    { .type = OPT_END },
};
static const struct opt_usage usage = { .tool = "tool", .synopsis = "", .about = "",
                                        .common = OPT_OUTPUT | OPT_ZSTD | OPT_SEED, .max_operands = 9 };

static void command_line(void)
{
    const char *words[] = { "tool", "one", "-n2K", "--real=0.30000000000000004", "-e", "a b", "two", "-fe", "c", "--colour",
                            "green", "-o", "x.zst", "--reals", "7", "--reals=0.10,-1,2e3", "--", "-n", NULL };
    char **argv = (char **)(uintptr_t)words;
    int argc = 18;
    opt_parse(&argc, &argv, &usage, table);
    ok(argc == 3 && !strcmp(argv[0], "one") && !strcmp(argv[1], "two") && !strcmp(argv[2], "-n"),
       "operands stand among options and behind --");
    ok(o.flag && !o.other && o.count == 2000 && o.choice == 1, "values of options");
    ok(o.list.n == 2 && !strcmp(o.list.item[0], "a b") && !strcmp(o.list.item[1], "c"), "an option that repeats");
    ok(o.reals.n == 3 && o.reals.item[0] == 0.1 && o.reals.item[1] == -1 && o.reals.item[2] == 2000 &&
       !strcmp(o.reals.word[0], "0.10") && !strcmp(o.reals.word[2], "2e3"), "a list of numbers: the last time it is given");
    ok(opt_given(&o.count) && !opt_given(&o.untouched), "what was given is known");
    ok(opt.zlevel == 1 && opt.threads >= 1, "a name in .zst compresses; there is a thread");
    size_t n;
    char **history = opt_history(&n), all[400] = "";
    for (size_t i = 0; i < n; i++) {
        strcat(strcat(all, i ? "|" : ""), history[i]);
        free(history[i]);
    }
    free(history);
    ok(!strcmp(all, "--flag|--count|2000|--real|0.30000000000000004|--untouched|0.3333333333333333|--colour|green|"
                    "--edit|a b|--edit|c|--reals|0.1,-1,2000|--seed|0"), "the options that change numbers, in digits that read back: %s", all);
}

int main(void)
{
    numbers();
    command_line();
    return done_testing();
}
