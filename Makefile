# saetools: GNU make, no configure. CC, CFLAGS, LDFLAGS, prefix and DESTDIR are the user's. `make help` lists the targets.
CC      ?= cc
CFLAGS  ?= -O2 -g
prefix  ?= /usr/local
bindir  ?= $(prefix)/bin
mandir  ?= $(prefix)/share/man
BUILD   ?= build
BIN     ?= bin

VERSION  := 0.2.0
LIBS     := openblas libzstd jansson libutf8proc libdeflate nettle
# msgpack-c changed the name of its package in version 6.
MSGPACK   = $(shell pkg-config --exists msgpack-c && echo msgpack-c || echo msgpack)
# Asked when first needed, not when the file is read: `make deps all` installs pkg-config on the way.
PKG_CFLAGS = $(eval PKG_CFLAGS := $(shell pkg-config --cflags $(LIBS) $(MSGPACK)))$(PKG_CFLAGS)
# --as-needed keeps the BLAS, which is slow to start, out of the tools that do no arithmetic.
PKG_LIBS   = $(eval PKG_LIBS := -Wl,--as-needed $(shell pkg-config --libs $(LIBS) $(MSGPACK)) -lm -lpthread -ldl)$(PKG_LIBS)

WARN := -Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla $(if $(WERROR),-Werror)
OURS  = -std=c11 -D_POSIX_C_SOURCE=200809L -DSAETOOLS_VERSION='"$(VERSION)"' -Ilib -Ibin -ffp-contract=off $(WARN) $(PKG_CFLAGS)

TOOLS  := $(patsubst bin/%.c,%,$(wildcard bin/*.c))
LIB_O  := $(patsubst %.c,$(BUILD)/%.o,$(wildcard lib/*/*.c))
# The objects of a tool: of bin/NAME.c, and of the folder bin/NAME, with _ for -, where there is one.
PARTS   = $(BUILD)/bin/$(1).o $(patsubst %.c,$(BUILD)/%.o,$(wildcard bin/$(subst -,_,$(1))/*.c))
TOOL_O := $(foreach t,$(TOOLS),$(call PARTS,$(t)))
UNIT   := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/unit/test_*.c))
LIB    := $(BUILD)/libsaetools.a
COMPLETE := saetools.bash _saetools

all: $(TOOLS:%=$(BIN)/%) $(COMPLETE:%=$(BUILD)/completions/%)  ## build the tools into bin/, completions for shells into build/

.SECONDEXPANSION:
$(BIN)/%: $$(call PARTS,$$*) $(LIB)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(PKG_LIBS)

$(LIB): $(LIB_O)
	rm -f $@
	$(AR) rcs $@ $^

# The kernels: compiled for several CPUs and chosen at run time (target_clones), so contraction to FMA is theirs.
$(BUILD)/lib/maths/%.o: SPEED := -O3 -ffp-contract=fast -fno-trapping-math -fno-math-errno
$(BUILD)/lib/data/dtype.o $(BUILD)/lib/data/stream.o: SPEED := -O3

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(OURS) $(SPEED) -MMD -MP -c -o $@ $<

# Completions: the tools' own tables of options, behind the code that reads them.
$(BUILD)/completions/options: $(TOOLS:%=$(BIN)/%)
	@mkdir -p $(@D)
	@for t in $(TOOLS); do lines=$$($(BIN)/$$t --completion) && printf '%s\n' "$$lines" | sed "s/^/$$t	/" || exit 1; done > $@
TABLE = echo "IFS= read -r -d '' _saetools_table << 'END' || :"; cat $(BUILD)/completions/options; echo END
$(BUILD)/completions/saetools.bash: lib/shell/completion.bash $(BUILD)/completions/options
	@{ cat $<; echo; $(TABLE); echo 'complete -F _saetools $(TOOLS)'; } > $@
$(BUILD)/completions/_saetools: lib/shell/completion.zsh $(BUILD)/completions/options
	@{ echo '#compdef $(TOOLS)'; cat $<; echo; $(TABLE); echo '_saetools "$$@"'; } > $@

# ---- what it needs ----
DEPS     := gcc libc6-dev make pkg-config libopenblas-dev libzstd-dev libmsgpack-dev libjansson-dev libutf8proc-dev \
            libdeflate-dev nettle-dev perl zstd parallel mandoc
DEPS_DEV := clang clang-format clang-tidy libclang-rt-14-dev gnuplot-nox zsh man-db valgrind linux-perf universal-ctags
INSTALL_DEPS = command -v dpkg-query > /dev/null || { echo "deps: the names are Debian's: install what is called there $(1)" >&2; exit 1; }; \
	missing=; for p in $(1); do \
	  dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then echo "deps: all there"; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing; \
	else echo "deps: an administrator must run: apt-get install$$missing" >&2; exit 1; fi

deps:                                   ## install the Debian packages (as root), or say which are missing
	@$(call INSTALL_DEPS,$(DEPS))
deps-dev:                               ## what only developers need: clang and its tools, profilers, gnuplot
	@$(call INSTALL_DEPS,$(DEPS_DEV))
ifneq (,$(filter deps deps-dev,$(MAKECMDGOALS)))
$(LIB_O) $(TOOL_O): | $(filter deps deps-dev,$(MAKECMDGOALS))
endif

# ---- what it does ----
demo: all                               ## a real model, a dictionary, its features, one of them ablated: half a minute
	PATH="$(abspath $(BIN)):$$PATH" pipelines/demo/run

TESTS := tests/house $(wildcard tests/cases/*.t)
RUN    = BIN="$(abspath $(BIN))" BUILD="$(abspath $(BUILD))" perl tests/run $(if $(V),-v) $(if $(KEEP),-k)
# T: names of cases, of modules with a unit test, or of both; their unit tests alone are built.
T_UNIT = $(filter $(T:%=$(BUILD)/tests/unit/test_%) $(T:%=$(BUILD)/tests/unit/%),$(UNIT))
test: all $(if $(T),$(T_UNIT),$(UNIT)) $(BUILD)/inject.so    ## the suite; ends with `N passed, N failed` (T="patch topk" V=1 KEEP=1)
	$(RUN) $(or $(T),$(UNIT) $(TESTS))
units: all $(UNIT)                      ## the unit tests alone
	$(RUN) $(UNIT)
check: all $(UNIT)                      ## in a minute: the unit tests, and how the source is built
	$(RUN) $(UNIT) tests/house

$(BUILD)/tests/unit/%: $(BUILD)/tests/unit/%.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS)

$(BUILD)/inject.so: tests/fault/inject.c
	@mkdir -p $(@D)
	$(CC) -O1 -g -fPIC -shared -std=c11 $(WARN) -o $@ $< -ldl

bench: all $(BUILD)/tests/bench/peak    ## act-dump, sae-fit and act-splice beside the sgemm peak of the same run (MODEL=DIR HOOK= TEXT=)
	env -u OPENBLAS_CORETYPE BIN="$(abspath $(BIN))" PEAK="$(BUILD)/tests/bench/peak" perl tests/bench/run \
	  $(if $(MODEL),-m $(MODEL)) $(if $(HOOK),-p $(HOOK)) $(if $(TEXT),-i $(TEXT))

$(BUILD)/tests/bench/peak: $(BUILD)/tests/bench/peak.o $(LIB)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $< $(LIB) $(PKG_LIBS)

# The commands that make would run to compile everything, as editors and clang-tidy read them.
compdb:                                 ## write compile_commands.json
	@$(MAKE) -nB --no-print-directory $(LIB_O) $(TOOL_O) $(UNIT:=.o) | sed -n -e 's/["\\]/\\&/g' \
	  -e 's|.* -c -o \([^ ]*\) \([^ ]*\.c\)$$|{"directory": "$(CURDIR)", "file": "\2", "output": "\1", "command": "&"},|p' | \
	  sed -e '1s/^/[/' -e '$$s/,$$/]/' > compile_commands.json

# ---- variants: each in a folder of its own, none overwrites another ----
VARIANT = $(MAKE) BUILD=build/$(1) BIN=build/$(1)/prefix CFLAGS="-O1 -g -fno-omit-frame-pointer $(2)" LDFLAGS="$(2)"
sanitize:                               ## the suite under address and undefined-behaviour sanitizers
	$(call VARIANT,asan,-fsanitize=address,undefined -fno-sanitize-recover=undefined) test
tsan:                                   ## the suite under the thread sanitizer
	$(call VARIANT,tsan,-fsanitize=thread) test
debug:                                  ## build without optimisation into build/debug, for a debugger
	$(MAKE) BUILD=build/debug BIN=build/debug/prefix CFLAGS="-O0 -g3" SPEED= all
levels:                                 ## the arithmetic tests with our kernels compiled for one x86-64 level at a time
	for l in x86-64 x86-64-v2 x86-64-v3 x86-64-v4; do \
	  case $$l in *-v3) f=avx2;; *-v4) f=avx512f;; *) f=sse2;; esac; grep -qw $$f /proc/cpuinfo || continue; \
	  $(MAKE) BUILD=build/$$l BIN=build/$$l/prefix CFLAGS="-O2 -DCLONES_AT='\"$$l\"'" arithmetic || exit 1; done
ARITHMETIC := $(filter-out %_opt %_err %_io %_corpus %_tokenizer,$(UNIT))
arithmetic: all $(ARITHMETIC)
	BIN="$(abspath $(BIN))" BUILD="$(abspath $(BUILD))" perl tests/run $(ARITHMETIC)
coverage:                               ## the suite with gcov counters, left in build/coverage
	$(call VARIANT,coverage,--coverage) test

readme: all                             ## run every command of README.md, slow ones too, and write down what they print
	README_WRITE=1 README_SLOW=1 BIN="$(abspath $(BIN))" BUILD="$(abspath $(BUILD))" perl tests/run -t 3600 tests/cases/readme.t

lint:                                   ## manual pages, shell scripts; C where clang-tidy is there
	mandoc -Tlint -Wwarning man/man?/*
	for f in .ci/run pipelines/*/run pipelines/*/experiments pipelines/causal/common.sh lib/shell/completion.bash; do \
	  bash -n $$f || exit 1; done
	if command -v clang-tidy > /dev/null; then $(MAKE) -s compdb && clang-tidy --quiet -p . $(wildcard lib/*/*.c bin/*.c bin/*/*.c); fi

# ---- installing ----
# DESTDIR is put in front of everything; STRIP= keeps the symbols of the programs.
STRIP   ?= -s
datadir ?= $(prefix)/share
bashdir ?= $(datadir)/bash-completion/completions
zshdir  ?= $(datadir)/zsh/site-functions
OWN      = $(datadir)/saetools
PAGES    = $(wildcard man/man?/*.[0-9])
PIPES    = $(shell find pipelines -name out -prune -o -type f -print | sort)
DIRS     = $(bindir) $(sort $(dir $(PAGES:man/%=$(mandir)/%))) $(bashdir) $(zshdir) $(sort $(dir $(PIPES:%=$(OWN)/%)))
FILES    = $(TOOLS:%=$(bindir)/%) $(PAGES:man/%=$(mandir)/%) $(bashdir)/saetools $(TOOLS:%=$(bashdir)/%) \
           $(zshdir)/_saetools $(PIPES:%=$(OWN)/%) $(OWN)/directories

install: all                            ## into $(DESTDIR)$(prefix): programs, pages, completions, pipelines and their model
	@mkdir -p $(BUILD)
	for d in $(DIRS); do LC_ALL=C install -dv "$(DESTDIR)$$d" || exit 1; done > $(BUILD)/made
	sed -n "s|^install: creating directory '$(DESTDIR)\(.*[^/]\)/*'\$$|\1|p" $(BUILD)/made >> $(DESTDIR)$(OWN)/directories
	install $(STRIP) $(TOOLS:%=$(BIN)/%) $(DESTDIR)$(bindir)
	for f in $(PAGES); do install -m 644 $$f $(DESTDIR)$(mandir)/$${f#man/} || exit 1; done
	install -m 644 $(BUILD)/completions/saetools.bash $(DESTDIR)$(bashdir)/saetools
	for t in $(TOOLS); do ln -sf saetools $(DESTDIR)$(bashdir)/$$t || exit 1; done
	install -m 644 $(BUILD)/completions/_saetools $(DESTDIR)$(zshdir)
	for f in $(PIPES); do test -x $$f && m=755 || m=644; install -m $$m $$f $(DESTDIR)$(OWN)/$$f || exit 1; done
	rm -f $(BUILD)/made
uninstall:                              ## take it away again, with the directories that install made and nobody else uses
	@test ! -f $(DESTDIR)$(OWN)/directories || sort -ru $(DESTDIR)$(OWN)/directories > $(BUILD)/made
	rm -f $(FILES:%=$(DESTDIR)%)
	test ! -s $(BUILD)/made || while read -r d; do rmdir "$(DESTDIR)$$d" 2> /dev/null || :; done < $(BUILD)/made
	rm -f $(BUILD)/made

clean:                                  ## remove what was built
	rm -rf build $(TOOLS:%=bin/%) pipelines/*/out
help:                                   ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14

.PHONY: all deps deps-dev demo test units check levels arithmetic bench readme compdb debug sanitize tsan coverage lint install \
        uninstall clean help
.SECONDARY:
.DELETE_ON_ERROR:
-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
