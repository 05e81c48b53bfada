/* tally: what rows with known truth turned out to be. */
/* SPDX-License-Identifier: MIT */
#ifndef TALLY_H
#define TALLY_H

#include "toy/toy.h"

struct tally_feature {
    uint64_t active;                /* rows in which it is */
    double sum;                     /* of its codes */
    /* Reading it back: y = <u_g, x>, z = y - c_g what the other features and the noise add to it. */
    double sum_z, sum_z2;
    uint64_t lost, invented;        /* y at or below s_g / 2 although active; above it although not */
};

struct tally {
    const struct toy *toy;
    uint64_t rows;
    uint64_t active;                /* (row, feature) pairs */
    double signal, noise;           /* sums of |x|^2 before the noise, and of |noise|^2 */
    struct tally_feature *feature;  /* (g), NULL unless asked for */
    uint32_t *pair;                 /* (g,g) rows in which both are active, NULL unless asked for */
    struct codes_by_feature columns;
};

/* Counts at zero: of each feature, of each pair of features, as asked for; never NULL. tally_free() releases them. */
struct tally *tally_new(const struct toy *t, bool features, bool pairs);
void tally_free(struct tally *t);
/* Count c->n rows: their codes, what these times the directions are, and with the noise, x. Both (n,d), and the same
 * array without noise. Runs on the pool. */
void tally_add(struct tally *t, const struct codes *c, const float *clean, const float *x);

#endif
