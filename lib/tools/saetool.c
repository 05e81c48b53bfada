/* SPDX-License-Identifier: MIT */
#include "tools/saetool.h"
#include "ground/mem.h"
#include "kinds/kind.h"
#include "maths/blas.h"

#include <stdio.h>
#include <string.h>

struct sae *tool_sae(const char *path)
{
    blas_start();
    struct sae *sae = saefile_load(path);
    if (!sae)
        tool_die();
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

void tool_version_blas(void)
{
    const char *slow;
    blas_start();
    const char *core = blas_core(&slow), *level = "portable";
#if defined(__x86_64__)
    level = __builtin_cpu_supports("x86-64-v4") ? "x86-64-v4" : __builtin_cpu_supports("x86-64-v3") ? "x86-64-v3" : "x86-64";
#endif
    printf("BLAS core %s, own kernels %s\n", core, level);
    if (slow)
        printf("note: %s holds the BLAS to older kernels than this CPU has\n", slow);
}
