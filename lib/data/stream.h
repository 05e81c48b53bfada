/* stream: SAES v1, the sections, headers, batches and end records that all tools read and write.
 *
 *   section = header batch* end          a stream is one section or several, one behind the other
 *
 * Readers believe nothing: kind, width, row counts, columns and totals are checked before a batch is handed out, and a
 * section that lacks its end record is an error. man/man5/saes.5 is the specification. */
/* SPDX-License-Identifier: MIT */
#ifndef STREAM_H
#define STREAM_H

#include "data/dtype.h"
#include "data/frame.h"

#include <stdbool.h>

enum stream_kind { STREAM_ACTS, STREAM_CODES };

enum {
    STREAM_COLUMNS = FRAME_BINS,
    STREAM_ROWS = 1 << 20,              /* rows in a batch */
    STREAM_WIDTH = 1 << 20,             /* d */
    STREAM_PAIRS = 1 << 22,             /* (index, value) pairs in a batch */
    STREAM_PAYLOAD = 2 << 20,           /* what writers aim at in one batch, bytes */
};

/* What the entries of a column belong to, and so how it follows its rows when some are left out or change their order. */
enum column_rule {
    COLUMN_BATCH,                       /* the batch as a whole: stays behind when rows are left out */
    COLUMN_ROW,                         /* n entries, one a row */
    COLUMN_TEXT,                        /* bytes of all rows, joined; each row's end stands in the column NAME_end */
    COLUMN_ENDS,                        /* that column: n ends that never fall, the last one the number of bytes */
    COLUMN_PAIRS,                       /* idx, val: row i has entries [ptr[i], ptr[i+1]) */
    COLUMN_STARTS,                      /* ptr */
};

struct column {
    const char *name;
    enum dtype type;
    size_t rank, shape[4];
    enum column_rule rule;
    bool row;                           /* its entry in cols says "row" */
    const void *data;                   /* items, contiguous; borrowed */
};

/* Rows with all that belongs to them. Readers fill it (borrowed until the next read); writers take one. */
struct batch {
    size_t n;                           /* rows */
    uint64_t row;                       /* index of the first one within its section */
    uint64_t section, record;           /* readers: which section, and which record of the stream, from 0 */
    json_t *head;                       /* readers: the header of that section, borrowed like the rest */
    size_t cols;
    struct column col[STREAM_COLUMNS];
    /* The reserved columns as arrays; NULL where the stream has none. Set by readers only. */
    const float *x;                     /* acts: (n,d), converted to f32 */
    const uint32_t *doc, *ctx, *pos, *tok;
    const uint8_t *text;                /* row i: text[text_end[i-1], text_end[i]) */
    const uint32_t *text_end;
    const uint32_t *ptr, *idx;          /* codes: row i holds idx, val [ptr[i], ptr[i+1]) */
    const float *val;
};

/* Add a column to a batch being made (data borrowed until it is written). Rank 1 when width is 0, else (items, width). */
void batch_add(struct batch *b, const char *name, enum dtype type, size_t items, size_t width, bool row,
               const void *data);
/* Add a text column `name` and its ends `name_end` (b->n of them; both names borrowed like the data): row i has
 * bytes[end[i-1], end[i]). */
void batch_add_text(struct batch *b, const char *name, const char *name_end, const void *bytes, const uint32_t *end);
/* The column of that name or NULL. */
const struct column *batch_column(const struct batch *b, const char *name);
size_t column_bytes(const struct column *c);
size_t column_entry(const struct column *c);        /* bytes of one entry along its first axis */
/* May a column of one's own have this name? */
bool column_name_free(const char *name);
/* One of the columns that this format gives a meaning, the ends of texts included. */
bool column_reserved(const struct column *c);
/* Which entries of c, a column of b that is not COLUMN_BATCH, belong to rows [lo, hi): n from `from` on. */
void batch_entries(const struct batch *b, const struct column *c, size_t lo, size_t hi, size_t *from, size_t *n);
/* Add every column of src that travels with its rows, except the numbers themselves (x, ptr, idx, val). When
 * `all` also the columns that do not: only right when the rows are all of src's, in its order. -1 and a sentence when
 * they become more than STREAM_COLUMNS. */
int batch_carry(struct batch *dst, const struct batch *src, bool all) ERR_CHECKED;
/* Narrow the columns of b to its rows [lo, hi). Columns that do not travel with rows go with the first ones (lo 0).
 * Offsets that had to be rebased live in buf (zeroed before the first use). The reserved arrays b->x, b->text_end and so
 * on are not changed. */
struct batch_cuts {
    uint32_t *offsets;
    size_t cap;
};
void batch_cut(struct batch *b, size_t lo, size_t hi, struct batch_cuts *buf);
void batch_cuts_free(struct batch_cuts *buf);
/* Point doc, ctx, pos, tok, text, text_end, ptr and idx at their columns. */
void batch_point(struct batch *b);
/* The bytes of row i's text; *len is 0 when there is no text column. */
const uint8_t *batch_text(const struct batch *b, size_t i, size_t *len);
/* The bytes of row i in c, a text column of b. */
const uint8_t *column_text(const struct batch *b, const struct column *c, size_t i, size_t *len);

/* ---- reading ---- */
struct stream_in {
    struct io_in *io;
    json_t *head;                       /* of the current section; known and unknown keys alike */
    enum stream_kind kind;
    enum dtype dtype;
    size_t d;
    uint64_t section, record, row;      /* row: read so far in this section */
    uint64_t total_rows, total_batches; /* over all sections */
    bool allow_nan;
    void (*on_end)(const struct stream_in *s, void *arg);   /* NULL, or called at each end record */
    void *on_end_arg;
    size_t max_rows;                    /* rows handed out at once (0: no limit); longer records come in slices */
    struct stream_reading *private;
};

/* Open a stream and read its first header. path as io_open(). NULL and a sentence (with the name). */
struct stream_in *stream_open(const char *path);
/* The same on an input of which nothing has been read yet; taken over, and closed on failure. */
struct stream_in *stream_read(struct io_in *io);
/* The next rows: 1, 0 at the end of the last section, -1 and a sentence (with the name). Batches of 0 rows are not
 * handed out. */
int stream_next(struct stream_in *s, struct batch *b) ERR_CHECKED;
void stream_close(struct stream_in *s);
/* The end record of the last section that has ended (rows, batches, stats), borrowed; NULL before that. */
const json_t *stream_end(const struct stream_in *s);
const char *stream_name(const struct stream_in *s);

/* ---- writing ---- */
struct stream_out {
    struct io_out *io;
    uint64_t section;                   /* of the input this mirrors: see cli/tool.h */
    bool allow_nan;                     /* stream_put() refuses a number that is not finite unless this is set */
    struct stream_writing *private;
};

/* A header's required keys. Further keys are set by the caller. json_decref() it. */
json_t *stream_head(enum stream_kind kind, size_t d, enum dtype dtype);
/* Begin a stream on io (taken over) by writing head (not consumed). NULL and a sentence. */
struct stream_out *stream_create(struct io_out *io, const json_t *head);
/* End the section and begin another one. */
int stream_section(struct stream_out *s, const json_t *head) ERR_CHECKED;
/* Write a batch: its columns; n is its rows; row is counted here. */
int stream_put(struct stream_out *s, const struct batch *b) ERR_CHECKED;
/* End the section and commit the output. Releases s. */
int stream_finish(struct stream_out *s) ERR_CHECKED;
void stream_abort(struct stream_out *s);

#endif
