/* test_jsonfile: values of the wrong type are an error that names the key, and files one that names the file. */
/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "data/jsonfile.h"
#include "tap.h"

#include <string.h>

static void put(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "w");
    if (!f || fwrite(text, 1, n, f) != n || fclose(f))
        perror(path);
}

static void values(void)
{
    static const char text[] = "{\"n\": 7, \"big\": 9007199254740993, \"neg\": -1, \"x\": 0.5, \"t\": true, \"s\": \"str\", \"z\": null}";
    json_t *j = jsonfile_parse(text, sizeof text - 1);
    size_t n = 99;
    double x = 99;
    bool b = false;
    ok(j != NULL, "an object");
    ok(!jsonfile_size(j, "n", 1, &n) && n == 7 && !jsonfile_size(j, "none", 3, &n) && n == 3 &&
       !jsonfile_size(j, "z", 4, &n) && n == 4, "sizes: present, absent, null");
    ok(jsonfile_size(j, "big", 1, &n) == -1 && jsonfile_size(j, "neg", 1, &n) == -1 && jsonfile_size(j, "x", 1, &n) == -1 &&
       jsonfile_size(j, "s", 1, &n) == -1 && n == 4 && strstr(err_text(), "s is not"), "no sizes: above 2^53, below 0, of other types");
    ok(!jsonfile_real(j, "x", 1, &x) && x == 0.5 && !jsonfile_real(j, "n", 1, &x) && x == 7 && jsonfile_real(j, "t", 1, &x) == -1 &&
       x == 7, "numbers");
    ok(!jsonfile_bool(j, "t", false, &b) && b && !jsonfile_bool(j, "none", false, &b) && !b && jsonfile_bool(j, "n", false, &b) == -1,
       "booleans");
    ok(!strcmp(jsonfile_string(j, "s", "m"), "str") && !strcmp(jsonfile_string(j, "n", "m"), "m"), "strings");
    json_decref(j);
}

static void files(void)
{
    static const char *const bad[] = { "", "[1]", "{\"a\": 1", "{\"a\": 1, \"a\": 2}", "{\"a\": 1} x", "{\"a\": \"\xff\"}" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("bad.json", bad[i], strlen(bad[i]));
        ok(!jsonfile_load("bad.json", 1000) && err_status() == ERR_DATA && !strncmp(err_text(), "bad.json: ", 10),
           "refused: %s", i == 5 ? "what is not UTF-8" : bad[i]);
    }
    put("good.json", "{\"a\": 1}", 8);
    json_t *j = jsonfile_load("good.json", 8);
    ok(j && json_object_size(j) == 1, "a file of just the size allowed");
    json_decref(j);
    ok(!jsonfile_load("good.json", 7) && err_status() == ERR_DATA, "a larger one is refused");
    ok(!jsonfile_load("none.json", 7) && err_status() == ERR_SYSTEM, "a missing one is the system's error");
}

int main(void)
{
    values();
    files();
    return done_testing();
}
