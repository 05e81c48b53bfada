/* safetensors: files built here from readable headers, good ones and every kind of bad one; and writing. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "data/safetensors.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[64];

/* A file of this header, its true length unless claimed >= 0, and `data` bytes that count up. */
static void make(const char *header, long long claimed, size_t data)
{
    FILE *f = fopen(path, "wb");
    unsigned long long n = claimed < 0 ? strlen(header) : (unsigned long long)claimed;
    for (int i = 0; i < 8; i++)
        fputc((int)(n >> 8 * i & 255), f);
    fputs(header, f);
    for (size_t i = 0; i < data; i++)
        fputc((int)(i & 255), f);
    fclose(f);
}

static void bad_claim(const char *header, long long claimed, size_t data, const char *words)
{
    make(header, claimed, data);
    struct safetensors *s = safetensors_open(path);
    ok(!s && err_status() == ERR_DATA && strstr(err_text(), words) && strstr(err_text(), path), "refused (%s): %.70s",
       words, header);
    if (!s && !strstr(err_text(), words))
        printf("# %s\n", err_text());
    safetensors_close(s);
}

static void bad(const char *header, size_t data, const char *words)
{
    bad_claim(header, -1, data, words);
}

static void test_good(void)
{
    make("{\"__metadata__\":{\"a\":\"b\"},\"z\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[4,28]},"
         "\"m\":{\"dtype\":\"BOOL\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"none\":{\"dtype\":\"F64\",\"shape\":[3,0,9223372036854775807],\"data_offsets\":[28,28]},"
         "\"one\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[28,36]}}   ", -1, 36);
    struct safetensors *s = safetensors_open(path);
    ok(s != NULL, "a padded header, an empty tensor, a scalar");
    const struct tensor *z = safetensors_find(s, "z"), *one = safetensors_find(s, "one");
    const struct tensor *none = safetensors_find(s, "none"), *m = safetensors_find(s, "m");
    ok(s->count == 4 && !strcmp(s->tensor[0].name, "m") && !strcmp(s->tensor[3].name, "z"), "sorted by name");
    ok(z->type == DTYPE_F32 && z->rank == 2 && z->shape[0] == 2 && z->shape[1] == 3 && z->bytes == 24 &&
       tensor_items(z) == 6 && *(const unsigned char *)z->data == 4, "a matrix and its place");
    ok(one->rank == 0 && one->type == DTYPE_I64 && tensor_items(one) == 1 && one->bytes == 8, "a scalar");
    ok(tensor_items(none) == 0 && none->bytes == 0, "an empty tensor");
    ok(m->type == DTYPE_NONE && m->bytes == 4, "a type that is only carried");
    ok(!safetensors_find(s, "y") && !safetensors_find(s, ""), "a name that is not there");
    ok(!strcmp(json_string_value(json_object_get(s->metadata, "a")), "b"), "metadata");
    safetensors_close(s);
    make("{}", -1, 0);
    s = safetensors_open(path);
    ok(s && s->count == 0 && json_object_size(s->metadata) == 0 && !safetensors_find(s, "z"), "no tensors at all");
    safetensors_close(s);
}

static void test_bad_header(void)
{
    bad_claim("{}", 3, 0, "cut short");
    bad_claim("{}", 100000001, 0, "not a safetensors file");
    bad_claim("{}", 0x7fffffffffffffff, 0, "not a safetensors file");
    bad_claim("{}", 1, 0, "not JSON");
    bad_claim("", 0, 0, "does not begin with {");
    bad(" {}", 0, "does not begin with {");
    bad("{} x", 0, "not JSON");
    bad("{\"a\":1}", 0, "not a JSON object");
    bad("{\"__metadata__\":{\"a\":1}}", 0, "a is not a string");
    bad("{\"__metadata__\":[]}", 0, "__metadata__");
    FILE *f = fopen(path, "wb");
    fputs("abc", f);
    fclose(f);
    ok(!safetensors_open(path) && strstr(err_text(), "too short"), "a file of three bytes");
    ok(!safetensors_open("/nonexistent/x") && err_status() == ERR_SYSTEM, "no such file");
}

static void test_bad_tensor(void)
{
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "duplicate");
    bad("{\"a\":{\"dtype\":\"F31\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype F31");
    bad("{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "unknown dtype (none)");
    bad("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "no shape");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", 4, "not a whole number");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}}", 4, "not a whole number");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]}}", 4, "9 dimensions");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "4 bytes present, dtype and shape ask for 8");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0, "too large");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0, "too large");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]}}", 0, "not JSON");
    bad("{\"a\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,1]}}", 1, "whole byte");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 3, "data_offsets");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}", 8, "data_offsets");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}}", 8, "data_offsets");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4,8]}}", 8, "data_offsets");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, "begins at byte 4");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 5, "end at byte 4 of 5");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}", 12, "the one before it ends at 8");
    bad("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}", 12, "the one before it ends at 4");
    bad("{}", 1, "end at byte 0 of 1");
}

/* Ten million values in twenty megabytes, and brackets twenty million deep, must not cost gigabytes. */
static void test_costly(void)
{
    size_t n = 20 << 20;
    char *text = mem_alloc(n + 1, 1);
    struct rusage before, after;
    memset(text, ',', n);
    memcpy(text, "{\"a\":[", 6);
    for (size_t i = 7; i < n; i += 2)
        text[i] = '1';
    text[n] = 0;
    getrusage(RUSAGE_SELF, &before);
    bad(text, 0, "more than");
    memset(text + 5, '[', n - 5);
    bad(text, 0, "more than");
    free(text);
    getrusage(RUSAGE_SELF, &after);
    long grown = after.ru_maxrss - before.ru_maxrss;
    ok(grown < 64 << 10, "hostile headers cost little memory (%ld KiB)", grown);
}

static void test_writing(void)
{
    float w[6] = { 1, 2, 3, 4, 5, 6 };
    unsigned char b[3] = { 7, 8, 9 };
    struct tensor t[] = {
        { .name = "W_dec", .type = DTYPE_F32, .rank = 2, .shape = { 2, 3 }, .data = w },
        { .name = "bytes", .type = DTYPE_U8, .rank = 1, .shape = { 3 }, .data = b },
        { .name = "empty", .type = DTYPE_F16, .rank = 1, .shape = { 0 }, .data = b },
        { .name = "A", .type = DTYPE_F32, .rank = 0, .data = w + 5 },
    };
    json_t *meta = json_pack("{s:s,s:s}", "format", "x", "quoted", "\"{\xc3\xa9\n");
    ok(safetensors_write(path, t, 4, meta) == 0, "written");
    struct safetensors *s = safetensors_open(path);
    ok(s && s->count == 4 && json_equal(s->metadata, meta), "and read, with its metadata");
    const struct tensor *d = safetensors_find(s, "W_dec"), *a = safetensors_find(s, "A");
    ok(d && d->type == DTYPE_F32 && d->shape[1] == 3 && !memcmp(d->data, w, sizeof w), "a matrix comes back");
    ok(((size_t)((const char *)d->data - (const char *)s->map)) % 8 == 0, "the data begin on a multiple of 8 bytes");
    ok((const char *)d->data < (const char *)a->data, "in the order given");
    ok(!memcmp(safetensors_find(s, "bytes")->data, b, 3) && !memcmp(a->data, w + 5, 4), "bytes and a scalar come back");
    safetensors_close(s);
    json_decref(meta);
    ok(safetensors_write(path, NULL, 0, NULL) == 0 && (s = safetensors_open(path)) && s->count == 0, "nothing, written");
    safetensors_close(s);
    t[0].type = DTYPE_NONE;
    ok(safetensors_write(path, t, 1, NULL) == -1 && strstr(err_text(), "W_dec"), "a type that cannot be written");
    ok(safetensors_write("/nonexistent/x", t + 1, 1, NULL) == -1 && err_status() == ERR_SYSTEM, "no such folder");
}

int main(void)
{
    strcpy(path, "test_safetensors.XXXXXX");
    close(mkstemp(path));
    test_good();
    test_bad_header();
    test_bad_tensor();
    test_costly();
    test_writing();
    unlink(path);
    return done_testing();
}
