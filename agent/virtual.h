/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Virtual machines in a pod (KubeVirt): what they send comes in by an interface of the pod and is
 * meant for elsewhere. So that the proxy can take it, the kernel must deliver it here whatever its
 * destination is (a routing rule for that interface, in a table of its own), and the proxy's
 * listener must be allowed to answer from addresses that are not the pod's (IP_TRANSPARENT). Which
 * listener takes a connection is decided at its SYN, like any other.
 */
#ifndef WEIR_AGENT_VIRTUAL_H
#define WEIR_AGENT_VIRTUAL_H

#include "agent/policy.h"

/*
 * Makes the namespace's routing rules those that the policy's virtual interfaces ask for: none, if
 * there are no such. Rules of others are not touched. Changes made, or -errno.
 */
int virtual_route(int netns_fd, const struct policy *policy);

/*
 * Lets the listeners on the proxy's outbound port answer from any address. They are found among
 * the processes of the namespace, so it must be called again when the proxy may have listened anew.
 * Returns how many listeners there are, or -errno.
 */
int virtual_open_listeners(int netns_fd, uint16_t port);

#endif
