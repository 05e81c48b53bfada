/* sae: one dictionary, as every tool holds it: f = encode(x), x_hat = f W_dec + b_dec.
 *
 * Both matrices are kept as rows a feature (d_sae, d_model), so that the dot and the axpy of one feature read one
 * contiguous row; the file stores W_enc transposed (see files/saefile.h). */
/* SPDX-License-Identifier: MIT */
#ifndef SAE_H
#define SAE_H

#include "maths/lasso.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct kind;

enum { SAE_INNER = 7 };             /* layers an encoder may have before the last */

struct sae {
    const struct kind *kind;
    size_t d_model, d_sae, k;       /* k: active features a row where the kind fixes it, else 0 */
    float *w_enc;                   /* (d_sae, d_model) rows e_i; NULL: no encoder (a truth dictionary) */
    float *w_dec;                   /* (d_sae, d_model) rows d_i */
    float *b_enc;                   /* (d_sae) */
    float *b_dec;                   /* (d_model) */
    float *threshold;               /* (d_sae) jumprelu family, else NULL */
    float *b_gate, *b_mag, *r_mag;  /* (d_sae) gated, else NULL */
    float *w_inner[SAE_INNER], *b_inner[SAE_INNER]; /* (d_model, d_model), (d_model): layers before W_enc, else NULL */
    int inner;                      /* their activation, enum fit_inner */
    bool apply_b_dec_to_input;      /* pi = E (x - b_dec) + b_enc rather than E x + b_enc */
    double l1;                      /* canonical lambda it was fitted with */
    double activation_scale;        /* s of --normalize; 1 when none */
    json_t *meta;                   /* str -> str, as in the file: hook, model, rows, seed, history... */
    bool unsealed;                  /* its file's digest does not cover the metadata */
    float *enc_norm;                /* (d_sae) |e_i|, made at the first encode; private */
    struct lasso_atoms *atoms;            /* W_dec made ready for sparse coding at the first need; private */
};

/* A dictionary of zeros with the tensors its kind saves, no metadata, scale 1. Never NULL; sae_free() it. */
struct sae *sae_new(const struct kind *kind, size_t d_model, size_t d_sae);
void sae_free(struct sae *s);
/* The digest of the file it was read from; NULL when there is none. */
const char *sae_digest(const struct sae *s);

/* Codes of n rows x (n, d_model), into out (reset first). Every value is pi computed by vec_dot in f32; sgemm only
 * finds candidates, within a rigorous bound of its rounding error, so the codes depend on neither batch, BLAS nor
 * threads. Runs on the pool. [Cunningham 2023 eq. 1; Bricken 2023, Autoencoder] */
/* A dictionary without an encoder is encoded by sae_encode_fista() as sae_fista() has it. */
void sae_encode(struct sae *s, const float *x, size_t n, struct codes *out);

/* How sae_encode_fista() goes about it when nobody says otherwise: lambda as the dictionary was fitted with it, in the
 * units of the rows as they come (s->l1 / activation_scale), values not below 0. */
struct fista sae_fista(const struct sae *s);

/* Codes by sparse coding on W_dec and b_dec alone, whatever the kind [maths/lasso.h]. Where there is an encoder, its
 * codes are where the search begins: no row's objective comes out larger than theirs. Returns how many rows did not come
 * within how->tol. */
size_t sae_encode_fista(struct sae *s, const struct fista *how, const float *x, size_t n, struct codes *out);

/* Codes of at most k features a row, none below 0, found one by one [maths/pursuit.h]. */
void sae_encode_pursuit(struct sae *s, size_t k, const float *x, size_t n, struct codes *out);

/* x_hat (n, d_model) from codes. */
void sae_decode(const struct sae *s, const struct codes *c, float *x_hat);

#endif
