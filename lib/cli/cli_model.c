/* SPDX-License-Identifier: MIT */
#define _XOPEN_SOURCE 700
#include "cli/cli_model.h"
#include "base/hex.h"
#include "base/io.h"
#include "base/mem.h"
#include "cli/tool.h"

#include <nettle/sha2.h>
#include <stdlib.h>
#include <string.h>

char *cli_model_name(const char *dir)
{
    char *real = realpath(dir, NULL);
    const char *path = real ? real : dir, *slash = strrchr(path, '/');
    char shown[256];
    err_mask(shown, sizeof shown, slash && slash[1] ? slash + 1 : path);
    free(real);
    return mem_string(shown);
}

char *cli_model_tokenizer_digest(const char *dir)
{
    char *path = mem_format("%s/tokenizer.json", dir), *hex = mem_alloc(2 * SHA256_DIGEST_SIZE + 1, 1);
    uint8_t sum[SHA256_DIGEST_SIZE];
    struct sha256_ctx sha;
    size_t len;
    const void *p = io_map(path, &len);
    if (!p)
        tool_die();
    sha256_init(&sha);
    sha256_update(&sha, len, p);
    sha256_digest(&sha, sizeof sum, sum);
    hex_encode(hex, sum, sizeof sum);
    io_unmap(p, len);
    free(path);
    return hex;
}
