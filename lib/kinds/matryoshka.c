/* matryoshka: nested dictionaries, the first m_1 < m_2 < ... < m_J = m features, each of which must reconstruct by
 * itself [Bussmann 2025]:
 *
 *   L = 1/J sum_j |r_j|^2,   r_j = sum_{i < m_j} f_i d_i + b_dec - x
 *
 * with the selection of batchtopk. m_j doubles from one to the next. Each r_j is the one before and what its group of
 * features adds, and feature i learns from R_i = 1/J sum of the r_j it is part of: J sums a row, whatever m. */
/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "dict/activation.h"
#include "fit/batch_threshold.h"
#include "fit/preset.h"
#include "fit/unit_rows.h"
#include "maths/vec.h"

#include <stdlib.h>
#include <string.h>

/* The groups: plane[i] is that of feature i, and of towards (groups, n, d_model) the plane it learns from. */
struct own {
    size_t groups, cap;
    uint32_t *plane;
    float *towards;
};

/* Groups end at m, m / 2, m / 4...; no two at the same place. */
static struct own *own_new(const struct fit *f)
{
    struct own *own = mem_zero(1, sizeof *own);
    size_t m = f->o.d_sae, wanted = f->o.prefixes ? f->o.prefixes : 1, from = 0;
    own->plane = mem_alloc(m, sizeof *own->plane);
    for (size_t j = wanted; j-- > 0;) {
        size_t end = j < 8 * sizeof m ? m >> j : 0;
        if (end <= from)
            continue;
        for (size_t i = from; i < end; i++)
            own->plane[i] = (uint32_t)own->groups;
        own->groups++;
        from = end;
    }
    return own;
}

static void release(struct fit *f)
{
    struct own *own = f->priv;
    if (own) {
        free(own->plane);
        free(own->towards);
    }
    free(own);
}

static double row_loss(struct fit *f, size_t row)
{
    const struct own *own = f->priv;
    size_t d = f->o.d_model, plane = f->n * d, from = f->f.ptr[row], end = f->f.ptr[row + 1], J = own->groups;
    float *at = own->towards + row * d, *r = f->r + row * d;
    double sum = 0, recon = step_recon(f);
    const float *base = step_base(f);
    for (size_t j = 0, p = from; j < J; j++) {
        size_t first = p;
        while (p < end && own->plane[f->f.idx[p]] == j)
            p++;
        sparse_sum(f->f.idx + first, f->f.val + first, p - first, f->dec, base, d, at + j * plane);
        base = at + j * plane;
    }
    for (size_t j = 0; j < J; j++) {
        vec_sub(at + j * plane, at + j * plane, f->x + row * d, d);
        sum += vec_dot_wide(at + j * plane, at + j * plane, d) / (double)J;
    }
    memcpy(r, at + (J - 1) * plane, d * sizeof *r);
    for (size_t j = J; j-- > 0;) {
        vec_scale(at + j * plane, 1 / (float)J, d);
        if (j + 1 < J)
            vec_add(at + j * plane, at + (j + 1) * plane, d);
    }
    for (size_t p = from; p < end; p++)
        f->g[p] = (float)(2 * recon) * vec_dot(f->dec + f->f.idx[p] * d, at + own->plane[f->f.idx[p]] * plane, d);
    return recon * (sum - vec_dot_wide(r, r, d));
}

static void step(struct fit *f)
{
    struct step_term term[2];
    struct own *own = f->priv = f->priv ? f->priv : own_new(f);
    own->towards = mem_grow(own->towards, &own->cap, own->groups * f->n * f->o.d_model, sizeof(float));
    batch_threshold_encode(f);
    step_rows_towards(f, row_loss, own->towards);
    term[0] = step_term_first(f);
    term[0].r = own->towards;
    term[0].plane = own->plane;
    step_update_terms(f, term, auxk_add(f, term, 1), unit_rows_gradient);
    batch_threshold_end(f);
}

/* A feature of the last group has little to gain where those before have done the work: dead ones need a strong hand. */
static const struct preset usual = {
    .kind = "matryoshka", .ratio = 8, .rms = true, .batch = 256, .lr = 2e-3, .beta1 = 0.9, .beta2 = 0.999,
    .eps = 6.25e-10, .decay = 0.3, .center = FIT_CENTER_MEDIAN, .apply_b_dec = true, .k = 32, .aux_k = 512,
    .aux_weight = 1.0 / 4, .prefixes = 5, .dead_window = 10000,
};

const struct kind kind_matryoshka = {
    .name = "matryoshka",
    .about = "batchtopk whose first features, and more of them step by step, reconstruct by themselves",
    .saves = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC) | SAE_HAS(SAE_THRESHOLD),
    .learns = SAE_HAS(SAE_W_ENC) | SAE_HAS(SAE_B_ENC) | SAE_HAS(SAE_W_DEC) | SAE_HAS(SAE_B_DEC),
    .accepts = USES_ADAM | USES_LAYERS | USES_CENTER | USES_K | USES_AUX | USES_PREFIXES | USES_ORTHO | USES_RECON |
            USES_CLIP | USES_TIED_INIT | USES_RESAMPLE | USES_INIT | USES_SCALE,
    .defaults = &usual,
    .candidates = activation_candidates_threshold,
    .select = activation_select_threshold,
    .release = release,
    .init = step_init_rows,
    .constrain = unit_rows_constrain,
    .step = step,
    .finish = batch_threshold_finish,
    .resample_enc_norm = 1,        /* a smaller row never wins */
};
