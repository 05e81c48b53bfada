/* SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "toy/toy_internal.h"

#include <math.h>
#include <stdlib.h>

static void make_scales(struct toy *t)
{
    struct rng r = toy_rng(t->o.seed, TOY_OF_SCALE, 0);
    t->scale = mem_alloc(t->o.g, sizeof *t->scale);
    for (size_t g = 0; g < t->o.g; g++)
        t->scale[g] = (float)(t->o.scales == TOY_GEOMETRIC ? pow(t->o.scale, (double)g)
                              : t->o.scales == TOY_SPREAD  ? exp(t->o.scale * rng_normal(&r))
                                                           : 1);
}

struct toy *toy_new(const struct toy_options *o)
{
    struct toy *t = mem_zero(1, sizeof *t);
    t->o = *o;
    make_scales(t);
    if (toy_draw_make(t) || !(t->direction = toy_directions(o, &t->orthogonal))) {
        toy_free(t);
        return NULL;
    }
    if (o->train)
        toy_train(t);
    return t;
}

void toy_free(struct toy *t)
{
    if (!t)
        return;
    toy_draw_free(t->draw);
    free(t->direction);
    free(t->scale);
    free(t->p);
    free(t);
}

void toy_rows(const struct toy *t, const struct codes *c, float *x)
{
    codes_decode(c, t->direction, NULL, t->o.d, x);
}
