/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Connections that were established before weir knew their pod: counted from now on, in the flow
 * that they would have, and told apart by their number (weir_flow.found).
 */
#ifndef WEIR_BPF_ADOPT_H
#define WEIR_BPF_ADOPT_H

#include <bpf/bpf_endian.h>

#include "bpf/lib/account.bpf.h"
#include "bpf/lib/endpoint.bpf.h"
#include "bpf/lib/link.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "maps/leg.h"

#define TCP_BPF_SOCK_OPS_CB_FLAGS 1008 /* since 6.12 */
#define CGROUP_LEVELS		  32 /* deeper than any runtime nests */

static __always_inline void adopt_local(struct sock_common *skc, struct weir_endpoint *e)
{
	endpoint_set(e, skc->skc_family, skc->skc_rcv_saddr, skc->skc_v6_rcv_saddr.in6_u.u6_addr32,
		     skc->skc_num);
}

static __always_inline void adopt_remote(struct sock_common *skc, struct weir_endpoint *e)
{
	endpoint_set(e, skc->skc_family, skc->skc_daddr, skc->skc_v6_daddr.in6_u.u6_addr32,
		     bpf_ntohs(skc->skc_dport));
}

/*
 * Who opened it? Only an active open has its SYN in bytes_acked, and bytes_sent never counts one.
 * Where packets were dropped on their way out the two do not add up; then the lower port is taken
 * for the server's.
 */
static __always_inline int adopt_is_active(struct tcp_sock *tp, const struct weir_endpoint *local,
					   const struct weir_endpoint *remote)
{
	struct payload p = account_read(tp, 0, account_origin(tp, 0),
					tp->inet_conn.icsk_inet.sk.__sk_common.skc_state);
	__u64 once = tp->bytes_sent - tp->bytes_retrans;

	if (p.sent == once + 1)
		return 1;
	return p.sent == once ? 0 : local->port > remote->port;
}

/* Has a virtual machine in the pod dialled what this socket has accepted? */
static __always_inline int adopt_is_machines(struct tcp_sock *tp, const struct weir_pod *pod,
					     __u64 cookie)
{
	return (pod->flags & WEIR_POD_IF_VIRTUAL) &&
	       (link_flags(cookie, link_arrived_by(tp)) & WEIR_LINK_VIRTUAL);
}

/* Of a socket that no process holds any more nobody can tell the owner. */
static __always_inline int adopt_is_proxys(struct tcp_sock *tp, const struct weir_pod *pod,
					   __u64 cookie, int dialled)
{
	struct owner owner = owner_of(tp);

	return weir_leg_is_proxys(pod->mode == WEIR_MODE_OBSERVE, dialled,
				  pod_is_proxy(pod, cookie, &owner),
				  pod_is_marked(pod, tp->inet_conn.icsk_inet.sk.sk_mark));
}

/*
 * Chooses the flow; 0 when the connection counts in none (maps/leg.h). flags: who dialled.
 */
static __always_inline int adopt_flow(struct weir_flow_key *flow, struct tcp_sock *tp,
				      const struct weir_pod *pod, __u64 cookie, __u32 flags,
				      const struct weir_endpoint *local,
				      const struct weir_endpoint *remote)
{
	int dialled = !!(flags & WEIR_CONN_ACTIVE), machine = !!(flags & WEIR_CONN_MACHINE);
	const struct weir_endpoint *peer = machine ? local : remote;
	int within = weir_addr_is_loopback(&remote->addr) || weir_addr_is_loopback(&local->addr) ||
		     pod_has_addr(pod, cookie, &peer->addr);
	struct weir_leg leg =
		weir_leg_found(dialled, machine, within, adopt_is_proxys(tp, pod, cookie, dialled),
			       weir_pod_local);

	if (!leg.counted)
		return 0;
	flow->workload = pod->workload;
	flow->direction = leg.direction;
	flow->via = leg.via;
	flow->port = account_port(dialled ? remote->port : local->port);
	if (within)
		flow->peer = pod->workload;
	else
		account_peer(flow, &peer->addr, leg.direction == WEIR_OUTBOUND ? peer->port : 0, 0);
	if (leg.direction == WEIR_INBOUND)
		flow->service = WEIR_ID_NONE;
	return 1;
}

static __always_inline int adopt_is_established(struct sock_common *skc)
{
	__u32 state = skc->skc_state;

	return state == BPF_TCP_ESTABLISHED || state == BPF_TCP_FIN_WAIT1 ||
	       state == BPF_TCP_FIN_WAIT2 || state == BPF_TCP_CLOSE_WAIT ||
	       state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK;
}

/*
 * The hooks follow cgroups, this walk a network namespace: a process of the node that has entered
 * it, or the kernel itself, may have sockets there, which they never see.
 */
static __always_inline int adopt_is_pods(struct tcp_sock *tp)
{
	struct cgroup *cgroup = tp->inet_conn.icsk_inet.sk.sk_cgrp_data.cgroup;
	struct cgroup_subsys_state *parent;

	for (int level = 0; level < CGROUP_LEVELS && cgroup; level++) {
		if (cgroup->kn->id == weir_cgroup_root)
			return 1;
		parent = cgroup->self.parent;
		if (!parent)
			break;
		cgroup = parent->cgroup;
	}
	return 0;
}

/*
 * Will its end be heard of? By sockops where an iterator can ask for that; else by a tracepoint
 * (weir_set_state), which the agent attaches when the first connection needs it.
 */
static __always_inline int adopt_watch(struct sock_common *skc, struct tcp_sock *tp)
{
	int flags = tp->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG;

	if (!bpf_setsockopt(skc, SOL_TCP, TCP_BPF_SOCK_OPS_CB_FLAGS, &flags, sizeof(flags)) ||
	    stats_read(WEIR_COUNTER_STATES_WATCHED))
		return 1;
	stats_count(WEIR_COUNTER_UNWATCHED);
	return 0;
}

/* The iterator holds the socket's lock, so nothing moves. What it has counted so far is taken for
 * folded. */
static __always_inline void adopt_connection(struct sock_common *skc, struct tcp_sock *tp,
					     const struct weir_pod *pod, __u64 cookie)
{
	struct weir_endpoint local = {}, remote = {};
	struct weir_flow_key key = {};
	struct weir_flow *flow;
	struct weir_conn *conn;
	struct payload now;
	__u32 flags = WEIR_CONN_COUNTED | WEIR_CONN_FOUND;

	if (!adopt_is_established(skc) || bpf_sk_storage_get(&weir_conns, skc, 0, 0) ||
	    !adopt_is_pods(tp))
		return;
	adopt_local(skc, &local);
	adopt_remote(skc, &remote);
	if (adopt_is_active(tp, &local, &remote))
		flags |= WEIR_CONN_ACTIVE;
	else if (adopt_is_machines(tp, pod, cookie))
		flags |= WEIR_CONN_MACHINE;
	if (!adopt_flow(&key, tp, pod, cookie, flags, &local, &remote))
		return;
	if (!adopt_watch(skc, tp))
		return;
	conn = bpf_sk_storage_get(&weir_conns, skc, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!conn) {
		stats_count(WEIR_COUNTER_UNTRACKED_SOCKETS);
		return;
	}
	now = account_read(tp, flags, account_origin(tp, flags), skc->skc_state);
	conn->sent = now.sent;
	conn->received = now.received;
	conn->retransmitted = tp->total_retrans;
	conn->since_ns = bpf_ktime_get_ns();
	conn->flow = key;
	conn->dialled = flags & WEIR_CONN_ACTIVE ? remote : local;
	conn->flags = flags;
	account_place(conn, account_origin(tp, flags));
	account_opened(conn, 0);
	flow = account_flow(&conn->flow);
	if (flow)
		__sync_fetch_and_add(&flow->found, 1);
}

#endif
