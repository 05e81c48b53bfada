/* sae-encode: activations to codes, codes back to activations, activations to what the dictionary misses.
 *
 *   acts x --> codes f = encode(x)        -d: codes f --> acts x_hat = f W_dec + b_dec        --error: acts x - x_hat */
/* SPDX-License-Identifier: MIT */
#include "ground/mem.h"
#include "maths/vec.h"
#include "tools/saetool.h"

#include <stdlib.h>

static struct {
    bool decode, error;
    double min;
} o;

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What to write" },
    { OPT_FLAG, .letter = 'd', .name = "decode", .var = &o.decode, .help = "codes back to activations (the reconstruction)",
      .numbers = true },
    { OPT_FLAG, .name = "error", .var = &o.error, .help = "activations less their reconstruction", .numbers = true },
    { OPT_REAL, .name = "min", .var = &o.min, .arg = "V", .help = "drop values whose size is at or below V; with --error "
      "they do not count in the reconstruction", .hi = 1e30, .numbers = true },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-encode", .synopsis = "[OPTION]... SAE [STREAM]",
    .about = "Encode a stream of activations with a dictionary; the codes go to standard output.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM, .min_operands = 1, .max_operands = 2,
    .version = tool_version_arithmetic,
};

/* The header keys of a stream this dictionary has made. */
static json_t *changes(const struct sae *sae)
{
    if (o.decode)
        return json_pack("{s:s,s:I,s:s,s:n}", "kind", "acts", "d", (json_int_t)sae->d_model, "dtype", "f32", "sae");
    if (o.error)
        return json_pack("{s:s}", "dtype", "f32");
    return json_pack("{s:s,s:I,s:s,s:o}", "kind", "codes", "d", (json_int_t)sae->d_sae, "dtype", "f32", "sae",
                     tool_sae_key(sae));
}

/* Forget values of size at most o.min. */
static void drop_small(struct codes *c)
{
    uint32_t kept = 0, from = 0;
    for (size_t r = 0; r < c->n; r++) {
        uint32_t to = c->ptr[r + 1];
        for (; from < to; from++) {
            if (c->val[from] <= (float)o.min && -c->val[from] <= (float)o.min)
                continue;
            c->idx[kept] = c->idx[from];
            c->val[kept++] = c->val[from];
        }
        c->ptr[r + 1] = kept;
    }
}

static void codes_of_batch(const struct batch *b, size_t m, struct codes *c)
{
    codes_reset(c, m);
    for (size_t r = 0; r < b->n; r++)
        codes_push(c, b->idx + b->ptr[r], b->val + b->ptr[r], b->ptr[r + 1] - b->ptr[r]);
}

int main(int argc, char **argv)
{
    struct codes codes = { .n = 0 };
    struct batch b;
    tool_begin(&argc, &argv, &usage, table);
    if (o.decode && o.error)
        opt_misuse("--decode and --error exclude each other");
    struct sae *sae = tool_sae(argv[0]);
    struct stream_in *in = tool_open(argc, argv, 1);
    tool_want(in, o.decode ? STREAM_CODES : STREAM_ACTS, o.decode ? sae->d_sae : sae->d_model, argv[0]);
    if (!o.decode && !sae->w_enc)
        tool_die_data("%s: a dictionary without an encoder", argv[0]);
    tool_sae_fits(sae, in);
    tool_slice(in, sae->d_sae > sae->d_model ? sae->d_sae : sae->d_model);
    struct stream_out *out = tool_create(in, changes(sae), argv, (size_t)argc);
    float *x_hat = mem_alloc(in->most * sae->d_model, sizeof *x_hat);
    float *error = mem_alloc(in->most * sae->d_model, sizeof *error);
    while (tool_next(in, &b)) {
        if (o.decode)
            codes_of_batch(&b, sae->d_sae, &codes);
        else
            sae_encode(sae, b.x, b.n, &codes);
        if (o.min > 0)
            drop_small(&codes);
        if (!o.decode && !o.error) {
            tool_put_codes(out, in, &b, &codes);
            continue;
        }
        sae_decode(sae, &codes, x_hat);
        if (o.error)
            vec_sub(error, b.x, x_hat, b.n * sae->d_model);
        tool_put_acts(out, in, &b, o.error ? error : x_hat, sae->d_model, DTYPE_F32);
    }
    codes_free(&codes);
    free(x_hat);
    free(error);
    sae_free(sae);
    stream_close(in);
    return tool_finish(out);
}
