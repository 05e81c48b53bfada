/* err: the one sentence that says what went wrong, and the exit status it earns.
 *
 * Library functions that fail return -1 and leave a sentence here; only mem, end, opt, tool and main() exit.
 * The sentence is about the user's file ("record 1041: 3 rows claimed, 2 present"), lower case, one line;
 * whoever knows the file's name puts it in front with err_in(). Each thread has its own sentence. */
/* SPDX-License-Identifier: MIT */
#ifndef ERR_H
#define ERR_H

enum err_status { ERR_SYSTEM = 1, ERR_USAGE = 2, ERR_DATA = 3 };

#define ERR_CHECKED __attribute__((warn_unused_result))
#define ERR_FORMAT(a, b) __attribute__((format(printf, a, b)))

/* Leave a sentence with its exit status and return -1. err_sys appends ": " and strerror(errno). */
int err_data(const char *format, ...) ERR_FORMAT(1, 2);
int err_usage(const char *format, ...) ERR_FORMAT(1, 2);
int err_sys(const char *format, ...) ERR_FORMAT(1, 2);

/* Put "NAME: " before the sentence that is there; returns -1. */
int err_in(const char *name);

/* The sentence ("" when there is none), control characters masked, and its status. Valid until the next err_*. */
const char *err_text(void);
enum err_status err_status(void);

/* Copy src to dst (size bytes, always terminated) with broken UTF-8 and characters that steer a
 * terminal (utf8_printable()) shown as '?'. */
void err_mask(char *dst, unsigned long size, const char *src);

#endif
