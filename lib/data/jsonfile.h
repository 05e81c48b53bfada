/* jsonfile: JSON documents of bounded size, read by jansson. Names here are of files and keys, for messages. */
/* SPDX-License-Identifier: MIT */
#ifndef JSONFILE_H
#define JSONFILE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Load a whole file (an object is expected). NULL and a sentence naming the file on failure. json_decref() it. */
json_t *jsonfile_load(const char *path, size_t limit);
/* The same from memory; the sentence does not name a file. */
json_t *jsonfile_parse(const char *text, size_t len);

/* obj[key] as a whole number 0..2^53, a real, a boolean; `missing` where the key is absent or null.
 * A value of another type is -1 with a sentence, and *out is untouched. */
int jsonfile_size(const json_t *obj, const char *key, size_t missing, size_t *out);
int jsonfile_real(const json_t *obj, const char *key, double missing, double *out);
int jsonfile_bool(const json_t *obj, const char *key, bool missing, bool *out);
/* The string obj[key], owned by obj, or `missing` where there is no string. */
const char *jsonfile_string(const json_t *obj, const char *key, const char *missing);

#endif
