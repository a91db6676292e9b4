// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Is it encrypted? The first payload of a connection on the network tells TLS from plaintext: a
 * TLS client speaks first, and begins with a record that holds a ClientHello. No hook is called for
 * the first segment alone (header-option callbacks see headers, sk_msg would take the socket), so
 * these two see every packet of the pods while they are attached, and leave at once those of
 * sockets whose answer is known. Attached with --metrics.tls only.
 */
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/lib/account.bpf.h"

#define PASS		 1
#define IPV6_HEADER	 40
#define RECORD_HANDSHAKE 0x16
#define VERSION_MAJOR	 3
#define CLIENT_HELLO	 1

/* Type, version, length of a record, and the type of the message in it. */
#define LOOKED_AT 6

/* Where the payload of a TCP packet begins; 0: it has none, or the packet is none of TCP's. */
static __always_inline __u32 payload_offset(struct __sk_buff *skb)
{
	__u32 tcp = IPV6_HEADER;
	__u8 byte;

	if (bpf_skb_load_bytes(skb, 0, &byte, 1))
		return 0;
	if (byte >> 4 == 4)
		tcp = (byte & 0xf) * 4;
	if (bpf_skb_load_bytes(skb, byte >> 4 == 4 ? 9 : 6, &byte, 1) || byte != IPPROTO_TCP)
		return 0;
	if (bpf_skb_load_bytes(skb, tcp + 12, &byte, 1))
		return 0;
	tcp += (byte >> 4) * 4;
	return tcp < skb->len ? tcp : 0;
}

/* A first segment may be shorter than what is looked at: its first byte decides then. */
static __always_inline enum weir_tls judge(struct __sk_buff *skb, __u32 offset)
{
	__u8 begin[LOOKED_AT];

	if (bpf_skb_load_bytes(skb, offset, begin, LOOKED_AT)) {
		if (bpf_skb_load_bytes(skb, offset, begin, 1))
			return WEIR_TLS_UNKNOWN;
		return begin[0] == RECORD_HANDSHAKE ? WEIR_TLS_YES : WEIR_TLS_NO;
	}
	return begin[0] == RECORD_HANDSHAKE && begin[1] == VERSION_MAJOR && begin[5] == CLIENT_HELLO
		       ? WEIR_TLS_YES
		       : WEIR_TLS_NO;
}

static __always_inline int look(struct __sk_buff *skb)
{
	struct weir_conn *conn;
	struct weir_flow *flow;
	struct bpf_sock *sk = skb->sk;
	enum weir_tls tls;
	__u32 offset;

	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk || sk->protocol != IPPROTO_TCP)
		return PASS;
	conn = bpf_sk_storage_get(&weir_conns, sk, 0, 0);
	if (!conn || !(conn->flags & WEIR_CONN_TLS_ASKED))
		return PASS;
	offset = payload_offset(skb);
	if (!offset)
		return PASS;
	tls = judge(skb, offset);
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
	return look(skb);
}

SEC("?cgroup_skb/egress")
int weir_tls_out(struct __sk_buff *skb)
{
	return look(skb);
}
