// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The connections of this node, for `weir conns` and `weir top`, which load this program for
 * themselves and run it over the pinned weir_conns: no agent is needed.
 *
 * Rows go into an array and not into the iterator's file. That file holds 32 KiB; when it is full
 * the walk is left and begun again later by counting elements (bpf_sk_storage_map_seq_find_next()),
 * which repeats or misses sockets when others come and go meanwhile. In one piece, under RCU, the
 * walk meets every socket that lives all the while exactly once.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/account.bpf.h"
#include "maps/datagram.h"
#include "maps/live.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct weir_live);
	__uint(max_entries, 1); /* the reader knows better */
	__uint(map_flags, BPF_F_MMAPABLE);
} weir_rows SEC(".maps");

/* Connections met: more than weir_rows has room for tells the reader how many it should have. */
__u32 weir_met;

static __always_inline void live_addr(struct weir_addr *addr, __u16 family, __u32 ip4,
				      const __u32 *ip6)
{
	if (family == AF_INET)
		weir_addr_from_v4(addr, ip4);
	else
		weir_addr_from_words(addr, ip6[0], ip6[1], ip6[2], ip6[3]);
}

static __always_inline void live_ends(struct weir_live *row, const struct sock_common *skc)
{
	__u16 family = skc->skc_family;

	live_addr(&row->local.addr, family, skc->skc_rcv_saddr,
		  skc->skc_v6_rcv_saddr.in6_u.u6_addr32);
	live_addr(&row->remote.addr, family, skc->skc_daddr, skc->skc_v6_daddr.in6_u.u6_addr32);
	row->local.port = skc->skc_num;
	row->remote.port = bpf_ntohs(skc->skc_dport);
}

static __always_inline int is_connection(const struct weir_conn *conn, __u8 state)
{
	return conn->since_ns && state != BPF_TCP_CLOSE && state != BPF_TCP_LISTEN;
}

/* The next row, if there is room for one. */
static __always_inline struct weir_live *next_row(struct sock *sk)
{
	__u32 index = weir_met++;
	struct weir_live *row = bpf_map_lookup_elem(&weir_rows, &index);

	if (!row)
		return 0;
	row->socket_cookie = bpf_get_socket_cookie(sk);
	row->netns_cookie = sk->__sk_common.skc_net.net->net_cookie;
	row->state = sk->__sk_common.skc_state;
	live_ends(row, &sk->__sk_common);
	return row;
}

SEC("iter/bpf_sk_storage_map")
int weir_list(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct weir_conn *conn = ctx->value;
	struct sock *sk = ctx->sk;
	struct weir_live *row;
	struct payload bytes;
	struct tcp_sock *tp;

	if (!sk || !conn)
		return 0;
	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp || !is_connection(conn, sk->__sk_common.skc_state))
		return 0;
	row = next_row(sk);
	if (!row)
		return 0;
	bytes = account_read(tp, conn->flags, account_origin_of(conn, tp), 0);
	row->age_ns = bpf_ktime_get_ns() - conn->since_ns;
	row->sent = row->state == BPF_TCP_SYN_SENT ? 0 : bytes.sent; /* else its SYN */
	row->received = bytes.received;
	row->retransmitted = tp->total_retrans;
	row->srtt_us = tp->srtt_us >> 3; /* the kernel keeps eight times the value */
	row->flow = conn->flow;
	row->dialled = conn->dialled;
	row->flags = conn->flags;
	row->reason = conn->reason;
	row->proxy_port = conn->proxy_port;
	row->protocol = IPPROTO_TCP;
	return 0;
}

/* The same over weir_udp_socks. A socket that is not connected has no peer but the last one. */
SEC("iter/bpf_sk_storage_map")
int weir_list_udp(struct bpf_iter__bpf_sk_storage_map *ctx)
{
	struct weir_udp_sock *known = ctx->value;
	struct sock *sk = ctx->sk;
	struct weir_live *row;

	if (!sk || !known || !known->since_ns)
		return 0;
	row = next_row(sk);
	if (!row)
		return 0;
	row->age_ns = bpf_ktime_get_ns() - known->since_ns;
	row->sent = known->sent;
	row->received = known->received;
	row->retransmitted = 0;
	row->srtt_us = 0;
	row->flow = known->flow;
	row->dialled = known->remote;
	row->remote = known->remote;
	row->flags =
		WEIR_CONN_COUNTED | (known->flow.direction == WEIR_OUTBOUND ? WEIR_CONN_ACTIVE : 0);
	row->reason = known->flow.via == WEIR_VIA_PROXY && known->flow.direction == WEIR_OUTBOUND
			      ? WEIR_REASON_DNS
			      : WEIR_REASON_NOT_TCP;
	row->proxy_port = 0;
	row->protocol = IPPROTO_UDP;
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
