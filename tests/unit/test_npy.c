/* npy headers: what NumPy writes, what it may write, and damaged ones. */
/* SPDX-License-Identifier: MIT */
#include "data/npy.h"
#include "tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];

/* Put version, length (unless given, of what follows), text and a newline into the file, then `rest` bytes more. */
static void make(int version, const char *text, long length, size_t rest)
{
    FILE *f = fopen(path, "wb");
    size_t n = length < 0 ? strlen(text) + 1 : (size_t)length;
    fprintf(f, "\x93NUMPY%c%c", version, 0);
    for (int i = 0; i < (version == 1 ? 2 : 4); i++)
        fputc((int)(n >> 8 * i & 255), f);
    fprintf(f, "%s\n", text);
    while (rest--)
        fputc('x', f);
    fclose(f);
}

static int read_back(struct npy *h, char *next)
{
    struct io_in *in = io_open(path);
    int bad = npy_read_header(in, h);
    if (!bad && next && io_read(in, next, 1) != 1)
        *next = 0;
    io_close(in);
    return bad;
}

static void good(int version, const char *text, enum dtype type, size_t rank, size_t a, size_t b)
{
    struct npy h = { .shape = { 0 } };
    char next = 0;
    make(version, text, -1, 1);
    int bad = read_back(&h, &next);
    ok(!bad && h.type == type && h.rank == rank && (rank < 1 || h.shape[0] == a) && (rank < 2 || h.shape[1] == b),
       "version %d: %s", version, text);
    ok(next == 'x', "and it stops at the first item");
}

static void bad(int version, const char *text, long length, const char *words)
{
    struct npy h;
    make(version, text, length, 0);
    ok(read_back(&h, NULL) == -1 && err_status() == ERR_DATA && strstr(err_text(), words) && strstr(err_text(), path),
       "refused: %s (%s)", text, words);
}

static void test_writing(void)
{
    static const enum dtype types[] = { DTYPE_F32, DTYPE_F16, DTYPE_F64, DTYPE_U8, DTYPE_U64, DTYPE_I32, DTYPE_I64 };
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (size_t rank = 0; rank <= 8; rank++) {
            struct npy h = { types[i], rank, { 3, 0, 5, 6, 7, 8, 9, 10 } }, back = { .shape = { 0 } };
            unsigned char buf[NPY_HEADER_MAX];
            size_t n = npy_write_header(buf, &h);
            FILE *f = fopen(path, "wb");
            fwrite(buf, 1, n, f);
            fclose(f);
            ok(n % 64 == 0 && buf[n - 1] == '\n' && read_back(&back, NULL) == 0 && back.type == h.type &&
               back.rank == rank && !memcmp(back.shape, h.shape, rank * sizeof *h.shape),
               "%s of rank %zu comes back", dtype_name(h.type), rank);
        }
    unsigned char buf[NPY_HEADER_MAX];
    struct npy h = { DTYPE_F32, 1, { 7 } };
    size_t n = npy_write_header(buf, &h);
    static const char want[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (7,), }";
    ok(n == 128 && !memcmp(buf, "\x93NUMPY\x01\x00\x76\x00", 10) && !memcmp(buf + 10, want, sizeof want - 1),
       "the header is NumPy's, byte by byte");
}

int main(void)
{
    strcpy(path, "test_npy.XXXXXX");
    close(mkstemp(path));
    good(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   ", DTYPE_F32, 2, 3, 4);
    good(2, "{'descr': '<f2', 'fortran_order': False, 'shape': (3,), }", DTYPE_F16, 1, 3, 0);
    good(3, "{'descr': '<f8', 'fortran_order': False, 'shape': (), }", DTYPE_F64, 0, 0, 0);
    good(1, "{\"shape\":(0,5),\"descr\":\"<i8\",\"fortran_order\":False}", DTYPE_I64, 2, 0, 5);
    good(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (9,), }", DTYPE_I32, 1, 9, 0);
    good(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (0, 18446744073709551615), }", DTYPE_U8, 2, 0, SIZE_MAX);
    bad(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4), }", -1, "column-major");
    bad(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (3, 4), }", -1, "big-endian");
    bad(1, "{'descr': '<c8', 'fortran_order': False, 'shape': (3, 4), }", -1, "<c8");
    bad(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 4), }", -1, "plain numbers");
    bad(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", -1, "too large");
    bad(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", -1, "shape");
    bad(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", -1, "shape");
    bad(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }", -1, "shape");
    bad(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1,2,3,4,5,6,7,8,9), }", -1, "shape");
    bad(1, "{'descr': '<f4', 'fortran_order': 0, 'shape': (3,), }", -1, "neither True nor False");
    bad(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", -1, "twice");
    bad(1, "{'descr': '<f4', 'shape': (3,), }", -1, "not exactly");
    bad(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), } 7", -1, "not exactly");
    bad(1, "{'descr': '<f4', 'fortran_order': False 'shape': (3,), }", -1, "no comma");
    bad(1, "{'descr': '<f4", -1, "plain numbers");
    bad(1, "(3, 4)", -1, "dictionary");
    bad(1, "", 0, "dictionary");
    bad(1, "{'descr': '<f4',", 1000, "cut short");
    bad(2, "{'descr': '<f4',", 0x7fffffff, "header of 2147483647 bytes");
    bad(4, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", -1, "version 4");
    FILE *f = fopen(path, "wb");
    fputs("PK\x03\x04 something else", f);
    fclose(f);
    struct npy h;
    ok(read_back(&h, NULL) == -1 && strstr(err_text(), "not an npy file"), "another format");
    fclose(fopen(path, "wb"));
    ok(read_back(&h, NULL) == -1 && strstr(err_text(), "not an npy file"), "an empty file");
    test_writing();
    unlink(path);
    return done_testing();
}
