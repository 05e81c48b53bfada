/* SPDX-License-Identifier: MIT */
#include "data/jsonfile.h"
#include "ground/err.h"
#include "ground/io.h"
#include "ground/mem.h"

#include <stdlib.h>

json_t *jsonfile_parse(const char *text, size_t len)
{
    json_error_t e;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    if (!j && json_error_code(&e) == json_error_out_of_memory)
        mem_die(0);
    if (!j)
        err_data("not JSON: line %d: %s", e.line, e.text);
    else if (!json_is_object(j))
        json_decref(j), j = NULL, err_data("not a JSON object");
    return j;
}

json_t *jsonfile_load(const char *path, size_t limit)
{
    size_t len;
    char *text = io_slurp(path, limit, &len);
    if (!text)
        return NULL;
    json_t *j = jsonfile_parse(text, len);
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
