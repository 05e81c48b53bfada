/* SPDX-License-Identifier: MIT */
#include "data/npy.h"
#include "base/mem.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 1 << 16, RANK_MAX = 8 };

static const struct {
    char descr[4];
    enum dtype type;
} types[] = {
    { "<f4", DTYPE_F32 }, { "<f2", DTYPE_F16 }, { "<f8", DTYPE_F64 }, { "|u1", DTYPE_U8 }, { "<u2", DTYPE_U16 },
    { "<u4", DTYPE_U32 }, { "<u8", DTYPE_U64 }, { "<i4", DTYPE_I32 }, { "<i8", DTYPE_I64 },
};
enum { TYPES = sizeof types / sizeof *types };

/* ---- the dictionary: a Python literal, of which only this much is ever written ---- */

static void skip_space(const char **p)
{
    while (**p == ' ' || **p == '\t' || **p == '\n' || **p == '\r')
        (*p)++;
}

/* Is `what` next? Then step over it. */
static bool take(const char **p, const char *what)
{
    skip_space(p);
    size_t n = strlen(what);
    if (strncmp(*p, what, n))
        return false;
    *p += n;
    return true;
}

/* A quoted string without escapes, copied to out. */
static bool take_string(const char **p, char *out, size_t size)
{
    skip_space(p);
    char quote = **p;
    const char *end = quote == '\'' || quote == '"' ? strchr(*p + 1, quote) : NULL;
    size_t n = end ? (size_t)(end - *p) - 1 : size;
    if (n >= size)
        return false;
    memcpy(out, *p + 1, n);
    out[n] = 0;
    *p = end + 1;
    return true;
}

static bool take_size(const char **p, size_t *out)
{
    size_t n = 0;
    skip_space(p);
    const char *start = *p;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (size_t)(**p - '0'), &n))
            return false;
    *out = n;
    return *p > start;
}

static int read_descr(const char **p, struct npy *h)
{
    char descr[16];
    if (!take_string(p, descr, sizeof descr))
        return err_data("its items are not plain numbers");
    for (int i = 0; i < TYPES; i++)
        if (!strcmp(types[i].descr, descr))
            return h->type = types[i].type, 0;
    if (descr[0] == '>')
        return err_data("big-endian items (%s) are not read: save them with astype('<%s')", descr, descr + 1);
    return err_data("items of type %s are not read", descr);
}

static int read_shape(const char **p, struct npy *h)
{
    bool comma = true;
    h->rank = 0;
    if (!take(p, "("))
        return err_data("damaged npy header: no shape");
    while (!take(p, ")")) {
        if (!comma || h->rank == RANK_MAX || !take_size(p, &h->shape[h->rank++]))
            return err_data("damaged npy header: its shape is not up to %d sizes", RANK_MAX);
        comma = take(p, ",");
    }
    return 0;
}

static int read_order(const char **p, bool *fortran)
{
    *fortran = take(p, "True");
    return *fortran || take(p, "False") ? 0 : err_data("damaged npy header: fortran_order is neither True nor False");
}

static int read_fields(const char *p, struct npy *h, bool *fortran)
{
    unsigned seen = 0;
    char key[32];
    if (!take(&p, "{"))
        return err_data("damaged npy header: no dictionary");
    while (!take(&p, "}")) {
        if (!take_string(&p, key, sizeof key) || !take(&p, ":"))
            return err_data("damaged npy header: no key");
        unsigned field = !strcmp(key, "descr") ? 1 : !strcmp(key, "fortran_order") ? 2 : !strcmp(key, "shape") ? 4 : 0;
        if (!field || seen & field)
            return err_data("damaged npy header: key %s is unknown or comes twice", key);
        seen |= field;
        if (field == 1 ? read_descr(&p, h) : field == 2 ? read_order(&p, fortran) : read_shape(&p, h))
            return -1;
        if (!take(&p, ",") && *p != '}')
            return err_data("damaged npy header: no comma behind %s", key);
    }
    skip_space(&p);
    return seen == 7 && *p == 0 ? 0 : err_data("damaged npy header: not exactly descr, fortran_order and shape");
}

static int check(const struct npy *h, bool fortran)
{
    size_t bytes = dtype_size(h->type);
    if (fortran && h->rank > 1)
        return err_data("the array is column-major (fortran_order): save numpy.ascontiguousarray of it");
    for (size_t i = 0; i < h->rank; i++)
        if (h->shape[i] && __builtin_mul_overflow(bytes, h->shape[i], &bytes))
            return err_data("its shape is too large");
    return 0;
}

static int parse(const char *text, size_t len, struct npy *h)
{
    bool fortran = false;
    if (memchr(text, 0, len))
        return err_data("damaged npy header: it contains a zero byte");
    return read_fields(text, h, &fortran) || check(h, fortran) ? -1 : 0;
}

/* ---- reading ---- */

/* Exactly n bytes; -1 and a sentence when there are fewer. */
static int read_exactly(struct io_in *in, void *buf, size_t n)
{
    ssize_t got = io_read(in, buf, n);
    if (got < 0)
        return -1;
    return (size_t)got == n ? 0 : (err_data("npy header cut short"), err_in(io_name(in)));
}

/* Everything before the dictionary. */
static int read_length(struct io_in *in, size_t *len)
{
    unsigned char head[8] = { 0 }, size[4] = { 0 };
    ssize_t got = io_read(in, head, sizeof head);
    if (got < 0)
        return -1;
    if (got < 8 || memcmp(head, "\x93NUMPY", 6))
        return err_data("not an npy file"), err_in(io_name(in));
    if (head[6] < 1 || head[6] > 3)
        return err_data("npy version %d is not known", head[6]), err_in(io_name(in));
    if (read_exactly(in, size, head[6] == 1 ? 2 : 4))
        return -1;
    *len = size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16 | (size_t)size[3] << 24;
    return *len <= TEXT_MAX ? 0 : (err_data("an npy header of %zu bytes", *len), err_in(io_name(in)));
}

int npy_read_header(struct io_in *in, struct npy *h)
{
    size_t len = 0;
    if (read_length(in, &len))
        return -1;
    char *text = mem_zero(len + 1, 1);
    int bad = read_exactly(in, text, len);
    if (!bad && parse(text, len, h))
        bad = err_in(io_name(in));
    free(text);
    return bad;
}

/* ---- writing ---- */

static size_t write_header(unsigned char buf[NPY_HEADER_MAX], const char *descr, size_t rank, const size_t *shape)
{
    char *text = (char *)buf + 10;
    size_t n = (size_t)sprintf(text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (size_t i = 0; i < rank; i++)
        n += (size_t)sprintf(text + n, i + 1 < rank ? "%zu, " : rank == 1 ? "%zu," : "%zu", shape[i]);
    n += (size_t)sprintf(text + n, "), }");
    size_t total = (10 + n + 1 + 63) / 64 * 64;
    memset(text + n, ' ', total - 10 - n);
    buf[total - 1] = '\n';
    memcpy(buf, "\x93NUMPY\x01\x00", 8);
    buf[8] = (unsigned char)(total - 10);
    buf[9] = (unsigned char)((total - 10) >> 8);
    return total;
}

size_t npy_write_header(unsigned char buf[NPY_HEADER_MAX], const struct npy *h)
{
    size_t i = 0;
    while (types[i].type != h->type)
        i++;
    return write_header(buf, types[i].descr, h->rank, h->shape);
}

size_t npy_write_string(unsigned char buf[NPY_HEADER_MAX], const char *s)
{
    char descr[24];
    size_t len = strlen(s);
    snprintf(descr, sizeof descr, "|S%zu", len);
    size_t n = write_header(buf, descr, 0, NULL);
    memcpy(buf + n, s, len);
    return n + len;
}
