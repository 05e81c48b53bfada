/* splice: rows of activation streams put back into the model they came from.
 *
 *   streams at one hook each -> contexts (tokens, and which of them have a row) -> pieces -> forward passes
 *
 *     position   0    1    2    3    4         row i of a context is token i; at a hook whose stream has a row there the
 *     token      BOS  In   the  be   gin       model's own row is overwritten, elsewhere it stays as the model made it
 *     given      -    x    x    -    x
 *
 * Contexts are put into pieces as act-dump puts them, so that rows it wrote meet the same arithmetic. */
/* SPDX-License-Identifier: MIT */
#ifndef SPLICE_H
#define SPLICE_H

#include "data/stream.h"
#include "model/lm.h"

struct splice_port {
    const struct lm_hook *hook;
    const char *path;                   /* NULL: standard input */
};

/* What the streams are read with. */
struct splice_options {
    const char *tok_sha;                /* of the model's tokenizer; NULL: not known, not compared */
    const char *ids;                    /* file of token ids, a document a line, as act-dump --tokenize writes; or NULL */
    size_t batch;                       /* contexts in a piece; 0: as many as make 512 tokens */
    bool allow_nan;
};

struct splice_rows {
    const struct lm_hook *hook;
    float *x;                           /* (tokens, width of the hook); undefined where not given */
    bool *given;                        /* (tokens) */
    size_t x_cap, given_cap;
};

/* A text column of the first stream that has no meaning of its own here, such as the label of the documents. */
struct splice_field {
    char *name, *ends;                  /* and the name of the column of its ends */
    size_t *at, *len;                   /* (tokens) bytes of the group's text; length 0: none, or no row */
    size_t at_cap, len_cap;
};

enum { SPLICE_FIELDS = STREAM_COLUMNS / 2 - 4 };        /* so many fit beside doc, ctx, pos, tok, text and the rows */

struct splice_piece {
    size_t first, count;                /* contexts of the group, for one forward pass on one thread */
};

/* Some contexts of one section, computed together. Token i of the group is number i - start[c] of its context c. */
struct splice_group {
    uint64_t section;
    json_t *head;                       /* of that section of the first stream */
    int64_t bos;                        /* what its contexts begin with; -1: nothing, or not known */
    size_t contexts, tokens, pieces, ports;
    size_t *start;                      /* (contexts + 1) */
    uint32_t *doc, *ctx;                /* (contexts) */
    uint32_t *tok;                      /* (tokens) */
    bool *known;                        /* (tokens) true once the group is handed out */
    size_t *text_at, *text_len;         /* (tokens) bytes of the first stream that has text there; length 0: none */
    uint8_t *text;
    size_t text_n;
    size_t fields;
    struct splice_field field[SPLICE_FIELDS];
    struct splice_rows *row;            /* (ports) */
    struct splice_piece *piece;
    size_t start_cap, doc_cap, ctx_cap, tok_cap, known_cap, at_cap, len_cap, text_cap, piece_cap;
};

struct splice;

/* Open the streams of n ports (their hooks all different) for m and check that they are m's: kind, width, hook,
 * model_sha, tokenizer, not scaled, not shuffled; what a header does not say is not held against it. NULL and a sentence
 * with the stream's name on failure. The arguments must outlive it. */
struct splice *splice_open(struct lm *m, const struct splice_port *port, size_t n, const struct splice_options *how);
void splice_close(struct splice *s);
/* The stream of port i, for its header and name. */
struct stream_in *splice_stream(const struct splice *s, size_t i);

/* The next group into g (zeroed before the first call, reused after). 1; 0 at the end of all streams; -1 and a sentence:
 * rows out of order, streams that are not of the same contexts, positions whose token nobody says. */
int splice_next(struct splice *s, struct splice_group *g) ERR_CHECKED;
void splice_group_free(struct splice_group *g);
/* Is token i of context c the BOS that begins it? */
bool splice_is_bos(const struct splice_group *g, size_t c, size_t i);

/* Append to each context c the token tok[c], without a row and without text. The pieces keep their contexts. */
void splice_append(struct splice_group *g, const uint32_t *tok);

/* What stands at the hooks where rows are given. */
enum splice_with { SPLICE_CLEAN, SPLICE_ROWS, SPLICE_ZERO, SPLICE_MEAN };

/* One forward pass over piece p of g, up to the last hook of the n further taps, which see rows after they have been
 * overwritten. mean: for SPLICE_MEAN a row for each port. resid: NULL, or the residual stream (rows of the piece, d_model)
 * at splice_layer() of a clean pass, from which this one then goes on; no further tap may be before it. Called on one thread
 * with its own work; row 0 is token g->start[g->piece[p].first]. */
void splice_forward(const struct lm *m, struct lm_work *w, const struct splice_group *g, size_t p, enum splice_with with,
                    float *const *mean, const float *resid, const struct lm_tap *more, size_t n);
/* The layer at whose input passes over g may go on, and the hook that shows the residual stream there; NULL where nothing
 * could be shared. */
int splice_layer(const struct lm *m, const struct splice_group *g, const struct lm_hook **shown);

/* Add to sum (width) and *count the model's own rows at port i wherever g gives a row. Runs on the pool; work has one
 * entry for each thread. */
void splice_sum_clean(const struct lm *m, struct lm_work **work, const struct splice_group *g, size_t i, double *sum,
                      uint64_t *count);

#endif
