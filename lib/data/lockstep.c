/* SPDX-License-Identifier: MIT */
#include "data/lockstep.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *kind_name(enum stream_kind kind)
{
    return kind == STREAM_CODES ? "codes" : "acts";
}

int lockstep_open(struct lockstep *p, const char *path, enum stream_kind kind, size_t d)
{
    *p = (struct lockstep){ .path = mem_string(path), .in = stream_open(path) };
    if (!p->in)
        return -1;
    if (p->in->kind != kind || p->in->d != d)
        return err_data("%s of width %zu where %s of width %zu are wanted", kind_name(p->in->kind), p->in->d,
                        kind_name(kind), d), err_in(path);
    p->in->max_rows = 4096;
    return 0;
}

int lockstep_whose(const json_t *head, const char *digest)
{
    const char *theirs = json_string_value(json_object_get(json_object_get(head, "sae"), "sha"));
    if (theirs && digest && *theirs && *digest && strcmp(theirs, digest))
        return err_data("codes of another dictionary (%.16s..., this one is %.16s...)", theirs, digest);
    return 0;
}

int lockstep_open_codes(struct lockstep *p, const char *path, size_t d, const char *digest)
{
    if (lockstep_open(p, path, STREAM_CODES, d))
        return -1;
    return lockstep_whose(p->in->head, digest) ? err_in(path) : 0;
}

/* Both headers name their hook, and not the same one. */
static int check_head(const struct lockstep *p, const struct batch *b)
{
    static const char *const keys[] = { "hook", "model_sha" };
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *one = json_string_value(json_object_get(b->head, keys[i]));
        const char *other = json_string_value(json_object_get(p->in->head, keys[i]));
        if (one && other && strcmp(one, other))
            return err_data("rows of another %s: %.80s, the rows it goes with have %.80s", i ? "model" : "hook", other, one);
    }
    return 0;
}

/* Is row j of theirs about the same token as row i of ours? */
static int check_row(const struct lockstep *p, const struct batch *ours, size_t i, size_t j)
{
    const struct batch *theirs = &p->batch;
    const struct {
        const char *name;
        const uint32_t *one, *other;
    } columns[] = { { "doc", ours->doc, theirs->doc }, { "ctx", ours->ctx, theirs->ctx }, { "pos", ours->pos, theirs->pos } };
    for (size_t c = 0; c < sizeof columns / sizeof *columns; c++)
        if (columns[c].one && columns[c].other && columns[c].one[i] != columns[c].other[j])
            return err_data("row %" PRIu64 " is not the same place: %s %" PRIu32 ", the row it goes with has %s %" PRIu32,
                            theirs->row + j, columns[c].name, columns[c].other[j], columns[c].name, columns[c].one[i]);
    return 0;
}

static int fetch(struct lockstep *p, const struct batch *b)
{
    size_t d = p->in->d;
    bool is_codes = p->in->kind == STREAM_CODES;
    codes_reset(&p->codes, d);
    if (!is_codes)
        p->x = mem_grow(p->x, &p->x_cap, b->n * d, sizeof *p->x);
    for (size_t i = 0; i < b->n; i++, p->at++) {
        const struct batch *t = &p->batch;
        if (p->at >= t->n) {
            int r = stream_next(p->in, &p->batch);
            if (r < 0)
                return -2;
            if (r == 0)
                return err_data("ends after %" PRIu64 " rows, there are more rows to go with", p->in->total_rows);
            p->at = 0;
            if (check_head(p, b))
                return -1;
        }
        if (check_row(p, b, i, p->at))
            return -1;
        if (is_codes)
            codes_push(&p->codes, t->idx + t->ptr[p->at], t->val + t->ptr[p->at], t->ptr[p->at + 1] - t->ptr[p->at]);
        else
            memcpy(p->x + i * d, t->x + p->at * d, d * sizeof *p->x);
    }
    return 0;
}

int lockstep_rows(struct lockstep *p, const struct batch *b)
{
    int r = fetch(p, b);
    return r == -1 ? err_in(p->path) : r ? -1 : 0;      /* stream_next() has named the file itself */
}

int lockstep_end(struct lockstep *p)
{
    int r = p->at < p->batch.n ? 1 : stream_next(p->in, &p->batch);
    return r > 0 ? err_data("goes on behind the last row it goes with"), err_in(p->path) : r;
}

void lockstep_close(struct lockstep *p)
{
    if (p->in)
        stream_close(p->in);
    codes_free(&p->codes);
    free(p->x);
    free(p->path);
    *p = (struct lockstep){ .path = NULL };
}
