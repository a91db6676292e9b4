// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Is it encrypted? The first payload of a connection on the network tells TLS from plaintext: a
 * TLS client speaks first, and begins with a record that holds a ClientHello. No hook is called for
 * the first segment alone (header-option callbacks see headers, sk_msg would take the socket), so
 * these two see every packet of the pods while they are attached, and leave at once those of
 * sockets whose answer is known. Attached with --metrics.tls only.
 *
 * A segment tells only if it is the first of its direction: the network may bring a later one
 * before it. Where the client's first one went unseen, on the SYN (Fast Open) or with the last
 * packet of the handshake, which meets the listener (TCP_DEFER_ACCEPT), the server's tells.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/lib/account.bpf.h"

#define PASS		 1
#define IPV6_HEADER	 40
#define TCP_HEADER	 20 /* without options */
#define RECORD_ALERT	 0x15
#define RECORD_HANDSHAKE 0x16
#define VERSION_MAJOR	 3
#define CLIENT_HELLO	 1
#define SERVER_HELLO	 2

/* Type, version, length of a record, and the type of the message in it. */
#define LOOKED_AT    6
#define WITH_VERSION 2 /* bytes of it that tell the type, and the major version */

/* A TCP packet's payload: where it begins, in the packet and in its stream. */
struct segment {
	__u32 offset;
	__u32 seq;
};

/* 0, or a negative number when it has no payload, or is none of TCP's. */
static __always_inline long read_segment(struct __sk_buff *skb, struct segment *s)
{
	__u32 tcp = IPV6_HEADER, header[TCP_HEADER / 4];
	__u8 byte;

	if (bpf_skb_load_bytes(skb, 0, &byte, 1))
		return -1;
	if (byte >> 4 == 4)
		tcp = (byte & 0xf) * 4;
	if (bpf_skb_load_bytes(skb, byte >> 4 == 4 ? 9 : 6, &byte, 1) || byte != IPPROTO_TCP ||
	    bpf_skb_load_bytes(skb, tcp, header, TCP_HEADER))
		return -1;
	s->seq = bpf_ntohl(header[1]);
	s->offset = tcp + (bpf_ntohl(header[3]) >> 28) * 4;
	return s->offset < skb->len ? 0 : -1;
}

/* Nothing of its stream has come or gone before, nor been acknowledged but the SYN. */
static __always_inline int is_first(const struct segment *s, struct bpf_sock *sk, __u32 flags,
				    int in)
{
	struct bpf_tcp_sock *tp = bpf_tcp_sock(sk);

	if (!tp)
		return 0;
	if (in)
		return !tp->bytes_received && s->seq == tp->rcv_nxt;
	return tp->bytes_acked == !!(flags & WEIR_CONN_SYN_ACKED) && s->seq == tp->snd_una;
}

/* A first segment may be shorter than what is looked at: what there is of it decides then. */
static __always_inline enum weir_tls judge(struct __sk_buff *skb, __u32 offset)
{
	__u8 begin[LOOKED_AT];
	int length = LOOKED_AT;

	if (bpf_skb_load_bytes(skb, offset, begin, LOOKED_AT)) {
		length = WITH_VERSION;
		if (bpf_skb_load_bytes(skb, offset, begin, WITH_VERSION)) {
			length = 1;
			if (bpf_skb_load_bytes(skb, offset, begin, 1))
				return WEIR_TLS_UNKNOWN;
		}
	}
	if (length >= WITH_VERSION && begin[1] != VERSION_MAJOR)
		return WEIR_TLS_NO;
	if (begin[0] == RECORD_HANDSHAKE)
		return length < LOOKED_AT || begin[5] == CLIENT_HELLO || begin[5] == SERVER_HELLO
			       ? WEIR_TLS_YES
			       : WEIR_TLS_NO;
	return begin[0] == RECORD_ALERT && length >= WITH_VERSION ? WEIR_TLS_YES : WEIR_TLS_NO;
}

static __always_inline int look(struct __sk_buff *skb, int in)
{
	struct weir_conn *conn;
	struct weir_flow *flow;
	struct bpf_sock *sk = skb->sk;
	enum weir_tls tls;
	struct segment s;

	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return PASS;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	if (!conn || !(conn->flags & WEIR_CONN_TLS_ASKED))
		return PASS;
	if (read_segment(skb, &s) || !is_first(&s, sk, conn->flags, in))
		return PASS;
	tls = judge(skb, s.offset);
	/* Both directions may come here at a time. */
	if (!(__sync_fetch_and_and(&conn->flags, ~WEIR_CONN_TLS_ASKED) & WEIR_CONN_TLS_ASKED))
		return PASS;
	flow = account_flow(&conn->flow);
	if (flow && tls < WEIR_TLS_MAX)
		__sync_fetch_and_add(&flow->tls[tls], 1);
	return PASS;
}

SEC("?cgroup_skb/ingress")
int weir_tls_in(struct __sk_buff *skb)
{
	return look(skb, 1);
}

SEC("?cgroup_skb/egress")
int weir_tls_out(struct __sk_buff *skb)
{
	return look(skb, 0);
}
