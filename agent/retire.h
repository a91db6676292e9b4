/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frees what is no longer needed in the tables of the accounting. A workload that has left the node
 * keeps its flows and verdicts until its connections have ended and its last figures have arrived
 * in RETIRE_SCRAPES scrapes, and at every scraper that comes again and again (scrapers.h); a name
 * until nothing bears it any more.
 *
 * What a workload that stays has counted is not touched as long as there is room. Its peers come
 * and go, jobs under a new name each time: when a table of flows is crowded, those towards a peer
 * or by a Service that has left the cluster go like those of a workload that has left the node.
 *
 * Where nobody scrapes that would fill the tables in time. So when they are full and nobody has
 * scraped for SCRAPERS_MAX_S, what has left is freed as it is.
 */
#ifndef WEIR_AGENT_RETIRE_H
#define WEIR_AGENT_RETIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/loader.h"
#include "agent/names.h"
#include "agent/scrapers.h"
#include "exporter/snapshot.h"

#define RETIRE_SCRAPES 3
/* Whoever scrapes often: the pod that replaces the last one takes a moment, and goes on counting.
 */
#define RETIRE_HOLD_S 5

struct reconciler;

struct retiree {
	uint32_t workload; /* or Service */
	int64_t left_s; /* CLOCK_BOOTTIME: of the first scrape that found it gone */
	bool open; /* a connection had not ended in the last scrape */
	uint64_t print; /* of its figures in the last scrape */
	uint64_t since; /* number of the first scrape that had just these */
	unsigned int seen; /* how many of those from then on have arrived */
};

/* How full a table of flows may be before those towards peers that have left are freed. */
#define RETIRE_CROWDED_NUM 3
#define RETIRE_CROWDED_DEN 4

struct retire {
	struct retiree *items;
	size_t n;
	struct retiree *bygone; /* peers and Services that have left the cluster, by id; owned */
	size_t n_bygone;
	unsigned int sweeps; /* scrapes after which names are still to be looked through */
	uint64_t number; /* of the last scrape */
	uint64_t left_out; /* names_left_out() when names were last looked through for room */
	struct scrapers scrapers;
};

/* Something changed that may leave a name without use: pods, peers, flows. */
void retire_soon(struct retire *r);
/* After each scrape, with what was in it. Returns its number. */
uint64_t retire_scraped(struct retire *r, const struct loader *loader, struct names *names,
			const struct reconciler *reconciler, const struct snapshot *scraped);
/* The scrape of that number has arrived at this client. */
void retire_delivered(struct retire *r, uint64_t number, const uint8_t client[16]);
/* Whether there is no room, and nobody who has yet to get what could be freed. */
bool retire_must_make_room(struct retire *r, const struct loader *loader,
			   const struct names *names);
/* Frees what workloads that have left hold; how many of them, or -errno. */
int retire_make_room(struct retire *r, const struct loader *loader, struct names *names,
		     const struct reconciler *reconciler, const struct snapshot *now);
void retire_clear(struct retire *r);

#endif
