/* Directions in groups: each group is a small rigid figure, turned into a random subspace.
 *
 *   U[group] (m,d) = corners (m,k) * frame (k,d), the frame's rows orthonormal
 *
 * Where all groups fit side by side (groups * k <= d) their frames are orthogonal to each other too, if the group is a
 * figure of several features or that was asked for. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "base/par.h"
#include "toy/toy_internal.h"

#include <math.h>
#include <stdlib.h>

#define PI 3.14159265358979323846

struct figure {
    size_t corners, dims;
    double *at;                     /* (corners, dims) unit rows */
};

/* n unit vectors, every two at cosine c: the rows of the Cholesky root of (1 - c) I + c 1 1^T. It has rank n - 1 where
 * c = -1/(n - 1), a simplex. */
static struct figure equal_angles(size_t n, double c, size_t dims)
{
    struct figure f = { n, dims, mem_zero(n * dims, sizeof(double)) };
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i && j < dims; j++) {
            double s = i == j ? 1 : c;
            for (size_t k = 0; k < j; k++)
                s -= f.at[i * dims + k] * f.at[j * dims + k];
            f.at[i * dims + j] = i == j ? sqrt(s > 0 ? s : 0) : s / f.at[j * dims + j];
        }
    return f;
}

static struct figure polygon(size_t n)
{
    struct figure f = { n, 2, mem_zero(n * 2, sizeof(double)) };
    for (size_t i = 0; i < n; i++) {
        f.at[2 * i] = cos(2 * PI * (double)i / (double)n);
        f.at[2 * i + 1] = sin(2 * PI * (double)i / (double)n);
    }
    return f;
}

static struct figure cross(size_t axes)
{
    struct figure f = { 2 * axes, axes, mem_zero(2 * axes * axes, sizeof(double)) };
    for (size_t i = 0; i < 2 * axes; i++)
        f.at[i * axes + i / 2] = i % 2 ? -1 : 1;
    return f;
}

/* Two squares of circumradius r at heights +-z, turned by 45 degrees: the edges are equal when 4 z^2 = sqrt(2) r^2. */
static struct figure antiprism(void)
{
    struct figure f = { 8, 3, mem_zero(8 * 3, sizeof(double)) };
    double r2 = 1 / (1 + sqrt(2) / 4), r = sqrt(r2), z = sqrt(1 - r2);
    for (size_t i = 0; i < 8; i++) {
        f.at[3 * i] = r * cos(PI / 4 * (double)i);
        f.at[3 * i + 1] = r * sin(PI / 4 * (double)i);
        f.at[3 * i + 2] = i % 2 ? -z : z;
    }
    return f;
}

static struct figure figure_of(const struct toy_options *o)
{
    switch (o->shape) {
    case TOY_CLUSTERS:
        return equal_angles(o->group, o->cosine, o->group);
    case TOY_SIMPLEX:
        return equal_angles(o->group + 1, -1 / (double)o->group, o->group);
    case TOY_POLYGON:
        return polygon(o->group);
    case TOY_CROSS:
        return cross(o->group);
    case TOY_ANTIPRISM:
        return antiprism();
    default:
        return equal_angles(1, 0, 1);
    }
}

struct build {
    const struct toy_options *o;
    const struct figure *f;
    double *frame;                  /* (groups * dims, d), or one group's for each worker */
    size_t pivot, rows;
    bool together;
    float *u;
};

static void gaussian_rows(const struct build *b, size_t group, double *rows)
{
    struct rng r = toy_rng(b->o->seed, TOY_OF_GROUP, group);
    for (size_t i = 0; i < b->f->dims * b->o->d; i++)
        rows[i] = rng_normal(&r);
}

static double dot(const double *x, const double *y, size_t n)
{
    double acc[4] = { 0 };
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int j = 0; j < 4; j++)
            acc[j] += x[i + (size_t)j] * y[i + (size_t)j];
    double sum = (acc[0] + acc[1]) + (acc[2] + acc[3]);
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static void normalize(double *x, size_t d)
{
    double scale = 1 / sqrt(dot(x, x, d));
    for (size_t i = 0; i < d; i++)
        x[i] *= scale;
}

/* y less what it has along the unit vector x. */
static void take_off(double *y, const double *x, size_t d)
{
    double a = dot(x, y, d);
    for (size_t i = 0; i < d; i++)
        y[i] -= a * x[i];
}

enum { SWEEP = 16 };

static void sweep_piece(void *arg, size_t piece, int worker)
{
    const struct build *b = arg;
    size_t d = b->o->d, from = b->pivot + 1 + piece * SWEEP;
    (void)worker;
    for (size_t i = from; i < from + SWEEP && i < b->rows; i++)
        take_off(b->frame + i * d, b->frame + b->pivot * d, d);
}

/* Modified Gram-Schmidt, twice because rows in as many dimensions are nearly dependent. */
static void orthonormalize(struct build *b)
{
    for (int pass = 0; pass < 2; pass++)
        for (b->pivot = 0; b->pivot < b->rows; b->pivot++) {
            normalize(b->frame + b->pivot * b->o->d, b->o->d);
            par_for((b->rows - b->pivot - 1 + SWEEP - 1) / SWEEP, sweep_piece, b);
        }
}

static void own_frame(const struct build *b, size_t group, double *rows)
{
    size_t d = b->o->d;
    gaussian_rows(b, group, rows);
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < b->f->dims; i++) {
            for (size_t j = 0; j < i; j++)
                take_off(rows + i * d, rows + j * d, d);
            normalize(rows + i * d, d);
        }
}

enum { GROUPS = 16 };

/* A direction in double, then in f32: the rounding is all that its length and cosines miss. */
static void place(const struct build *b, size_t group, const double *frame)
{
    size_t d = b->o->d, dims = b->f->dims;
    for (size_t c = 0; c < b->f->corners; c++) {
        float *u = b->u + (group * b->f->corners + c) * d;
        const double *at = b->f->at + c * dims;
        for (size_t i = 0; i < d; i++) {
            double sum = 0;
            for (size_t k = 0; k < dims; k++)
                sum += at[k] * frame[k * d + i];
            u[i] = (float)sum;
        }
    }
}

static void place_piece(void *arg, size_t piece, int worker)
{
    const struct build *b = arg;
    size_t groups = b->o->g / b->f->corners, each = b->f->dims * b->o->d;
    for (size_t g = piece * GROUPS; g < groups && g < (piece + 1) * GROUPS; g++) {
        double *frame = b->frame + (b->together ? g : (size_t)worker) * each;
        if (!b->together)
            own_frame(b, g, frame);
        place(b, g, frame);
    }
}

static float *build(const struct toy_options *o, const struct figure *f, bool together)
{
    size_t groups = o->g / f->corners, each = f->dims * o->d;
    struct build b = { .o = o, .f = f, .together = together, .rows = groups * f->dims };
    b.u = mem_align(o->g * o->d, sizeof *b.u);
    b.frame = mem_alloc((together ? groups : (size_t)par_threads()) * each, sizeof *b.frame);
    if (together) {
        for (size_t g = 0; g < groups; g++)
            gaussian_rows(&b, g, b.frame + g * each);
        orthonormalize(&b);
    }
    par_for((groups + GROUPS - 1) / GROUPS, place_piece, &b);
    free(b.frame);
    return b.u;
}

float *toy_directions(const struct toy_options *o, bool *orthogonal)
{
    struct figure f = figure_of(o);
    float *u = NULL;
    size_t groups = o->g / f.corners;
    bool fit = f.dims <= o->d && groups <= o->d / f.dims;
    *orthogonal = fit && (o->orthonormal || f.corners > 1);
    if (o->g % f.corners)
        err_usage("%zu features are not whole groups of %zu", o->g, f.corners);
    else if (f.dims > o->d)
        err_usage("a group of %zu dimensions does not fit into a width of %zu", f.dims, o->d);
    else if (o->orthonormal && !fit)
        err_usage("%zu orthogonal groups of %zu dimensions do not fit into a width of %zu", groups, f.dims, o->d);
    else
        u = build(o, &f, *orthogonal);
    free(f.at);
    return u;
}

float *toy_random(size_t g, size_t d, uint64_t seed)
{
    struct toy_options o = { .g = g, .d = d, .seed = seed };
    bool orthogonal;
    return toy_directions(&o, &orthogonal);
}
