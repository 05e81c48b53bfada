# saetools: GNU make, no configure. CFLAGS, LDFLAGS, CC, prefix and DESTDIR are the user's.
# `make help` lists the targets.
CC      ?= cc
CFLAGS  ?= -O2 -g
prefix  ?= /usr/local
bindir  ?= $(prefix)/bin
mandir  ?= $(prefix)/share/man
BUILD   ?= build
BIN     ?= bin

VERSION := 0.1.0
PACKAGES := openblas libzstd msgpack jansson libutf8proc libdeflate nettle
PKG_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
# libm is part of every program; --as-needed keeps the BLAS (slow to start) out of those that do no arithmetic.
PKG_LIBS := -Wl,--as-needed $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lm -lpthread

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla
OURS := -std=c11 -D_POSIX_C_SOURCE=200809L -DSAETOOLS_VERSION='"$(VERSION)"' -Ilib -ffp-contract=off $(WARN) $(PKG_CFLAGS)

TOOLS := $(patsubst bin/%.c,%,$(wildcard bin/*.c))
LIB_C := $(wildcard lib/*/*.c)
LIB_O := $(LIB_C:%.c=$(BUILD)/%.o)
LIB   := $(BUILD)/libsaetools.a

all: $(TOOLS:%=$(BIN)/%)

$(BIN)/%: $(BUILD)/bin/%.o $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS)

$(LIB): $(LIB_O)
	rm -f $@
	$(AR) rcs $@ $^

# The kernels: compiled for several CPUs and chosen at run time (target_clones), so contraction to FMA is theirs.
$(BUILD)/lib/maths/%.o: OURS += -O3 -ffp-contract=fast -fno-math-errno
$(BUILD)/lib/data/dtype.o $(BUILD)/lib/data/stream.o: OURS += -O3

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OURS) -MMD -MP -c -o $@ $<

clean:
	rm -rf $(BUILD) $(TOOLS:%=$(BIN)/%)

.PHONY: all clean
.SECONDARY:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
