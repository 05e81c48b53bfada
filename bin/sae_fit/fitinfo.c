/* SPDX-License-Identifier: MIT */
#include "sae_fit/fitinfo.h"
#include "base/mem.h"
#include "cli/cli_sae.h"
#include "cli/shellword.h"
#include "cli/table.h"
#include "data/jsonfile.h"
#include "dict/kind.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void text_words(struct text *t, const json_t *words)
{
    size_t i;
    json_t *word;
    json_array_foreach(words, i, word) {
        table_text_plain(t, " ");
        shellword_add(t, json_string_value(word) ? json_string_value(word) : "?", !opt.json);
    }
}

/* The commands of the history: one that names no input reads what the one before it wrote. */
static void text_commands(struct text *t, const char *path, const char *history)
{
    json_t *list = jsonfile_value(history), *step;
    size_t i;
    if (!list)
        err_in(path), tool_die();
    json_array_foreach(list, i, step) {
        const char *tool = json_string_value(json_object_get(step, "tool"));
        const json_t *inputs = json_object_get(step, "in");
        if (i)
            table_text_plain(t, json_array_size(inputs) ? "; " : " | ");
        shellword_add(t, tool ? tool : "?", !opt.json);
        text_words(t, json_object_get(step, "args"));
        if (tool && !strcmp(tool, err_program)) {
            table_text_plain(t, " -o ");
            shellword_add(t, path, !opt.json);
        }
        text_words(t, inputs);
    }
    json_decref(list);
}

int fitinfo_print(const char *path)
{
    static const char *const columns[] = { "key", "value" };
    struct sae *sae = cli_sae(path);
    struct table *t = table_create_keyed(columns, 2);
    struct text commands = { .s = NULL };
    const char *key, *history = NULL;
    json_t *value;
    json_object_foreach(sae->meta, key, value) {
        if (!strcmp(key, "history")) {
            history = json_string_value(value);
            continue;
        }
        table_text(t, key);
        table_text(t, json_string_value(value));
    }
    for (enum sae_tensor k = 0; k < SAE_TENSORS; k++)
        if (*sae_tensor(sae, k)) {
            char shape[60];
            size_t rows = sae_tensor_rows(k, sae->d_sae), width = sae_tensor_width(k, sae->d_model);
            if (sae_tensors[k].square)
                rows = width = sae->d_model;
            if (rows > 1 && width > 1)
                snprintf(shape, sizeof shape, "%zu rows of %zu", rows, width);
            else
                snprintf(shape, sizeof shape, "%zu", rows * width);
            table_text(t, sae_tensors[k].name);
            table_text(t, shape);
        }
    if (history) {
        table_text_plain(&commands, "");
        text_commands(&commands, path, history);
        table_text(t, "command");
        table_text(t, commands.s);
    }
    free(commands.s);
    sae_free(sae);
    return table_finish(t);
}
