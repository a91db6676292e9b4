// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Datagrams of pods, counted where they leave a socket and where they reach one. The kernel keeps
 * no counters for UDP as it does for TCP, so these see every packet of the pods while they are
 * attached, and leave those of other protocols after one comparison. Attached with --metrics.udp
 * only. What is counted exactly stands in docs/METRICS.md.
 */
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/account.bpf.h"
#include "bpf/lib/link.bpf.h"
#include "bpf/lib/pod.bpf.h"
#include "maps/asked.h"
#include "maps/decide.h"
#include "maps/leg.h"

#define PASS	    1
#define IPV4_HEADER 20 /* without options */
#define IPV6_HEADER 40
#define UDP_HEADER  8
/* Many datagrams in one skb; SKB_GSO_UDP is one, to be cut into fragments. */
#define SKB_GSO_UDP_L4	(1 << 17)
#define SKB_DST_NOREF	1UL
#define RTCF_BROADCAST	0x10000000
#define IPV4_SOURCE	12
#define IPV6_SOURCE	8
#define IPV6_NEXTHEADER 6

/* What one skb holds: a datagram, or several that segmentation offload keeps in one. */
struct datagrams {
	struct weir_endpoint local, remote;
	__u64 bytes; /* payload */
	__u64 number;
};

/* The kernel's own view of a packet, to read what the context does not tell. */
static __always_inline const struct sk_buff *skb_address(struct __sk_buff *skb)
{
	const struct sk_buff *address = 0;

	bpf_probe_read_kernel(&address, sizeof(address), &skb);
	return address;
}

/* Between the header of IPv6 and that of UDP there may be others, which the kernel has walked. */
static __always_inline __u32 transport_offset(struct __sk_buff *skb)
{
	const struct sk_buff *address = skb_address(skb);

	return BPF_CORE_READ(address, transport_header) - BPF_CORE_READ(address, network_header);
}

/* 0, or a negative number when the packet is none of IP's. Offset: of UDP's header. */
static __always_inline long read_addrs(struct __sk_buff *skb, struct weir_addr *source,
				       struct weir_addr *destination, __u32 *offset)
{
	__u32 words[IPV6_HEADER / 4];
	const __u8 *header = (const __u8 *)words;

	if (bpf_skb_load_bytes(skb, 0, words, IPV4_HEADER))
		return -1;
	if (header[0] >> 4 == 4) {
		weir_addr_from_v4(source, words[IPV4_SOURCE / 4]);
		weir_addr_from_v4(destination, words[IPV4_SOURCE / 4 + 1]);
		*offset = (header[0] & 0xf) * 4;
		return 0;
	}
	if (bpf_skb_load_bytes(skb, 0, words, IPV6_HEADER))
		return -1;
	weir_addr_from_words(source, words[2], words[3], words[4], words[5]);
	weir_addr_from_words(destination, words[6], words[7], words[8], words[9]);
	*offset = header[IPV6_NEXTHEADER] == IPPROTO_UDP ? IPV6_HEADER : transport_offset(skb);
	return 0;
}

static __always_inline __u64 number_of(struct __sk_buff *skb, __u64 bytes)
{
	const struct sk_buff *address;
	const struct skb_shared_info *shared;
	__u32 size = skb->gso_size;

	if (!size)
		return 1;
	address = skb_address(skb);
	shared = (const void *)(BPF_CORE_READ(address, head) + BPF_CORE_READ(address, end));
	if (!(BPF_CORE_READ(shared, gso_type) & SKB_GSO_UDP_L4))
		return 1;
	return (bytes + size - 1) / size;
}

static __always_inline long read_datagrams(struct __sk_buff *skb, int in, struct datagrams *d)
{
	struct weir_endpoint *source = in ? &d->remote : &d->local;
	struct weir_endpoint *destination = in ? &d->local : &d->remote;
	__u16 ports[2];
	__u32 offset;

	if (read_addrs(skb, &source->addr, &destination->addr, &offset) ||
	    bpf_skb_load_bytes(skb, offset, ports, sizeof(ports)))
		return -1;
	source->port = bpf_ntohs(ports[0]);
	destination->port = bpf_ntohs(ports[1]);
	d->bytes = skb->len - offset - UDP_HEADER;
	d->number = number_of(skb, d->bytes);
	return 0;
}

/*
 * Neither the network namespace (before 6.15, c221d3744ad3) nor the owner of a socket can be asked
 * for here, so both are read once from the socket itself.
 */
static __always_inline void learn(struct weir_udp_sock *known, struct bpf_sock *sk)
{
	const struct sock *address;
	struct owner owner = {};
	struct file *file;

	if (bpf_probe_read_kernel(&address, sizeof(address), &sk))
		return;
	known->netns_cookie = BPF_CORE_READ(address, __sk_common.skc_net.net, net_cookie);
	file = BPF_CORE_READ(address, sk_socket, file);
	if (file) {
		owner_of_file(&owner, file);
		known->uid = owner.uid;
		known->gid = owner.gid;
	}
	__sync_fetch_and_or(&known->flags, WEIR_UDP_KNOWN | (file ? WEIR_UDP_OWNED : 0));
}

/*
 * Does this socket answer, or ask? Its first datagram tells. A reply tells more: from a port that
 * something names to one of those that the kernel hands out, or the other way around on a socket
 * that is connected; so a socket that was there before is not mistaken for what it is not.
 */
static __always_inline int answers(struct weir_udp_sock *known, struct bpf_sock *sk,
				   const struct datagrams *d, int in)
{
	__u32 was = *(volatile __u32 *)&known->flags, decided = WEIR_UDP_DECIDED, now;
	int near, far;

	if (was & WEIR_UDP_DECIDED)
		return was & WEIR_UDP_ANSWERS;
	near = account_port(d->local.port) != WEIR_PORT_DYNAMIC;
	far = account_port(d->remote.port) != WEIR_PORT_DYNAMIC;
	if (in ? near || !far || sk->state != BPF_TCP_ESTABLISHED : near && !far)
		decided |= WEIR_UDP_ANSWERS;
	now = __sync_val_compare_and_swap(&known->flags, was, was | decided);
	return (now == was ? decided : now) & WEIR_UDP_ANSWERS;
}

/* A lookup that weir sends to the proxy, or its answer: the server that was asked is the peer. */
static __always_inline int is_lookup(struct bpf_sock *sk, const struct datagrams *d, int in,
				     struct weir_addr *ret_server)
{
	const struct weir_addr *server;
	struct weir_asked *asked;

	if (!weir_addr_is_loopback(&d->remote.addr) && weir_asked_from_addr(&d->remote.addr) < 0)
		return 0;
	asked = bpf_sk_storage_get(&weir_asked, sk, 0, 0);
	if (!asked || d->remote.port != asked->proxy_port)
		return 0;
	server = weir_asked_server(asked, in ? &d->remote.addr : &d->local.addr);
	if (!server)
		return 0;
	*ret_server = *server;
	return 1;
}

static __always_inline void choose_lookup(struct weir_flow_key *flow,
					  const struct weir_addr *server)
{
	flow->port = WEIR_DNS_PORT;
	flow->direction = WEIR_OUTBOUND;
	flow->via = WEIR_VIA_PROXY;
	account_peer(flow, server, WEIR_DNS_PORT, IPPROTO_UDP);
}

static __always_inline int by_proxy(const struct weir_udp_sock *known, const struct weir_pod *pod)
{
	struct owner owner = { .uid = known->uid,
			       .gid = known->gid,
			       .known = !!(known->flags & WEIR_UDP_OWNED) };

	return pod_is_proxy(pod, known->netns_cookie, &owner);
}

/* To all in a subnet: the address does not tell, the route that it was sent by does. */
static __always_inline int is_broadcast(struct __sk_buff *skb)
{
	const struct sk_buff *address = skb_address(skb);
	const struct rtable *route =
		(const void *)(BPF_CORE_READ(address, _skb_refdst) & ~SKB_DST_NOREF);

	return route && (BPF_CORE_READ(route, rt_flags) & RTCF_BROADCAST);
}

/*
 * What goes to a group or to all has several peers. Of a subnet's broadcast address only the route
 * knows, which is asked where nothing that weir knows bears the address.
 */
static __always_inline void choose_peer(struct weir_flow_key *flow, struct __sk_buff *skb,
					const struct datagrams *d, int in, int inbound)
{
	if (!weir_addr_is_unicast(&d->remote.addr)) {
		flow->peer = WEIR_ID_SEVERAL;
		return;
	}
	account_peer(flow, &d->remote.addr, inbound ? 0 : d->remote.port, IPPROTO_UDP);
	if (inbound)
		flow->service = WEIR_ID_NONE;
	if (!in && flow->peer <= WEIR_ID_EXTERNAL && weir_addr_is_v4(&d->remote.addr) &&
	    is_broadcast(skb))
		flow->peer = WEIR_ID_SEVERAL;
}

static __always_inline void choose_own(struct weir_flow_key *flow, struct __sk_buff *skb,
				       const struct datagrams *d, int in, struct weir_leg leg)
{
	int inbound = leg.direction == WEIR_INBOUND;

	flow->port = account_port(inbound ? d->local.port : d->remote.port);
	flow->direction = leg.direction;
	flow->via = leg.via;
	choose_peer(flow, skb, d, in, inbound);
}

/*
 * Within the pod, unless it is a lookup: whatever goes to an address of its own goes over lo. What
 * it sends to a group, or to all, is turned back to it at the interface that it leaves by.
 */
static __always_inline int is_local(struct __sk_buff *skb)
{
	return skb->ifindex == WEIR_LO_IFINDEX || skb->pkt_type == PACKET_LOOPBACK;
}

/* 1, and the flow that these datagrams count in; 0 when they count in none. */
static __always_inline int choose_flow(struct weir_flow_key *flow, struct weir_udp_sock *known,
				       struct __sk_buff *skb, struct bpf_sock *sk,
				       struct datagrams *d, int in)
{
	struct weir_addr server;
	const struct weir_pod *pod;

	if (!(known->flags & WEIR_UDP_KNOWN))
		learn(known, sk);
	pod = pod_of(known->netns_cookie);
	if (!pod)
		return 0;
	flow->workload = pod->workload;
	if (is_lookup(sk, d, in, &server)) {
		choose_lookup(flow, &server);
		d->remote.addr = server;
		d->remote.port = WEIR_DNS_PORT;
		return 1;
	}
	if (is_local(skb))
		return 0;
	choose_own(flow, skb, d, in,
		   weir_leg_datagram(!!answers(known, sk, d, in), by_proxy(known, pod)));
	return 1;
}

static const struct weir_udp_flow nothing;

static __always_inline struct weir_udp_flow *find_flow(const struct weir_flow_key *of)
{
	struct weir_flow_key key = *of;
	struct weir_udp_flow *flow = bpf_map_lookup_elem(&weir_udp_flows, &key);

	if (flow)
		return flow;
	if (key.peer == WEIR_ID_OTHER) { /* has a place beyond the limit */
		bpf_map_update_elem(&weir_udp_flows, &key, &nothing, BPF_NOEXIST);
	} else if (account_flow_fits(WEIR_COUNTER_UDP_FLOWS, WEIR_COUNTER_UDP_FLOWS_FULL) &&
		   account_port_fits(&key)) {
		if (!bpf_map_update_elem(&weir_udp_flows, &key, &nothing, BPF_NOEXIST))
			stats_count(WEIR_COUNTER_UDP_FLOWS);
	} else {
		return 0;
	}
	return bpf_map_lookup_elem(&weir_udp_flows, &key);
}

/* The flow, or the workload's "other", which the key becomes. */
static __always_inline struct weir_udp_flow *place(struct weir_flow_key *key, __u64 number)
{
	struct weir_udp_flow *flow = find_flow(key);

	if (flow)
		return flow;
	stats_add(WEIR_COUNTER_UDP_OVERFLOW, number);
	key->peer = WEIR_ID_OTHER;
	key->service = WEIR_ID_NONE;
	key->port = WEIR_PORT_OTHER;
	return find_flow(key);
}

/* For weir_udp_dropped(), which comes next on this processor if it comes at all. */
static __always_inline void remember(struct __sk_buff *skb, const struct weir_flow_key *flow,
				     const struct datagrams *d)
{
	__u32 zero = 0;
	struct weir_udp_last *last = bpf_map_lookup_elem(&weir_udp_last, &zero);

	if (!last)
		return;
	last->skb = (__u64)skb_address(skb);
	last->flow = *flow;
	last->bytes = d->bytes;
	last->datagrams = d->number;
}

/* For `weir conns`; the flow's own figures need none of it. */
static __always_inline void note(struct weir_udp_sock *known, const struct weir_flow_key *flow,
				 const struct datagrams *d, int in)
{
	if (!known->since_ns)
		known->since_ns = bpf_ktime_get_ns();
	known->flow = *flow;
	known->remote = d->remote;
	__sync_fetch_and_add(in ? &known->received : &known->sent, d->bytes);
}

static __always_inline void count(struct __sk_buff *skb, struct bpf_sock *sk, int in)
{
	struct weir_udp_sock alone = {}, *known;
	struct weir_flow_key key = {};
	struct weir_udp_flow *flow;
	struct datagrams d = {};

	known = bpf_sk_storage_get(&weir_udp_socks, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!known)
		known = &alone; /* without memory of it, each datagram is the first */
	if (read_datagrams(skb, in, &d) || !choose_flow(&key, known, skb, sk, &d, in))
		return;
	note(known, &key, &d, in);
	flow = place(&key, d.number);
	if (!flow)
		return;
	__sync_fetch_and_add(in ? &flow->received : &flow->sent, d.bytes);
	__sync_fetch_and_add(in ? &flow->received_datagrams : &flow->sent_datagrams, d.number);
	if (in)
		remember(skb, &key, &d);
}

static __always_inline int look(struct __sk_buff *skb, int in)
{
	struct bpf_sock *sk = skb->sk;

	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	/* A raw socket may have the same protocol, and sees copies. */
	if (sk && sk->protocol == IPPROTO_UDP && sk->type == SOCK_DGRAM)
		count(skb, sk, in);
	return PASS;
}

SEC("?cgroup_skb/ingress")
int weir_udp_in(struct __sk_buff *skb)
{
	return look(skb, 1);
}

SEC("?cgroup_skb/egress")
int weir_udp_out(struct __sk_buff *skb)
{
	return look(skb, 0);
}

#define IS_REASON(reason, name)                                    \
	(bpf_core_enum_value_exists(enum skb_drop_reason, name) && \
	 (reason) == bpf_core_enum_value(enum skb_drop_reason, name))

/*
 * A socket's queue has no room, or a filter at the socket lets it not in: the kernel asks both
 * after weir_udp_in(), on the same processor, before it turns to another datagram. Nothing runs for
 * those that are taken.
 */
SEC("?tp_btf/kfree_skb")
int weir_udp_dropped(unsigned long long *ctx) /* skb, location, reason */
{
	struct sk_buff *skb = (void *)ctx[0];
	__u32 zero = 0, reason = ctx[2];
	struct weir_udp_last *last;
	struct weir_udp_flow *flow;

	if (!IS_REASON(reason, SKB_DROP_REASON_SOCKET_RCVBUFF) &&
	    !IS_REASON(reason, SKB_DROP_REASON_PROTO_MEM) &&
	    !IS_REASON(reason, SKB_DROP_REASON_SOCKET_FILTER))
		return 0;
	last = bpf_map_lookup_elem(&weir_udp_last, &zero);
	if (!last || last->skb != (__u64)skb)
		return 0;
	/* A filter sees UDP's header, which the queue does not. */
	if (skb->len != last->bytes && skb->len != last->bytes + UDP_HEADER)
		return 0;
	last->skb = 0;
	flow = find_flow(&last->flow);
	if (!flow)
		return 0;
	__sync_fetch_and_add(&flow->dropped, last->bytes);
	__sync_fetch_and_add(&flow->dropped_datagrams, last->datagrams);
	return 0;
}
