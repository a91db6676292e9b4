/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has which address: fills weir_peers and weir_named_ports from all known pods and Services,
 * wherever they run.
 */
#ifndef WEIR_AGENT_IDENTITY_H
#define WEIR_AGENT_IDENTITY_H

#include "agent/loader.h"
#include "agent/names.h"
#include "agent/source.h"

/* Number of changes, or -errno when something did not fit: those peers read "unknown". */
int identity_sync(const struct loader *loader, struct names *names, const struct source *source);

/* Id of the pod's workload. */
uint32_t identity_workload(struct names *names, const struct pod *pod);

#endif
