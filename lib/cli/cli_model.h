/* cli_model: what the tools that hold a language model share beyond tool.h. */
/* SPDX-License-Identifier: MIT */
#ifndef CLI_MODEL_H
#define CLI_MODEL_H

/* The last part of the directory's path, which names the model in headers: "pythia-70m". free() it. */
char *cli_model_name(const char *dir);
/* SHA-256 (hex) of DIR/tokenizer.json; exits when it cannot be read. free() it. */
char *cli_model_tokenizer_digest(const char *dir);

#endif
