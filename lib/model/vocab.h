/* vocab: the bytes that token numbers stand for, out of any Hugging Face tokenizer.json: byte-level BPE (GPT-2, GPT-NeoX,
 * Llama 3, Qwen), BPE and Unigram that write a blank as U+2581 and single bytes as <0xHH> (Llama 2, Gemma, T5). It cannot
 * tokenize (tokenizer.h does, where it knows the rules): it is for rows whose tokens are given. */
/* SPDX-License-Identifier: MIT */
#ifndef VOCAB_H
#define VOCAB_H

#include <stddef.h>
#include <stdint.h>

struct vocab;

/* Load DIR/tokenizer.json. NULL and a sentence (with the path) on failure. */
struct vocab *vocab_load(const char *dir);
void vocab_free(struct vocab *v);
/* One more than the largest number. */
size_t vocab_size(const struct vocab *v);
/* The bytes of a token and their number; NULL for a number nobody has. */
const uint8_t *vocab_text(const struct vocab *v, uint32_t id, size_t *len);

#endif
