/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE             /* memmem */
#include "data/sniff.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static bool begins(const uint8_t *p, size_t n, const char *with, size_t len)
{
    return n >= len && !memcmp(p, with, len);
}

static bool is_stream(const uint8_t *p, size_t n)
{
    return n >= 6 && (p[0] & 0xf0) == 0x90 && !memcmp(p + 1, "\xa4SAES", 5);
}

/* A length in 8 bytes, below 2^32, and JSON. */
static bool is_safetensors(const uint8_t *p, size_t n)
{
    return n >= 10 && !memcmp(p + 4, "\0\0\0", 4) && p[8] == '{' && (p[9] == '"' || p[9] == '}');
}

/* A zip archive, by the name of its first member: NumPy's is called NAME.npy, PyTorch's NAME/data.pkl. */
static const char *zip_words(const uint8_t *p, size_t n)
{
    size_t from = 30, len = n >= from ? (size_t)p[26] | (size_t)p[27] << 8 : 0;
    const uint8_t *name = p + from;
    if (!len || n < from + len)
        return "a zip archive, as PyTorch writes its files";
    if (len > 4 && !memcmp(name + len - 4, ".npy", 4))
        return "a .npz archive of NumPy arrays, as Gemma Scope's dictionaries are";
    return memmem(name, len, "data", 4) || memmem(name, len, "archive", 7)
        ? "a PyTorch file, as dictionary_learning's ae.pt is" : "a zip archive";
}

const char *sniff_words(const void *first, size_t n)
{
    static const struct { const char *with; size_t len; const char *words; } table[] = {
        { "\x93NUMPY", 6, "a .npy array (act-cat --from npy makes a stream of it)" },
        { "\x28\xb5\x2f\xfd", 4, "compressed by zstd" },
        { "\x1f\x8b", 2, "compressed by gzip" },
        { "\xfd" "7zXZ", 5, "compressed by xz" },
        { "BZh", 3, "compressed by bzip2" },
        { "\x89HDF\r\n", 6, "an HDF5 file" },
        { "PAR1", 4, "a Parquet file" },
        { "ARROW1", 6, "an Arrow file" },
        { "GGUF", 4, "a GGUF model" },
        { "{", 1, "JSON" },
    };
    const uint8_t *p = first;
    if (is_stream(p, n))
        return "a stream of activations or codes (an SAE comes before the stream)";
    if (is_safetensors(p, n))
        return "a safetensors file (an SAE comes before the stream)";
    if (begins(p, n, "PK\3\4", 4))
        return zip_words(p, n);
    if (n >= 3 && p[0] == 0x80 && p[1] >= 2 && p[1] <= 5)
        return "a pickle, as PyTorch once wrote its files";
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (begins(p, n, table[i].with, table[i].len))
            return table[i].words;
    return NULL;
}
