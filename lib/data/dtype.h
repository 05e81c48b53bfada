/* dtype: number types of stored payloads (little endian) and their conversion to and from f32. */
/* SPDX-License-Identifier: MIT */
#ifndef DTYPE_H
#define DTYPE_H

#include <stddef.h>
#include <stdint.h>

enum dtype {
    DTYPE_NONE = -1, DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F64,
    DTYPE_U8, DTYPE_U16, DTYPE_U32, DTYPE_U64, DTYPE_I32, DTYPE_I64
};

/* "f32" and so on; dtype_find gives DTYPE_NONE for a name that is not one of them. */
const char *dtype_name(enum dtype t);
enum dtype dtype_find(const char *name);
size_t dtype_size(enum dtype t);

/* n values of a floating type (F32, F16, BF16, F64) at src, of any alignment, to f32. No overlap. */
void dtype_load(float *dst, const void *src, enum dtype t, size_t n);
/* f32 to F32, F16 or BF16, rounded to nearest even; beyond the f16 range becomes infinity. No overlap. */
void dtype_store(void *dst, const float *src, enum dtype t, size_t n);

#endif
