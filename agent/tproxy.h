/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What TPROXY mode needs in a pod's network namespace beside the hooks, so that a proxy may call
 * its own application from the address of whoever called it (Envoy's original_src, with mark 1337):
 * the answers, which would leave the pod, must come back to the proxy. istio-init and istio-cni
 * make the same rule and route; in place of their CONNMARK, accepted sockets inherit the mark.
 */
#ifndef WEIR_AGENT_TPROXY_H
#define WEIR_AGENT_TPROXY_H

#include <stdbool.h>

/* 0 as well when all is there already; -errno. `v6`: for IPv6 too. */
int tproxy_set_up(int netns_fd, bool v6);

#endif
