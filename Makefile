# Headrace. `make help` lists the targets.
SHELL := /bin/bash
CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
BUILD ?= build
SAN ?=
V ?=
PKGS := libcurl json-c yaml-0.1 openssl libmicrohttpd libxxhash
WARN := -Wall -Wextra -Wshadow -Wconversion -Wundef -Wvla -Wstrict-prototypes \
        -Wmissing-prototypes -Wno-unknown-warning-option
WERROR ?= -Werror
OPT ?= -O2
HARDEN ?= -fPIE -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fcf-protection
LDHARDEN ?= -pie -Wl,-z,relro,-z,now
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0)

PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
PKG_LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
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
	$(Q)$(CC) $(CFLAGS_ALL) -DHEADRACE_VERSION='"$(VERSION)"' -MMD -MP -c -o $@ $<

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

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
