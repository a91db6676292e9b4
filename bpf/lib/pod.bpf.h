/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Whose socket is it: the pod of a network namespace, the owner of a socket. */
#ifndef WEIR_BPF_POD_H
#define WEIR_BPF_POD_H

#include <bpf/bpf_core_read.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/policy.bpf.h"
#include "bpf/maps.bpf.h"

static __always_inline const struct weir_pod *pod_of(__u64 netns_cookie)
{
	struct weir_netns key = { .cookie = netns_cookie };

	return bpf_map_lookup_elem(&weir_pods, &key);
}

/* Nearly every pod has one address of a family, which its entry holds: no table is asked then. */
static __always_inline int pod_has_addr(const struct weir_pod *pod, __u64 netns_cookie,
					const struct weir_addr *addr)
{
	struct weir_local_addr key = { .netns_cookie = netns_cookie, .addr = *addr };

	if ((pod->flags & WEIR_POD_ADDRS_KNOWN) && weir_addr_is_global(addr))
		return weir_addr_equal(addr, weir_addr_is_v4(addr) ? &pod->ip4 : &pod->ip6);
	return bpf_map_lookup_elem(&weir_local, &key) != 0;
}

struct owner {
	__u32 uid;
	__u32 gid;
	__u8 known;
};

/*
 * The owner as xt_owner sees it: the file system ids of whoever opened the socket, kept in its
 * file's credentials, not those of the caller (bpf_get_current_uid_gid). A kernel socket has no
 * file.
 */
static __always_inline void owner_of_file(struct owner *owner, const struct file *file)
{
	owner->uid = BPF_CORE_READ(file, f_cred, fsuid.val);
	owner->gid = BPF_CORE_READ(file, f_cred, fsgid.val);
	owner->known = 1;
}

/*
 * The same for any socket. There is no helper that makes a typed pointer of a UDP socket over IPv4
 * before bpf_rdonly_cast() of 6.2, so its address is taken as a number, and its memory read with
 * bpf_probe_read_kernel(), which TCP is spared.
 */
static __always_inline struct owner sock_addr_owner(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	const struct sock *address;
	struct owner owner = {};
	struct file *file;

	if (bpf_probe_read_kernel(&address, sizeof(address), &sk))
		return owner;
	file = BPF_CORE_READ(address, sk_socket, file);
	if (file)
		owner_of_file(&owner, file);
	return owner;
}

static __always_inline struct owner owner_of(struct tcp_sock *tp)
{
	struct owner owner = {};
	struct socket *socket;
	struct file *file;

	socket = tp->inet_conn.icsk_inet.sk.sk_socket;
	if (!socket)
		return owner;
	file = socket->file;
	if (!file)
		return owner;
	owner.uid = file->f_cred->fsuid.val;
	owner.gid = file->f_cred->fsgid.val;
	owner.known = 1;
	return owner;
}

static __always_inline struct owner socket_owner(struct bpf_sock *sk)
{
	struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
	struct owner nobody = {};

	return tp ? owner_of(tp) : nobody;
}

/* By any of its ids: an owner of a further one is the proxy like the first. */
static __always_inline int pod_is_proxy(const struct weir_pod *pod, __u64 cookie,
					const struct owner *owner)
{
	if (!owner->known)
		return 0;
	return ((pod->flags & WEIR_POD_PROXY_UID) && owner->uid == pod->proxy_uid) ||
	       ((pod->flags & WEIR_POD_PROXY_GID) && owner->gid == pod->proxy_gid) ||
	       ((pod->flags & WEIR_POD_PROXY_UIDS) &&
		policy_has_id(pod, cookie, WEIR_LIST_PROXY_UID, owner->uid)) ||
	       ((pod->flags & WEIR_POD_PROXY_GIDS) &&
		policy_has_id(pod, cookie, WEIR_LIST_PROXY_GID, owner->gid));
}

/* By the mark that the pod's rules know its proxy's sockets by, if they have one. */
static __always_inline int pod_is_marked(const struct weir_pod *pod, __u32 mark)
{
	return (pod->flags & WEIR_POD_TPROXY) && mark == WEIR_TPROXY_MARK;
}

#endif
