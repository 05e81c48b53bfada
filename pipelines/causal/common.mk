# What the pipelines that put edited rows back into a model share: variables with defaults that need nothing but this
# checkout, given as `make MODEL=DIR HOOK=... TEXT=FILE SAE=FILE`; names of files are taken from the pipeline's folder. Tables
# and figures go to out/, or OUT.
MODEL ?= ../demo/model
TEXT  ?= ../demo/text.txt
SPLIT ?= <|endoftext|>
HOOK  ?= blocks.0.mlp.hook_post
# A dictionary of HOOK; without one, they are fitted to ROWS rows and kept in CACHE.
SAE   ?=
ROWS  ?= 60000
# Features a dimension of those fitted here.
RATIO ?= 4
CACHE ?= ../causal/out
# Bytes at the end of TEXT that no dictionary is fitted to, and how many tokens of them are looked at.
HELD  ?= 60000
TOKENS ?= 10000
SEED  ?= 0
OUT   ?= out
BIN   ?= ../../bin
GNUPLOT ?= gnuplot
export MODEL TEXT SPLIT HOOK SAE ROWS RATIO CACHE HELD TOKENS SEED OUT GNUPLOT
export PATH := $(abspath $(BIN)):$(PATH)

all:
	@./run
clean:
	rm -rf out
.PHONY: all clean
