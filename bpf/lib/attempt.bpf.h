/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * One attempt to reach a destination, by connect() or by a datagram: what the hook knows of it, and
 * the question to the decision that follows from it.
 */
#ifndef WEIR_BPF_ATTEMPT_H
#define WEIR_BPF_ATTEMPT_H

#include "bpf/lib/link.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "bpf/lib/policy.bpf.h"
#include "maps/decide.h"

struct attempt {
	__u64 cookie;
	const struct weir_pod *pod;
	struct weir_conn *conn; /* TCP alone */
	struct weir_addr src; /* as bound before, :: when not */
	struct weir_addr dst; /* as dialled; 0.0.0.0 and :: already mean this host */
	__u16 port;
	__u32 bound_if; /* SO_BINDTODEVICE; 0: none */
	struct owner owner;
	struct weir_connect question;
};

/*
 * In decide.bpf.c. The decision packs struct weir_answer; the others say whether the list is in use
 * (flag) and has the entry.
 */
extern __u64 weir_decide_connect(const struct weir_pod *pod, const struct weir_connect *question);
extern int weir_has_port(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			 __u16 port);
extern int weir_has_addr(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			 const struct weir_addr *addr);
extern int weir_leaves_excluded(__u64 cookie, const struct weir_addr *dst, __u32 ifindex);
extern int weir_has_id(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list, __u32 id);

static __always_inline struct weir_answer attempt_answer(const struct attempt *a)
{
	__u64 packed = weir_decide_connect(a->pod, &a->question);
	struct weir_answer answer =
		weir_answer(packed & 0xff, packed >> 8 & 0xff, packed >> 16 & 0xffff);

	answer.in_place = packed >> 32 & 1;
	return answer;
}

#define HAS_PORT(a, LIST, FLAG) \
	weir_has_port((a)->pod, (a)->cookie, WEIR_POD_##FLAG, WEIR_LIST_##LIST, (a)->port)
#define HAS_ADDR(a, LIST, FLAG) \
	weir_has_addr((a)->pod, (a)->cookie, WEIR_POD_##FLAG, WEIR_LIST_##LIST, &(a)->dst)
#define HAS_ID(a, LIST, FLAG, id) \
	weir_has_id((a)->pod, (a)->cookie, WEIR_POD_##FLAG, WEIR_LIST_##LIST, id)

static __always_inline void attempt_ask_lists(struct attempt *a)
{
	struct weir_connect *q = &a->question;
	__u32 flags = a->pod->flags;

	q->port_excluded = HAS_PORT(a, OUT_PORT_EXCLUDE, OUT_PORTS_EXCLUDE);
	q->port_included = HAS_PORT(a, OUT_PORT_INCLUDE, OUT_PORTS);
	q->cidr_excluded = HAS_ADDR(a, OUT_CIDR_EXCLUDE, OUT_CIDRS_EXCLUDE);
	q->cidr_included = HAS_ADDR(a, OUT_CIDR_INCLUDE, OUT_CIDRS);
	if (a->port == WEIR_DNS_PORT)
		q->dns_server = HAS_ADDR(a, DNS_SERVER, DNS);
	if (flags & WEIR_POD_TPROXY) {
		q->in_port_excluded = HAS_PORT(a, IN_PORT_EXCLUDE, IN_PORTS_EXCLUDE);
		q->in_port_included = HAS_PORT(a, IN_PORT_INCLUDE, IN_PORTS);
	}
}

/* A socket without a file has no owner: it is in no list. */
static __always_inline void attempt_ask_owner(struct attempt *a)
{
	__u32 lists = WEIR_POD_PROXY_UIDS | WEIR_POD_PROXY_GIDS | WEIR_POD_GROUPS_INCLUDE |
		      WEIR_POD_GROUPS_EXCLUDE;
	__u32 flags = a->pod->flags, uid = a->owner.uid, gid = a->owner.gid;
	struct weir_connect *q = &a->question;

	if (!a->owner.known)
		return;
	q->has_owner = 1;
	if (flags & lists) {
		q->uid_is_proxy = HAS_ID(a, PROXY_UID, PROXY_UIDS, uid) * WEIR_ID_PROXY_LATER;
		q->gid_is_proxy = HAS_ID(a, PROXY_GID, PROXY_GIDS, gid) * WEIR_ID_PROXY_LATER;
		q->group_included = HAS_ID(a, GROUP_INCLUDE, GROUPS_INCLUDE, gid);
		q->group_excluded = HAS_ID(a, GROUP_EXCLUDE, GROUPS_EXCLUDE, gid);
	}
	if ((flags & WEIR_POD_PROXY_UID) && uid == a->pod->proxy_uid)
		q->uid_is_proxy = WEIR_ID_PROXY_FIRST;
	if ((flags & WEIR_POD_PROXY_GID) && gid == a->pod->proxy_gid)
		q->gid_is_proxy = WEIR_ID_PROXY_FIRST;
}

/* Builds the question; its `udp` and `marked` are the caller's. */
static __always_inline void attempt_ask(struct attempt *a)
{
	a->question.port = a->port;
	weir_connect_set_addrs(&a->question, a->pod, &a->src, &a->dst,
			       pod_has_addr(a->cookie, &a->dst));
	if (a->pod->flags & WEIR_POD_IF_EXCLUDE)
		a->question.if_excluded = weir_leaves_excluded(
			a->cookie, &a->dst, a->question.lo ? LO_IFINDEX : a->bound_if);
	attempt_ask_owner(a);
	attempt_ask_lists(a);
}

#endif
