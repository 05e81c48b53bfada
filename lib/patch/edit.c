/* SPDX-License-Identifier: MIT */
#include "patch/edit.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/par.h"
#include "files/vectors.h"
#include "maths/vec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 3, FILE_LIMIT = 64 << 20 };

/* What edit_rows() works with, kept from one call to the next. */
struct edit_work {
    struct codes codes;
    bool *chosen;                       /* (edits, rows) */
    size_t chosen_cap, workers;
    double *scale, *shift, *done;       /* (workers, features): f' = scale f + shift so far; the change x already has */
    float *spare;                       /* (workers, d_model) */
};

void edit_begin(struct edits *e, struct sae *sae)
{
    *e = (struct edits){ .sae = sae };
}

void edit_free(struct edits *e)
{
    for (size_t k = 0; k < e->n; k++) {
        row_selector_free(&e->list[k].where);
        free(e->list[k].feature);
        free(e->list[k].scale);
        free(e->list[k].shift);
        free(e->list[k].row);
    }
    for (size_t s = 0; s < e->streams; s++)
        lockstep_close(&e->stream[s]);
    if (e->work) {
        codes_free(&e->work->codes);
        free(e->work->chosen);
        free(e->work->scale);
        free(e->work->shift);
        free(e->work->done);
        free(e->work->spare);
    }
    free(e->work);
    free(e->list);
    free(e->stream);
    free(e->feature);
    free(e->place);
    row_selector_free(&e->where);
    *e = (struct edits){ .n = 0 };
}

void edit_ready(struct edits *e)
{
    size_t m = e->sae->d_sae;
    bool *touched = mem_zero(m, sizeof *touched);
    e->last = e->where.last;
    for (size_t k = 0; k < e->n; k++) {
        e->last |= e->list[k].where.last;
        for (size_t j = 0; e->list[k].feature && j < e->list[k].n; j++)
            touched[e->list[k].feature[j]] = true;
    }
    e->feature = mem_alloc(m, sizeof *e->feature);
    e->place = mem_zero(m, sizeof *e->place);
    for (size_t i = 0; i < m; i++)
        if (touched[i]) {
            e->place[i] = (uint32_t)e->features;
            e->feature[e->features++] = (uint32_t)i;
        }
    free(touched);
    struct edit_work *w = e->work = mem_zero(1, sizeof *w);
    w->workers = (size_t)par_threads();
    w->scale = mem_alloc(w->workers * e->features, sizeof *w->scale);
    w->shift = mem_alloc(w->workers * e->features, sizeof *w->shift);
    w->done = mem_alloc(w->workers * e->features, sizeof *w->done);
    w->spare = mem_alloc(w->workers * e->sae->d_model, sizeof *w->spare);
}

/* Mark what a list of features names in chosen (m). */
static int features(const char *words, size_t m, bool *chosen)
{
    struct ranges list;
    int bad = ranges_parse(&list, words, "a feature", 0, (int64_t)m - 1);
    if (!bad)
        ranges_mark(&list, chosen);
    ranges_free(&list);
    return bad;
}

/* ---- the edits ---- */

/* An edit while it is read. */
struct reading {
    struct edits *e;
    struct edit *edit;
    const bool *chosen;                 /* (d_sae) the features it names */
    double value;
    const char *file;
};

/* The features of the edit become those whose mark is `which`; each maps to (scale, shift). */
static void map_all(const struct reading *r, bool which, float scale, float shift)
{
    struct edit *t = r->edit;
    size_t m = r->e->sae->d_sae, n = 0;
    for (size_t i = 0; i < m; i++)
        n += r->chosen[i] == which;
    t->feature = mem_alloc(n, sizeof *t->feature);
    t->scale = mem_alloc(n, sizeof *t->scale);
    t->shift = mem_alloc(n, sizeof *t->shift);
    for (size_t i = 0; i < m; i++)
        if (r->chosen[i] == which) {
            t->scale[t->n] = scale;
            t->shift[t->n] = shift;
            t->feature[t->n++] = (uint32_t)i;
        }
}

static int do_zero(const struct reading *r)
{
    map_all(r, true, 0, 0);
    r->edit->named = true;
    return 0;
}

static int do_set(const struct reading *r)
{
    map_all(r, true, 0, (float)r->value);
    r->edit->named = true;
    return 0;
}

static int do_scale(const struct reading *r)
{
    map_all(r, true, (float)r->value, 0);
    r->edit->named = true;
    return 0;
}

static int do_add(const struct reading *r)
{
    map_all(r, true, 1, (float)r->value);
    return 0;
}

static int do_keep(const struct reading *r)
{
    map_all(r, false, 0, 0);
    return 0;
}

static int sum_codes(struct stream_in *in, size_t m, double *sum)
{
    struct batch b;
    int r;
    if (in->kind != STREAM_CODES || in->d != m)
        return err_data("%s of width %zu where codes of %zu features are wanted",
                        in->kind == STREAM_CODES ? "codes" : "acts", in->d, m), err_in(stream_name(in));
    while ((r = stream_next(in, &b)) > 0)
        for (uint32_t j = 0; j < b.ptr[b.n]; j++)
            sum[b.idx[j]] += b.val[j];
    if (r == 0 && in->total_rows == 0)
        return err_data("no rows to take a mean over"), err_in(stream_name(in));
    return r;
}

static int do_mean(const struct reading *r)
{
    size_t m = r->e->sae->d_sae;
    struct stream_in *in = stream_open(r->file);
    if (!in)
        return -1;
    double *sum = mem_zero(m, sizeof *sum);
    int bad = sum_codes(in, m, sum);
    map_all(r, true, 0, 0);
    for (size_t j = 0; j < r->edit->n && !bad; j++)
        r->edit->shift[j] = (float)(sum[r->edit->feature[j]] / (double)in->total_rows);
    free(sum);
    stream_close(in);
    return bad;
}

/* The stream that goes along under this name, opened the first time it is asked for. */
static int go_along(const struct reading *r, enum stream_kind kind)
{
    struct edits *e = r->e;
    for (size_t s = 0; s < e->streams; s++)
        if (!strcmp(e->stream[s].path, r->file) && e->stream[s].in->kind == kind) {
            r->edit->stream = s;
            return 0;
        }
    e->stream = mem_grow(e->stream, &e->stream_cap, e->streams + 1, sizeof *e->stream);
    r->edit->stream = e->streams++;
    struct lockstep *p = &e->stream[r->edit->stream];
    return kind == STREAM_CODES ? lockstep_open_codes(p, r->file, e->sae->d_sae, sae_digest(e->sae))
                                : lockstep_open(p, r->file, kind, e->sae->d_model);
}

static int do_copy(const struct reading *r)
{
    r->edit->act = EDIT_COPY;
    map_all(r, true, 0, 0);
    return go_along(r, STREAM_CODES);
}

static int do_error(const struct reading *r)
{
    r->edit->act = EDIT_ERROR;
    return go_along(r, STREAM_ACTS);
}

/* How far pi_i falls when x loses d_i: <e_i, d_i>, times e^r_i in gated dictionaries. */
static double fall(const struct sae *s, uint32_t i)
{
    size_t d = s->d_model;
    return vec_dot_wide(s->w_enc + i * d, s->w_dec + i * d, d) * (s->r_mag ? exp(s->r_mag[i]) : 1);
}

/* With a_i = fall(i), x - (f_i / a_i) d_i has pi_i = 0. [Cunningham 2023, the less-than-rank-one ablation] */
static int do_silence(const struct reading *r)
{
    const struct sae *s = r->e->sae;
    if (!s->w_enc || s->w_inner[0])
        return err_usage("the dictionary's encoder is not one matrix");
    map_all(r, true, 0, 0);
    r->edit->afresh = true;
    for (size_t j = 0; j < r->edit->n; j++) {
        uint32_t i = r->edit->feature[j];
        double a = fall(s, i);
        if (!(a > 1e-6))
            return err_usage("feature %u: its encoder does not fall along its decoder row", (unsigned)i);
        r->edit->scale[j] = (float)(1 - 1 / a);
    }
    return 0;
}

static int do_vector(const struct reading *r)
{
    r->edit->act = EDIT_VECTOR;
    if (!(r->edit->row = vectors_load_one(r->file, r->e->sae->d_model)))
        return -1;
    r->edit->n = 1;
    vec_scale(r->edit->row, (float)r->value, r->e->sae->d_model);
    if (vec_first_nonfinite(r->edit->row, r->e->sae->d_model) >= 0)
        return err_usage("the vector becomes too large");
    return 0;
}

/* Rows become orthonormal ones of the same span; those that depend on others go. Returns how many stay. */
static size_t orthonormalize(float *row, size_t n, size_t d)
{
    size_t kept = 0;
    double *v = mem_alloc(d, sizeof *v);
    for (size_t k = 0; k < n; k++) {
        double was = 0, now = 0;
        for (size_t j = 0; j < d; j++) {
            v[j] = row[k * d + j];
            was += v[j] * v[j];
        }
        for (int pass = 0; pass < 2; pass++)            /* twice is enough [Giraud et al. 2005] */
            for (size_t i = 0; i < kept; i++) {
                double c = 0;
                for (size_t j = 0; j < d; j++)
                    c += v[j] * row[i * d + j];
                for (size_t j = 0; j < d; j++)
                    v[j] -= c * row[i * d + j];
            }
        for (size_t j = 0; j < d; j++)
            now += v[j] * v[j];
        if (!(now > 1e-10 * was))
            continue;
        for (size_t j = 0; j < d; j++)
            row[kept * d + j] = (float)(v[j] / sqrt(now));
        kept++;
    }
    free(v);
    return kept;
}

static int do_remove(const struct reading *r)
{
    const struct sae *s = r->e->sae;
    struct edit *t = r->edit;
    size_t d = s->d_model;
    t->act = EDIT_REMOVE;
    if (r->file) {
        if (!(t->row = vectors_load(r->file, d, &t->n)))
            return -1;
    } else {
        t->row = mem_alloc(s->d_sae * d, sizeof *t->row);
        for (size_t i = 0; i < s->d_sae; i++)
            if (r->chosen[i])
                memcpy(t->row + t->n++ * d, s->w_dec + i * d, d * sizeof *t->row);
    }
    t->n = orthonormalize(t->row, t->n, d);
    return 0;
}

enum takes { FEATURES = 1, NUMBER = 2, PATH = 4 };

static const struct verb {
    const char *name, *form;
    unsigned takes;                     /* after the name, in this order */
    int (*read)(const struct reading *r);
} verbs[] = {
    { "zero", "F", FEATURES, do_zero },
    { "set", "F V", FEATURES | NUMBER, do_set },
    { "scale", "F A", FEATURES | NUMBER, do_scale },
    { "add", "F V", FEATURES | NUMBER, do_add },
    { "keep", "F", FEATURES, do_keep },
    { "mean", "F CODES", FEATURES | PATH, do_mean },
    { "copy", "F CODES", FEATURES | PATH, do_copy },
    { "silence", "F", FEATURES, do_silence },
    { "vector", "V FILE", NUMBER | PATH, do_vector },
    { "remove", "F or FILE", FEATURES, do_remove },
    { "error", "ACTS", PATH, do_error },
};

static const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
        if (!strcmp(verbs[i].name, name))
            return &verbs[i];
    err_usage("'%s' is not zero, set, scale, add, keep, mean, copy, silence, vector, remove or error", name);
    return NULL;
}

/* Cut words at blanks, in place, into at most `most`; the last may hold blanks (a file name), but not end with them. */
static size_t split(char *words, size_t most, char *part[WORDS])
{
    size_t n = 0, end = strlen(words);
    while (end && strchr(" \t", words[end - 1]))
        words[--end] = 0;
    while (n < most) {
        words += strspn(words, " \t");
        if (!*words)
            break;
        part[n++] = words;
        size_t len = n == most ? strlen(words) : strcspn(words, " \t");
        if (!words[len])
            break;
        words[len] = 0;
        words += len + 1;
    }
    return n;
}

/* Take ` @ WHERE` off the end of words. */
static int parse_where(char *words, struct row_selector *w)
{
    char *at = strstr(words, " @ ");
    if (!at)
        return 0;
    *at = 0;
    return row_selector_words(w, at + 3);
}

/* The words of a verb, one for each thing it takes. */
static int parse_operands(const struct verb *v, char *const *part, struct reading *r, bool *chosen)
{
    if (v->read == do_remove && vectors_names(*part)) {
        r->file = *part;
        return 0;
    }
    if (v->takes & FEATURES && features(*part++, r->e->sae->d_sae, chosen))
        return -1;
    if (v->takes & NUMBER) {
        if (opt_real(*part, &r->value) || !isfinite((float)r->value))
            return err_usage("'%s' is not a number", *part);
        part++;
    }
    if (v->takes & PATH)
        r->file = *part;
    return 0;
}

static int parse(struct edits *e, char *words, bool *chosen)
{
    struct row_selector where = { .n = 0 };
    char *part[WORDS], *rest = words + strspn(words, " \t"), name[16] = "";
    if (parse_where(words, &where)) {
        row_selector_free(&where);
        return -1;
    }
    memcpy(name, rest, strcspn(rest, " \t") < sizeof name ? strcspn(rest, " \t") : sizeof name - 1);
    const struct verb *v = *name ? verb_find(name) : (err_usage("nothing to do"), NULL);
    if (!v) {
        row_selector_free(&where);
        return -1;
    }
    size_t want = 1u + !!(v->takes & FEATURES) + !!(v->takes & NUMBER) + !!(v->takes & PATH);
    size_t n = split(rest, want, part);
    e->list = mem_grow(e->list, &e->cap, e->n + 1, sizeof *e->list);
    e->list[e->n] = (struct edit){ .act = EDIT_MAP, .where = where };
    struct reading r = { .e = e, .edit = &e->list[e->n++], .chosen = chosen };
    if (n != want)
        return err_usage("not of the form %s %s", v->name, v->form);
    return parse_operands(v, part + 1, &r, chosen) ? -1 : v->read(&r);
}

int edit_add(struct edits *e, const char *words)
{
    char *copy = mem_string(words);
    bool *chosen = mem_zero(e->sae->d_sae, sizeof *chosen);
    int r = parse(e, copy, chosen);
    if (r && err_status() == ERR_USAGE) {
        char shown[80];
        err_mask(shown, sizeof shown, words);
        char *where = mem_format("edit '%s'", shown);
        err_in(where);
        free(where);
    }
    free(copy);
    free(chosen);
    return r;
}

int edit_add_file(struct edits *e, const char *path)
{
    size_t len, line = 0;
    char *text = io_slurp(path, FILE_LIMIT, &len);
    int r = text ? 0 : -1;
    if (text && memchr(text, 0, len))
        r = err_data("not a text: it holds a zero byte"), err_in(path);
    for (char *at = text; at && *at && !r;) {
        size_t n = strcspn(at, "\n");
        bool last = at[n] == 0;
        at[n] = 0;
        line++;
        if (n && at[n - 1] == '\r')
            at[n - 1] = 0;
        if (at[strspn(at, " \t")] && *at != '#' && (r = edit_add(e, at))) {
            char *where = mem_format("%s: line %zu", path, line);
            err_in(where);
            free(where);
        }
        at += n + !last;
    }
    free(text);
    return r;
}

/* ---- the rows ---- */

struct job {
    const struct edits *e;
    const struct batch *b;
    bool replace;
    float *x;
    bool *changed;
};

/* Value of feature i in row r of c. */
static float code_at(const struct codes *c, size_t r, uint32_t i)
{
    uint32_t lo = c->ptr[r], hi = c->ptr[r + 1];
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (c->idx[mid] < i)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->ptr[r + 1] && c->idx[lo] == i ? c->val[lo] : 0;
}

/* Where one row stands. */
struct standing {
    size_t r;
    float *x, *spare;
    double *scale, *shift, *done;       /* (features) */
    bool changed, pending;
};

/* Put into x what the edits of codes have come to. */
static void put_codes(const struct job *j, struct standing *s)
{
    const struct sae *sae = j->e->sae;
    for (size_t k = 0; k < j->e->features && s->pending; k++) {
        uint32_t i = j->e->feature[k];
        if (s->scale[k] == 1 && s->shift[k] == 0 && s->done[k] == 0)
            continue;
        double total = (s->scale[k] - 1) * code_at(&j->e->work->codes, s->r, i) + s->shift[k];
        float change = (float)(total - s->done[k]);
        s->done[k] = total;
        if (change == 0)
            continue;
        vec_axpy(s->x, change, sae->w_dec + i * sae->d_model, sae->d_model);
        s->changed = true;
    }
    s->pending = false;
}

static void edit_codes(const struct job *j, const struct edit *t, struct standing *s)
{
    const struct codes *other = t->act == EDIT_COPY ? &j->e->stream[t->stream].codes : NULL;
    for (size_t k = 0; k < t->n; k++) {
        uint32_t p = j->e->place[t->feature[k]];
        double scale = t->scale[k], shift = other ? code_at(other, s->r, t->feature[k]) : t->shift[k];
        s->shift[p] = (t->afresh ? 0 : scale * s->shift[p]) + shift;
        s->scale[p] = t->afresh ? scale : scale * s->scale[p];
    }
    s->pending = true;
}

/* x gets another error: what it has is nothing with `replace`, else x - x_hat of the row as it came. */
static void edit_error(const struct job *j, const struct edit *t, struct standing *s)
{
    const struct codes *c = &j->e->work->codes;
    const struct sae *sae = j->e->sae;
    size_t d = sae->d_model, from = c->ptr[s->r];
    if (!j->replace) {
        sparse_sum(c->idx + from, c->val + from, c->ptr[s->r + 1] - from, sae->w_dec, sae->b_dec, d, s->spare);
        vec_sub(s->spare, j->b->x + s->r * d, s->spare, d);
        vec_sub(s->x, s->x, s->spare, d);
    }
    vec_add(s->x, j->e->stream[t->stream].x + s->r * d, d);
    s->changed = true;
}

static void edit_row(const struct job *j, const struct edit *t, struct standing *s)
{
    size_t d = j->e->sae->d_model;
    if (t->act == EDIT_MAP || t->act == EDIT_COPY) {
        edit_codes(j, t, s);
        return;
    }
    put_codes(j, s);
    if (t->act == EDIT_ERROR)
        edit_error(j, t, s);
    else if (t->act == EDIT_VECTOR)
        vec_add(s->x, t->row, d);
    else
        for (size_t k = 0; k < t->n; k++)
            vec_axpy(s->x, -vec_dot(s->x, t->row + k * d, d), t->row + k * d, d);
    s->changed = true;
}

static void do_row(void *arg, size_t r, int worker)
{
    const struct job *j = arg;
    const struct edits *e = j->e;
    const struct edit_work *w = e->work;
    const struct codes *c = &w->codes;
    size_t d = e->sae->d_model, at = (size_t)worker * e->features;
    struct standing s = { r, j->x + r * d, w->spare + (size_t)worker * d, w->scale + at, w->shift + at, w->done + at,
                          j->replace, false };
    if (j->replace)
        sparse_sum(c->idx + c->ptr[r], c->val + c->ptr[r], c->ptr[r + 1] - c->ptr[r], e->sae->w_dec, e->sae->b_dec, d, s.x);
    else
        memcpy(s.x, j->b->x + r * d, d * sizeof *s.x);
    for (size_t k = 0; k < e->features; k++)
        s.scale[k] = 1, s.shift[k] = s.done[k] = 0;
    for (size_t k = 0; k < e->n; k++)
        if (w->chosen[k * j->b->n + r])
            edit_row(j, &e->list[k], &s);
    put_codes(j, &s);
    j->changed[r] = s.changed;
}

/* Which edits go for which rows. Returns whether any does; -1 and a sentence when b does not say. */
static int choose(struct edits *e, const struct batch *b, const struct batch *next)
{
    struct edit_work *w = e->work;
    bool any = false;
    w->chosen = mem_grow(w->chosen, &w->chosen_cap, (e->n + 1) * b->n, sizeof *w->chosen);
    bool *here = w->chosen + e->n * b->n;
    if (row_selector_rows(&e->where, b, next, here) < 0)
        return -1;
    for (size_t k = 0; k < e->n; k++) {
        bool *of = w->chosen + k * b->n;
        if (row_selector_rows(&e->list[k].where, b, next, of) < 0)
            return -1;
        for (size_t i = 0; i < b->n; i++)
            any |= of[i] &= here[i];
    }
    return any;
}

size_t edit_return(const struct edits *e, uint32_t *feature, double *share)
{
    const struct sae *s = e->sae;
    size_t n = 0;
    *share = 0;
    if (!s->w_enc || s->w_inner[0])
        return 0;
    for (size_t k = 0; k < e->n; k++)
        for (size_t j = 0; e->list[k].named && j < e->list[k].n; j++) {
            double left = e->list[k].scale[j] == 0 && e->list[k].shift[j] == 0 ? 1 - fall(s, e->list[k].feature[j]) : 0;
            n += left > 1e-3;
            if (left > 1e-3 && left > *share)
                *share = left, *feature = e->list[k].feature[j];
        }
    return n;
}

int edit_rows(struct edits *e, const struct batch *b, const struct batch *next, bool replace, float *x, bool *changed)
{
    int any = choose(e, b, next);
    if (any < 0)
        return e->of ? err_in(e->of) : -1;
    for (size_t s = 0; s < e->streams; s++)
        if (lockstep_rows(&e->stream[s], b))
            return -1;
    if (!any && !replace) {
        memcpy(x, b->x, b->n * e->sae->d_model * sizeof *x);
        memset(changed, 0, b->n * sizeof *changed);
        return 0;
    }
    sae_encode(e->sae, b->x, b->n, &e->work->codes);
    par_for(b->n, do_row, &(struct job){ e, b, replace, x, changed });
    return 0;
}

int edit_end(struct edits *e)
{
    for (size_t s = 0; s < e->streams; s++)
        if (lockstep_end(&e->stream[s]))
            return -1;
    return 0;
}
