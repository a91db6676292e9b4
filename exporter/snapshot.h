/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one scrape has read, as plain values: collect fills it, render turns it into text. Nothing
 * here needs a kernel, so a test may write one by hand.
 */
#ifndef WEIR_EXPORTER_SNAPSHOT_H
#define WEIR_EXPORTER_SNAPSHOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "maps/datagram.h"
#include "maps/flow.h"

struct snapshot_flow {
	struct weir_flow_key key;
	struct weir_flow value;
};

struct snapshot_udp_flow {
	struct weir_flow_key key;
	struct weir_udp_flow value;
};

struct snapshot_verdict {
	struct weir_verdict_key key;
	uint64_t count;
};

struct snapshot_name {
	uint32_t id;
	struct weir_name name;
	struct weir_traits *traits; /* NULL: it has none */
};

struct snapshot_pod {
	char *namespace, *pod, *workload, *mesh, *state, *node, *found_by;
	uint64_t errors, warnings;
};

struct snapshot_hook {
	char *hook;
	bool attached;
};

struct snapshot_map {
	const char *map; /* owned */
	uint64_t entries, max_entries;
	int64_t full; /* how often it was; -1: nobody counts that */
};

/* A resource of the Kubernetes API. */
struct snapshot_kubernetes {
	const char *resource; /* a constant */
	bool up;
	uint64_t objects, broken;
	uint64_t lists, errors;
	double last_sync; /* seconds since the epoch; 0: never */
};

/* What Istio's metrics say besides. */
struct snapshot_istio {
	const char *cluster;
	const char *network; /* NULL: no label */
};

/* What Prometheus' client libraries say about their own process. */
struct snapshot_process {
	double cpu_seconds;
	double start_time_seconds; /* since the epoch */
	uint64_t open_fds, max_fds;
	uint64_t virtual_bytes, resident_bytes;
};

/* Filled by collect, it owns all that it points to but the constants version and revision. */
struct snapshot {
	struct snapshot_flow
		*flows; /* every key once, sorted by its bytes; so are udp_flows and verdicts */
	size_t n_flows;
	const struct snapshot_istio *istio; /* NULL: none of Istio's metrics; not owned */
	/* By flow, if istio: the Service that its destination serves at its port, or NULL; the
	 * agent's, until it goes on. */
	const struct weir_name **served;
	struct snapshot_udp_flow *udp_flows; /* every key once */
	size_t n_udp_flows;
	struct snapshot_verdict *verdicts;
	size_t n_verdicts;
	struct snapshot_name *names; /* sorted by id; one that is missing reads "unknown" */
	size_t n_names;
	struct snapshot_pod *pods;
	size_t n_pods;
	struct snapshot_hook *hooks;
	size_t n_hooks;
	struct snapshot_map *maps;
	size_t n_maps;
	struct snapshot_kubernetes *kubernetes;
	size_t n_kubernetes;
	struct snapshot_process process;
	uint64_t counters[WEIR_COUNTER_MAX];
	double scrape_duration; /* seconds */
	double last_sync; /* seconds since the epoch; 0: never */
	const char *version; /* NULL: unknown */
	const char *revision;
};

#endif
