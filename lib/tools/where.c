/* SPDX-License-Identifier: MIT */
#include "tools/where.h"
#include "ground/mem.h"
#include "ground/opt.h"

#include <stdlib.h>
#include <string.h>

/* "N" or "LO:HI". */
static int parse_range(const char *words, int64_t to[2])
{
    char *text = mem_string(words), *colon = strchr(text, ':');
    if (colon)
        *colon = 0;
    bool bad = opt_count(text, &to[0]) || to[0] < 0;
    to[1] = to[0];
    if (!bad && colon)
        bad = opt_count(colon + 1, &to[1]) || to[1] < to[0];
    free(text);
    return bad ? -1 : 0;
}

int where_at(struct where *w, const char *at)
{
    w->last = !strcmp(at, "last");
    w->by_pos = !w->last;
    return w->by_pos && parse_range(at, w->pos) ? err_usage("'%s' is not POS, LO:HI or last", at) : 0;
}

int where_words(struct where *w, char *words)
{
    static const char token[] = "token=";
    words += strspn(words, " \t");
    do {
        if (!strncmp(words, token, strlen(token))) {
            where_token(w, words + strlen(token));
            return 0;
        }
        size_t n = strcspn(words, " \t");
        bool more = words[n];
        words[n] = 0;
        bool *by = !strncmp(words, "doc=", 4) ? &w->by_doc : !strncmp(words, "ctx=", 4) ? &w->by_ctx : NULL;
        if (by) {
            *by = true;
            if (parse_range(words + 4, by == &w->by_doc ? w->doc : w->ctx))
                return err_usage("'%s' is not %.3s=N or %.3s=LO:HI", words, words, words);
        } else if (where_at(w, words)) {
            return -1;
        }
        words += n + more;
        words += strspn(words, " \t");
    } while (*words);
    return 0;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

void where_token(struct where *w, const char *s)
{
    w->by_token = true;
    w->token = mem_alloc(strlen(s) + 1, 1);
    w->token_len = 0;
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
        w->token[w->token_len++] = c;
    }
}

void where_free(struct where *w)
{
    free(w->token);
    *w = (struct where){ .by_token = false };
}

const char *where_lacks(const struct where *w, const struct batch *b)
{
    return w->by_token && !b->text                ? "text"
           : (w->last || w->by_ctx) && !b->ctx    ? "ctx"
           : w->by_doc && !b->doc                 ? "doc"
           : w->by_pos && !b->pos                 ? "pos"
                                                  : NULL;
}

static bool within(const int64_t range[2], uint32_t v)
{
    return v >= range[0] && v <= range[1];
}

bool where_selects(const struct where *w, const struct batch *b, const struct batch *next, size_t i)
{
    if ((w->by_pos && !within(w->pos, b->pos[i])) || (w->by_doc && !within(w->doc, b->doc[i])) ||
        (w->by_ctx && !within(w->ctx, b->ctx[i])))
        return false;
    if (w->by_token) {
        size_t len;
        const uint8_t *text = batch_text(b, i, &len);
        if (len != w->token_len || memcmp(text, w->token, len))
            return false;
    }
    if (!w->last)
        return true;
    if (i + 1 < b->n)
        return b->ctx[i + 1] != b->ctx[i];
    return !next || next->section != b->section || next->ctx[0] != b->ctx[i];
}
