/* SPDX-License-Identifier: MIT */
#include "tools/saetool.h"
#include "ground/mem.h"
#include "kinds/kind.h"
#include "tools/arith.h"

#include <string.h>

struct sae *tool_sae(const char *path)
{
    tool_arithmetic();
    struct sae *sae = saefile_load(path);
    if (!sae)
        tool_die();
    if (sae->unsealed)
        tool_warn("note: %s is of release 0.1.0: its digest does not cover hook, model, rows, seed and history", path);
    return sae;
}

void tool_sae_fits(const struct sae *sae, const struct stream_in *in)
{
    const char *rows = json_string_value(json_object_get(in->head, "hook"));
    const char *fitted = json_string_value(json_object_get(sae->meta, "hook"));
    if (rows && fitted && *fitted && strcmp(rows, fitted))
        tool_warn("note: the rows are from %s, the dictionary was fitted on %s", rows, fitted);
}

json_t *tool_sae_key(const struct sae *sae)
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
