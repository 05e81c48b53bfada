/* sae-encode: activations to codes, codes back to activations, activations to what the dictionary misses.
 *
 *   acts x --> codes f = encode(x)        -d: codes f --> acts x_hat = f W_dec + b_dec        --error: acts x - x_hat
 *              --fista, --pursuit: f found by search on W_dec and b_dec, the encoder aside                           */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "data/lockstep.h"
#include "maths/vec.h"

#include <inttypes.h>
#include <stdlib.h>

static struct {
    bool decode, error, fista, is_signed;
    const char *attr;
    double min, l1, tol;
    int64_t pursuit, iterations;
} o = { .iterations = 1000, .tol = 1e-3 };

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "What to write" },
    { OPT_FLAG, .letter = 'd', .name = "decode", .var = &o.decode, .help = "codes back to activations (the reconstruction)",
      .numbers = true },
    { OPT_FLAG, .name = "error", .var = &o.error, .help = "activations less their reconstruction", .numbers = true },
    { OPT_STRING, .name = "attr", .var = &o.attr, .arg = "GRAD", .help = "of each feature that fires what it adds to a metric "
      "to first order, f_i <d_i, gradient>; GRAD holds the gradient at the same rows, as act-splice --grad writes it",
      .shown = "", .numbers = true },
    { OPT_REAL, .name = "min", .var = &o.min, .arg = "V", .help = "drop values whose size is at or below V; with --error "
      "they do not count in the reconstruction", .hi = 1e30, .numbers = true },

    { .type = OPT_GROUP, .help = "How codes are found" },
    { OPT_FLAG, .name = "fista", .var = &o.fista, .help = "for each row the codes that minimise |x_hat - x|^2 + LAMBDA "
      "sum f, by search: the dictionary's encoder is where it begins, or at zero where there is none; a dictionary "
      "without an encoder needs no asking", .numbers = true },
    { OPT_REAL, .name = "l1", .var = &o.l1, .arg = "LAMBDA", .help = "with --fista; as sae-fit has it, for rows times "
      "the dictionary's activation_scale", .lo = 0, .hi = 1e30, .shown = "what the dictionary was fitted with",
      .numbers = true },
    { OPT_COUNT, .name = "iterations", .var = &o.iterations, .arg = "N", .help = "with --fista: at most N steps a row",
      .lo = 1, .hi = 9e15, .numbers = true },
    { OPT_REAL, .name = "tol", .var = &o.tol, .arg = "SHARE", .help = "with --fista: stop where the conditions of a "
      "minimum hold but for SHARE of LAMBDA", .lo = 0, .hi = 1, .numbers = true },
    { OPT_FLAG, .name = "signed", .var = &o.is_signed, .help = "with --fista: values may be below 0, the penalty is "
      "LAMBDA sum |f|", .numbers = true },
    { OPT_COUNT, .name = "pursuit", .var = &o.pursuit, .arg = "K", .help = "at most K features a row, none below 0, "
      "found one by one: orthogonal matching pursuit", .lo = 1, .hi = STREAM_WIDTH, .shown = "off", .numbers = true },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-encode", .synopsis = "[OPTION]... SAE [STREAM]",
    .about = "Encode a stream of activations with a dictionary; the codes go to standard output.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM, .min_operands = 1, .max_operands = 2,
    .version = cli_blas_version,
};

/* The header key `sae`, with how the codes were found where that was not the encoder. */
static json_t *sae_key(const struct sae *sae, const struct fista *how)
{
    json_t *key = cli_sae_key(sae);
    json_t *more = o.pursuit ? json_pack("{s:s,s:I}", "by", "pursuit", "k", (json_int_t)o.pursuit)
                 : o.fista ? json_pack("{s:s,s:f,s:b}", "by", "fista", "l1", how->lambda, "signed", how->is_signed)
                           : json_object();
    if (!more || json_object_update(key, more))
        mem_die(0);
    json_decref(more);
    if (o.fista)
        json_object_del(key, "k");
    return key;
}

/* The header keys of a stream this dictionary has made. */
static json_t *changes(const struct sae *sae, const struct fista *how, const struct lockstep *grad)
{
    if (o.decode)
        return json_pack("{s:s,s:I,s:s,s:n}", "kind", "acts", "d", (json_int_t)sae->d_model, "dtype", "f32", "sae");
    if (o.error)
        return json_pack("{s:s}", "dtype", "f32");
    json_t *all = json_pack("{s:s,s:I,s:s,s:o}", "kind", "codes", "d", (json_int_t)sae->d_sae, "dtype", "f32", "sae",
                            sae_key(sae, how));
    json_t *of = grad->in ? json_object_get(grad->in->head, "grad") : NULL;
    if (o.attr && (!all || json_object_set_new(all, "attr", of ? json_incref(of) : json_object())))
        mem_die(0);
    return all;
}

/* ---- how ---- */

static void check_options(void)
{
    if (o.attr && (o.decode || o.error))
        opt_misuse("--attr excludes --decode and --error");
    if (o.decode && o.error)
        opt_misuse("--decode and --error exclude each other");
    if (o.fista && o.pursuit)
        opt_misuse("--fista and --pursuit exclude each other");
    if (o.decode && (o.fista || o.pursuit))
        opt_misuse("--decode takes codes as they are: no --fista or --pursuit");
}

/* The search asked for, or that the dictionary needs. */
static struct fista search_of(const struct sae *sae, const char *path)
{
    const struct {
        const char *name;
        bool given;
    } only[] = { { "--l1", opt_given(&o.l1) }, { "--iterations", opt_given(&o.iterations) },
                 { "--tol", opt_given(&o.tol) }, { "--signed", o.is_signed } };
    struct fista how = sae_fista(sae);
    if (!o.decode && !o.pursuit && !sae->w_enc)
        o.fista = true;
    for (size_t i = 0; i < sizeof only / sizeof *only; i++)
        if (only[i].given && !o.fista)
            opt_misuse("%s goes with --fista", only[i].name);
    if (opt_given(&o.l1))
        how.lambda = o.l1 / sae->activation_scale;
    how.iterations = (size_t)o.iterations;
    how.tol = o.tol;
    how.is_signed = o.is_signed;
    if (o.fista && how.lambda == 0 && !opt_given(&o.l1))
        tool_warn("note: %s was fitted without a LAMBDA: codes need not be sparse; see --l1", path);
    if (o.pursuit > (int64_t)sae->d_sae)
        opt_misuse("--pursuit: %" PRId64 " features, the dictionary has 1 to %zu", o.pursuit, sae->d_sae);
    return how;
}

/* Returns how many rows were left short of the minimum. */
static size_t encode(struct sae *sae, const struct fista *how, const struct batch *b, struct codes *codes)
{
    if (o.fista)
        return sae_encode_fista(sae, how, b->x, b->n, codes);
    if (o.pursuit)
        sae_encode_pursuit(sae, (size_t)o.pursuit, b->x, b->n, codes);
    else
        sae_encode(sae, b->x, b->n, codes);
    return 0;
}

/* ---- the work ---- */

/* f_i becomes f_i <d_i, gradient of its row>. */
static void attribute(const struct sae *sae, struct codes *c, const float *grad)
{
    size_t d = sae->d_model, most = 0;
    for (size_t r = 0; r < c->n; r++)
        most = c->ptr[r + 1] - c->ptr[r] > most ? c->ptr[r + 1] - c->ptr[r] : most;
    float *slope = mem_alloc(most, sizeof *slope);
    for (size_t r = 0; r < c->n; r++) {
        uint32_t from = c->ptr[r], n = c->ptr[r + 1] - from;
        sparse_dots(c->idx + from, n, sae->w_dec, grad + r * d, d, slope);
        for (uint32_t j = 0; j < n; j++)
            c->val[from + j] *= slope[j];
    }
    free(slope);
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
    struct lockstep grad = { .path = NULL };
    uint64_t missed = 0;
    tool_begin(&argc, &argv, &usage, table);
    check_options();
    struct sae *sae = cli_sae(argv[0]);
    struct stream_in *in = tool_open(argc, argv, 1);
    tool_want(in, o.decode ? STREAM_CODES : STREAM_ACTS, o.decode ? sae->d_sae : sae->d_model, argv[0]);
    struct fista how = search_of(sae, argv[0]);
    cli_sae_fits(sae, in);
    if (o.attr && lockstep_open(&grad, o.attr, STREAM_ACTS, sae->d_model))
        tool_die();
    tool_slice(in, sae->d_sae > sae->d_model ? sae->d_sae : sae->d_model);
    struct stream_out *out = tool_create(in, changes(sae, &how, &grad), argv, (size_t)argc);
    float *x_hat = mem_alloc(in->max_rows * sae->d_model, sizeof *x_hat);
    float *error = mem_alloc(in->max_rows * sae->d_model, sizeof *error);
    while (tool_next(in, &b)) {
        if (o.decode)
            codes_of_batch(&b, sae->d_sae, &codes);
        else
            missed += encode(sae, &how, &b, &codes);
        if (o.min > 0)
            drop_small(&codes);
        if (o.attr && lockstep_rows(&grad, &b))
            tool_die();
        if (o.attr)
            attribute(sae, &codes, grad.x);
        if (!o.decode && !o.error) {
            tool_put_codes(out, in, &b, &codes);
            continue;
        }
        sae_decode(sae, &codes, x_hat);
        if (o.error)
            vec_sub(error, b.x, x_hat, b.n * sae->d_model);
        tool_put_acts(out, in, &b, o.error ? error : x_hat, sae->d_model, DTYPE_F32);
    }
    if (o.attr && lockstep_end(&grad))
        tool_die();
    lockstep_close(&grad);
    if (missed)
        tool_warn("note: %" PRIu64 " rows were left short of their minimum: raise --iterations, or --tol", missed);
    codes_free(&codes);
    free(x_hat);
    free(error);
    sae_free(sae);
    stream_close(in);
    return tool_finish(out);
}
