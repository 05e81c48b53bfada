/* SPDX-License-Identifier: MIT */
#include "cli/shellword.h"

#include <string.h>

/* A table writes this byte in another form, or may. */
static bool is_escaped(char c)
{
    return c == '\\' || (unsigned char)c < 0x20 || (unsigned char)c >= 0x7f;
}

void shellword_add(struct text *t, const char *word, bool in_cell)
{
    const char *open = "'", *c = word;
    if (*word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=.,:/@%")]) {
        table_text_plain(t, word);
        return;
    }
    while (*c && !is_escaped(*c))
        c++;
    if (in_cell && *c)
        open = "$'";
    table_text_plain(t, open);
    for (c = word; *c; c++) {
        if (*c != '\'') {
            table_text_bytes(t, (const uint8_t *)c, 1);
            continue;
        }
        table_text_plain(t, "'\"'\"");        /* out of the quotes, a quoted quote, and in again */
        table_text_plain(t, open);
    }
    table_text_plain(t, "'");
}
