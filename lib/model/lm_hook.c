/* The hook points of a model: their names, widths and order, and how a user may spell them. */
/* SPDX-License-Identifier: MIT */
#include "ground/mem.h"
#include "model/lm_inside.h"

#include <stdio.h>
#include <string.h>

/* Names as TransformerLens has them (behind "blocks.N." for those of a layer), and one more short form each. */
static const struct {
    const char *name, *alias;
} sites[SITES] = {
    [SITE_EMBED] = { "hook_embed", "" },
    [SITE_POS_EMBED] = { "hook_pos_embed", "" },
    [SITE_RESID_PRE] = { "hook_resid_pre", "" },
    [SITE_LN1] = { "ln1.hook_normalized", "ln1" },
    [SITE_Q] = { "attn.hook_q", "q" },
    [SITE_K] = { "attn.hook_k", "k" },
    [SITE_V] = { "attn.hook_v", "v" },
    [SITE_ROT_Q] = { "attn.hook_rot_q", "rot_q" },
    [SITE_ROT_K] = { "attn.hook_rot_k", "rot_k" },
    [SITE_Z] = { "attn.hook_z", "z" },
    [SITE_ATTN_OUT] = { "hook_attn_out", "attn" },
    [SITE_RESID_MID] = { "hook_resid_mid", "" },
    [SITE_LN2] = { "ln2.hook_normalized", "ln2" },
    [SITE_PRE] = { "mlp.hook_pre", "" },
    [SITE_POST] = { "mlp.hook_post", "" },
    [SITE_MLP_OUT] = { "hook_mlp_out", "mlp" },
    [SITE_RESID_POST] = { "hook_resid_post", "layers" },
    [SITE_LN_FINAL] = { "ln_final.hook_normalized", "ln_final" },
    [SITE_LOGITS] = { "logits", "" },
};

static int in_layer(int site)
{
    return site >= SITE_RESID_PRE && site <= SITE_RESID_POST;
}

static size_t width_of(const struct lm *m, int site)
{
    if (site == SITE_PRE || site == SITE_POST)
        return m->c.d_mlp;
    return site == SITE_LOGITS ? m->c.n_vocab : m->c.d_model;
}

static bool has_site(const struct lm *m, int site)
{
    switch (site) {
    case SITE_POS_EMBED:
        return m->family->names[LM_POS];
    case SITE_ROT_Q:
    case SITE_ROT_K:
        return m->c.rotary;
    case SITE_RESID_MID:
        return !m->c.parallel;
    default:
        return true;
    }
}

static void add(struct lm *m, int layer, int site)
{
    struct lm_hook *h = &m->hook[m->hooks];
    if (!has_site(m, site))
        return;
    h->layer = layer;
    h->site = site;
    h->width = width_of(m, site);
    if (in_layer(site))
        snprintf(h->name, sizeof h->name, "blocks.%d.%s", layer, sites[site].name);
    else
        snprintf(h->name, sizeof h->name, "%s", sites[site].name);
    m->hooks++;
}

void lm_make_hooks(struct lm *m)
{
    int layers = (int)m->c.n_layer;
    m->hook = mem_zero((size_t)layers * SITES + SITES, sizeof *m->hook);
    for (int site = 0; site < SITE_RESID_PRE; site++)
        add(m, -1, site);
    for (int layer = 0; layer < layers; layer++)
        for (int site = SITE_RESID_PRE; site <= SITE_RESID_POST; site++)
            add(m, layer, site);
    for (int site = SITE_LN_FINAL; site < SITES; site++)
        add(m, layers, site);
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

static int refuse(const struct lm *m, const char *name)
{
    char list[640] = "";
    size_t n = 0;
    for (int site = 0; site < SITES; site++) {
        if (!has_site(m, site))
            continue;
        if (site == SITE_RESID_PRE)
            n += (size_t)snprintf(list + n, sizeof list - n, "blocks.{0..%zu}.{", m->c.n_layer - 1);
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", sites[site].name,
                              site == SITE_RESID_POST ? "}, " : in_layer(site) ? "," : site == SITE_LOGITS ? "" : ", ");
    }
    return err_usage("no hook point %.60s; there are %s", name, list);
}

const struct lm_hook *lm_hook_find(const struct lm *m, const char *name)
{
    char rest[64], own[64];
    int layer = split(name, rest, sizeof rest);
    for (size_t i = 0; i < m->hooks; i++) {
        const struct lm_hook *h = &m->hook[i];
        if (!strcmp(h->name, name))
            return h;
        if ((in_layer(h->site) ? h->layer : -1) != layer)
            continue;
        plain(own, sizeof own, sites[h->site].name);
        if (!strcmp(own, rest) || (*rest && !strcmp(sites[h->site].alias, rest)))
            return h;
    }
    refuse(m, name);
    return NULL;
}
