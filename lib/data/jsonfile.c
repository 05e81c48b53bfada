/* SPDX-License-Identifier: MIT */
#include "data/jsonfile.h"
#include "base/err.h"
#include "base/io.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What jansson spends on each kind of value beside its text, on a machine of 64 bits; a key costs as a string does. */
enum { OBJECT_COST = 240, ARRAY_COST = 144, STRING_COST = 112, NUMBER_COST = 48 };

struct scan {
    const char *text;
    size_t at, len, cost;
};

/* From behind the opening quote to behind the closing one. */
static int scan_string(struct scan *s)
{
    size_t from = s->at;
    for (; s->at < s->len && s->text[s->at] != '"'; s->at++)
        s->at += s->text[s->at] == '\\';
    size_t n = s->at - from;
    s->at++;
    s->cost += STRING_COST + n;
    return n > JSONFILE_STRING ? err_data("a string of more than %d bytes in JSON", JSONFILE_STRING) : 0;
}

static void scan_number(struct scan *s)
{
    while (s->at < s->len && strchr("+-.0123456789eE", s->text[s->at]) && s->text[s->at])
        s->at++;
    s->cost += NUMBER_COST;
}

int jsonfile_check(const char *text, size_t len, size_t present)
{
    struct scan s = { .text = text, .len = len };
    size_t limit = JSONFILE_ROOM + 4 * present;
    while (s.at < len && s.cost <= limit) {
        char c = text[s.at];
        if (c == '-' || (c >= '0' && c <= '9')) {
            scan_number(&s);
            continue;
        }
        s.at++;
        if (c == '"' && scan_string(&s))
            return -1;
        s.cost += c == '{' ? OBJECT_COST : c == '[' ? ARRAY_COST : 0;
    }
    if (s.cost > limit)
        return err_data("%zu bytes of JSON hold so many values that reading them would take more than %zu MiB", len, limit >> 20);
    return 0;
}

/* `present`: the bytes that are really there, where text was compressed. */
static json_t *parse(const char *text, size_t len, size_t present, size_t flags)
{
    json_error_t e;
    if (jsonfile_check(text, len, present))
        return NULL;
    json_t *j = json_loadb(text, len, flags, &e);
    if (!j && json_error_code(&e) == json_error_out_of_memory)
        mem_die(0);
    if (!j)
        err_data("not JSON: line %d: %s", e.line, e.text);
    return j;
}

static json_t *object_only(json_t *j)
{
    if (!j || json_is_object(j))
        return j;
    json_decref(j);
    err_data("not a JSON object");
    return NULL;
}

json_t *jsonfile_value(const char *text)
{
    return parse(text, strlen(text), strlen(text), JSON_DECODE_ANY);
}

json_t *jsonfile_parse(const char *text, size_t len)
{
    return object_only(parse(text, len, len, JSON_REJECT_DUPLICATES));
}

json_t *jsonfile_load(const char *path, size_t limit)
{
    size_t len;
    struct stat st;
    char *text = io_slurp(path, limit, &len);
    if (!text)
        return NULL;
    bool smaller = !stat(path, &st) && S_ISREG(st.st_mode) && (size_t)st.st_size < len;
    json_t *j = object_only(parse(text, len, smaller ? (size_t)st.st_size : len, JSON_REJECT_DUPLICATES));
    free(text);
    if (!j)
        err_in(path);
    return j;
}

int jsonfile_size(const json_t *obj, const char *key, size_t missing, size_t *out)
{
    json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return *out = missing, 0;
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || n > (json_int_t)1 << 53)
        return err_data("%s is not a whole number", key);
    *out = (size_t)n;
    return 0;
}

int jsonfile_real(const json_t *obj, const char *key, double missing, double *out)
{
    json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return *out = missing, 0;
    if (!json_is_number(v))
        return err_data("%s is not a number", key);
    *out = json_number_value(v);
    return 0;
}

int jsonfile_bool(const json_t *obj, const char *key, bool missing, bool *out)
{
    json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v))
        return *out = missing, 0;
    if (!json_is_boolean(v))
        return err_data("%s is neither true nor false", key);
    *out = json_is_true(v);
    return 0;
}

const char *jsonfile_string(const json_t *obj, const char *key, const char *missing)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : missing;
}
