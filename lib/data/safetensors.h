/* safetensors: tensors in a file, mapped for reading, written whole.
 *
 *   u64 LE header length | JSON {"name":{"dtype","shape","data_offsets":[begin,end]}, "__metadata__":{str:str}} | data
 *
 * Everything is checked before it is used: header length <= 100 000 000 and within the file, offsets that tile the
 * data without holes or overlap, length = product of the shape times the item size. Data may be misaligned. */
/* SPDX-License-Identifier: MIT */
#ifndef SAFETENSORS_H
#define SAFETENSORS_H

#include "base/err.h"
#include "data/dtype.h"

#include <jansson.h>
#include <stddef.h>

struct tensor {
    const char *name;
    enum dtype type;        /* DTYPE_NONE: a type no tool computes with (BOOL, I8, F8...): its bytes are there, no more */
    size_t rank, shape[8];
    const void *data;       /* in the mapped file, little endian, rows contiguous */
    size_t bytes;
};

struct safetensors {
    char *path;
    const void *map;
    size_t len, count;
    struct tensor *tensor;  /* sorted by name */
    json_t *metadata;       /* the str -> str object, empty when the file has none */
};

/* Open and check. NULL and a sentence (with the path) on failure. */
struct safetensors *safetensors_open(const char *path);
void safetensors_close(struct safetensors *s);
/* The tensor of that name or NULL. */
const struct tensor *safetensors_find(const struct safetensors *s, const char *name);
size_t tensor_items(const struct tensor *t);

/* Write n tensors (in the order given, 8-byte aligned header) and metadata (str -> str, may be NULL) to `path`, complete
 * or not at all; "-" or NULL is standard output. Returns 0, or -1 and a sentence. */
int safetensors_write(const char *path, const struct tensor *t, size_t n, const json_t *metadata) ERR_CHECKED;

#endif
