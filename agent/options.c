/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/options.h"

#include <argp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "agent/policy.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/opts.h"

static const char *host_name(void)
{
	static struct utsname uts;

	return uname(&uts) == 0 ? uts.nodename : "";
}

enum {
	OPT_PEERS = 256,
	OPT_WATCH_TIMEOUT,
	OPT_DAEMONSET,
	OPT_MESH,
	OPT_MAX_FLOWS,
	OPT_MAP_SIZE,
	OPT_CLUSTER_NAME,
	OPT_NETWORK_NAME,
	OPT_LOG_LEVEL,
	OPT_LOG_FORMAT
};

#define TEXT(member) OPT_TEXT(struct agent_options, member)
#define FLAG(member) OPT_FLAG(struct agent_options, member)

static const struct argp_option options[] = {
	{ "cgroup-root", TEXT(cgroup_root), "PATH", 0,
	  "cgroup of the pods (default: the kubepods cgroup that is found)", 0 },
	{ "allow-root-cgroup", FLAG(allow_root_cgroup), NULL, 0,
	  "accept the root of the cgroup tree, which holds the host's own processes", 0 },
	{ "bpf-dir", TEXT(bpf_dir), "PATH", 0, "where maps and links are pinned (/sys/fs/bpf/weir)",
	  0 },
	{ "run-dir", TEXT(run_dir), "PATH", 0, "where the control socket lies (/run/weir)", 0 },
	{ "state-dir", TEXT(state_dir), "PATH", 0, "what outlives a reboot (/var/lib/weir)", 0 },
	{ "takeover", FLAG(takeover), NULL, 0,
	  "capture also pods that have their mesh's own iptables rules", 0 },
	{ "pods-dir", TEXT(pods_dir), "DIR", 0, "pods, Services, ... as JSON files; watched", 0 },
	{ "kubeconfig", TEXT(kubeconfig), "FILE", 0,
	  "how to reach the Kubernetes API, or in-cluster (without --pods-dir: KUBECONFIG, or "
	  "in-cluster in a pod of a cluster)",
	  0 },
	{ "peers", OPT_PEERS, "SCOPE", 0,
	  "whose names are known: cluster, or node for this node's pods and Services only "
	  "(cluster)",
	  0 },
	{ "kubernetes.watch-timeout", OPT_WATCH_TIMEOUT, "SECONDS", 0,
	  "how long a watch of the API lasts at most (300)", 0 },
	{ "daemonset", OPT_DAEMONSET, "NAMESPACE/NAME", 0,
	  "the DaemonSet that this agent runs in: when it is deleted, weir is uninstalled from the "
	  "node",
	  0 },
	{ "node-name", TEXT(node_name), "NAME", 0, "name of this node (default: its host name)",
	  0 },
	{ "mesh", OPT_MESH, "MESH", 0, "auto, istio, linkerd, ambient or none (auto)", 0 },
	{ "web.listen-address", TEXT(listen_address), "ADDR:PORT", 0, "metrics (:9464)", 0 },
	{ "web.telemetry-path", TEXT(telemetry_path), "PATH", 0, "path of the metrics (/metrics)",
	  0 },
	{ "web.config.file", TEXT(web_config), "FILE", 0,
	  "TLS, client certificates and passwords, as Prometheus' exporters have them", 0 },
	{ "metrics.max-flows", OPT_MAX_FLOWS, "N", 0,
	  "series of connections that have a place of their own, of all workloads together (57344)",
	  0 },
	{ "map-size", OPT_MAP_SIZE, "MAP=N", 0,
	  "entries of one of the kernel's tables, as weir_map_max_entries names them; may be "
	  "given for several",
	  0 },
	{ "metrics.tls", FLAG(tls), NULL, 0,
	  "tell TLS from plaintext by the first bytes of a connection; costs something at each "
	  "packet",
	  0 },
	{ "metrics.udp", FLAG(udp), NULL, 0,
	  "count datagrams as well; costs something at each packet", 0 },
	{ "metrics.pod-local", FLAG(pod_local), NULL, 0,
	  "count connections within a pod as well, where they are dialled", 0 },
	{ "metrics.pod-label", FLAG(pod_label), NULL, 0, "a series for each pod of a workload", 0 },
	{ "metrics.istio", FLAG(istio), NULL, 0,
	  "istio_tcp_* as well, for the workloads that no Istio proxy reports", 0 },
	{ "cluster-name", OPT_CLUSTER_NAME, "NAME", 0,
	  "name of the cluster in istio_tcp_* (Kubernetes)", 0 },
	{ "network-name", OPT_NETWORK_NAME, "NAME", 0,
	  "name of its network in istio_tcp_* (none: no such labels)", 0 },
	{ "log.level", OPT_LOG_LEVEL, "LEVEL", 0, "debug, info, warn or error (info)", 0 },
	{ "log.format", OPT_LOG_FORMAT, "FORMAT", 0, "logfmt or json (logfmt)", 0 },
	{ 0 },
};

static uint32_t parse_count(struct argp_state *state, const char *option, const char *arg)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (end == arg || *end || n < 1 || n > 10000000)
		argp_error(state, "--%s=%s: a number from 1 to 10000000", option, arg);
	return (uint32_t)n;
}

static const char *parse_name(struct argp_state *state, const char *option, const char *arg)
{
	if (!*arg)
		argp_error(state, "--%s=: a name that is not empty", option);
	return arg;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct agent_options *o = state->input;
	_cleanup_free_ char *error = NULL;
	char *end;

	switch (key) {
	case OPT_PEERS:
		if (strcmp(arg, "cluster") && strcmp(arg, "node"))
			argp_error(state, "--peers=%s: cluster or node", arg);
		o->all_peers = *arg == 'c';
		break;
	case OPT_WATCH_TIMEOUT:
		o->watch_ms = strtol(arg, &end, 10) * 1000;
		if (*end || o->watch_ms < 1000 || o->watch_ms > 3600000)
			argp_error(state, "--kubernetes.watch-timeout=%s: 1 to 3600", arg);
		break;
	case OPT_DAEMONSET:
		if (!strchr(arg, '/'))
			argp_error(state, "--daemonset=%s: NAMESPACE/NAME", arg);
		o->daemonset = arg;
		break;
	case OPT_MESH:
		if (policy_meshes_parse(arg, &(enum policy_meshes){ 0 }) < 0)
			argp_error(state, "--mesh=%s: auto, istio, linkerd, ambient or none", arg);
		o->mesh = arg;
		break;
	case OPT_MAX_FLOWS:
		o->max_flows = parse_count(state, "metrics.max-flows", arg);
		break;
	case OPT_MAP_SIZE:
		if (sizes_parse(&o->sizes, arg, &error) < 0)
			argp_error(state, "%s", error);
		break;
	case OPT_CLUSTER_NAME:
		o->cluster_name = parse_name(state, "cluster-name", arg);
		break;
	case OPT_NETWORK_NAME:
		o->network_name = parse_name(state, "network-name", arg);
		break;
	case OPT_LOG_LEVEL:
		if (log_set_level(arg) < 0)
			argp_error(state, "--log.level=%s: debug, info, warn or error", arg);
		break;
	case OPT_LOG_FORMAT:
		if (log_set_format(arg) < 0)
			argp_error(state, "--log.format=%s: logfmt or json", arg);
		break;
	case ARGP_KEY_ARG:
		argp_error(state, "unexpected argument: %s", arg);
		break;
	default:
		return opts_set(o, key, arg);
	}
	return 0;
}

struct agent_options agent_options_parse(int argc, char **argv)
{
	static const struct argp argp = {
		.options = options,
		.parser = parse,
		.doc = "Diverts the traffic of this node's pods to their proxies and counts every "
		       "connection. When it ends, what it attached stays and goes on working; "
		       "weir cleanup removes it.",
	};
	struct agent_options o = { .bpf_dir = "/sys/fs/bpf/weir",
				   .run_dir = "/run/weir",
				   .state_dir = "/var/lib/weir",
				   .node_name = host_name(),
				   .mesh = "auto",
				   .cluster_name = "Kubernetes",
				   .listen_address = ":9464",
				   .telemetry_path = "/metrics",
				   .all_peers = true,
				   .watch_ms = 300000 };

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	return o;
}
