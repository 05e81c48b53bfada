/* toy_internal: what the files of lib/toy share. */
/* SPDX-License-Identifier: MIT */
#ifndef TOY_INTERNAL_H
#define TOY_INTERNAL_H

#include "base/rng.h"
#include "toy/toy.h"

/* Streams of the seed: one for each row, feature, group or draw. The row number is below 2^53. */
#define TOY_STREAM(what) ((uint64_t)(what) << 56)
enum { TOY_OF_ROW = 1, TOY_OF_NOISE, TOY_OF_GROUP, TOY_OF_SCALE, TOY_OF_DRAW, TOY_OF_COUPLING, TOY_OF_WEIGHTS };

static inline struct rng toy_rng(uint64_t seed, int what, uint64_t number)
{
    struct rng r;
    rng_seed(&r, seed, TOY_STREAM(what) + number);
    return r;
}

/* directions.c: U (g,d), NULL and a sentence; *orthogonal: the groups' subspaces are. */
float *toy_directions(const struct toy_options *o, bool *orthogonal);

/* copula.c: u ~ N(0, R), R of unit diagonal, over `events` variables. */
struct copula {
    size_t events, block;
    double rho;
    float *root;                    /* (events, events) lower triangle, root root^T = R; NULL with blocks */
};
/* 0, or -1 and a sentence. copula_free() releases what it holds. */
int copula_make(struct copula *c, size_t events, size_t block, double rho, uint64_t seed);
void copula_free(struct copula *c);
/* u (events); z: scratch of as many. */
void copula_draw(const struct copula *c, struct rng *r, float *z, float *u);
/* Phi and its inverse (0 < p < 1). */
double normal_cdf(double x);
double normal_quantile(double p);

/* draw.c: events and their probabilities. An event is a feature, or a pair of them. */
struct toy_draw {
    size_t events;
    double *p;                      /* (events) */
    double *threshold;              /* (events) Phi^-1(p) under correlation, else NULL */
    struct hops *hops;              /* of p */
    struct copula copula;
};
/* Fills t->p, t->active, t->draw. 0, or -1 and a sentence. */
int toy_draw_make(struct toy *t);
void toy_draw_free(struct toy_draw *d);

/* superposition.c: train, then put directions and scales into t. */
void toy_train(struct toy *t);

#endif
