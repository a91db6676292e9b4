// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/* The one definition of every map. */
#include "bpf/maps.bpf.h"

struct weir_pods_map weir_pods SEC(".maps");
struct weir_pod_names_map weir_pod_names SEC(".maps");
struct weir_seen_map weir_seen SEC(".maps");
struct weir_local_map weir_local SEC(".maps");
struct weir_ports_map weir_ports SEC(".maps");
struct weir_cidrs_map weir_cidrs SEC(".maps");
struct weir_ids_map weir_ids SEC(".maps");
struct weir_links_map weir_links SEC(".maps");
struct weir_routes_map weir_routes SEC(".maps");
struct weir_origdst_map weir_origdst SEC(".maps");
struct weir_pending_map weir_pending SEC(".maps");
struct weir_names_map weir_names SEC(".maps");
struct weir_traits_map weir_traits SEC(".maps");
struct weir_peers_map weir_peers SEC(".maps");
struct weir_flows_map weir_flows SEC(".maps");
struct weir_flow_ports_map weir_flow_ports SEC(".maps");
struct weir_verdicts_map weir_verdicts SEC(".maps");
struct weir_named_ports_map weir_named_ports SEC(".maps");
struct weir_counters_map weir_counters SEC(".maps");
struct weir_listeners_map weir_listeners SEC(".maps");
struct weir_conns_map weir_conns SEC(".maps");
struct weir_asked_map weir_asked SEC(".maps");
struct weir_udp_flows_map weir_udp_flows SEC(".maps");
struct weir_udp_socks_map weir_udp_socks SEC(".maps");
struct weir_udp_last_map weir_udp_last SEC(".maps");

const volatile __u32 weir_pod_local = 0;
const volatile __u32 weir_tls_asked = 0;
const volatile __u64 weir_cgroup_root = 0;

char _license[] SEC("license") = "Dual BSD/GPL";
