/* cli_sae: what the tools that hold a dictionary share beyond tool.h. Apart, so that the others do not link the BLAS. */
/* SPDX-License-Identifier: MIT */
#ifndef CLI_SAE_H
#define CLI_SAE_H

#include "cli/cli_blas.h"
#include "cli/tool.h"
#include "files/saefile.h"

/* Load a dictionary or exit. Also readies the BLAS for one-threaded calls. */
struct sae *cli_sae(const char *path);
/* Warn when the rows come from another hook than the one the dictionary was fitted on. */
void cli_sae_fits(const struct sae *sae, const struct stream_in *in);
/* The header key `sae` of codes: {sha, kind, k, d_in}. */
json_t *cli_sae_key(const struct sae *sae);
#endif
