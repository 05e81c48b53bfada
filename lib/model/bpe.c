/* SPDX-License-Identifier: MIT */
#include "model/bpe.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { CACHE_SLOTS = 1 << 15, CACHE_KEY = 46, CACHE_IDS = 20 };

static const uint32_t NONE = UINT32_MAX;        /* no rank, no neighbor, no id */

struct rule {                   /* of an open-addressing table whose empty places have rank NONE */
    uint32_t left, right, rank, made;
};

struct whole {                  /* the same for pieces taken whole; empty places have s NULL */
    const uint8_t *s;
    size_t n;
    uint32_t id;
};

struct slot {                   /* two cache lines; n 0: empty */
    uint8_t n, n_ids;
    uint8_t key[CACHE_KEY];
    uint32_t id[CACHE_IDS];
};

struct symbol {
    uint32_t id;
    uint32_t left, right;       /* neighbors, by the position of their first byte */
    uint32_t rank, made;        /* of the pair with the right neighbor; rank NONE where there is no rule, or this
                                   symbol has gone into another */
};

struct bpe {
    uint32_t byte_id[256];
    struct rule *rule;
    size_t rule_mask;
    struct whole *whole;        /* NULL: none */
    size_t whole_mask;
    struct slot *cache;
    struct symbol *symbol;      /* scratch for a piece */
    uint64_t *heap;             /* rank << 32 | position */
    size_t symbol_cap, heap_cap, heap_n;
};

static uint64_t mix(uint64_t h)
{
    h ^= h >> 32;
    h *= UINT64_C(0xd6e8feb86659fd93);
    return h ^ h >> 32;
}

static uint64_t hash(const uint8_t *s, size_t n)
{
    uint64_t h = n, w;
    for (; n >= sizeof w; s += sizeof w, n -= sizeof w) {
        memcpy(&w, s, sizeof w);
        h = mix(h ^ w) * UINT64_C(0x9e3779b97f4a7c15);
    }
    w = 0;
    memcpy(&w, s, n);
    return mix(h ^ w);
}

static size_t table_size(size_t n)
{
    size_t size = 16;
    while (size / 2 < n)
        size *= 2;
    return size;
}

struct bpe *bpe_new(const uint32_t byte_id[256], size_t merges, size_t wholes)
{
    struct bpe *b = mem_zero(1, sizeof *b);
    memcpy(b->byte_id, byte_id, sizeof b->byte_id);
    b->rule_mask = table_size(merges) - 1;
    b->rule = mem_alloc(b->rule_mask + 1, sizeof *b->rule);
    memset(b->rule, 0xff, (b->rule_mask + 1) * sizeof *b->rule);
    if (wholes) {
        b->whole_mask = table_size(wholes) - 1;
        b->whole = mem_zero(b->whole_mask + 1, sizeof *b->whole);
    }
    b->cache = mem_zero(CACHE_SLOTS, sizeof *b->cache);
    return b;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    free(b->rule);
    free(b->whole);
    free(b->cache);
    free(b->symbol);
    free(b->heap);
    free(b);
}

/* The place of a pair's rule, or the empty place where it would go. */
static struct rule *find_rule(const struct bpe *b, uint32_t left, uint32_t right)
{
    size_t i = mix((uint64_t)left << 32 | right) & b->rule_mask;
    while (b->rule[i].rank != NONE && (b->rule[i].left != left || b->rule[i].right != right))
        i = (i + 1) & b->rule_mask;
    return &b->rule[i];
}

void bpe_merge(struct bpe *b, uint32_t left, uint32_t right, uint32_t rank, uint32_t made)
{
    *find_rule(b, left, right) = (struct rule){ left, right, rank, made };
}

static struct whole *find_whole(const struct bpe *b, const uint8_t *s, size_t n)
{
    size_t i = hash(s, n) & b->whole_mask;
    while (b->whole[i].s && (b->whole[i].n != n || memcmp(b->whole[i].s, s, n)))
        i = (i + 1) & b->whole_mask;
    return &b->whole[i];
}

void bpe_whole(struct bpe *b, const uint8_t *s, size_t n, uint32_t id)
{
    *find_whole(b, s, n) = (struct whole){ s, n, id };
}

/* ---- the heap: the smallest key on top ---- */

static void heap_put(struct bpe *b, uint64_t key)
{
    size_t i = b->heap_n++;
    b->heap = mem_grow(b->heap, &b->heap_cap, b->heap_n, sizeof *b->heap);
    for (; i > 0 && b->heap[(i - 1) / 2] > key; i = (i - 1) / 2)
        b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = key;
}

static uint64_t heap_take(struct bpe *b)
{
    uint64_t *h = b->heap, top = h[0], key = h[--b->heap_n];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < b->heap_n; i = c) {
        c += c + 1 < b->heap_n && h[c + 1] < h[c];
        if (h[c] >= key)
            break;
        h[i] = h[c];
    }
    h[i] = key;
    return top;
}

/* ---- merging ---- */

/* Look up the pair that begins at `at` and put it in the queue. */
static void offer(struct bpe *b, uint32_t at)
{
    struct symbol *s = &b->symbol[at];
    s->rank = NONE;
    if (s->right == NONE)
        return;
    const struct rule *r = find_rule(b, s->id, b->symbol[s->right].id);
    if (r->rank == NONE)
        return;
    s->rank = r->rank;
    s->made = r->made;
    heap_put(b, (uint64_t)r->rank << 32 | at);
}

/* An entry whose symbol has gone, or has another neighbor by now, no longer bears the rank it was queued with. */
static void merge_all(struct bpe *b)
{
    while (b->heap_n) {
        uint64_t key = heap_take(b);
        uint32_t at = (uint32_t)key, rank = (uint32_t)(key >> 32);
        struct symbol *s = &b->symbol[at];
        if (s->rank != rank)
            continue;
        struct symbol *gone = &b->symbol[s->right];
        s->id = s->made;
        s->right = gone->right;
        gone->rank = NONE;
        if (s->right != NONE)
            b->symbol[s->right].left = at;
        offer(b, at);
        if (s->left != NONE)
            offer(b, s->left);
    }
}

static void encode_by_merges(struct bpe *b, const uint8_t *s, size_t n, struct ids *out)
{
    if (n >= NONE)
        mem_limit("a word longer than can be counted in 32 bits");
    b->symbol = mem_grow(b->symbol, &b->symbol_cap, n, sizeof *b->symbol);
    for (size_t i = 0; i < n; i++)
        b->symbol[i] = (struct symbol){ .id = b->byte_id[s[i]], .left = i ? (uint32_t)i - 1 : NONE,
                                        .right = i + 1 < n ? (uint32_t)i + 1 : NONE };
    for (size_t i = 0; i < n; i++)
        offer(b, (uint32_t)i);
    merge_all(b);
    for (uint32_t i = 0; i != NONE; i = b->symbol[i].right)
        ids_push(out, b->symbol[i].id);
}

void bpe_encode(struct bpe *b, const uint8_t *s, size_t n, struct ids *out)
{
    if (n == 0)
        return;
    const struct whole *w = b->whole ? find_whole(b, s, n) : NULL;
    if (w && w->s) {
        ids_push(out, w->id);
        return;
    }
    if (n > CACHE_KEY) {
        encode_by_merges(b, s, n, out);
        return;
    }
    struct slot *c = &b->cache[hash(s, n) % CACHE_SLOTS];
    if (c->n == n && !memcmp(c->key, s, n)) {
        for (size_t i = 0; i < c->n_ids; i++)
            ids_push(out, c->id[i]);
        return;
    }
    size_t before = out->n;
    encode_by_merges(b, s, n, out);
    if (out->n - before <= CACHE_IDS) {
        c->n = (uint8_t)n;
        c->n_ids = (uint8_t)(out->n - before);
        memcpy(c->key, s, n);
        memcpy(c->id, out->id + before, c->n_ids * sizeof *c->id);
    }
}
