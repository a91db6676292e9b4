/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One scrape: folds what live sockets have counted into their flows, reads the pinned maps, asks
 * the agent for the rest, and writes it all out.
 */
#ifndef WEIR_EXPORTER_COLLECT_H
#define WEIR_EXPORTER_COLLECT_H

#include "base/buf.h"
#include "exporter/render.h"
#include "exporter/snapshot.h"

/* The strings are copied; NULL reads as "". */
struct exporter_pod {
	const char *namespace;
	const char *pod;
	const char *workload;
	const char *mesh; /* none, istio, linkerd, custom */
	const char *state; /* captured, not_captured, pending, failed, missing_sidecar */
	const char *node;
	const char *found_by; /* cni, process, file */
	uint64_t errors, warnings; /* of its inputs */
};

typedef void (*exporter_pod_fn)(void *arg, const struct exporter_pod *pod);
typedef void (*exporter_hook_fn)(void *arg, const char *hook, bool attached);
/* The name is copied. */
typedef void (*exporter_map_fn)(void *arg, const struct snapshot_map *map);
typedef void (*exporter_kubernetes_fn)(void *arg, const struct snapshot_kubernetes *resource);

/* Where a scrape reads. File descriptors are borrowed, -1: there is none; callbacks may be NULL. */
struct exporter_source {
	int flows; /* weir_flows */
	int udp_flows; /* weir_udp_flows */
	int names; /* weir_names */
	int traits; /* weir_traits */
	int verdicts; /* weir_verdicts */
	int counters; /* weir_counters */

	/*
	 * Runs the iterator that folds live sockets; called once, before any map is read. When it
	 * fails (it logs that itself) the scrape goes on with what was folded before.
	 */
	int (*fold)(void *ctx);
	/* Each calls fn(arg, ...) once for every pod, hook, map it knows. */
	void (*pods)(void *ctx, exporter_pod_fn fn, void *arg);
	void (*hooks)(void *ctx, exporter_hook_fn fn, void *arg);
	void (*maps)(void *ctx, exporter_map_fn fn, void *arg);
	/* When all that is known of the cluster was last in step with it, in seconds since the
	 * epoch. */
	double (*last_sync)(void *ctx);
	void (*kubernetes)(void *ctx, exporter_kubernetes_fn fn, void *arg);
	/*
	 * The Service that a workload serves at a port where it listens, NULL: none; valid until
	 * the agent goes on. Asked if istio is there.
	 */
	const struct weir_name *(*served)(void *ctx, uint32_t workload, uint32_t port);
	/* After each scrape, with what was in it; returns its number, from 1. */
	uint64_t (*scraped)(void *ctx, const struct snapshot *snapshot);
	void *ctx;

	const struct snapshot_istio *istio; /* these outlive the scrape; NULL: not wanted */
	const char *version;
	const char *revision;
};

/* On success *ret_snapshot is the caller's to snapshot_free(). */
int exporter_collect(const struct exporter_source *source, struct snapshot *ret_snapshot);
void snapshot_free(struct snapshot *s);

/* collect, render, free: what http_options.metrics wants. */
int exporter_write(const struct exporter_source *source, enum render_format format, struct buf *out,
		   uint64_t *ret_number);

/*
 * Counts the entries of a map that can be walked (all but sk_storage and arrays, which have as
 * many as they have room for), for the callback `maps`.
 */
int exporter_map_entries(int fd, uint64_t *ret_entries, uint64_t *ret_max_entries);

#endif
