// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The question and the decision, as functions that the verifier checks once each, by themselves:
 * inlined, their branches would multiply with those of the hooks beyond what it follows.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "bpf/lib/attempt.bpf.h"

__noinline int weir_ask_addrs(struct weir_connect *q, const struct weir_pod *pod, __u64 cookie,
			      const struct weir_addr *src, const struct weir_addr *dst)
{
	if (q && pod && src && dst)
		weir_connect_set_addrs(q, pod, src, dst, pod_has_addr(pod, cookie, dst));
	return 0;
}

static __noinline int has_port(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			       __u16 port)
{
	return pod && (pod->flags & flag) && policy_has_port(pod, cookie, list, port);
}

static __noinline int has_addr(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			       const struct weir_addr *addr)
{
	return pod && addr && (pod->flags & flag) && policy_has_addr(pod, cookie, list, addr);
}

static __noinline int has_id(const struct weir_pod *pod, __u64 cookie, __u32 flag, __u32 list,
			     __u32 id)
{
	return pod && (pod->flags & flag) && policy_has_id(pod, cookie, list, id);
}

#define HAS_PORT(LIST, FLAG)   has_port(pod, cookie, WEIR_POD_##FLAG, WEIR_LIST_##LIST, port)
#define HAS_ADDR(LIST, FLAG)   has_addr(pod, cookie, WEIR_POD_##FLAG, WEIR_LIST_##LIST, dst)
#define HAS_ID(LIST, FLAG, id) has_id(pod, cookie, WEIR_POD_##FLAG, WEIR_LIST_##LIST, id)

__noinline int weir_ask_lists(struct weir_connect *q, const struct weir_pod *pod, __u64 cookie,
			      const struct weir_addr *dst, __u16 port)
{
	if (!q || !pod || !dst)
		return 0;
	q->port_excluded = HAS_PORT(OUT_PORT_EXCLUDE, OUT_PORTS_EXCLUDE);
	q->port_included = HAS_PORT(OUT_PORT_INCLUDE, OUT_PORTS);
	q->cidr_excluded = HAS_ADDR(OUT_CIDR_EXCLUDE, OUT_CIDRS_EXCLUDE);
	q->cidr_included = HAS_ADDR(OUT_CIDR_INCLUDE, OUT_CIDRS);
	if (port == WEIR_DNS_PORT)
		q->dns_server = HAS_ADDR(DNS_SERVER, DNS);
	if (pod->flags & WEIR_POD_TPROXY) {
		q->in_port_excluded = HAS_PORT(IN_PORT_EXCLUDE, IN_PORTS_EXCLUDE);
		q->in_port_included = HAS_PORT(IN_PORT_INCLUDE, IN_PORTS);
	}
	return 0;
}

/* Not asked for a socket without a file: it has no owner and is in no list. */
__noinline int weir_ask_owner(struct weir_connect *q, const struct weir_pod *pod, __u64 cookie,
			      __u32 uid, __u32 gid)
{
	__u32 lists = WEIR_POD_PROXY_UIDS | WEIR_POD_PROXY_GIDS | WEIR_POD_GROUPS_INCLUDE |
		      WEIR_POD_GROUPS_EXCLUDE;

	if (!q || !pod)
		return 0;
	q->has_owner = 1;
	if (pod->flags & lists) {
		q->uid_is_proxy = HAS_ID(PROXY_UID, PROXY_UIDS, uid) * WEIR_ID_PROXY_LATER;
		q->gid_is_proxy = HAS_ID(PROXY_GID, PROXY_GIDS, gid) * WEIR_ID_PROXY_LATER;
		q->group_included = HAS_ID(GROUP_INCLUDE, GROUPS_INCLUDE, gid);
		q->group_excluded = HAS_ID(GROUP_EXCLUDE, GROUPS_EXCLUDE, gid);
	}
	if ((pod->flags & WEIR_POD_PROXY_UID) && uid == pod->proxy_uid)
		q->uid_is_proxy = WEIR_ID_PROXY_FIRST;
	if ((pod->flags & WEIR_POD_PROXY_GID) && gid == pod->proxy_gid)
		q->gid_is_proxy = WEIR_ID_PROXY_FIRST;
	return 0;
}

/* See attempt_answer(). */
__noinline __u64 weir_decide_connect(const struct weir_pod *pod,
				     const struct weir_connect *question)
{
	struct weir_answer answer;

	if (!pod || !question)
		return WEIR_REFUSE;
	answer = weir_decide_outbound(pod, question);
	return answer.verdict | (__u64)answer.reason << 8 | (__u64)answer.port << 16 |
	       (__u64)answer.in_place << 32;
}

/* ifindex: where it is known to leave by; 0: by what the routes say. */
__noinline int weir_leaves_excluded(__u64 cookie, const struct weir_addr *dst, __u32 ifindex)
{
	if (!dst)
		return 0;
	return !!(link_flags(cookie, ifindex ?: link_to(cookie, dst)) & WEIR_LINK_EXCLUDED);
}
