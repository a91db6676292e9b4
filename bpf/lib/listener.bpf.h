/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* What a pod's listener means: whose it is, and whether SYNs are steered to it. */
#ifndef WEIR_BPF_LISTENER_H
#define WEIR_BPF_LISTENER_H

#include "bpf/lib/pod.bpf.h"

/* Is this one of the ports that the proxy listens on? */
static __always_inline int listener_has_proxy_port(const struct weir_pod *pod, __u16 port)
{
	return port == pod->inbound_port || port == pod->outbound_port ||
	       ((pod->flags & WEIR_POD_DNS) && port == pod->dns_port);
}

/*
 * Before a mesh's proxy begins, an init container may listen in its place to see whether traffic is
 * redirected: istio-validation on both ports of 127.0.0.1, where Envoy listens on all addresses;
 * linkerd-network-validator on the outbound port of all addresses, where the proxy listens on
 * loopback, and as another user. Who answers lookups (15053) listens on loopback in Istio too.
 */
static __always_inline int listener_is_validators(const struct weir_pod *pod, __u64 cookie,
						  struct tcp_sock *tp,
						  const struct weir_endpoint *local)
{
	int loopback = weir_addr_is_loopback(&local->addr);
	struct owner owner;

	if (pod->flags & WEIR_POD_DECLARED)
		return 0;
	if (pod->rules == WEIR_RULES_ISTIO)
		return loopback &&
		       (local->port == pod->inbound_port || local->port == pod->outbound_port);
	if (loopback || local->port != pod->outbound_port)
		return 0;
	owner = owner_of(tp);
	return owner.known && !pod_is_proxy(pod, cookie, &owner);
}

static __always_inline int listener_is_proxys(const struct weir_pod *pod, __u64 cookie,
					      struct tcp_sock *tp,
					      const struct weir_endpoint *local)
{
	return listener_has_proxy_port(pod, local->port) &&
	       !listener_is_validators(pod, cookie, tp, local);
}

/* Is a SYN ever handed to a listener on this port? What virtual machines send is outbound. */
static __always_inline int listener_has_steered_port(const struct weir_pod *pod, __u16 port)
{
	return port == pod->inbound_port ||
	       ((pod->flags & WEIR_POD_IF_VIRTUAL) && port == pod->outbound_port);
}

/*
 * Redirect brings a connection to the address of the interface that it came in by, so a listener
 * on loopback alone gets none of it.
 */
static __always_inline int listener_is_steered_to(const struct weir_pod *pod,
						  const struct weir_endpoint *local)
{
	return listener_has_steered_port(pod, local->port) && !weir_addr_is_loopback(&local->addr);
}

static __always_inline void listener_seen(const struct weir_listener_key *listener,
					  enum weir_seen seen, __u64 flags)
{
	struct weir_port_key key = { .netns_cookie = listener->netns_cookie,
				     .port = listener->port };

	bpf_map_update_elem(&weir_seen, &key, &seen, flags);
}

#endif
