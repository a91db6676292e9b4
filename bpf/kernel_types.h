/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Kernel types by hand: only the fields that are read. Offsets are relocated against the running
 * kernel's BTF (preserve_access_index), so order and size here mean nothing.
 */
#ifndef WEIR_BPF_KERNEL_TYPES_H
#define WEIR_BPF_KERNEL_TYPES_H

#include <linux/types.h>

#define AF_INET		2
#define AF_INET6	10
#define SOCK_STREAM	1
#define SOCK_DGRAM	2
#define SOL_SOCKET	1
#define SO_ERROR	4
#define SOL_IP		0
#define SOL_TCP		6
#define SOL_IPV6	41
#define SO_ORIGINAL_DST 80 /* the same number at both levels */
#define EPROTONOSUPPORT 93
#define ECONNREFUSED	111
#define ECONNRESET	104
#define ETIMEDOUT	110
#define EHOSTUNREACH	113
#define ENETUNREACH	101
#define EHOSTDOWN	112
#define EACCES		13
#define ENONET		64
#define EPROTO		71
#define ENOPROTOOPT	92
#define EOPNOTSUPP	95
#define SOCK_DONE_BIT	1 /* enum sock_flags: set by tcp_fin(), for TCP by nothing else */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

struct cred {
	kuid_t fsuid;
	kgid_t fsgid;
};

struct file {
	const struct cred *f_cred;
};

struct socket {
	struct file *file;
};

struct net {
	__u64 net_cookie; /* plain u64 since 5.12, 3d368ab87cf6 */
};

typedef struct {
	struct net *net;
} possible_net_t;

/* The suffix keeps it apart from the one of <linux/in6.h>; relocations ignore it. */
struct in6_addr___kernel {
	union {
		__u32 u6_addr32[4];
	} in6_u;
};

struct sock_common {
	__u16 skc_family;
	volatile unsigned char skc_state;
	__u16 skc_num; /* local port, host order */
	__u16 skc_dport; /* network order */
	__u32 skc_rcv_saddr;
	__u32 skc_daddr;
	possible_net_t skc_net;
	struct in6_addr___kernel skc_v6_rcv_saddr;
	struct in6_addr___kernel skc_v6_daddr;
	unsigned long skc_flags;
};

/* The lock that softirq holds while it works on a socket. */
typedef struct {
	int counter;
} atomic_t;

struct qspinlock {
	atomic_t val;
};

struct raw_spinlock {
	struct qspinlock raw_lock;
};

struct spinlock {
	struct raw_spinlock rlock;
};

/* On PREEMPT_RT a spin lock is a mutex, which knows its owner. */
struct rt_mutex_base {
	struct task_struct *owner; /* and flags in its lowest bits, when somebody waits */
};

struct spinlock___rt {
	struct rt_mutex_base lock;
};

typedef struct {
	struct spinlock slock;
	int owned;
} socket_lock_t;

struct kernfs_node {
	__u64 id;
};

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

/* Of the process that opened the socket, of the listener for what it accepts. */
struct sock_cgroup_data {
	struct cgroup *cgroup; /* a plain pointer since 5.15, 8520e224f547 */
};

struct sock {
	struct sock_common __sk_common;
	socket_lock_t sk_lock;
	struct sock_cgroup_data sk_cgrp_data;
	struct socket *sk_socket;
	__u32 sk_mark;
	int sk_err;
	int sk_err_soft;
};

struct ipv6_pinfo {
	int mcast_oif;
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	int mc_index;
	__u16 inet_sport; /* local port, network order; unlike skc_num it outlives CLOSE */
};

struct inet_connection_sock {
	struct inet_sock icsk_inet;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u64 bytes_acked;
	__u64 bytes_received;
	__u64 bytes_sent;
	__u64 bytes_retrans;
	__u64 tcp_mstamp; /* CLOCK_MONOTONIC in us, of what is being received or was sent last */
	__u32 srtt_us; /* eight times the smoothed round trip */
	__u32 snd_una;
	__u32 snd_nxt;
	__u32 rcv_nxt;
	__u32 write_seq;
	__u32 total_retrans;
	__u8 bpf_sock_ops_cb_flags;
	__u8 is_mptcp : 1;
};

struct sk_buff {
	unsigned int len;
	unsigned int end; /* offset from head: NET_SKBUFF_DATA_USES_OFFSET, on all of 64 bits */
	unsigned char *head;
	__u16 transport_header; /* offsets from head */
	__u16 network_header;
	unsigned long _skb_refdst; /* of what is sent over IPv4 a struct rtable, and a flag */
};

struct rtable {
	unsigned int rt_flags;
};

struct skb_shared_info {
	unsigned int gso_type;
};

struct bpf_iter_meta {
	__u64 seq_num; /* 0: the walk begins */
};

struct bpf_map;

struct bpf_iter__bpf_sk_storage_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	struct sock *sk;
	void *value;
};

struct bpf_iter__bpf_map_elem {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
	void *key;
	void *value;
};

struct bpf_iter__tcp {
	struct bpf_iter_meta *meta;
	struct sock_common *sk_common;
};

#pragma clang attribute pop

/* Since 5.17; the numbers are the running kernel's (bpf_core_enum_value). */
enum skb_drop_reason {
	SKB_DROP_REASON_SOCKET_FILTER,
	SKB_DROP_REASON_SOCKET_RCVBUFF,
	SKB_DROP_REASON_PROTO_MEM,
};

#endif
