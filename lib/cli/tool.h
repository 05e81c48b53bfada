/* tool: the few dying wrappers that every main() uses. On failure they print "tool: file: sentence" and exit with the
 * status the sentence earns. The last line of a main(), tool_finish(), is the only way a complete output can come to be. */
/* SPDX-License-Identifier: MIT */
#ifndef TOOL_H
#define TOOL_H

#include "base/opt.h"
#include "data/stream.h"
#include "maths/sparse.h"

/* Print the sentence that is there and exit with its status. */
void tool_die(void) __attribute__((noreturn));
/* The same with a sentence of one's own and the status of damaged or unfitting input (3). */
void tool_die_data(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
/* A note on stderr: with -v only / unless -q. */
void tool_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void tool_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Note on stderr (unless -q) a temporary file that a killed run left of an output; tool_begin() does so for -o. */
void tool_left_part(const char *path);

/* Options parsed, signal handlers set, threads started. Every main() begins with it. */
void tool_begin(int *argc, char ***argv, const struct opt_usage *usage, const struct opt *table);

/* ---- streams in ---- */
/* Say on stderr (unless -q) that standard input is a terminal, where that is what `path` (NULL, "-") means. tool_open() does. */
void tool_terminal(const char *path);
/* Open operand i of argv, or standard input when there is none; obeys --allow-nan. */
struct stream_in *tool_open(int argc, char **argv, int i);
/* Exit 3 unless the stream is of this kind and, when d is not 0, of this width: "rows are 512 wide, SAE wants 768". */
void tool_want(const struct stream_in *in, enum stream_kind kind, size_t d, const char *who);
/* Rows at once such that rows * width floats stay near 4 MiB: call before the first tool_next(). */
void tool_slice(struct stream_in *in, size_t width);
/* The next rows; 0 only after the last end record. Draws the progress line. */
int tool_next(struct stream_in *in, struct batch *b);

/* ---- streams out ---- */
/* Refuse a terminal, create -o (or standard output) and write the header: `in`'s header (NULL: none), with the keys of
 * `changes` (consumed; a null value removes a key) and this tool's history entry, whose inputs are `inputs` (n). The
 * output has the same sections as the input. */
struct stream_out *tool_create(const struct stream_in *in, json_t *changes, char **inputs, size_t n);
/* The same for a tool that makes rows out of something else, on an output of its own (NULL: standard output). */
struct stream_out *tool_create_at(const char *path, json_t *head, char **inputs, size_t n);
/* One history entry, as tool_create() adds it: {tool, version, args, in}. */
json_t *tool_history(char **inputs, size_t n);
/* Write a batch made from `from` (NULL for a tool without an input stream): a new section of the input becomes one here. */
void tool_put(struct stream_out *out, const struct stream_in *in, const struct batch *from, const struct batch *b);
/* Add to b, made from all rows of `from`, whatever else `from` carries. */
void tool_carry(struct batch *b, const struct stream_in *in, const struct batch *from);
/* Add the columns ptr, idx, val of c to b and write it, in as many records as the limits ask for, with what `from`
 * carries. Values are stored as f32. */
void tool_put_codes(struct stream_out *out, const struct stream_in *in, const struct batch *from, const struct codes *c);
/* Add x (from->n, d), stored as `type`, and what `from` carries, and write it. */
void tool_put_acts(struct stream_out *out, const struct stream_in *in, const struct batch *from, const float *x, size_t d,
                   enum dtype type);
/* End record, flush, fsync, close, rename: all checked. Returns the exit status of main(). */
int tool_finish(struct stream_out *out);

/* ---- progress ---- */
/* Rows done of `total` (0: not known) and a remark; drawn at most five times a second on a terminal, by one program of
 * those that share it, or with -v as a line every few seconds. tool_progress_end() clears it. */
void tool_progress(uint64_t rows, uint64_t total, const char *remark);
void tool_progress_end(void);
/* Seconds since some fixed time; for rates only. */
double tool_clock(void);

#endif
