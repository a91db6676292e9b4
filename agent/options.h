/* SPDX-License-Identifier: Apache-2.0 */
/* What `weir agent` can be told on its command line, and what holds when it is not. */
#ifndef WEIR_AGENT_OPTIONS_H
#define WEIR_AGENT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/sizes.h"

struct agent_options {
	const char *cgroup_root; /* NULL: the kubepods cgroup that is found */
	bool allow_root_cgroup;
	const char *bpf_dir;
	const char *run_dir;
	const char *state_dir;
	bool takeover;
	const char *pods_dir; /* NULL: none */
	const char *kubeconfig; /* NULL: in cluster when there is one and no pods_dir */
	const char *daemonset; /* NAMESPACE/NAME of the one that the agent runs in; NULL: none */
	bool all_peers; /* names of pods that run elsewhere */
	int64_t watch_ms;
	const char *node_name;
	const char *mesh;
	const char *listen_address;
	const char *telemetry_path;
	const char *web_config;
	bool tls; /* tell TLS from plaintext */
	bool istio; /* Istio's own metrics as well */
	bool udp; /* count datagrams */
	bool pod_local; /* count what stays within a pod */
	bool pod_label; /* a series for each pod of a workload */
	const char *cluster_name; /* in Istio's metrics */
	const char *network_name; /* likewise; NULL: no label */
	struct sizes sizes; /* of tables that shall not have their default */
	uint32_t max_flows; /* 0: WEIR_FLOWS_MAX less the reserve */
};

/* Strings are argv's own, or constants. Ends the process when an option is wrong or help was asked
 * for. */
struct agent_options agent_options_parse(int argc, char **argv);

#endif
