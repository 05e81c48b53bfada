/* metric: what its words mean, and that each gradient is that of its number. */
/* SPDX-License-Identifier: MIT */
#include "base/rng.h"
#include "small_tokenizer.h"
#include "tap.h"
#include "patch/metric.h"

#include <math.h>
#include <string.h>

enum { V = 50 };

static double value_of(const struct metric *m, const float *logits, uint32_t next)
{
    float row[V];
    memcpy(row, logits, sizeof row);
    return metric_row(m, row, V, next);
}

static void test_gradient(const char *words, double want_sum)
{
    struct rng rng;
    struct metric m;
    float logits[V], grad[V];
    double worst = 0, sum = 0, h = 1.0 / 64;
    rng_seed(&rng, 3, 0);
    for (int i = 0; i < V; i++)
        logits[i] = (float)(3 * rng_normal(&rng));
    ok(!metric_parse(&m, words, NULL, V), "%s is a metric", words);
    memcpy(grad, logits, sizeof grad);
    metric_row(&m, grad, V, 7);
    for (int i = 0; i < V; i++) {
        float was = logits[i];
        logits[i] = was + (float)h;
        double up = value_of(&m, logits, 7);
        logits[i] = was - (float)h;
        double slope = (up - value_of(&m, logits, 7)) / (2 * h);
        logits[i] = was;
        worst = fmax(worst, fabs(slope - grad[i]));
        sum += grad[i];
    }
    ok(worst < 1e-4, "%s: gradient (off by %.2g)", words, worst);
    is_near(sum, want_sum, 1e-5, "%s: its sum", words);
}

static void test_numbers(void)
{
    struct metric m;
    float logits[V] = { 0 };
    logits[4] = 100;
    ok(!metric_parse(&m, "nll", NULL, V), "nll");
    is_near(value_of(&m, logits, 4), 0, 1e-6, "nll of what is certain");
    is_near(value_of(&m, logits, 5), 100, 1e-4, "nll of what is out of the question");
    ok(!metric_parse(&m, "-diff:4:5", NULL, V), "-diff");
    is_near(value_of(&m, logits, 0), -100, 0, "a negative difference");
    test_gradient("diff:4:4", 0);
}

static void test_words(void)
{
    static const char *const bad[] = { "", "-", "nll:3", "logit:", "logit:-1", "logit:50", "logit:1e3", "logit:a", "diff:1",
                                       "diff:1:", "diff::1", "diff:1:50", "diff:1:2:3", "NLL", "logit" };
    struct metric m;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ok(metric_parse(&m, bad[i], NULL, V) && err_status() == ERR_USAGE && *err_text(), "refused: %s (%s)", bad[i],
           err_text());
    ok(!metric_parse(&m, "logit:49", NULL, V) && m.kind == METRIC_LOGIT && m.a == 49 && m.sign == 1, "a token's number");
    ok(!metric_parse(&m, "-diff:3:12", NULL, V) && m.kind == METRIC_DIFF && m.a == 3 && m.b == 12 && m.sign == -1,
       "two numbers and a sign");
}

static void test_texts(void)
{
    static const struct {
        const char *words;
        uint32_t a, b;
    } good[] = { { "logit: the", _THE, 0 }, { "logit:7", 7, 0 }, { "logit:\\7", '7', 0 }, { "logit:\\n\\n", NLNL, 0 },
                 { "logit::", ':', 0 }, { "diff:\\::he", ':', HE }, { "diff:he:\\x61", HE, 'a' }, { "diff:abc:3", ABC, 3 } };
    const char *dir = small_folder();
    struct small s = { .pairs = false };
    struct metric m;
    small_write(dir, s);
    struct tokenizer *t = tokenizer_load(dir);
    ok(t != NULL, "the tokenizer loads");
    for (size_t i = 0; t && i < sizeof good / sizeof *good; i++)
        ok(!metric_parse(&m, good[i].words, t, SMALL_SIZE) && m.a == good[i].a && m.b == good[i].b, "%s is tokens %u and %u",
           good[i].words, good[i].a, good[i].b);
    ok(metric_parse(&m, "logit:hex", t, SMALL_SIZE) && strstr(err_text(), "'hex' is not one token"), "two tokens are not one");
    ok(metric_parse(&m, "logit: the", t, 256) != 0, "a token that the model has not");
    tokenizer_free(t);
    small_remove(dir, (const char *const[]){ "tokenizer.json", NULL });
}

int main(void)
{
    test_words();
    test_texts();
    test_numbers();
    test_gradient("nll", 0);
    test_gradient("-nll", 0);
    test_gradient("logit:7", 1);
    test_gradient("-logit:9", -1);
    test_gradient("diff:3:12", 0);
    return done_testing();
}
