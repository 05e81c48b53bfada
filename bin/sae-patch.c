/* sae-patch: edit features inside activations.
 *
 *   x' = x + sum_i (f'_i - f_i) d_i            f = encode(x), f' the edited codes; the reconstruction error stays in
 *   --replace: x' = sum_i f'_i d_i + b_dec
 *
 * A row no edit touches keeps its bits. */
/* SPDX-License-Identifier: MIT */
#include "data/pick.h"
#include "ground/mem.h"
#include "ground/par.h"
#include "maths/vec.h"
#include "tools/edit.h"
#include "tools/saetool.h"

#include <stdlib.h>
#include <string.h>

static struct {
    struct opt_list edits;
    const char *file, *at, *token;
    bool replace;
} o;

static const struct opt table[] = {
    { .type = OPT_GROUP, .help = "Edits, done in the order given" },
    { OPT_LIST, .letter = 'e', .name = "edit", .var = &o.edits, .arg = "EDIT", .help = "'zero F', 'set F V', 'scale F A', "
      "'add F V' (V times the decoder row), 'keep F' (zero all others), 'mean F FILE' (the mean over codes in FILE); F is "
      "all, or features and ranges LO-HI separated by commas; may be repeated", .numbers = true },
    { OPT_STRING, .letter = 'f', .name = "file", .var = &o.file, .arg = "FILE", .help = "read edits from FILE, one a line, "
      "before those of -e", .numbers = true },
    { .type = OPT_GROUP, .help = "Where" },
    { OPT_STRING, .name = "at", .var = &o.at, .arg = "WHERE", .help = "only rows at position POS of their context, at "
      "LO:HI (both ends included), or the last one of each context", .shown = "", .numbers = true },
    { OPT_STRING, .name = "token", .var = &o.token, .arg = "STR", .help = "only rows whose token is exactly STR (\\n, \\t, "
      "\\\\ and \\xHH as tables print them)", .shown = "", .numbers = true },
    { .type = OPT_GROUP, .help = "Output" },
    { OPT_FLAG, .name = "replace", .var = &o.replace, .help = "every row becomes the reconstruction of its (edited) codes",
      .numbers = true },
    { .type = OPT_END },
};

static const struct opt_usage usage = {
    .tool = "sae-patch", .synopsis = "[OPTION]... SAE [ACTS]",
    .about = "Edit features inside a stream of activations; the edited rows go to standard output.",
    .common = OPT_OUTPUT | OPT_ZSTD | OPT_STREAM, .min_operands = 1, .max_operands = 2,
    .version = tool_version_arithmetic,
};

/* ---- where ---- */

static struct {
    bool any_position, last;
    int64_t lo, hi;
    char *token;
    size_t token_len;
} where = { .any_position = true };

static void parse_at(const char *at)
{
    char *text = mem_string(at), *colon = strchr(text, ':');
    where.any_position = false;
    where.last = !strcmp(text, "last");
    if (colon)
        *colon = 0;
    bool bad = !where.last && (opt_count(text, &where.lo) || where.lo < 0);
    where.hi = where.lo;
    if (!where.last && !bad && colon)
        bad = opt_count(colon + 1, &where.hi) || where.hi < where.lo;
    if (bad)
        opt_misuse("--at: '%s' is not POS, LO:HI or last", at);
    free(text);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The bytes that a token printed with escapes stands for. */
static void parse_token(const char *s)
{
    where.token = mem_alloc(strlen(s) + 1, 1);
    for (size_t n; *s; s += n) {
        char c = *s;
        n = 1;
        if (s[0] == '\\' && s[1]) {
            n = 2;
            c = s[1] == 'n' ? '\n' : s[1] == 't' ? '\t' : s[1];
            if (s[1] == 'x' && hex_digit(s[2]) >= 0 && hex_digit(s[3]) >= 0) {
                n = 4;
                c = (char)(hex_digit(s[2]) << 4 | hex_digit(s[3]));
            }
        }
        where.token[where.token_len++] = c;
    }
}

/* Is row i of b one to edit? `next` is the first row behind b (NULL: none), for --at last. */
static bool selected(const struct batch *b, const struct batch *next, size_t i)
{
    size_t len;
    if (where.token) {
        const uint8_t *text = batch_text(b, i, &len);
        if (len != where.token_len || memcmp(text, where.token, len))
            return false;
    }
    if (where.any_position)
        return true;
    if (!where.last)
        return b->pos[i] >= where.lo && b->pos[i] <= where.hi;
    if (i + 1 < b->n)
        return b->ctx[i + 1] != b->ctx[i];
    return !next || next->section != b->section || next->ctx[0] != b->ctx[i];
}

/* ---- the rows ---- */

struct job {
    const struct sae *sae;
    const struct edits *edits;
    const struct codes *codes;
    const struct batch *b;
    const bool *chosen;                 /* (n) */
    bool *changed;                      /* (n) */
    float *x;                           /* (n, d_model) the result */
};

/* The edited values of row r's codes, added as changes to x. Edited features ascend, and so do the codes. */
static bool add_changes(const struct job *j, size_t r, float *x)
{
    const struct codes *c = j->codes;
    const struct edits *e = j->edits;
    uint32_t at = c->ptr[r];
    bool changed = false;
    for (size_t k = 0; k < e->n; k++) {
        uint32_t i = e->list[k];
        while (at < c->ptr[r + 1] && c->idx[at] < i)
            at++;
        float f = at < c->ptr[r + 1] && c->idx[at] == i ? c->val[at] : 0, change = edits_change(e, i, f);
        if (change == 0)
            continue;
        vec_axpy(x, change, j->sae->w_dec + i * j->sae->d_model, j->sae->d_model);
        changed = true;
    }
    return changed;
}

static void patch_row(void *arg, size_t r, int worker)
{
    const struct job *j = arg;
    const struct codes *c = j->codes;
    size_t d = j->sae->d_model;
    float *x = j->x + r * d;
    (void)worker;
    if (o.replace)
        sparse_sum(c->idx + c->ptr[r], c->val + c->ptr[r], c->ptr[r + 1] - c->ptr[r], j->sae->w_dec, j->sae->b_dec, d, x);
    else
        memcpy(x, j->b->x + r * d, d * sizeof *x);
    j->changed[r] = (j->chosen[r] && add_changes(j, r, x)) || o.replace;
}

struct work {
    struct sae *sae;
    struct edits edits;
    struct codes codes;
    struct stream_in *in;
    struct stream_out *out;
    bool *chosen, *changed;
    float *x;
    char *stored;                       /* (n, d_model) in the stream's own type */
};

/* Exit 3 unless the stream says what --at and --token ask about. */
static void want_columns(const struct stream_in *in, const struct batch *b)
{
    const char *missing = where.token && !b->text              ? "text"
                          : where.last && !b->ctx              ? "ctx"
                          : !where.any_position && !where.last && !b->pos ? "pos"
                                                               : NULL;
    if (missing)
        tool_die_data("%s: no column %s to choose rows by", stream_name(in), missing);
}

static void patch(struct work *w, const struct batch *b, const struct batch *next)
{
    struct batch out = { .n = b->n };
    size_t d = w->sae->d_model, item = d * dtype_size(w->in->dtype);
    bool any = o.replace;
    want_columns(w->in, b);
    for (size_t i = 0; i < b->n; i++)
        any |= w->chosen[i] = w->edits.n && selected(b, next, i);
    memcpy(w->stored, batch_column(b, "x")->data, b->n * item);
    if (any) {
        sae_encode(w->sae, b->x, b->n, &w->codes);
        struct job j = { w->sae, &w->edits, &w->codes, b, w->chosen, w->changed, w->x };
        par_for(b->n, patch_row, &j);
    }
    for (size_t i = 0; any && i < b->n; i++)
        if (w->changed[i])
            dtype_store(w->stored + i * item, w->x + i * d, w->in->dtype, d);
    batch_add(&out, "x", w->in->dtype, b->n, d, false, w->stored);
    batch_carry(&out, b, true);
    tool_put(w->out, w->in, b, &out);
}

/* --at last must see the row behind a batch before it can be patched. */
static void patch_all(struct work *w)
{
    struct batch b, held = { .n = 0 };
    while (tool_next(w->in, &b)) {
        if (!where.last) {
            patch(w, &b, NULL);
            continue;
        }
        if (held.n) {
            patch(w, &held, &b);
            batch_unkeep(&held);
        }
        batch_keep(&held, &b);
    }
    if (held.n) {
        patch(w, &held, NULL);
        batch_unkeep(&held);
    }
}

int main(int argc, char **argv)
{
    struct work w = { .codes = { .n = 0 } };
    tool_begin(&argc, &argv, &usage, table);
    if (o.at)
        parse_at(o.at);
    if (o.token)
        parse_token(o.token);
    w.sae = tool_sae(argv[0]);
    edits_begin(&w.edits, w.sae->d_sae);
    bool bad = o.file && edits_add_file(&w.edits, o.file);
    for (size_t i = 0; i < o.edits.n && !bad; i++)
        bad = edits_add(&w.edits, o.edits.item[i]);
    if (bad)
        tool_die();
    edits_settle(&w.edits);
    w.in = tool_open(argc, argv, 1);
    tool_want(w.in, STREAM_ACTS, w.sae->d_model, argv[0]);
    tool_sae_fits(w.sae, w.in);
    tool_slice(w.in, w.sae->d_sae);
    w.chosen = mem_alloc(w.in->most, sizeof *w.chosen);
    w.changed = mem_alloc(w.in->most, sizeof *w.changed);
    w.x = mem_alloc(w.in->most * w.sae->d_model, sizeof *w.x);
    w.stored = mem_alloc(w.in->most * w.sae->d_model, sizeof(float));
    w.out = tool_create(w.in, json_object(), argv, (size_t)argc);
    patch_all(&w);
    edits_free(&w.edits);
    codes_free(&w.codes);
    free(w.chosen);
    free(w.changed);
    free(w.x);
    free(w.stored);
    free(where.token);
    sae_free(w.sae);
    stream_close(w.in);
    return tool_finish(w.out);
}
