# Headrace. `make help` lists the targets.
SHELL := /bin/bash
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
SAN ?=
V ?=
PKGS := libcurl json-c yaml-0.1 openssl libmicrohttpd libxxhash libpcre2-8 libnghttp2
WARN := -Wall -Wextra -Wshadow -Wconversion -Wundef -Wvla -Wstrict-prototypes \
        -Wmissing-prototypes
# -Werror in CI, not for users: a compiler that is newer than we are may warn of more.
WERROR ?=
OPT ?= -O2
HARDEN ?= -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fcf-protection
LDHARDEN ?= -pie -Wl,-z,relro,-z,now
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0)

PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
ifneq ($(filter-out help deps% clean lint quickstart,$(or $(MAKECMDGOALS),all)),)
ifeq ($(and $(shell command -v $(firstword $(CC)) 2>/dev/null),$(PKG_LIBS)),)
$(error $(CC), pkg-config or a library is missing: run `make deps` first)
endif
endif
ifneq ($(words $(CURDIR)),1)
$(error make cannot work in a folder with a space in its path: "$(CURDIR)")
endif
CFLAGS_ALL = -std=gnu17 -g $(OPT) $(WARN) $(WERROR) $(HARDEN) -Isrc -D_GNU_SOURCE \
             -pthread $(PKG_CFLAGS) $(SAN) $(CFLAGS)
LIBS_ALL = $(PKG_LIBS) -lm -pthread

LIB_SRC := $(sort $(wildcard src/*/*.c))
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
LIB := $(BUILD)/libheadrace.a
PROGRAMS := headrace headrace-sim headrace-bench
prog_src = $(sort $(wildcard cmd/$(1)/*.c))
PROG_BIN := $(foreach p,$(PROGRAMS),$(if $(call prog_src,$(p)),$(BUILD)/$(p)))
UNIT_SRC := $(sort $(wildcard tests/unit/*/*_test.c))
UNIT_BIN := $(UNIT_SRC:%.c=$(BUILD)/%)
FUZZ_SRC := $(sort $(wildcard tests/fuzz/*_fuzz.c))
FUZZ_BUILD ?= build-fuzz
FUZZ_BIN := $(FUZZ_SRC:tests/fuzz/%.c=$(FUZZ_BUILD)/%)
FUZZ_SECONDS ?= 20

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' "$(1)" "$(2)")

.DEFAULT_GOAL := all
.PHONY: all help
all: $(PROG_BIN) ## build the three programs into build/

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | \
	  awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(BUILD)/obj/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

# The programs know their version; a new one rebuilds only what says it.
$(BUILD)/obj/cmd/%.o: CFLAGS_ALL += -DHEADRACE_VERSION='"$(VERSION)"'
$(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard cmd/*/*.c)): $(BUILD)/version
.PHONY: force
$(BUILD)/version: force
	@mkdir -p $(@D)
	@[ "$$(cat $@ 2>/dev/null)" = "$(VERSION)" ] || echo "$(VERSION)" >$@

$(LIB): $(LIB_OBJ)
	$(call say,AR,$@)
	@rm -f $@
	$(Q)ar rcs $@ $^

define program
$(BUILD)/$(1): $(patsubst %.c,$(BUILD)/obj/%.o,$(call prog_src,$(1))) $(LIB)
	$$(call say,LD,$$@)
	$(Q)$$(CC) $$(CFLAGS_ALL) $$(LDHARDEN) -o $$@ $$^ $$(LIBS_ALL)
endef
$(foreach p,$(PROGRAMS),$(eval $(call program,$(p))))

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -Itests/unit $(LDHARDEN) -MMD -MP -MF $@.d -o $@ $< $(LIB) -lcmocka $(LIBS_ALL)

# Programs that only integration tests run.
DRIVER_SRC := $(sort $(wildcard tests/integration/*/*_driver.c))
DRIVER_BIN := $(DRIVER_SRC:%.c=$(BUILD)/%)
$(BUILD)/tests/integration/%: tests/integration/%.c $(LIB)
	$(call say,TEST,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) $(LDHARDEN) -MMD -MP -MF $@.d -o $@ $< $(DRIVER_LINK) $(LIB) $(LIBS_ALL)
# headrace itself, in which calls can be made to fail.
TORTURE := $(BUILD)/tests/integration/torture/torture_driver
TORTURE_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(call prog_src,headrace))
TORTURE_CALLS := malloc calloc realloc aligned_alloc socket accept4 epoll_ctl recv send sendmsg \
                 write epoll_wait address_guard_check
$(TORTURE): $(TORTURE_OBJ)
$(TORTURE): DRIVER_LINK = $(TORTURE_OBJ) $(TORTURE_CALLS:%=-Wl,--wrap=%)

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- tests ----------------------------------------------------------------------------------

.PHONY: test unit integration e2e clients asan tsan fuzz lint check bench cov quickstart deps install clean
unit: $(UNIT_BIN) ## unit tests (cmocka)
	$(Q)tests/unit/run $(UNIT_BIN)

integration: all $(DRIVER_BIN) ## integration tests: the real programs over real sockets
	$(Q)BUILD=$(BUILD) tests/integration/run

test: all $(DRIVER_BIN) ## unit and integration tests; no root, no Go
	$(Q)BUILD=$(BUILD) tests/run-all $(UNIT_SRC:%.c=$(BUILD)/%)
test: $(UNIT_BIN)

e2e: all ## on a real Kubernetes API server and node (root; builds Kubernetes once into the cache)
	$(Q)BUILD=$(BUILD) tests/e2e/run --tier all

ASAN_FLAGS := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# -Wno-tsan: gcc warns of the fence in event/epoch.h, which TSan does not model (it may see too little
# there, never too much).
TSAN_FLAGS := -fsanitize=thread -fno-omit-frame-pointer -Wno-tsan
SAN_MAKE = $(MAKE) --no-print-directory OPT=-O1 HARDEN=-fPIE

# Waits may last longer under a sanitizer; no test is slower for it.
asan tsan: export HEADRACE_TEST_SLOW ?= 3

asan: ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(Q)ASAN_OPTIONS=detect_leaks=1:abort_on_error=0 UBSAN_OPTIONS=print_stacktrace=1 \
	  $(SAN_MAKE) BUILD=build-asan SAN="$(ASAN_FLAGS)" test

tsan: ## the tests under ThreadSanitizer
	$(Q)TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
	  $(SAN_MAKE) BUILD=build-tsan SAN="$(TSAN_FLAGS)" test

# libFuzzer needs clang; each target runs FUZZ_SECONDS on its corpus.
FUZZ_CC ?= $(shell command -v clang-14 || command -v clang)
FUZZ_FLAGS := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
fuzz: ## every libFuzzer target for FUZZ_SECONDS (default 20) each
	@[ -n "$(FUZZ_CC)" ] || { echo "fuzz: needs clang with libFuzzer: make deps-check" >&2; exit 1; }
	$(Q)$(MAKE) --no-print-directory CC=$(FUZZ_CC) BUILD=$(FUZZ_BUILD) OPT=-O1 HARDEN=-fPIE \
	  SAN="$(FUZZ_FLAGS)" fuzz-build
	$(Q)tests/fuzz/run $(FUZZ_SECONDS) $(FUZZ_BIN)

.PHONY: fuzz-build
fuzz-build: $(FUZZ_SRC:tests/fuzz/%.c=$(BUILD)/%)
$(BUILD)/%_fuzz: tests/fuzz/%_fuzz.c $(LIB)
	$(call say,FUZZ,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -pie -o $@ $< $(LIB) $(LIBS_ALL)

lint: ## layers, banned functions, sizes, cppcheck, clang warnings
	$(Q)tests/lint/run
	$(Q)charts/sync --check

cov: ## line coverage of the unit and integration tests (gcov)
	$(Q)$(MAKE) --no-print-directory BUILD=build-cov OPT=-O0 HARDEN=-fPIE SAN=--coverage test
	$(Q)tests/lint/coverage build-cov

check: lint test asan tsan fuzz ## what CI runs, but for e2e

bench: all ## CPU, latency, system calls and memory beside other proxies, in one run
	$(Q)BUILD=$(BUILD) tests/bench/run $(BENCH_ARGS)

test-clients: all ## the official OpenAI client and h2spec against Headrace (node, npm, Go; no root)
	$(Q)BUILD=$(BUILD) tests/e2e/run --tier clients
.PHONY: test-clients

# The lists in docs/ are written by the tests that compare them.
SYNC_TESTS := $(BUILD)/tests/unit/model/docs_test $(BUILD)/tests/unit/observe/metrics_docs_test
sync: $(SYNC_TESTS) ## what is derived: CRDs in the chart, manifests/install.yaml, lists in docs/
	$(Q)charts/sync
	$(Q)for test in $(SYNC_TESTS); do UPDATE_GOLDEN=1 $$test >/dev/null 2>&1 || exit 1; done
.PHONY: sync

quickstart: ## build, start simulated GPU pods and Headrace, send a streamed completion
	$(Q)tests/quickstart/run

# ---- installing -----------------------------------------------------------------------------

PREFIX ?= /usr/local
install: all ## into PREFIX (default /usr/local), honours DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/headrace/crds
	install -m 0755 $(PROG_BIN) $(DESTDIR)$(PREFIX)/bin
	install -m 0644 crds/*.yaml $(DESTDIR)$(PREFIX)/share/headrace/crds

DEPS_BUILD := gcc make pkg-config git libcurl4-openssl-dev libjson-c-dev libyaml-dev libssl-dev \
  libmicrohttpd-dev libxxhash-dev libpcre2-dev libnghttp2-dev libcmocka-dev python3 curl \
  ca-certificates openssl nghttp2-client slowhttptest varnish
DEPS_CHECK := clang-14 libclang-rt-14-dev cppcheck universal-ctags
DEPS_BENCH := nginx-light haproxy nghttp2-proxy wrk strace
# A node or containerd from elsewhere (nodesource, Docker) is as good as Debian's.
DEPS_E2E := runc containernetworking-plugins iproute2 iptables buildah debootstrap openssl \
  util-linux diffutils python3-pip \
  $(if $(shell command -v containerd),,containerd) $(if $(shell command -v npm),,nodejs npm)
deps: ## install what building and testing needs (apt; root or sudo)
	$(Q)tests/deps $(DEPS_BUILD)
deps-check: ## and what `make lint` and `make fuzz` need
	$(Q)tests/deps $(DEPS_CHECK)
deps-bench: ## and what `make bench` needs
	$(Q)tests/deps $(DEPS_BENCH)
deps-e2e: ## and what `make e2e` needs
	$(Q)tests/deps $(DEPS_E2E)
.PHONY: deps-check deps-bench deps-e2e

clean: ## remove what was built
	rm -rf build build-asan build-tsan build-cov build-fuzz
