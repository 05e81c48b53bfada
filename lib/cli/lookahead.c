/* SPDX-License-Identifier: MIT */
#include "cli/lookahead.h"
#include "cli/tool.h"
#include "data/batch_select.h"

bool lookahead_next(struct lookahead *a, const struct batch **b, const struct batch **next)
{
    struct batch read;
    *b = &a->now;
    *next = NULL;
    if (!a->look)
        return tool_next(a->in, &a->now);
    if (a->held)
        batch_select_keep_free(&a->now);
    else if (tool_next(a->in, &read))
        batch_select_keep(&a->then, &read), a->have = true;
    a->held = a->have;
    if (!a->have)
        return false;
    a->now = a->then;
    if ((a->have = tool_next(a->in, &read)))
        batch_select_keep(&a->then, &read), *next = &a->then;
    return true;
}

void lookahead_free(struct lookahead *a)
{
    if (a->held)
        batch_select_keep_free(&a->now);
    if (a->have)
        batch_select_keep_free(&a->then);
    *a = (struct lookahead){ .in = NULL };
}
