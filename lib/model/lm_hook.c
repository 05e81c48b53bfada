/* The hook points of a model: their names, widths and order, and how a user may spell them. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "model/lm_internal.h"

#include <stdio.h>
#include <string.h>

/* Short forms of the names that the lists have, which are TransformerLens's. */
static const struct {
    const char *name, *alias;
} aliases[] = {
    { "ln1.hook_normalized", "ln1" }, { "ln2.hook_normalized", "ln2" }, { "ln_final.hook_normalized", "ln_final" },
    { "attn.hook_q", "q" }, { "attn.hook_k", "k" }, { "attn.hook_v", "v" }, { "attn.hook_z", "z" },
    { "attn.hook_rot_q", "rot_q" }, { "attn.hook_rot_k", "rot_k" },
    { "hook_attn_out", "attn" }, { "hook_mlp_out", "mlp" }, { "hook_resid_post", "layers" },
};

static bool in_layer(const struct lm *m, const struct lm_hook *h)
{
    return h->layer >= 0 && h->layer < (int)m->c.n_layer;
}

void lm_make_hooks(struct lm *m)
{
    for (size_t i = 0; i < m->list.ops; i++)
        m->hooks += m->list.op[i].kind == &op_hook;
    m->hook = mem_zero(m->hooks, sizeof *m->hook);
    struct lm_hook *h = m->hook;
    for (const struct op *o = m->list.op; h < m->hook + m->hooks; o++)
        if (o->kind == &op_hook) {
            *h = (struct lm_hook){ .layer = o->layer, .op = o, .width = m->list.width[o->in[0]] };
            if (in_layer(m, h))
                snprintf(h->name, sizeof h->name, "blocks.%d.%s", o->layer, o->name);
            else
                snprintf(h->name, sizeof h->name, "%s", o->name);
            h++;
        }
}

const struct lm_hook *lm_hooks(const struct lm *m, size_t *count)
{
    *count = m->hooks;
    return m->hook;
}

/* ---- spellings ---- */

/* "attn.hook_q" and "attn_q" are the same: drop "hook_", write '_' for '.'. */
static void plain(char *out, size_t size, const char *name)
{
    size_t n = 0;
    while (*name && n + 1 < size) {
        if (!strncmp(name, "hook_", 5))
            name += 5;
        else
            out[n++] = *name == '.' ? '_' : *name, name++;
    }
    out[n] = 0;
}

/* A layer's number at p, -1 when there is none; *end: the first character behind it. */
static int number(const char *p, const char **end)
{
    int n = 0;
    *end = p;
    while (**end >= '0' && **end <= '9' && n < 1 << 24)
        n = 10 * n + *(*end)++ - '0';
    return *end > p ? n : -1;
}

/* Split "blocks.6.hook_resid_post", "6.resid_post", "resid_post.6", "layers.6", "layers.6.mlp" into the layer, or -1,
 * and the rest, plain ("layers" when only a layer is named). */
static int split(const char *name, char *rest, size_t size)
{
    static const char *const prefixes[] = { "blocks.", "layers.", "h." };
    const char *p = name, *dot = strrchr(name, '.'), *end;
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes && p == name; i++)
        if (!strncmp(name, prefixes[i], strlen(prefixes[i])))
            p += strlen(prefixes[i]);
    int layer = number(p, &end);
    if (layer >= 0 && (*end == '.' || (*end == 0 && p > name))) {
        plain(rest, size, *end ? end + 1 : "layers");
        return layer;
    }
    layer = dot ? number(dot + 1, &end) : -1;
    if (layer >= 0 && *end == 0) {
        char front[64];
        snprintf(front, sizeof front, "%.*s", (int)(dot - name), name);
        plain(rest, size, front);
        return layer;
    }
    plain(rest, size, name);
    return -1;
}

/* The points of the first layer stand for those of all. */
static int refuse(const struct lm *m, const char *name)
{
    char list[640] = "", layers[64];
    bool was = false;
    snprintf(layers, sizeof layers, ", blocks.{0..%zu}.{", m->c.n_layer - 1);
    for (const struct lm_hook *h = m->hook; h < m->hook + m->hooks; h++) {
        bool in = in_layer(m, h);
        size_t n = strlen(list);
        if (in && h->layer > 0)
            continue;
        snprintf(list + n, sizeof list - n, "%s%s", in ? was ? "," : layers : was ? "}, " : n ? ", " : "", h->op->name);
        was = in;
    }
    return err_usage("no hook point %.60s; there are %s", name, list);
}

/* Is `word` a short form of the name? */
static bool is_alias(const char *name, const char *word)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (!strcmp(aliases[i].name, name) && !strcmp(aliases[i].alias, word))
            return true;
    return false;
}

const struct lm_hook *lm_hook_find(const struct lm *m, const char *name)
{
    char rest[64], own[64];
    int layer = split(name, rest, sizeof rest);
    for (size_t i = 0; i < m->hooks; i++) {
        const struct lm_hook *h = &m->hook[i];
        if (!strcmp(h->name, name))
            return h;
        if ((in_layer(m, h) ? h->layer : -1) != layer)
            continue;
        plain(own, sizeof own, h->op->name);
        if (!strcmp(own, rest) || is_alias(h->op->name, rest))
            return h;
    }
    refuse(m, name);
    return NULL;
}
