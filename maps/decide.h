/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * The decision: where does this connection go, and why? Pure functions over plain values, the only
 * place where that is decided. The hooks call them with what the maps say, `weir explain` with
 * what the same maps say to a user, the tests with tables of cases, in user space and inside BPF.
 *
 * The order is that of the rules which Istio and Linkerd load into iptables; each step bears the
 * number it has in docs/FIDELITY.md. It matters: an excluded port wins over everything, an
 * excluded range does not win over the proxy's call to its own pod.
 */
#ifndef WEIR_MAPS_DECIDE_H
#define WEIR_MAPS_DECIDE_H

#include "pod.h"

/* Is an owner one of the proxy's? Istio's rules treat the first one listed unlike the others. */
enum weir_proxy_id {
	WEIR_ID_NOT_PROXY = 0,
	WEIR_ID_PROXY_FIRST = 1,
	WEIR_ID_PROXY_LATER = 2,
};

#define WEIR_DNS_PORT 53

/*
 * An outbound connection, or a datagram that begins one. Addresses are judged by
 * weir_connect_set_addrs().
 */
struct weir_connect {
	__u16 port; /* destination, host order */
	__u8 udp;
	__u8 v6; /* the destination is an IPv6 address that is not v4-mapped */
	__u8 lo; /* the route leaves by lo: the destination is an address of the pod */
	__u8 loopback; /* the destination is what the rules call loopback: 127.0.0.1 and ::1 */
	__u8 passthrough; /* the source is 127.0.0.6 or ::6 */
	__u8 src_loopback; /* the source is bound to an address of 127/8 */
	__u8 not_unicast;
	__u8 marked; /* the socket bears TPROXY's mark: the proxy goes on to its own application */
	__u8 uid_is_proxy; /* enum weir_proxy_id. Owner as xt_owner sees it: file system ids of who
			      opened the socket */
	__u8 gid_is_proxy;
	__u8 has_owner; /* 0: a socket without a file; it matches no owner */
	__u8 port_excluded; /* answers of the lists; 0 where the list is not in use */
	__u8 port_included;
	__u8 cidr_excluded;
	__u8 cidr_included;
	__u8 group_included;
	__u8 group_excluded;
	__u8 dns_server; /* the destination is one of the servers whose queries are captured */
	__u8 if_excluded; /* the route leaves by an excluded interface */
	__u8 in_port_excluded; /* asked for TPROXY alone: rules of the inbound chain on lo */
	__u8 in_port_included;
};

/* An inbound connection, at its SYN. */
struct weir_syn {
	__u16 port; /* destination, host order */
	__u8 v6;
	__u8 lo; /* comes from the pod itself */
	__u8 port_excluded;
	__u8 port_included;
	__u8 source_excluded;
	__u8 if_excluded; /* comes in by an interface that is excluded */
	__u8 if_virtual; /* comes in by one that leads to a virtual machine in the pod */
	__u8 cidr_included; /* the destination, outbound: asked for if_virtual alone */
};

/* What the proxy's listener is doing. */
enum weir_presence {
	WEIR_PROXY_LISTENS = 0,
	WEIR_PROXY_NEVER = 1, /* has not listened since the pod is known */
	WEIR_PROXY_GONE = 2, /* listened, and does not now */
	WEIR_PROXY_CROWDED = 3, /* too many handshakes with it are pending */
};

struct weir_answer {
	enum weir_verdict verdict;
	enum weir_reason reason;
	__u16 port; /* of the proxy's listener, host order; 0 unless redirected */
	__u8 in_place; /* redirected as TPROXY does: the destination stays, the SYN is steered */
	__u8 pad;
};

WEIR_INLINE struct weir_answer weir_answer(enum weir_verdict verdict, enum weir_reason reason,
					   __u16 port)
{
	struct weir_answer answer = { .verdict = verdict, .reason = reason, .port = port };

	return answer;
}

#define WEIR_GO_DIRECT(NAME) weir_answer(WEIR_DIRECT, WEIR_REASON_##NAME, 0)

/* Sets what follows from the addresses alone; `local`: the destination is an address of the pod. */
WEIR_INLINE void weir_connect_set_addrs(struct weir_connect *c, const struct weir_pod *p,
					const struct weir_addr *src, const struct weir_addr *dst,
					int local)
{
	c->v6 = !weir_addr_is_v4(dst);
	c->loopback = weir_addr_is_v6_low(dst, 1) ||
		      (p->loopback_bits ? weir_addr_in_v4(dst, p->loopback_net, p->loopback_bits)
					: weir_addr_is_v4_loop(dst, 1));
	c->lo = local || weir_addr_is_loopback(dst);
	c->not_unicast = !weir_addr_is_unicast(dst);
	/*
	 * Not bound, and ::6 dialled: RFC 6724's first rule makes an own address its own source.
	 * For all of 127/8 it is 127.0.0.1.
	 */
	c->passthrough = weir_addr_is_v4_loop(src, 6) || weir_addr_is_v6_low(src, 6) ||
			 (weir_addr_is_any(src) && weir_addr_is_v6_low(dst, 6));
	/* IPv6 has no such check: a SYN from ::1 leaves, and rules see it. */
	c->src_loopback = weir_addr_is_v4(src) && weir_addr_is_loopback(src);
}

/* A name lookup in a pod that captures them, whichever server is asked. */
WEIR_INLINE int weir_is_lookup(const struct weir_pod *p, const struct weir_connect *c)
{
	return (p->flags & WEIR_POD_DNS) && c->port == WEIR_DNS_PORT;
}

/*
 * Rules a and c for one of the proxy's own sockets; `a`: rule a fits. Rule b does not concern it.
 */
WEIR_INLINE struct weir_answer weir_decide_proxy(const struct weir_pod *p, int a,
						 enum weir_reason reason)
{
	if (a && p->inbound_port) /* a declared proxy may have none */
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_SELF_CALL, p->inbound_port);
	return weir_answer(WEIR_DIRECT, reason, 0);
}

/*
 * Istio's chain ISTIO_OUTPUT of table nat. Rules 3 and 4 are there once for each uid and gid of the
 * proxy, in the order a, b, c; the first b returns all that is on lo and not this owner's. So none
 * but the first uid reaches an a on lo, unless b does not exist (an included range holds a
 * loopback address) or spares the connection (a name lookup).
 */
WEIR_INLINE struct weir_answer weir_decide_istio_nat(const struct weir_pod *p,
						     const struct weir_connect *c)
{
	int uid = c->has_owner ? c->uid_is_proxy : WEIR_ID_NOT_PROXY;
	int gid = c->has_owner ? c->gid_is_proxy : WEIR_ID_NOT_PROXY;
	int lookup = weir_is_lookup(p, c);
	int self_call =
		!c->udp && c->lo && !c->loopback && !(p->tunnel_port && c->port == p->tunnel_port);
	int lo_returns = c->lo && !lookup && !(p->flags & WEIR_POD_OUT_LOOPBACK);
	int only_gid = (p->flags & (WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID)) == WEIR_POD_PROXY_GID;

	if (c->port_excluded) /* 1 */
		return WEIR_GO_DIRECT(PORT_EXCLUDED);
	if (c->lo && c->passthrough) /* 2 */
		return WEIR_GO_DIRECT(PASSTHROUGH_SOURCE);
	if (uid == WEIR_ID_PROXY_FIRST) /* 3a, 3c */
		return weir_decide_proxy(p, self_call && !lookup, WEIR_REASON_PROXY_UID);
	if (lo_returns && !only_gid) /* 3b */
		return WEIR_GO_DIRECT(LOOPBACK);
	if (uid) /* 3a, 3c of the others */
		return weir_decide_proxy(p, self_call && !lookup, WEIR_REASON_PROXY_UID);
	if (gid == WEIR_ID_PROXY_FIRST) /* 4a, 4c */
		return weir_decide_proxy(p, self_call, WEIR_REASON_PROXY_GID);
	if (lo_returns) /* 4b */
		return WEIR_GO_DIRECT(LOOPBACK);
	if (gid) /* 4a, 4c of the others */
		return weir_decide_proxy(p, self_call, WEIR_REASON_PROXY_GID);
	if (p->flags & WEIR_POD_GROUPS_INCLUDE ? !c->group_included : c->group_excluded) /* 5 */
		return WEIR_GO_DIRECT(OWNER_GROUP);
	if (lookup && (p->flags & WEIR_POD_DNS_ALL || c->dns_server)) /* 6 */
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_DNS, p->dns_port);
	if (c->loopback) /* 7 */
		return WEIR_GO_DIRECT(LOOPBACK);
	if (c->cidr_excluded) /* 8 */
		return WEIR_GO_DIRECT(CIDR_EXCLUDED);
	if (c->udp) /* 9 and 10 match TCP alone */
		return WEIR_GO_DIRECT(NOT_TCP);
	if (c->port_included) /* 9 */
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_PORT_INCLUDED, p->outbound_port);
	if (p->flags & WEIR_POD_OUT_ALL) /* 10 */
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_ALL_INCLUDED, p->outbound_port);
	if (c->cidr_included)
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_CIDR_INCLUDED, p->outbound_port);
	return WEIR_GO_DIRECT(NOT_INCLUDED);
}

/*
 * TPROXY mode, table mangle: what the proxy sends over lo is marked in OUTPUT, for uids and gids
 * alike, and so passes the inbound rules when it arrives, all but what nat has sent to 127.0.0.1.
 */
WEIR_INLINE int weir_is_tproxied(const struct weir_pod *p, const struct weir_connect *c)
{
	if (!(p->flags & WEIR_POD_TPROXY) || c->udp || !c->lo || c->loopback || c->passthrough ||
	    c->marked || !c->has_owner || !(c->uid_is_proxy || c->gid_is_proxy))
		return 0;
	return p->flags & WEIR_POD_IN_ALL ? !c->in_port_excluded : c->in_port_included;
}

WEIR_INLINE struct weir_answer weir_decide_istio(const struct weir_pod *p,
						 const struct weir_connect *c)
{
	struct weir_answer answer;

	if (c->if_excluded) /* 0: before the jump to the chain, in nat and in mangle */
		return WEIR_GO_DIRECT(INTERFACE_EXCLUDED);
	answer = weir_decide_istio_nat(p, c);
	if (answer.verdict == WEIR_DIRECT && weir_is_tproxied(p, c)) {
		answer = weir_answer(WEIR_REDIRECT, WEIR_REASON_SELF_CALL, p->inbound_port);
		answer.in_place = 1;
	}
	return answer;
}

/* Linkerd's chain PROXY_INIT_OUTPUT. */
WEIR_INLINE struct weir_answer weir_decide_linkerd(const struct weir_pod *p,
						   const struct weir_connect *c)
{
	if (c->has_owner && c->uid_is_proxy) /* 1 */
		return WEIR_GO_DIRECT(PROXY_UID);
	if (c->has_owner && c->gid_is_proxy) /* 2 */
		return WEIR_GO_DIRECT(PROXY_GID);
	if (c->lo) /* 3 */
		return WEIR_GO_DIRECT(LOOPBACK);
	if (c->port_excluded) /* 4 */
		return WEIR_GO_DIRECT(PORT_EXCLUDED);
	if (c->cidr_excluded) /* no rule of Linkerd's yet: skip-outbound-subnets is proposed there
			       */
		return WEIR_GO_DIRECT(CIDR_EXCLUDED);
	return weir_answer(WEIR_REDIRECT, WEIR_REASON_ALL_INCLUDED, p->outbound_port); /* 5 */
}

WEIR_INLINE struct weir_answer weir_decide_outbound(const struct weir_pod *p,
						    const struct weir_connect *c)
{
	if (p->mode == WEIR_MODE_OBSERVE)
		return WEIR_GO_DIRECT(NOT_CAPTURED);
	if (c->udp && !weir_is_lookup(p, c))
		return WEIR_GO_DIRECT(NOT_TCP);
	if (c->not_unicast && !c->udp)
		return WEIR_GO_DIRECT(NOT_UNICAST);
	if (p->mode == WEIR_MODE_REFUSE)
		return c->lo ? WEIR_GO_DIRECT(LOOPBACK)
			     : weir_answer(WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0);
	if (!(p->flags & (c->v6 ? WEIR_POD_IPV6 : WEIR_POD_IPV4)))
		return WEIR_GO_DIRECT(FAMILY_OFF);
	if (c->src_loopback && !c->lo)
		return WEIR_GO_DIRECT(SOURCE_LOOPBACK);
	if (p->rules == WEIR_RULES_LINKERD)
		return weir_decide_linkerd(p, c);
	return weir_decide_istio(p, c);
}

/*
 * What a virtual machine in the pod sends, wherever to, is outbound traffic: it meets no rule about
 * ports. These rules stand first in PREROUTING.
 */
WEIR_INLINE struct weir_answer weir_decide_virtual(const struct weir_pod *p,
						   const struct weir_syn *s)
{
	if ((p->flags & WEIR_POD_OUT_ALL) || s->cidr_included)
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_INTERFACE_VIRTUAL, p->outbound_port);
	return WEIR_GO_DIRECT(NOT_INCLUDED);
}

/* Chains ISTIO_INBOUND and PROXY_INIT_REDIRECT: what arrives from outside the pod. */
WEIR_INLINE struct weir_answer weir_decide_inbound(const struct weir_pod *p,
						   const struct weir_syn *s)
{
	if (p->mode == WEIR_MODE_OBSERVE)
		return WEIR_GO_DIRECT(NOT_CAPTURED);
	if (s->lo)
		return WEIR_GO_DIRECT(LOOPBACK);
	if (p->mode == WEIR_MODE_REFUSE)
		return weir_answer(WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0);
	if (!(p->flags & (s->v6 ? WEIR_POD_IPV6 : WEIR_POD_IPV4)))
		return WEIR_GO_DIRECT(FAMILY_OFF);
	if (s->if_virtual)
		return weir_decide_virtual(p, s);
	if (s->if_excluded)
		return WEIR_GO_DIRECT(INTERFACE_EXCLUDED);
	/* Of table nat: TPROXY's rules spare no such port. */
	if (p->tunnel_port && s->port == p->tunnel_port && !(p->flags & WEIR_POD_TPROXY))
		return WEIR_GO_DIRECT(TUNNEL_PORT);
	if (s->source_excluded)
		return WEIR_GO_DIRECT(SOURCE_EXCLUDED);
	if (p->flags & WEIR_POD_IN_ALL) {
		if (s->port_excluded)
			return WEIR_GO_DIRECT(PORT_EXCLUDED);
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_ALL_INCLUDED, p->inbound_port);
	}
	if (s->port_included) /* with a list, exclusions are not asked */
		return weir_answer(WEIR_REDIRECT, WEIR_REASON_PORT_INCLUDED, p->inbound_port);
	return WEIR_GO_DIRECT(NOT_INCLUDED);
}

/*
 * What becomes of a redirect when nobody listens: refused, as behind iptables, unless the pod's
 * policy prefers a direct connection.
 */
WEIR_INLINE struct weir_answer weir_decide_presence(const struct weir_pod *p,
						    struct weir_answer answer,
						    enum weir_presence presence)
{
	enum weir_reason reason =
		presence == WEIR_PROXY_NEVER ? WEIR_REASON_BEFORE_PROXY : WEIR_REASON_PROXY_DOWN;
	enum weir_absent absent = presence == WEIR_PROXY_NEVER ? p->before_proxy : p->proxy_down;

	if (answer.verdict != WEIR_REDIRECT || presence == WEIR_PROXY_LISTENS)
		return answer;
	if (presence == WEIR_PROXY_CROWDED)
		return weir_answer(WEIR_REFUSE, WEIR_REASON_TOO_MANY_PENDING, 0);
	return weir_answer(absent == WEIR_ABSENT_DIRECT ? WEIR_DIRECT : WEIR_REFUSE, reason, 0);
}

#endif
