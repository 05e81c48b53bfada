# What the pipelines that put edited rows back into a model share: variables with defaults that need nothing but this
# folder, given as `make MODEL=DIR HOOK=... TEXT=FILE SAE=FILE`; names of files are taken from the pipeline's folder. Tables
# and figures go to OUT.
MODEL ?= ../demo/model
TEXT  ?= ../demo/text.txt
SPLIT ?= <|endoftext|>
HOOK  ?= blocks.0.mlp.hook_post
# A dictionary of HOOK; without one, they are fitted to ROWS rows and kept in CACHE.
SAE   ?=
ROWS  ?= 60000
# Features a dimension of those fitted here.
RATIO ?= 4
CACHE ?= $(if $(wildcard ../../bin),../causal/out,$(PWD)/saetools-cache)
# Bytes at the end of TEXT that no dictionary is fitted to, and how many tokens of them are looked at.
HELD  ?= 60000
TOKENS ?= 10000
SEED  ?= 0
OUT   ?= $(if $(wildcard ../../bin),out,$(PWD)/$(notdir $(CURDIR)))
# In a checkout the tools are those of its bin, and out/ is the folder for results; where the pipelines are installed, the
# tools are those in PATH, and results go to a folder NAME where make was called.
BIN   ?= ../../bin
GNUPLOT ?= gnuplot
export MODEL TEXT SPLIT HOOK SAE ROWS RATIO CACHE HELD TOKENS SEED OUT GNUPLOT
export PATH := $(abspath $(BIN)):$(PATH)

all:
	@./run
clean:
	rm -rf out
.PHONY: all clean
