/* sae-patch: edit features inside activations.
 *
 *   x' = x + sum_i (f'_i - f_i) d_i            f = encode(x), f' the edited codes; the reconstruction error stays in
 *   --replace: x' = sum_i f'_i d_i + b_dec
 *
 * What edits there are, and the arithmetic: patch/edit.h. --at last must see the row behind a batch before it can be
 * patched.
 *
 * A row no edit touches keeps its bits. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "cli/lookahead.h"
#include "patch/edit.h"

#include <stdlib.h>
#include <string.h>

static struct {
    struct opt_list edits;
    const char *file, *at, *where, *token;
    bool replace;
} o;

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Edits, done in the order given" },
    { OPT_LIST, .letter = 'e', .name = "edit", .var = &o.edits, .arg = "EDIT", .help = "'zero F', 'set F V', 'scale F A', "
      "'add F V' (V times the decoder row), 'keep F' (zero all others), 'mean F CODES' (the mean over codes in a file), "
      "'copy F CODES' (their values at the same place), 'silence F' (down to where the encoder reads 0), 'vector V FILE' "
      "(add V times a vector), 'remove F' or 'remove FILE' (all along these directions), 'error ACTS' (another "
      "reconstruction error); F is all, or features and ranges LO-HI separated by commas; ' @ WHERE' behind "
      "it says where: POS, LO:HI, last, COLUMN=VALUE, token=STR; may be repeated", .numbers = true },
    { OPT_STRING, .letter = 'f', .name = "file", .var = &o.file, .arg = "FILE", .help = "read edits from FILE, one a line, "
      "before those of -e", .numbers = true },
    { .type = OPT_GROUP, .help = "Where" },
    { OPT_STRING, .name = "at", .var = &o.at, .arg = "WHERE", .help = "all edits: only rows at position POS of their context, at "
      "LO:HI (both ends included) or a list of these, or the last one of each context", .shown = "", .numbers = true },
    ROW_SELECTOR_OPTION(&o.where, "all edits: only rows"),
    ROW_SELECTOR_TOKEN_OPTION(&o.token, "all edits: only rows"),
    { .type = OPT_GROUP, .help = "Output" },
    { OPT_FLAG, .name = "replace", .var = &o.replace, .help = "every row becomes the reconstruction of its (edited) codes",
      .numbers = true },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-patch", .synopsis = "[OPTION]... SAE [ACTS]",
    .about = "Edit features inside a stream of activations; the edited rows go to standard output.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM, .min_operands = 1, .max_operands = 2,
    .version = cli_blas_version,
};

struct work {
    struct edits edits;
    struct stream_in *in;
    struct stream_out *out;
    bool *changed;
    float *x;
    char *stored;                       /* (n, d_model) in the stream's own type */
};

static void patch(struct work *w, const struct batch *b, const struct batch *next)
{
    struct batch out = { .n = b->n };
    size_t d = w->in->d, item = d * dtype_size(w->in->dtype);
    if (edit_rows(&w->edits, b, next, o.replace, w->x, w->changed))
        tool_die();
    memcpy(w->stored, batch_column(b, "x")->data, b->n * item);
    for (size_t i = 0; i < b->n; i++)
        if (w->changed[i])
            dtype_store(w->stored + i * item, w->x + i * d, w->in->dtype, d);
    batch_add(&out, "x", w->in->dtype, b->n, d, false, w->stored);
    tool_carry(&out, w->in, b);
    tool_put(w->out, w->in, b, &out);
}

static void patch_all(struct work *w)
{
    struct lookahead ahead = { .in = w->in, .look = w->edits.last };
    const struct batch *b, *next;
    while (lookahead_next(&ahead, &b, &next))
        patch(w, b, next);
    lookahead_free(&ahead);
    if (edit_end(&w->edits))
        tool_die();
}

static void read_edits(struct edits *e)
{
    if (o.at && row_selector_at(&e->where, o.at))
        opt_misuse("--at: %s", err_text());
    row_selector_options(&e->where, o.where, o.token);
    bool bad = o.file && edit_add_file(e, o.file);
    for (size_t i = 0; i < o.edits.n && !bad; i++)
        bad = edit_add(e, o.edits.item[i]);
    if (bad)
        tool_die();
    edit_ready(e);
}

/* Zeros that are undone when the rows are encoded again. */
static void note_returns(const struct edits *e)
{
    uint32_t feature;
    double share;
    size_t n = edit_return(e, &feature, &share);
    if (n == 1)
        tool_warn("note: encoded again, feature %u can come back with %.2g of its value: its encoder row does not undo its "
                  "decoder row; 'silence %u' leaves nothing", feature, share, feature);
    else if (n)
        tool_warn("note: encoded again, %zu of the features set to 0 can come back, feature %u with %.2g of its value: their "
                  "encoder rows do not undo their decoder rows; 'silence' leaves nothing", n, feature, share);
}

int main(int argc, char **argv)
{
    struct work w = { .in = NULL };
    tool_begin(&argc, &argv, &usage, table);
    struct sae *sae = cli_sae(argv[0]);
    edit_begin(&w.edits, sae);
    read_edits(&w.edits);
    w.in = tool_open(argc, argv, 1);
    tool_want(w.in, STREAM_ACTS, sae->d_model, argv[0]);
    w.edits.of = stream_name(w.in);
    cli_sae_fits(sae, w.in);
    tool_slice(w.in, sae->d_sae);
    w.changed = mem_alloc(w.in->max_rows, sizeof *w.changed);
    w.x = mem_alloc(w.in->max_rows * sae->d_model, sizeof *w.x);
    w.stored = mem_alloc(w.in->max_rows * sae->d_model, sizeof(float));
    w.out = tool_create(w.in, json_object(), argv, (size_t)argc);
    patch_all(&w);
    if (!o.replace)
        note_returns(&w.edits);
    edit_free(&w.edits);
    free(w.changed);
    free(w.x);
    free(w.stored);
    sae_free(sae);
    stream_close(w.in);
    return tool_finish(w.out);
}
