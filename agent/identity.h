/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has which address: keeps weir_peers and weir_named_ports in step with all that is known of
 * the cluster, wherever it runs. Writes only what has changed since the last time.
 */
#ifndef WEIR_AGENT_IDENTITY_H
#define WEIR_AGENT_IDENTITY_H

#include "agent/loader.h"
#include "agent/names.h"
#include "agent/source.h"

struct identity;

/* Both must outlive it. served: identity_served() will be asked. */
struct identity *identity_new(const struct loader *loader, struct names *names, bool served);
void identity_free(struct identity *identity);

/*
 * Number of changes, or -errno. What does not fit into weir_peers is left out, counted and logged:
 * those peers read "unknown" or "external".
 */
int identity_sync(struct identity *identity, const struct source *source);

/*
 * The Service that a workload serves at a port where it listens; WEIR_ID_NONE when it serves none.
 * A Service that lives is remembered for what has served it, so that the last figures of a workload
 * bear the name that those before had.
 */
uint32_t identity_served(const struct identity *identity, uint32_t workload, uint32_t port);
/* The id of a workload is no longer one. */
void identity_forget(struct identity *identity, uint32_t workload);

/* How many addresses do not fit; and that each time that they did not. */
size_t identity_left_out(const struct identity *identity);
uint64_t identity_left_out_ever(const struct identity *identity);

#endif
