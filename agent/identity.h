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

/* Both must outlive it. */
struct identity *identity_new(const struct loader *loader, struct names *names);
void identity_free(struct identity *identity);

/*
 * Number of changes, or -errno. What does not fit into weir_peers is left out, counted and logged:
 * those peers read "unknown" or "external".
 */
int identity_sync(struct identity *identity, const struct source *source);

/* How many addresses did not fit, the last time. */
size_t identity_left_out(const struct identity *identity);

#endif
