/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Traffic that a pod's network must deliver in the pod although it is not meant for an address of
 * it, so that the proxy can take it: routing rules, and a table in which all is local.
 *
 * Virtual machines in a pod (KubeVirt): what they send comes in by an interface of the pod and is
 * meant for elsewhere. The proxy's listener must be allowed to answer from addresses that are not
 * the pod's (IP_TRANSPARENT). Which listener takes a connection is decided at its SYN, like any
 * other.
 *
 * TPROXY mode: a proxy may call its own application from the address of whoever called it (Envoy's
 * original_src, with mark 1337); the answers, which would leave the pod, must come back to the
 * proxy. istio-init and istio-cni make the same rule and route; in place of their CONNMARK,
 * accepted sockets inherit the mark.
 */
#ifndef WEIR_AGENT_DELIVERY_H
#define WEIR_AGENT_DELIVERY_H

#include "agent/policy.h"

/*
 * Makes the namespace's routing rules those that the policy asks for. Rules of others are not
 * touched. Changes made, or -errno. What is left when the pod is let go: base/own_routes.h.
 */
int delivery_sync(int netns_fd, const struct policy *policy);

/*
 * Lets the listeners on the proxy's outbound port answer from any address. They are found among
 * the processes of the namespace, so it must be called again when the proxy may have listened anew.
 * Returns how many listeners there are, or -errno; -EACCES: open files of their processes cannot be
 * looked at (CAP_DAC_READ_SEARCH).
 */
int delivery_open_listeners(int netns_fd, uint16_t port);

#endif
