/* SPDX-License-Identifier: MIT */
#include "patch/metric.h"
#include "base/mem.h"
#include "base/opt.h"
#include "data/row_selector.h"
#include "maths/logits.h"
#include "maths/nonlin.h"

#include <stdlib.h>
#include <string.h>

/* The first token whose bytes these are; -1: none. */
static int64_t find_text(const struct tokenizer *t, const char *text, size_t n, size_t n_vocab)
{
    for (size_t id = 0; t && id < tokenizer_size(t) && id < n_vocab; id++) {
        size_t len;
        const uint8_t *bytes = tokenizer_text(t, (uint32_t)id, &len);
        if (bytes && len == n && !memcmp(bytes, text, n))
            return (int64_t)id;
    }
    return -1;
}

static int find_token(const char *word, size_t n, const struct tokenizer *t, size_t n_vocab, uint32_t *id)
{
    char *text = mem_bytes(word, n);
    bool number = n > 0 && strspn(text, "0123456789") == n;
    int64_t found = -1;
    int bad = 0;
    if (number) {
        if (opt_count(text, &found) || found < 0 || (uint64_t)found >= n_vocab)
            bad = err_usage("token %.40s is not a number from 0 to %zu", text, n_vocab - 1);
    } else {
        size_t len;
        char *bytes = row_selector_bytes(text, &len);
        found = find_text(t, bytes, len, n_vocab);
        free(bytes);
        if (found < 0)
            bad = err_usage("'%.*s' is not one token%s", (int)(n < 60 ? n : 60), word,
                            t ? "" : ", nor a number: the model has no readable tokenizer.json");
    }
    *id = bad ? 0 : (uint32_t)found;
    free(text);
    return bad;
}

/* The first colon that no backslash stands before; NULL: none. */
static const char *find_colon(const char *p)
{
    for (; *p && *p != ':'; p++)
        p += *p == '\\' && p[1];
    return *p ? p : NULL;
}

int metric_parse(struct metric *m, const char *words, const struct tokenizer *t, size_t n_vocab)
{
    const char *p = words, *colon;
    *m = (struct metric){ METRIC_NLL, *p == '-' ? -1 : 1, 0, 0 };
    p += *p == '-';
    if (!strcmp(p, "nll"))
        return 0;
    if (!strncmp(p, "logit:", 6)) {
        m->kind = METRIC_LOGIT;
        return find_token(p + 6, strlen(p + 6), t, n_vocab, &m->a);
    }
    if (!strncmp(p, "diff:", 5) && (colon = find_colon(p + 5))) {
        m->kind = METRIC_DIFF;
        return find_token(p + 5, (size_t)(colon - p - 5), t, n_vocab, &m->a) ||
               find_token(colon + 1, strlen(colon + 1), t, n_vocab, &m->b) ? -1 : 0;
    }
    return err_usage("metric '%.60s' is none of nll, logit:TOKEN, diff:TOKEN:TOKEN", words);
}

/* The gradient of -log p_next is p, less 1 at next. */
static double nll_row(const struct metric *m, float *logits, size_t n, uint32_t next)
{
    double value = logits_lse(logits, n) - logits[next];
    float inverse;
    nonlin_softmax(logits, n, 1, n, n, 1, &inverse);
    float by = (float)m->sign * inverse;
    for (size_t i = 0; i < n; i++)
        logits[i] *= by;
    logits[next] -= (float)m->sign;
    return m->sign * value;
}

double metric_row(const struct metric *m, float *logits, size_t n_vocab, uint32_t next)
{
    if (m->kind == METRIC_NLL)
        return nll_row(m, logits, n_vocab, next);
    bool two = m->kind == METRIC_DIFF;
    double value = m->sign * ((double)logits[m->a] - (two ? logits[m->b] : 0));
    memset(logits, 0, n_vocab * sizeof *logits);
    logits[m->a] += (float)m->sign;
    if (two)
        logits[m->b] -= (float)m->sign;
    return value;
}
