# SPDX-License-Identifier: Apache-2.0
#
# make          build/weir and build/weir-cni
# make demo     the main job on real input (KEEP=1 leaves the lab up)
# make check    every test
# make fuzz     FUZZ_SECONDS=N for each target
# make diff     weir against the real iptables, CONFIGS random configurations (SEED, INDEX: one again; FROM: go on there; JOBS)
# make nightly  the same with 10,000 configurations, then each fuzz target for an hour
# make check-cluster    the same in a real Kubernetes
# make bench    the benchmarks (ONLY=redirection or accounting, WRITE=1 puts them into docs/PERFORMANCE.md)
# make install  DESTDIR= PREFIX=/usr
# make deb      a Debian package in build/
# make cross-arm64      the same for another machine, in build/cross/arm64

VERSION := 0.1.0
PREFIX  ?= /usr
DESTDIR ?=
CC      ?= cc
CLANG   ?= clang
BPFTOOL ?= $(shell command -v bpftool || echo /usr/sbin/bpftool)
PYTHON  := /usr/bin/python3
B       := build

# scripts/setup leaves this behind when everything that it installs is there.
SETUP := $(B)/.setup

CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
ALL_CFLAGS = -std=gnu11 $(WARN) -D_GNU_SOURCE -DWEIR_VERSION='"$(VERSION)"' -I. -I$(B) $(CFLAGS)
# Kernel headers of the machine that is built for: <asm/types.h> differs.
BPF_SYSINCLUDE ?= /usr/include/$(shell $(CC) -dumpmachine)
BPF_CFLAGS = -g -O2 -target bpf -mcpu=v3 -Wall -Wextra -Werror -I. -I$(BPF_SYSINCLUDE)
LIBS    := -lncursesw -ltinfo -lbpf -lelf -lz -ljansson -lmicrohttpd -lgnutls -lcrypt -lcurl -lyajl -lyaml -lmnl

# Everything that attaches to kubepods and lives once, what is loaded once for each pod, and what a
# command loads that lists connections.
BPF_MAIN  := maps decide bind connect udp sockopt sockops iter tls datagram merge
BPF_NETNS := maps lookup
BPF_CONNS := conns

BASE  := $(wildcard base/*.c)
AGENT := $(wildcard agent/*.c)
EXPO  := $(filter-out exporter/metrics_doc.c,$(wildcard exporter/*.c))
CNI   := $(wildcard cli/cni*.c)
CLI   := $(filter-out $(CNI),$(wildcard cli/*.c))
obj    = $(patsubst %.c,$(B)/%.o,$(1))

# Testable without a kernel: what the unit tests are linked with, and of it what reads others' input.
READERS := $(BASE) $(filter agent/pod.c agent/object.c agent/endpoint_slice.c agent/node.c \
	agent/annotations.c agent/go_text.c \
	agent/lists.c agent/init_args.c agent/proxy_config.c agent/istio_inputs.c agent/policy%.c,$(AGENT))
PURE := $(sort $(READERS) $(filter agent/workload.c agent/peers.c agent/cgroup_name.c agent/routes.c agent/layout.c \
	agent/loop.c agent/pace.c agent/writer.c agent/scrapers.c agent/kube_json.c agent/kube_resource.c agent/kube_store.c agent/kube_watch.c \
	agent/kube_events.c agent/kube_config.c agent/kube_config_files.c agent/kube_exec.c,$(AGENT)) \
	$(EXPO) $(filter-out cli/main.c cli/cni.c,$(CLI) $(CNI)))
UNIT := $(patsubst tests/unit/%.c,%,$(wildcard tests/unit/test_*.c))

.PHONY: all demo check fuzz check-cluster check-unit check-style diff nightly bench install deb cross-arm64 clean clean-lab docs
.DELETE_ON_ERROR:
.SECONDARY:

all: $(SETUP) $(B)/weir $(B)/weir-cni

$(SETUP): scripts/setup
	scripts/setup
	@mkdir -p $(B) && touch $@

$(B)/bpf/%.bpf.o: bpf/%.bpf.c $(wildcard bpf/*.h bpf/lib/*.h maps/*.h) | $(SETUP)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(B)/bpf/weir.o: $(BPF_MAIN:%=$(B)/bpf/%.bpf.o)
	$(BPFTOOL) gen object $@ $^

$(B)/bpf/netns.o: $(BPF_NETNS:%=$(B)/bpf/%.bpf.o)
	$(BPFTOOL) gen object $@ $^

$(B)/bpf/conns.o: $(BPF_CONNS:%=$(B)/bpf/%.bpf.o)
	$(BPFTOOL) gen object $@ $^

$(B)/weir.skel.h: $(B)/bpf/weir.o
	$(BPFTOOL) gen skeleton $< name weir_bpf > $@

$(B)/netns.skel.h: $(B)/bpf/netns.o
	$(BPFTOOL) gen skeleton $< name netns_bpf > $@

$(B)/conns.skel.h: $(B)/bpf/conns.o
	$(BPFTOOL) gen skeleton $< name conns_bpf > $@

# The skeletons must be there; who includes one is known once it was compiled (-MMD).
$(B)/%.o: %.c | $(B)/weir.skel.h $(B)/netns.skel.h $(B)/conns.skel.h $(SETUP)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -MMD -MP -c $< -o $@

# What is built for other machines (scripts/cross) is none of this build's.
-include $(shell find $(B) -path $(B)/cross -prune -o -type f -name '*.d' -print 2>/dev/null)

$(B)/weir: $(call obj,$(BASE) $(AGENT) $(EXPO) $(CLI) cli/cni_request.c)
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Static: it is copied from the image to nodes of any distribution.
$(B)/weir-cni: $(call obj,$(filter-out base/yaml.c base/netlink.c base/own_routes.c,$(BASE)) $(CNI))
	$(CC) $(ALL_CFLAGS) $(LDFLAGS) -static -o $@ $^ -ljansson

$(B)/tests/probe: tests/e2e/probe.c $(wildcard tests/e2e/probe/*.h) | $(SETUP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -o $@ $<

$(B)/tests/%.so: tests/e2e/%.c | $(SETUP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -shared -fPIC -o $@ $<

$(B)/tests/ring: tests/e2e/ring.c | $(SETUP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -o $@ $< -luring

$(B)/tests/%.bpf.o: tests/bench/%.bpf.c bpf/kernel_types.h $(wildcard maps/*.h) | $(SETUP)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $@

$(B)/tests/%: tests/bench/%.c $(wildcard tests/bench/*.h) | $(SETUP)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -o $@ $<

# Unit tests: one program a file, with the sanitizers.
SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -O1 -g
$(B)/san/%.o: %.c | $(B)/conns.skel.h $(SETUP)
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(SAN) -MMD -MP -c $< -o $@

$(B)/san/libpure.a: $(patsubst %.c,$(B)/san/%.o,$(PURE))
	@rm -f $@
	$(AR) qcs $@ $^

$(B)/tests/test_%: $(B)/san/tests/unit/test_%.o $(B)/san/libpure.a
	@mkdir -p $(@D)
	$(CC) $(SAN) $(WRAP) -o $@ $^ -lcmocka $(LIBS)
$(B)/tests/test_kube_keep: WRAP := -Wl,--wrap=json_object_get,--wrap=json_array_get
$(B)/tests/test_writer: WRAP := -Wl,--wrap=file_write,--wrap=pthread_create

# A pod as JSON in, what it compiles to as JSON out: for tests that compare, and for people.
$(B)/tests/policy-dump: $(B)/san/tests/unit/policy_dump.o $(B)/san/libpure.a
	@mkdir -p $(@D)
	$(CC) $(SAN) -o $@ $^ $(LIBS)

# Tests that run inside BPF: a skeleton for each.
$(B)/tests/%.skel.h: tests/bpf/%.bpf.c $(wildcard bpf/*.h bpf/lib/*.h maps/*.h tests/bpf/*.h) | $(SETUP)
	@mkdir -p $(@D)
	$(CLANG) $(BPF_CFLAGS) -c $< -o $(B)/tests/$*.bpf.o
	$(BPFTOOL) gen skeleton $(B)/tests/$*.bpf.o name $*_bpf > $@

$(B)/tests/test_bpf_%: tests/bpf/test_%.c $(B)/tests/%.skel.h
	$(CC) $(ALL_CFLAGS) -I$(B)/tests -o $@ $< -lcmocka $(LIBS)

BPF_TESTS := $(patsubst tests/bpf/test_%.c,$(B)/tests/test_bpf_%,$(wildcard tests/bpf/test_*.c))
UNIT_BINS := $(UNIT:%=$(B)/tests/%)

# Fuzzing: one program a target, by clang's libFuzzer with the sanitizers.
FUZZ_SECONDS ?= 6
FUZZ := $(patsubst tests/fuzz/fuzz_%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -O1 -g
$(B)/fuzz/%.o: %.c | $(SETUP)
	@mkdir -p $(@D)
	$(CLANG) $(ALL_CFLAGS) $(FUZZ_SAN) -fsanitize=fuzzer-no-link -MMD -MP -c $< -o $@

$(B)/fuzz/libreaders.a: $(patsubst %.c,$(B)/fuzz/%.o,$(READERS) tests/fuzz/invariants.c)
	@rm -f $@
	$(AR) qcs $@ $^

$(B)/fuzz/%: $(B)/fuzz/tests/fuzz/fuzz_%.o $(B)/fuzz/libreaders.a
	$(CLANG) $(FUZZ_SAN) -fsanitize=fuzzer -o $@ $^ -ljansson -lyaml

tests: all $(B)/tests/probe $(B)/tests/ring $(B)/tests/later.so $(B)/tests/deaf.so $(B)/tests/policy-dump $(B)/metrics-doc $(UNIT_BINS) $(BPF_TESTS)

check: tests $(FUZZ)
	-@scripts/fetch-envoy > /dev/null
	-@scripts/fetch-cni > /dev/null
	-@scripts/kube-build helm > /dev/null
	-@scripts/fetch-schemas > /dev/null
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/check

fuzz: $(FUZZ)
	FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/check fuzz

check-cluster: all $(B)/tests/probe
	scripts/check-cluster

demo: all $(B)/tests/probe
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) scripts/demo $(if $(KEEP),--keep)

bench: all $(addprefix $(B)/tests/,probe relay load echo datagram floor.bpf.o walk.bpf.o look.bpf.o)
ifneq ($(ONLY),cni)
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/run.py $(if $(ONLY),--only $(ONLY)) $(if $(WRITE),--write)
endif
ifeq ($(ONLY),)
	WEIR_PEERS=500000 PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -p no:cacheprovider -q -s tests/e2e/test_many_peers.py
endif
ifeq ($(or $(ONLY),cni),cni)
	PYTHONDONTWRITEBYTECODE=1 $(PYTHON) tests/bench/cni.py $(if $(WRITE),--write)
endif

diff: all $(B)/tests/probe
	cd tests && PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m diff --configs $(or $(CONFIGS),1000) \
		$(if $(SEED),--seed $(SEED)) $(if $(INDEX),--index $(INDEX)) $(if $(FROM),--from $(FROM)) \
		$(if $(JOBS),--jobs $(JOBS))

nightly: CONFIGS = 10000
nightly: FUZZ_SECONDS = 3600
nightly:
	$(MAKE) diff CONFIGS=$(CONFIGS)
	$(MAKE) fuzz FUZZ_SECONDS=$(FUZZ_SECONDS)

# docs/METRICS.md is generated; scripts/check compares.
$(B)/metrics-doc: $(call obj,exporter/metrics_doc.c $(BASE) $(EXPO))
	$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

docs: $(B)/metrics-doc
	$(B)/metrics-doc > docs/METRICS.md

install: all
	install -D -m 0755 $(B)/weir $(DESTDIR)$(PREFIX)/sbin/weir
	install -D -m 0755 $(B)/weir-cni $(DESTDIR)$(PREFIX)/lib/cni/weir-cni
	install -D -m 0644 docs/man/weir.8 $(DESTDIR)$(PREFIX)/share/man/man8/weir.8
	install -D -m 0644 docs/man/weir-cni.8 $(DESTDIR)$(PREFIX)/share/man/man8/weir-cni.8
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)/etc/weir/pods
	sed 's|@PREFIX@|$(PREFIX)|g' deploy/systemd/weir.service.in \
		> $(DESTDIR)$(PREFIX)/lib/systemd/system/weir.service

deb: all
	scripts/deb $(VERSION)

cross-arm64: $(SETUP)
	scripts/cross arm64

clean-lab:
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests $(PYTHON) -m lab clean

clean:
	rm -rf $(B)
