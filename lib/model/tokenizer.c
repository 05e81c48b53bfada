/* SPDX-License-Identifier: MIT */
#include "model/tokenizer.h"
#include "base/mem.h"
#include "data/jsonfile.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/unicode.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_LIMIT = 256 << 20, IDS_MAX = 1 << 24, CHUNK = 1 << 16, STRETCH_MAX = 1 << 20 };

struct entry {                  /* a token: its bytes are pool[at, at+n) */
    uint32_t id;
    bool literal;               /* the bytes are the token's name itself: no piece of text can come to be this token */
    size_t at, n;
};

/*  bytes -> raw -> [tokens of the raw text] -> NFC -> text -> [tokens of the normalized text] -> pieces -> ids
 *  Each of raw and text keeps the end of what has come that the next bytes could still change. */
struct tokenizer {
    struct entry *entry;        /* sorted by id */
    size_t n, cap;
    struct unicode_text pool;
    struct added_tokens early, late;       /* added tokens found before and after normalization */
    struct bpe *bpe;
    bool nfc, byte_level, prefix_space, split;

    struct unicode_text raw, text, prefixed;
    size_t raw_wait, text_wait; /* no use looking for a cut before there are so many bytes */
    bool too_long;              /* a stretch is more than STRETCH_MAX bytes */
    bool fresh;                 /* text[0] begins a stretch between tokens */
    struct ids *out;            /* of the tokenizer_feed() that is running */
};

/* ---- the vocabulary ---- */

/* Byte-level names: printable bytes stand for themselves, the 68 others for U+0100 and on, in order. */
static bool is_printable(int b)
{
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff);
}

static int32_t byte_to_char(int byte)
{
    int32_t c = 0x100;
    if (is_printable(byte))
        return byte;
    for (int b = 0; b < byte; b++)
        c += !is_printable(b);
    return c;
}

int tokenizer_byte(int32_t c)
{
    static const uint8_t others[] = {
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x10,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f, 0x20, 0x7f,
        0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f, 0x90,
        0x91, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xad,
    };
    if (c >= 0x100 && c < 0x100 + (int32_t)sizeof others)
        return others[c - 0x100];
    return c >= 0 && c < 0x100 && is_printable(c) ? c : -1;
}

/* Append the bytes that a name stands for to the pool; a name with a character that is no byte's stands for itself. */
static struct entry make_entry(struct tokenizer *t, uint32_t id, const char *name, bool literal)
{
    const uint8_t *s = (const uint8_t *)name;
    size_t n = strlen(name);
    struct entry e = { .id = id, .literal = literal, .at = t->pool.n };
    for (size_t i = 0; i < n && !e.literal;) {
        int32_t c;
        i += unicode_take(s + i, n - i, &c);
        int b = tokenizer_byte(c);
        uint8_t byte = (uint8_t)b;
        if (b >= 0)
            unicode_append(&t->pool, &byte, 1);
        e.literal = b < 0;
    }
    if (e.literal) {
        t->pool.n = e.at;
        unicode_append(&t->pool, s, n);
    }
    e.n = t->pool.n - e.at;
    return e;
}

static void push_entry(struct tokenizer *t, struct entry e)
{
    t->entry = mem_grow(t->entry, &t->cap, t->n + 1, sizeof *t->entry);
    t->entry[t->n++] = e;
}

/* A token's id as the file has it; -1 with a sentence. */
static int64_t read_id(const json_t *v, const char *name)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= IDS_MAX)
        return err_data("the id of token \"%.64s\" is not a whole number below %d", name, IDS_MAX);
    return json_integer_value(v);
}

static int load_vocab(struct tokenizer *t, json_t *vocab)
{
    const char *name;
    json_t *v;
    if (!json_is_object(vocab))
        return err_data("model.vocab is not an object");
    json_object_foreach(vocab, name, v) {
        int64_t id = read_id(v, name);
        if (id < 0)
            return -1;
        push_entry(t, make_entry(t, (uint32_t)id, name, false));
    }
    return 0;
}

/* An added token's flag; jsonfile's sentence is completed with the token's name. */
static int read_flag(const json_t *token, const char *key, bool missing, bool *out)
{
    if (jsonfile_bool(token, key, missing, out))
        return err_in(jsonfile_string(token, "content", "")), err_in("added_tokens");
    return 0;
}

static struct entry *find_entry(const struct tokenizer *t, size_t n, uint32_t id)
{
    size_t lo = 0, hi = n;
    if (id < n && t->entry[id].id == id)        /* as it is wherever ids have no gaps */
        return &t->entry[id];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->entry[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && t->entry[lo].id == id ? &t->entry[lo] : NULL;
}

static int by_id(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static int sort_entries(struct tokenizer *t)
{
    if (t->n)
        qsort(t->entry, t->n, sizeof *t->entry, by_id);
    for (size_t i = 1; i < t->n; i++)
        if (t->entry[i].id == t->entry[i - 1].id)
            return err_data("two tokens have the id %u", (unsigned)t->entry[i].id);
    return 0;
}

/* Enter an added token; one that the vocabulary has too stands for its content as it is written there. The first
 * n_vocab entries are the sorted vocabulary. */
static int enter_added(struct tokenizer *t, size_t n_vocab, const json_t *vocab, const char *name, uint32_t id)
{
    const json_t *same = json_object_get(vocab, name);
    if (same && json_integer_value(same) != id)
        return err_data("added token \"%.64s\" has the id %u, and %lld in model.vocab", name, (unsigned)id,
                        (long long)json_integer_value(same));
    struct entry e = make_entry(t, id, name, true), *old = same ? find_entry(t, n_vocab, id) : NULL;
    if (!old)
        push_entry(t, e);
    else if (old->n != e.n || memcmp(t->pool.s + old->at, t->pool.s + e.at, e.n))
        *old = e;
    return 0;
}

static int load_added_token(struct tokenizer *t, size_t n_vocab, const json_t *vocab, const json_t *token)
{
    const char *name = jsonfile_string(token, "content", NULL);
    struct added_token a = { .s = NULL };
    bool special, normalized;
    if (!name)
        return err_data("added_tokens: an entry without a content string");
    int64_t id = read_id(json_object_get(token, "id"), name);
    if (id < 0 || read_flag(token, "single_word", false, &a.single_word) ||
        read_flag(token, "lstrip", false, &a.lstrip) || read_flag(token, "rstrip", false, &a.rstrip) ||
        read_flag(token, "special", false, &special) || read_flag(token, "normalized", !special, &normalized) ||
        enter_added(t, n_vocab, vocab, name, (uint32_t)id))
        return -1;
    struct unicode_text content = { 0 };
    if (normalized && t->nfc)
        unicode_nfc((const uint8_t *)name, strlen(name), &content);
    else
        unicode_append(&content, name, strlen(name));
    a.s = content.s;
    a.n = content.n;
    a.id = (uint32_t)id;
    if (a.n)                    /* an empty one matches nowhere */
        added_tokens_push(normalized ? &t->late : &t->early, a);
    free(content.s);
    return 0;
}

static int load_added(struct tokenizer *t, const json_t *root, const json_t *vocab)
{
    const json_t *list = json_object_get(root, "added_tokens");
    size_t n_vocab = t->n;
    if (list && !json_is_null(list) && !json_is_array(list))
        return err_data("added_tokens is not a list");
    for (size_t i = 0; i < json_array_size(list); i++)
        if (load_added_token(t, n_vocab, vocab, json_array_get(list, i)))
            return -1;
    added_tokens_sort(&t->early);
    added_tokens_sort(&t->late);
    return sort_entries(t);
}

/* ---- the model: symbols and merges ---- */

static int load_bytes(const json_t *vocab, uint32_t byte_id[256])
{
    for (int b = 0; b < 256; b++) {
        char name[5] = { 0 };
        int32_t c = byte_to_char(b);
        if (c < 0x80) {
            name[0] = (char)c;
        } else {
            name[0] = (char)(0xc0 | c >> 6);
            name[1] = (char)(0x80 | (c & 0x3f));
        }
        const json_t *v = json_object_get(vocab, name);
        if (!v)
            return err_data("model.vocab has no token for byte 0x%02x: not a byte-level vocabulary", b);
        byte_id[b] = (uint32_t)json_integer_value(v);
    }
    return 0;
}

/* The id of left+right in the vocabulary, -1 when it has none. scratch grows to hold the name. */
static int64_t joined_id(const json_t *vocab, const char *left, size_t n, const char *right,
                         struct unicode_text *scratch)
{
    scratch->n = 0;
    unicode_append(scratch, left, n);
    unicode_append(scratch, right, strlen(right) + 1);
    const json_t *v = json_object_get(vocab, (const char *)scratch->s);
    return v ? json_integer_value(v) : -1;
}

/* One merge: "a b" or ["a", "b"]. The parts are left[0,n) and right. */
static int merge_parts(const json_t *m, const char **left, size_t *n, const char **right)
{
    if (json_is_array(m) && json_array_size(m) == 2) {
        *left = json_string_value(json_array_get(m, 0));
        *right = json_string_value(json_array_get(m, 1));
        *n = *left ? strlen(*left) : 0;
        return *left && *right ? 0 : -1;
    }
    const char *s = json_string_value(m), *space = s ? strchr(s, ' ') : NULL;
    if (!space || strchr(space + 1, ' '))
        return -1;
    *left = s;
    *n = (size_t)(space - s);
    *right = space + 1;
    return 0;
}

static int load_merges(struct tokenizer *t, const json_t *vocab, const json_t *merges)
{
    struct unicode_text scratch = { 0 };
    uint32_t rank = 0;
    int bad = 0;
    for (size_t i = 0; i < json_array_size(merges) && !bad; i++) {
        const json_t *m = json_array_get(merges, i);
        const char *left, *right;
        size_t n;
        if (json_is_string(m) && !strncmp(json_string_value(m), "#version", 8))
            continue;
        if (merge_parts(m, &left, &n, &right)) {
            bad = err_data("model.merges: entry %zu is not a pair", i);
            break;
        }
        int64_t a = joined_id(vocab, left, n, "", &scratch), b = joined_id(vocab, right, 0, right, &scratch);
        int64_t made = joined_id(vocab, left, n, right, &scratch);
        if (a < 0 || b < 0 || made < 0)
            bad = err_data("model.merges: entry %zu: \"%.*s\", \"%.64s\" or both together are not in model.vocab", i,
                           (int)(n < 64 ? n : 64), left, right);
        else
            bpe_merge(t->bpe, (uint32_t)a, (uint32_t)b, rank++, (uint32_t)made);
    }
    free(scratch.s);
    return bad;
}

static void load_wholes(struct tokenizer *t)
{
    for (size_t i = 0; i < t->n; i++)
        if (!t->entry[i].literal && t->entry[i].n)
            bpe_whole(t->bpe, t->pool.s + t->entry[i].at, t->entry[i].n, t->entry[i].id);
}

/* The options that would change the result. An unknown-token or byte fallback has nothing to do where every byte is a
 * symbol, so those may be set. */
static int check_model(const json_t *model)
{
    static const char *const affix[] = { "continuing_subword_prefix", "end_of_word_suffix" };
    const char *type = jsonfile_string(model, "type", "BPE");
    double dropout;
    if (!json_is_object(model))
        return err_data("no model in it");
    if (strcmp(type, "BPE"))
        return err_data("the tokenizer model %.64s is not supported, only BPE", type);
    if (jsonfile_real(model, "dropout", 0, &dropout))
        return err_in("model");
    if (dropout != 0)
        return err_data("model.dropout is set: token ids would be random");
    for (int i = 0; i < 2; i++)
        if (*jsonfile_string(model, affix[i], ""))
            return err_data("model.%s is set: not supported", affix[i]);
    if (!json_is_array(json_object_get(model, "merges")))
        return err_data("model.merges is not a list");
    return 0;
}

static int load_model(struct tokenizer *t, const json_t *root)
{
    const json_t *model = json_object_get(root, "model");
    json_t *vocab = json_object_get(model, "vocab");
    uint32_t byte_id[256];
    bool ignore_merges;
    if (check_model(model) || jsonfile_bool(model, "ignore_merges", false, &ignore_merges) || load_vocab(t, vocab) ||
        sort_entries(t) || load_bytes(vocab, byte_id) || load_added(t, root, vocab))
        return -1;
    const json_t *merges = json_object_get(model, "merges");
    t->bpe = bpe_new(byte_id, json_array_size(merges), ignore_merges ? t->n : 0);
    if (ignore_merges)
        load_wholes(t);
    return load_merges(t, vocab, merges);
}

/* ---- what is done to the text before ---- */

/* Call fn for a step, or for each step of a Sequence, whose list has the name `list`. */
static int each_step(struct tokenizer *t, const json_t *step, const char *list,
                     int (*fn)(struct tokenizer *t, const json_t *step, const char *type))
{
    if (!step || json_is_null(step))
        return 0;
    const char *type = jsonfile_string(step, "type", "without a type");
    if (strcmp(type, "Sequence"))
        return fn(t, step, type);
    const json_t *steps = json_object_get(step, list);
    for (size_t i = 0; i < json_array_size(steps); i++)
        if (each_step(t, json_array_get(steps, i), list, fn))
            return -1;
    return 0;
}

static int load_normalizer(struct tokenizer *t, const json_t *step, const char *type)
{
    (void)step;
    if (strcmp(type, "NFC"))
        return err_data("the normalizer %.64s is not supported, only NFC", type);
    t->nfc = true;
    return 0;
}

static int load_splitter(struct tokenizer *t, const json_t *step, const char *type)
{
    if (strcmp(type, "ByteLevel"))
        return err_data("the pre-tokenizer %.64s is not supported, only ByteLevel", type);
    if (t->byte_level)
        return err_data("two ByteLevel pre-tokenizers, one after the other, are not supported");
    t->byte_level = true;
    if (jsonfile_bool(step, "add_prefix_space", true, &t->prefix_space) ||
        jsonfile_bool(step, "use_regex", true, &t->split))
        return err_in("pre_tokenizer");
    return 0;
}

static int load(struct tokenizer *t, const json_t *root)
{
    if (each_step(t, json_object_get(root, "normalizer"), "normalizers", load_normalizer) ||
        each_step(t, json_object_get(root, "pre_tokenizer"), "pretokenizers", load_splitter))
        return -1;
    if (!t->byte_level)
        return err_data("no pre-tokenizer: not a byte-level tokenizer");
    t->fresh = true;
    return load_model(t, root);
}

struct tokenizer *tokenizer_load(const char *dir)
{
    char *path = mem_format("%s/tokenizer.json", dir);
    struct tokenizer *t = mem_zero(1, sizeof *t);
    json_t *root = jsonfile_load(path, FILE_LIMIT);
    if (!root || load(t, root)) {
        if (root)
            err_in(path);
        tokenizer_free(t);
        t = NULL;
    }
    json_decref(root);
    free(path);
    return t;
}

int tokenizer_find(const char *dir, struct tokenizer **out)
{
    char *path = mem_format("%s/tokenizer.json", dir);
    struct stat st;
    bool none = lstat(path, &st) && errno == ENOENT;
    free(path);
    *out = none ? NULL : tokenizer_load(dir);
    return none || *out ? 0 : -1;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    free(t->entry);
    free(t->pool.s);
    added_tokens_free(&t->early);
    added_tokens_free(&t->late);
    bpe_free(t->bpe);
    free(t->raw.s);
    free(t->text.s);
    free(t->prefixed.s);
    free(t);
}

/* ---- questions ---- */

size_t tokenizer_size(const struct tokenizer *t)
{
    return (size_t)t->entry[t->n - 1].id + 1;
}

const uint8_t *tokenizer_text(const struct tokenizer *t, uint32_t id, size_t *len)
{
    const struct entry *e = find_entry(t, t->n, id);
    *len = e ? e->n : 0;
    return e ? t->pool.s + e->at : NULL;
}

int64_t tokenizer_added(const struct tokenizer *t, const char *content)
{
    const struct added_tokens *set[] = { &t->early, &t->late };
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < set[k]->n; i++)
            if (set[k]->p[i].n == strlen(content) && !memcmp(set[k]->p[i].s, content, set[k]->p[i].n))
                return set[k]->p[i].id;
    return -1;
}

/* ---- text to pieces to ids ---- */

/* How long a run of one class s begins with; from is known to belong to it. */
static size_t run(const uint8_t *s, size_t n, size_t from, enum unicode_class class)
{
    int32_t cp;
    for (size_t len; from < n; from += len) {
        len = unicode_take(s + from, n - from, &cp);
        if (unicode_class(cp) != class)
            break;
    }
    return from;
}

/* 's 't 're 've 'm 'll 'd at the front: its length, else 0. */
static size_t contraction(const uint8_t *s, size_t n)
{
    if (n < 2 || s[0] != '\'')
        return 0;
    if (s[1] == 's' || s[1] == 't' || s[1] == 'm' || s[1] == 'd')
        return 2;
    if (n > 2 && (((s[1] == 'r' || s[1] == 'v') && s[2] == 'e') || (s[1] == 'l' && s[2] == 'l')))
        return 3;
    return 0;
}

/* The length of the first piece of s[0,n), n > 0: a contraction; a run of letters, numbers or others, with a space
 * before it; white space up to the last before something else; one white space. */
static size_t first_piece(const uint8_t *s, size_t n)
{
    int32_t cp;
    size_t len = contraction(s, n);
    if (len)
        return len;
    len = unicode_take(s, n, &cp);
    enum unicode_class class = unicode_class(cp);
    if (cp == ' ' && n > 1) {
        size_t second = unicode_take(s + 1, n - 1, &cp);
        if (unicode_class(cp) != UNICODE_SPACE)
            return run(s, n, 1 + second, unicode_class(cp));
    }
    if (class != UNICODE_SPACE)
        return run(s, n, len, class);
    size_t end = run(s, n, len, UNICODE_SPACE);
    if (end == n)
        return end;
    size_t last = unicode_prev(s, n, end, &cp);
    return end > last ? end - last : end;
}

static void encode_stretch(void *arg, const uint8_t *s, size_t n)
{
    struct tokenizer *t = arg;
    if (t->fresh && t->prefix_space && s[0] != ' ') {
        t->prefixed.n = 0;
        unicode_append(&t->prefixed, " ", 1);
        unicode_append(&t->prefixed, s, n);
        s = t->prefixed.s;
        n++;
    }
    t->fresh = false;
    for (size_t len; n; s += len, n -= len) {
        len = t->split ? first_piece(s, n) : n;
        bpe_encode(t->bpe, s, len, t->out);
    }
}

static void put_late_token(void *arg, uint32_t id)
{
    struct tokenizer *t = arg;
    ids_push(t->out, id);
    t->fresh = true;
}

/* ---- streaming: where what has come may be cut ---- */

/* The splitter cannot see past a place where the class changes, unless a contraction straddles it. */
static bool splits_between(const struct tokenizer *t, int32_t before, int32_t at)
{
    return t->split && unicode_class(before) != unicode_class(at) &&
           !(before == '\'' && unicode_class(at) == UNICODE_LETTER);
}

static bool normalizes_apart(const struct tokenizer *t, int32_t before, int32_t at)
{
    (void)before;
    return !t->nfc || unicode_nfc_border(at);
}

/* The last place before `end` where b can be cut without changing an id: behind a character that is no white space (so that no
 * token's lstrip or rstrip reaches across), where no added token can lie, and where the step allows it. 0: none yet. */
static size_t find_cut(const struct tokenizer *t, const struct unicode_text *b, size_t end, const struct added_tokens *set,
                       bool (*allows)(const struct tokenizer *t, int32_t before, int32_t at))
{
    for (size_t c = end; c-- > 1;) {
        int32_t before, at;
        if (unicode_prev(b->s, b->n, c, &before) && unicode_class(before) != UNICODE_SPACE &&
            unicode_next(b->s + c, b->n - c, &at) && allows(t, before, at) && !added_tokens_touches(set, b->s, b->n, c))
            return c;
    }
    return 0;
}

/* When a buffer without a cut has been searched, it is searched again at twice the size: linear in all. Whether a stretch is
 * too long does not depend on how its bytes came: what lies behind it is there by then. */
static size_t cut_or_wait(struct tokenizer *t, const struct unicode_text *b, size_t *wait, const struct added_tokens *set,
                          bool (*allows)(const struct tokenizer *t, int32_t before, int32_t at))
{
    bool large = b->n >= STRETCH_MAX + CHUNK;
    if (b->n < *wait && !large)
        return 0;
    size_t c = find_cut(t, b, b->n, set, allows);
    *wait = c ? 0 : 2 * b->n;
    t->too_long |= large && !(c && find_cut(t, b, STRETCH_MAX + 1, set, allows));
    return c;
}

static void drop_front(struct unicode_text *b, size_t n)
{
    if (n)
        memmove(b->s, b->s + n, b->n - n);
    b->n -= n;
}

static void settle_text(struct tokenizer *t, bool last)
{
    struct added_sink to = { encode_stretch, put_late_token, t };
    size_t c = last ? t->text.n : cut_or_wait(t, &t->text, &t->text_wait, &t->late, splits_between);
    added_tokens_split(&t->late, t->text.s, c, to);
    drop_front(&t->text, c);
    if (last) {
        t->fresh = true;
        t->text_wait = 0;
    }
}

static void normalize_stretch(void *arg, const uint8_t *s, size_t n)
{
    struct tokenizer *t = arg;
    if (t->nfc)
        unicode_nfc(s, n, &t->text);
    else
        unicode_append(&t->text, s, n);
}

static void put_early_token(void *arg, uint32_t id)
{
    struct tokenizer *t = arg;
    settle_text(t, true);
    ids_push(t->out, id);
}

static void settle_raw(struct tokenizer *t, bool last)
{
    struct added_sink to = { normalize_stretch, put_early_token, t };
    size_t c = last ? t->raw.n : cut_or_wait(t, &t->raw, &t->raw_wait, &t->early, normalizes_apart);
    added_tokens_split(&t->early, t->raw.s, c, to);
    drop_front(&t->raw, c);
    settle_text(t, last);
    if (last)
        t->raw_wait = 0;
}

int tokenizer_feed(struct tokenizer *t, const void *bytes, size_t n, bool last, struct ids *out)
{
    const uint8_t *s = bytes;
    size_t at = 0, k;
    t->out = out;
    do {
        k = n - at < CHUNK ? n - at : CHUNK;
        unicode_append(&t->raw, k ? s + at : s, k);
        at += k;
        settle_raw(t, false);
        if (t->too_long)
            return err_data("a word of more than %d bytes", STRETCH_MAX);
    } while (at < n);
    if (last)
        settle_raw(t, true);
    return 0;
}
