/* SPDX-License-Identifier: MIT */
#include "sae_stat/statrows.h"
#include "base/io.h"
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "cli/lookahead.h"
#include "data/lockstep.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- which operand is the stream ---- */

bool statrows_is_stream(const char *path, bool only)
{
    unsigned char first[9] = "";
    struct stat st;
    if (!strcmp(path, "-"))
        return true;
    if (stat(path, &st) || S_ISDIR(st.st_mode))
        return false;
    if (!S_ISREG(st.st_mode))
        return true;                    /* not looked into: a pipe gives its bytes only once */
    struct io_in *in = io_open(path);
    ssize_t n = in ? io_peek(in, first, sizeof first) : -1;
    if (n < 0)
        tool_die();
    io_close(in);
    if (n >= 6 && ((first[0] & 0xf0) == 0x90) && (!memcmp(first + 1, "\xa4SAES", 5) || !memcmp(first, "\x93NUMPY", 6)))
        return true;
    return !only && !(n == sizeof first && first[8] == '{');
}

/* ---- reading ---- */

struct reading {
    const struct statrows *how;
    struct statrows_of *of;
    size_t n, width;                    /* of x; 0: codes alone */
    struct lockstep coded, truth;
    bool *chosen;
    float *x, *x_hat;
    struct codes codes, true_codes;
};

/* Rows as codes, of those that are chosen. */
static void take_codes(const uint32_t *ptr, const uint32_t *idx, const float *val, const bool *chosen, size_t n, size_t m,
                       struct codes *out)
{
    codes_reset(out, m);
    for (size_t i = 0; i < n; i++)
        if (chosen[i])
            codes_push(out, idx + ptr[i], val + ptr[i], ptr[i + 1] - ptr[i]);
}

static void take_along(struct lockstep *p, const struct batch *b, const bool *chosen, struct codes *out)
{
    if (lockstep_rows(p, b))
        tool_die();
    take_codes(p->codes.ptr, p->codes.idx, p->codes.val, chosen, b->n, p->codes.m, out);
}

/* The chosen rows of x, one behind the other. */
static const float *take_x(struct reading *r, const struct batch *b, size_t chosen)
{
    size_t at = 0;
    if (chosen == b->n)
        return b->x;
    for (size_t i = 0; i < b->n; i++)
        if (r->chosen[i])
            memcpy(r->x + at++ * r->width, b->x + i * r->width, r->width * sizeof *r->x);
    return r->x;
}

static void add_rows(struct reading *r, const struct batch *b, size_t chosen)
{
    const struct codes *truth = r->how->codes ? &r->true_codes : NULL;
    if (r->how->coded)
        take_along(&r->coded, b, r->chosen, &r->codes);
    if (truth)
        take_along(&r->truth, b, r->chosen, &r->true_codes);
    if (!chosen)
        return;
    if (!r->width) {
        take_codes(b->ptr, b->idx, b->val, r->chosen, b->n, r->of->rows->of.m, &r->codes);
        measure_add(r->of->rows, NULL, NULL, &r->codes, truth);
        return;
    }
    const float *x = take_x(r, b, chosen);
    for (size_t k = 0; k < r->n; k++) {
        if (!r->how->coded)
            sae_encode(r->of[k].sae, x, chosen, &r->codes);
        sae_decode(r->of[k].sae, &r->codes, r->x_hat);
        measure_add(r->of[k].rows, x, r->x_hat, &r->codes, truth);
    }
}

/* Do the rows fit the dictionary? */
static void check(const struct statrows_of *of, const struct stream_in *in)
{
    if (!of->sae)
        return;
    tool_want(in, in->kind, in->kind == STREAM_ACTS ? of->sae->d_model : of->sae->d_sae, of->path);
    cli_sae_fits(of->sae, in);
    if (in->kind == STREAM_CODES && lockstep_whose(in->head, sae_digest(of->sae))) {
        err_in(stream_name(in));
        tool_die();
    }
}

static void begin(struct reading *r, const struct stream_in *in)
{
    for (size_t k = 0; k < r->n; k++) {
        struct statrows_of *of = &r->of[k];
        struct measure_of what = { .m = of->sae ? of->sae->d_sae : in->d, .truth = of->truth, .truths = of->truths };
        check(of, in);
        if (r->width) {
            what.d = r->width;
            what.dec = of->sae->w_dec;
            what.b_dec = of->sae->b_dec;
            what.unit_gram = of->shape->unit_gram;
            what.pass = of->shape->pass;
            what.neurons = r->how->neurons;
        }
        of->rows = measure_new(&what);
    }
    const struct sae *sae = r->of->sae;
    if ((r->how->coded && lockstep_open_codes(&r->coded, r->how->coded, sae->d_sae, sae_digest(sae))) ||
        (r->how->codes && lockstep_open(&r->truth, r->how->codes, STREAM_CODES, r->of->truths)))
        tool_die();
}

static void end(struct reading *r)
{
    if ((r->how->coded && lockstep_end(&r->coded)) || (r->how->codes && lockstep_end(&r->truth)))
        tool_die();
    lockstep_close(&r->coded);
    lockstep_close(&r->truth);
    codes_free(&r->codes);
    codes_free(&r->true_codes);
    free(r->chosen);
    free(r->x);
    free(r->x_hat);
}

void statrows_read(const struct statrows *how, struct statrows_of *of, size_t n, struct stream_in *in)
{
    struct reading r = { .how = how, .of = of, .n = n, .width = in->kind == STREAM_ACTS ? in->d : 0 };
    struct lookahead ahead = { .in = in, .look = how->where.last };
    const struct batch *b, *next;
    size_t widest = in->d;
    begin(&r, in);
    for (size_t k = 0; k < n; k++)
        widest = of[k].rows->of.m > widest ? of[k].rows->of.m : widest;
    tool_slice(in, widest);
    r.chosen = mem_alloc(in->max_rows, sizeof *r.chosen);
    r.x = mem_align(in->max_rows * r.width, sizeof *r.x);
    r.x_hat = mem_align(in->max_rows * r.width, sizeof *r.x_hat);
    while (lookahead_next(&ahead, &b, &next)) {
        ssize_t chosen = row_selector_rows(&how->where, b, next, r.chosen);
        if (chosen < 0) {
            err_in(stream_name(in));
            tool_die();
        }
        add_rows(&r, b, (size_t)chosen);
    }
    lookahead_free(&ahead);
    end(&r);
    if (!of->rows->rows)
        tool_die_data("%s: a stream without rows%s", stream_name(in), in->total_rows ? " of those asked for" : "");
}
