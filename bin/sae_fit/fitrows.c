/* SPDX-License-Identifier: MIT */
#include "sae_fit/fitrows.h"

#include <string.h>

volatile sig_atomic_t fitrows_stop;

struct stream_in *fitrows_open(const char *path, size_t d)
{
    struct stream_in *in = stream_open(path);
    if (!in)
        tool_die();
    tool_want(in, STREAM_ACTS, d, "the fit");
    return in;
}

/* The next row's batch: 1, 0 behind the last row of the last epoch, -1. */
static int advance(struct fitrows *s)
{
    size_t d = s->in->d;
    for (;;) {
        if (fitrows_stop)
            return err_data("stopped");
        bool enough = s->max_rows >= 0 && s->used == (uint64_t)s->max_rows;
        if (!enough && s->at < s->b.n)
            return 1;
        s->at = s->b.n = 0;
        int more = enough ? 0 : stream_next(s->in, &s->b);
        if (more < 0)
            return -1;
        if (more)
            continue;
        if (s->used == 0 || ++s->epoch >= s->epochs)
            return 0;
        stream_close(s->in);
        s->in = fitrows_open(s->path, d);
        s->used = 0;
    }
}

ssize_t fitrows_next(void *arg, float *out, size_t n)
{
    struct fitrows *s = arg;
    size_t got = 0, d = s->in->d;
    while (got < n) {
        int more = advance(s);
        if (more < 0)
            return -1;
        if (!more)
            break;
        size_t k = s->b.n - s->at < n - got ? s->b.n - s->at : n - got;
        if (s->max_rows >= 0 && k > (uint64_t)s->max_rows - s->used)
            k = (uint64_t)s->max_rows - s->used;
        memcpy(out + got * d, s->b.x + s->at * d, k * d * sizeof *out);
        s->at += k;
        s->used += k;
        got += k;
    }
    return (ssize_t)got;
}

/* Rows of a file, by reading it through. */
static uint64_t count_rows(const char *path)
{
    struct stream_in *in = fitrows_open(path, 0);
    struct batch b;
    int more;
    while ((more = stream_next(in, &b)) > 0)
        ;
    if (more < 0)
        tool_die();
    uint64_t rows = in->total_rows;
    stream_close(in);
    return rows;
}

uint64_t fitrows_total(const struct fitrows *s, bool exact)
{
    const json_t *stated = json_object_get(s->in->head, "rows");
    uint64_t rows = json_integer_value(stated) > 0 ? (uint64_t)json_integer_value(stated) : 0;
    if (exact && io_seekable(s->in->io))
        rows = count_rows(s->path);             /* a header speaks of its own section only */
    if (s->max_rows >= 0 && (!rows || rows > (uint64_t)s->max_rows))
        rows = (uint64_t)s->max_rows;
    return rows * (uint64_t)s->epochs;
}
