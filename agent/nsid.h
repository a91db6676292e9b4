/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens in the network namespaces of pods, from one socket: the kernel tells a socket with
 * NETLINK_LISTEN_ALL_NSID (59324cf35aba, 4.2) what it would tell those in other namespaces, of all
 * that have a number (nsid) in the socket's own. That is one without a device that is made for it,
 * where none but these pods have numbers. So nothing has to be asked again and again, no namespace
 * of a dead pod is held, and what is not of a pod wakes nobody.
 */
#ifndef WEIR_AGENT_NSID_H
#define WEIR_AGENT_NSID_H

#include "agent/loop.h"

struct nsid;

/*
 * Calls changed(ctx) when a namespace that has a number has ended, or when an address in it comes
 * or goes. -errno; -EPERM without CAP_NET_BROADCAST.
 */
int nsid_open(struct nsid **ret, struct loop *loop, void (*changed)(void *ctx), void *ctx);
void nsid_close(struct nsid *n);

/* Gives the namespace a number, which it loses with its end. 0 as well when it has one; -errno. */
int nsid_follow(struct nsid *n, int netns_fd);

#endif
