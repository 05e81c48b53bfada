/* SPDX-License-Identifier: MIT */
#include "kinds/kinds.h"

#include <string.h>

/* The table: KIND(x) is struct kind kind_x, of the file x.c. */
#define KINDS \
    KIND(tied) \
    KIND(relu) \
    KIND(gated) \
    KIND(rescaled) \
    KIND(topk) \
    KIND(batchtopk) \
    KIND(matryoshka) \
    KIND(jumprelu) \
    KIND(rica) \
    KIND(fista) \
    KIND(pca) \
    KIND(ica) \
    KIND(nmf) \
    KIND(random) \
    KIND(identity)

#define KIND(x) extern const struct kind kind_##x;
KINDS
#undef KIND
#define KIND(x) &kind_##x,
const struct kind *const kinds[] = { KINDS NULL };
#undef KIND
#define KIND(x) #x,
const char *const kind_names[] = { KINDS NULL };

const struct kind *kind_find(const char *name)
{
    for (size_t i = 0; kinds[i]; i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
    return NULL;
}
