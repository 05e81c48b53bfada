/* jsonfile: JSON documents of bounded size, read by jansson. Names here are of files and keys, for messages. */
/* SPDX-License-Identifier: MIT */
#ifndef JSONFILE_H
#define JSONFILE_H

#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum { JSONFILE_STRING = 16 << 20, JSONFILE_ROOM = 40 << 20 };

/* jansson takes up to eighty bytes for a byte of text. Before it sees a text that may be hostile: no string may be longer than
 * JSONFILE_STRING, and the values may take no more than JSONFILE_ROOM and four times the `present` bytes of the file (0 where
 * that says nothing). Returns 0, or -1 and a sentence. Whether it is JSON at all is jansson's to say. */
int jsonfile_check(const char *text, size_t len, size_t present) ERR_CHECKED;

/* Load a whole file (an object is expected). NULL and a sentence naming the file on failure. json_decref() it. */
json_t *jsonfile_load(const char *path, size_t limit);
/* The same from memory; the sentence does not name a file. */
json_t *jsonfile_parse(const char *text, size_t len);
/* Any value, as from the strings of metadata. */
json_t *jsonfile_value(const char *text);

/* obj[key] as a whole number 0..2^53, a real, a boolean; `missing` where the key is absent or null.
 * A value of another type is -1 with a sentence, and *out is untouched. */
int jsonfile_size(const json_t *obj, const char *key, size_t missing, size_t *out);
int jsonfile_real(const json_t *obj, const char *key, double missing, double *out);
int jsonfile_bool(const json_t *obj, const char *key, bool missing, bool *out);
/* The string obj[key], owned by obj, or `missing` where there is no string. */
const char *jsonfile_string(const json_t *obj, const char *key, const char *missing);

#endif
