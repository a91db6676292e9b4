/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pods with virtual machines: the listeners on the proxy's outbound port must be allowed to answer
 * from any address, as soon as the proxy listens. The hooks put each of them into weir_listeners,
 * and tell nobody; so in such pods alone the cookies there are looked at once a second, some tens
 * of microseconds for each pod. Only when they are others than before are the pod's processes
 * searched for the sockets themselves.
 */
#ifndef WEIR_AGENT_MACHINES_H
#define WEIR_AGENT_MACHINES_H

#include "agent/reconcile.h"

/* May the listener of its proxy not be looked for? And what its warning then says. */
bool machines_denied(const struct managed *pod);
extern const char machines_denied_text[];

struct machines {
	struct loop *loop;
	struct reconciler *reconciler;
	int timer;
};

/* 0 or -errno. */
int machines_open(struct machines *m, struct loop *loop, struct reconciler *reconciler);
void machines_close(struct machines *m);
/* After each run: what it put in force is looked at now, and from now on. */
void machines_look(struct machines *m);

#endif
