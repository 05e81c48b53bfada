/* saetool: what the tools that hold a dictionary share beyond tool.h. Apart, so that the others do not link the BLAS. */
/* SPDX-License-Identifier: MIT */
#ifndef SAETOOL_H
#define SAETOOL_H

#include "files/saefile.h"
#include "tools/arith.h"
#include "tools/tool.h"

/* Load a dictionary or exit. Also readies the BLAS for one-threaded calls. */
struct sae *tool_sae(const char *path);
/* Warn when the rows come from another hook than the one the dictionary was fitted on. */
void tool_sae_fits(const struct sae *sae, const struct stream_in *in);
/* The header key `sae` of codes: {sha, kind, k, d_in}. */
json_t *tool_sae_key(const struct sae *sae);
#endif
