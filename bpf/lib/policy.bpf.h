/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/* Asking the lists of a policy. Each is asked only when the pod's flags say that it has entries. */
#ifndef WEIR_BPF_POLICY_H
#define WEIR_BPF_POLICY_H

#include "bpf/maps.bpf.h"

static __always_inline int policy_has_port(const struct weir_pod *pod, __u64 cookie,
					   enum weir_list list, __u16 port)
{
	struct weir_port_entry key = {
		.prefixlen = WEIR_PORT_BITS,
		.generation = pod->generation,
		.netns_cookie = cookie,
		.list = list,
		.port = { port >> 8, port & 0xff },
	};

	return bpf_map_lookup_elem(&weir_ports, &key) != 0;
}

static __always_inline int policy_has_addr(const struct weir_pod *pod, __u64 cookie,
					   enum weir_list list, const struct weir_addr *addr)
{
	struct weir_cidr_entry key = {
		.prefixlen = WEIR_CIDR_BITS,
		.generation = pod->generation,
		.netns_cookie = cookie,
		.list = list,
		.addr = *addr,
	};

	return bpf_map_lookup_elem(&weir_cidrs, &key) != 0;
}

static __always_inline int policy_has_id(const struct weir_pod *pod, __u64 cookie,
					 enum weir_list list, __u32 id)
{
	struct weir_id_entry key = {
		.netns_cookie = cookie,
		.generation = pod->generation,
		.list = list,
		.id = id,
	};

	return bpf_map_lookup_elem(&weir_ids, &key) != 0;
}

#endif
