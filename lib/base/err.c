/* SPDX-License-Identifier: MIT */
#include "base/err.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char sentence[1024];
static _Thread_local enum err_status status = ERR_SYSTEM;

void err_mask(char *dst, unsigned long size, const char *src)
{
    unsigned long n = 0, left = strlen(src);
    while (left) {
        unsigned long length = utf8_length(src, left), take = length ? length : 1;
        bool shown = utf8_printable(src, left);
        if (n + (shown ? take : 1) >= size)
            break;
        memcpy(dst + n, shown ? src : "?", shown ? take : 1);
        n += shown ? take : 1;
        src += take;
        left -= take;
    }
    dst[n] = 0;
}

static int leave(enum err_status s, int number, const char *format, va_list ap)
{
    char raw[sizeof sentence];
    int n = vsnprintf(raw, sizeof raw, format, ap);
    if (number && n >= 0 && (size_t)n < sizeof raw)
        snprintf(raw + n, sizeof raw - (size_t)n, ": %s", strerror(number));
    err_mask(sentence, sizeof sentence, raw);
    status = s;
    return -1;
}

int err_data(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    leave(ERR_DATA, 0, format, ap);
    va_end(ap);
    return -1;
}

int err_usage(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    leave(ERR_USAGE, 0, format, ap);
    va_end(ap);
    return -1;
}

int err_sys(const char *format, ...)
{
    int number = errno;
    va_list ap;
    va_start(ap, format);
    leave(ERR_SYSTEM, number, format, ap);
    va_end(ap);
    return -1;
}

int err_in(const char *name)
{
    char rest[sizeof sentence], shown[512];
    memcpy(rest, sentence, sizeof rest);
    err_mask(shown, sizeof shown, name);
    snprintf(sentence, sizeof sentence, "%s: %.*s", shown, (int)(sizeof sentence - strlen(shown) - 3), rest);
    return -1;
}

const char *err_text(void)
{
    return sentence;
}

enum err_status err_status(void)
{
    return status;
}
