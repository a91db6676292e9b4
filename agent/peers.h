/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is behind which address, from all that is known of the cluster: what weir_peers and
 * weir_named_ports should hold. Needs no kernel.
 *
 *   - pods: the workload; of two that show one address the one that has it now (pod_supersedes())
 *   - Services as they are dialled: ClusterIPs; external and load balancers' addresses by port and
 * protocol; NodePorts on the addresses of nodes; pods of a headless Service by its ports
 *   - nodes, and pods in their network namespaces: host
 */
#ifndef WEIR_AGENT_PEERS_H
#define WEIR_AGENT_PEERS_H

#include "agent/source.h"
#include "maps/flow.h"

/* Gives ids to names: names_id() in the agent. */
struct peers_naming {
	uint32_t (*id)(void *ctx, const char *kind, const char *namespace, const char *name);
	void *ctx;
	bool served; /* say which Services workloads serve */
};

/* A workload that is behind a Service, where it listens over TCP. */
struct peer_served {
	uint32_t workload;
	uint32_t port;
	uint32_t service;
	uint32_t rank; /* of rows with one workload and port the least counts: by name, headless
			  last */
};

struct peer_row {
	struct weir_peer_key key;
	struct weir_peer value;
	uint64_t rank; /* of rows with one key the least counts */
};

struct peers {
	struct peer_row *rows; /* by key, each once; owned */
	size_t n;
	uint64_t ports[WEIR_NAMED_PORT_WORDS];
	struct peer_served *served; /* by workload and port, each once; owned */
	size_t n_served;
	uint32_t *services; /* the ids of all Services that are dialled, in order; owned */
	size_t n_services;
};

/* own: addresses of this node, which need not be in any object. */
void peers_build(const struct source *source, const struct peers_naming *naming,
		 const struct weir_addr *own, size_t n_own, struct peers *ret);
void peers_free(struct peers *p);

int peers_compare_served(const struct peer_served *a, const struct peer_served *b);
int peers_compare_key(const struct weir_peer_key *a, const struct weir_peer_key *b);

#define _cleanup_peers_ _cleanup_(peers_free)

#endif
