/* toy: rows made of known directions, for which every question about a dictionary has an answer.
 *
 *   x = sum_g c_g u_g + sigma N(0, I),   c_g = s_g a_g where feature g is active, else 0
 *
 * u_g are unit directions, s_g fixed scales, a_g drawn from one law; which features are active is drawn for each row.
 * A row depends on the seed and its own number alone (under correlation by batch or data set also on the draw that its
 * rows share), never on how many rows are asked for at once. */
/* SPDX-License-Identifier: MIT */
#ifndef TOY_H
#define TOY_H

#include "base/err.h"
#include "maths/sparse.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The law of a_g. UNIFORM: on [lo, hi]; UNIFORM2: the product of two of them; EXPONENTIAL: mean 1; LOGNORMAL: e^z, z
 * standard normal; CONSTANT: 1. */
enum toy_law { TOY_UNIFORM, TOY_CONSTANT, TOY_EXPONENTIAL, TOY_LOGNORMAL, TOY_UNIFORM2 };

/* Which features are active together. BERNOULLI: each by itself. EXACTLY: `exactly` of them, every set alike. PAIRS: of
 * features 2i and 2i+1 at most one, either alike. COMPOSED: of those two the first alone, the second alone or both with
 * the probabilities `composed`. */
enum toy_activity { TOY_BERNOULLI, TOY_EXACTLY, TOY_PAIRS, TOY_COMPOSED };

/* How directions stand to each other within groups of consecutive features. FREE: groups of one. CLUSTERS: `group`
 * features, every two at cosine `cosine`. SIMPLEX: group + 1 corners in `group` dimensions, cosine -1/group. POLYGON:
 * `group` corners in a plane. CROSS: the ends of `group` axes. ANTIPRISM: the 8 corners of a square antiprism whose
 * edges are equal. */
enum toy_shape { TOY_FREE, TOY_CLUSTERS, TOY_SIMPLEX, TOY_POLYGON, TOY_CROSS, TOY_ANTIPRISM };

enum toy_scales { TOY_EQUAL, TOY_GEOMETRIC, TOY_SPREAD };

/* How often the Gaussian vector that ties the features' activity together is drawn. */
enum toy_corr { TOY_NONE, TOY_SAMPLE, TOY_BATCH, TOY_DATASET };

struct toy_options {
    size_t d, g;                    /* d_model, features */
    uint64_t seed;

    enum toy_activity activity;
    double active;                  /* mean number of active features (BERNOULLI, PAIRS) */
    double decay;                   /* probability of feature (PAIRS: of pair) i is proportional to decay^i */
    bool raw_decay;                 /* p_i = decay^i active / g, as published: the mean is not `active` then */
    size_t exactly;
    double composed[3];

    enum toy_corr corr;
    size_t batch;                   /* rows that share a draw (BATCH) */
    double share;                   /* of a feature's latent variance that the shared draw has (BATCH, DATASET) */
    size_t block;                   /* 0: random correlations, see copula.c; else blocks of so many features */
    double rho;                     /* correlation within a block */

    enum toy_shape shape;
    size_t group;
    double cosine;
    bool orthonormal;               /* groups in orthogonal subspaces, or refuse; otherwise only where they fit */
    size_t train;                   /* > 0: directions and scales from the toy model of superposition, so many steps */

    enum toy_law law;
    double lo, hi;
    enum toy_scales scales;         /* GEOMETRIC: s_g = scale^g; SPREAD: s_g = e^(scale z), z standard normal */
    double scale;
    double noise;                   /* sigma */
};

struct toy {
    struct toy_options o;
    float *direction;               /* (g,d) unit rows u_g */
    float *scale;                   /* (g) s_g */
    double *p;                      /* (g) the probability that feature g is active in a row */
    double active;                  /* their sum: the expected number of active features */
    bool orthogonal;                /* the groups stand in orthogonal subspaces */
    struct toy_draw *draw;
};

/* Make the directions and all else that rows need. NULL and a sentence where the options contradict each other. On the
 * pool; toy_free() it. */
struct toy *toy_new(const struct toy_options *o);
void toy_free(struct toy *t);

/* The codes c of rows [row, row + n), into out (reset first). */
void toy_codes(const struct toy *t, uint64_t row, size_t n, struct codes *out);
/* x (n,d) = codes of rows [row, row + n) times directions. */
void toy_rows(const struct toy *t, const struct codes *c, float *x);
/* x (n,d) += sigma N(0, I), of rows [row, row + n). */
void toy_noise(const struct toy *t, uint64_t row, size_t n, float *x);

/* g unit rows of independent Gaussian directions (g,d), as toy_new() makes them for the same seed. free() it. */
float *toy_random(size_t g, size_t d, uint64_t seed);

#endif
