/* modeltool: what the tools that hold a language model share beyond tool.h. */
/* SPDX-License-Identifier: MIT */
#ifndef MODELTOOL_H
#define MODELTOOL_H

/* The last part of the directory's path, which names the model in headers: "pythia-70m". free() it. */
char *tool_model_name(const char *dir);
/* SHA-256 (hex) of DIR/tokenizer.json; exits when it cannot be read. free() it. */
char *tool_tokenizer_digest(const char *dir);

#endif
