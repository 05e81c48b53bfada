/* SPDX-License-Identifier: MIT */
#include "files/vectors.h"
#include "base/mem.h"
#include "data/npy.h"
#include "data/safetensors.h"
#include "maths/vec.h"

#include <stdlib.h>
#include <string.h>

static const char npy_end[] = ".npy", tensors_end[] = ".safetensors:";

static bool is_npy(const char *name)
{
    size_t n = strlen(name), end = strlen(npy_end);
    return n > end && !strcmp(name + n - end, npy_end);
}

bool vectors_names(const char *name)
{
    return is_npy(name) || strstr(name, tensors_end);
}

/* A matrix as it stands in the file. */
struct matrix {
    size_t rank, shape[8];
    enum dtype type;
    const void *data;
};

static bool is_float(enum dtype t)
{
    return t == DTYPE_F32 || t == DTYPE_F16 || t == DTYPE_BF16 || t == DTYPE_F64;
}

static int check(const struct matrix *w, size_t d, bool *columns)
{
    if (w->rank != 2)
        return err_data("%zu dimensions where a matrix is wanted", w->rank);
    if (!is_float(w->type))
        return err_data("not of floating-point numbers");
    if (!*columns && w->shape[1] != d && w->shape[0] == d)
        *columns = true;
    if (w->shape[*columns ? 0 : 1] != d)
        return err_data("a matrix of %zu by %zu has no %s of width %zu", w->shape[0], w->shape[1],
                        *columns ? "columns" : "rows", d);
    if (!w->shape[*columns ? 1 : 0])
        return err_data("no rows");
    return 0;
}

/* Rows out of a matrix that has been checked. */
static float *take(const struct matrix *w, size_t d, bool columns, size_t *n)
{
    size_t rows = w->shape[0], width = w->shape[1];
    float *flat = mem_alloc(rows * width, sizeof *flat);
    dtype_load(flat, w->data, w->type, rows * width);
    *n = columns ? width : rows;
    if (columns) {
        float *turned = mem_alloc(rows * width, sizeof *turned);
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < width; c++)
                turned[c * rows + r] = flat[r * width + c];
        free(flat);
        flat = turned;
    }
    if (vec_first_nonfinite(flat, *n * d) >= 0) {
        free(flat);
        err_data("holds a value that is not finite");
        return NULL;
    }
    return flat;
}

static float *read_npy(struct io_in *in, size_t d, size_t *n)
{
    struct npy h;
    float *rows = NULL;
    bool columns = false;
    if (npy_read_header(in, &h))
        return NULL;
    struct matrix w = { .rank = h.rank, .type = h.type };
    memcpy(w.shape, h.shape, sizeof w.shape);
    if (w.rank == 1) {
        w.rank = 2;
        w.shape[1] = w.shape[0];
        w.shape[0] = 1;
    }
    if (check(&w, d, &columns) == 0) {
        size_t want = w.shape[0] * w.shape[1] * dtype_size(w.type), have = 0, cap = 0;
        char *data = NULL;
        ssize_t got = 1;
        while (have < want && got > 0) {        /* memory follows the bytes that are there */
            size_t piece = want - have < 1 << 20 ? want - have : 1 << 20;
            data = mem_grow(data, &cap, have + piece, 1);
            got = io_read(in, data + have, piece);
            have += got > 0 ? (size_t)got : 0;
        }
        w.data = data;
        if (got >= 0 && have < want)
            err_data("cut short: %zu bytes of items, %zu present", want, have);
        else if (got >= 0)
            rows = take(&w, d, columns, n);
        free(data);
    }
    if (!rows)
        err_in(io_name(in));
    return rows;
}

static float *from_npy(const char *path, size_t d, size_t *n)
{
    struct io_in *in = io_open(path);
    float *rows = in ? read_npy(in, d, n) : NULL;
    io_close(in);
    return rows;
}

static float *from_tensor(const char *name, size_t d, size_t *n)
{
    const char *colon = strstr(name, tensors_end) + strlen(tensors_end) - 1;
    char *path = mem_bytes(name, (size_t)(colon - name)), *tensor = mem_string(colon + 1);
    size_t len = strlen(tensor);
    bool columns = len > 2 && !strcmp(tensor + len - 2, "^T");
    float *rows = NULL;
    if (columns)
        tensor[len - 2] = 0;
    struct safetensors *file = safetensors_open(path);
    const struct tensor *t = file ? safetensors_find(file, tensor) : NULL;
    if (file && !t) {
        err_data("no tensor %.80s", tensor);
        err_in(path);
    } else if (t) {
        struct matrix w = { .rank = t->rank, .type = t->type, .data = t->data };
        memcpy(w.shape, t->shape, sizeof w.shape);
        if (check(&w, d, &columns) == 0)
            rows = take(&w, d, columns, n);
        if (!rows)
            err_in(name);
    }
    safetensors_close(file);
    free(path);
    free(tensor);
    return rows;
}

float *vectors_load(const char *name, size_t d, size_t *n)
{
    if (!vectors_names(name))
        return err_usage("%s: neither NAME.npy nor FILE.safetensors:TENSOR", name), NULL;
    return is_npy(name) ? from_npy(name, d, n) : from_tensor(name, d, n);
}

static float *only(float *rows, size_t n, const char *name)
{
    if (!rows || n == 1)
        return rows;
    free(rows);
    err_data("%zu vectors where one is wanted", n);
    err_in(name);
    return NULL;
}

float *vectors_load_one(const char *name, size_t d)
{
    size_t n = 0;
    float *rows = vectors_load(name, d, &n);
    return only(rows, n, name);
}

float *vectors_read_one(struct io_in *in, size_t d)
{
    size_t n = 0;
    float *rows = read_npy(in, d, &n);
    return only(rows, n, io_name(in));
}
