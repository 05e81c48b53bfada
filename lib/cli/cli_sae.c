/* SPDX-License-Identifier: MIT */
#include "cli/cli_sae.h"
#include "base/mem.h"
#include "cli/cli_blas.h"
#include "dict/kind.h"

#include <string.h>

struct sae *cli_sae(const char *path)
{
    cli_blas_start();
    struct sae *sae = saefile_load(path);
    if (!sae)
        tool_die();
    if (sae->unsealed)
        tool_warn("note: %s is of release 0.1.0: its digest does not cover hook, model, rows, seed and history", path);
    return sae;
}

void cli_sae_fits(const struct sae *sae, const struct stream_in *in)
{
    const char *rows = json_string_value(json_object_get(in->head, "hook"));
    const char *fitted = json_string_value(json_object_get(sae->meta, "hook"));
    if (rows && fitted && *fitted && strcmp(rows, fitted))
        tool_warn("note: the rows are from %s, the dictionary was fitted on %s", rows, fitted);
}

json_t *cli_sae_key(const struct sae *sae)
{
    const char *digest = json_string_value(json_object_get(sae->meta, "digest"));
    json_t *key = json_pack("{s:s,s:I,s:s,s:I}", "kind", sae->kind->name, "d_in", (json_int_t)sae->d_model, "sha",
                            digest ? digest : "", "k", (json_int_t)sae->k);
    if (!key)
        mem_die(0);
    if (!sae->k)
        json_object_del(key, "k");
    return key;
}
