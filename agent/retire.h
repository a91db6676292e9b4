/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frees what is no longer needed in the tables of the accounting. A workload that has left the node
 * keeps its flows and verdicts until its connections have ended and its last figures were in
 * RETIRE_SCRAPES scrapes (more than one: there may be several scrapers); a name until nothing bears
 * it any more. What a workload that stays has counted is never touched.
 */
#ifndef WEIR_AGENT_RETIRE_H
#define WEIR_AGENT_RETIRE_H

#include <stddef.h>
#include <stdint.h>

#include "agent/loader.h"
#include "agent/names.h"
#include "exporter/snapshot.h"

#define RETIRE_SCRAPES 3

struct reconciler;

struct retiree {
	uint32_t workload;
	uint64_t print; /* of its figures in the last scrape */
	unsigned int seen; /* scrapes that had just these */
};

struct retire {
	struct retiree *items;
	size_t n;
	unsigned int sweeps; /* scrapes after which names are still to be looked through */
};

/* Something changed that may leave a name without use: pods, peers, flows. */
void retire_soon(struct retire *r);
/* After each scrape, with what was in it. */
void retire_scraped(struct retire *r, const struct loader *loader, struct names *names,
		    const struct reconciler *reconciler, const struct snapshot *scraped);
void retire_clear(struct retire *r);

#endif
