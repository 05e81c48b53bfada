/* SPDX-License-Identifier: MIT */
#include "model/ids.h"
#include "base/mem.h"

void ids_push(struct ids *list, uint32_t id)
{
    if (list->n == list->cap)
        list->id = mem_grow(list->id, &list->cap, list->n + 1, sizeof *list->id);
    list->id[list->n++] = id;
}
