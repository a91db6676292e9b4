/* SPDX-License-Identifier: Apache-2.0 */
/* What the exporter asks the agent for: pods, hooks, maps, and to fold the live sockets. */
#include <bpf/bpf.h>
#include <string.h>

#include "agent/agent.h"
#include "base/log.h"

static int fold(void *ctx)
{
	struct agent *agent = ctx;
	int err = loader_fold(agent->loader);

	if (err)
		log_error("cannot fold live connections", "error", strerror(-err), NULL);
	return err;
}

static void each_pod(void *ctx, exporter_pod_fn fn, void *arg)
{
	struct agent *agent = ctx;

	for (const struct managed *m = agent->reconciler->pods; m; m = m->next) {
		struct exporter_pod pod = { .namespace = m->namespace,
					    .pod = m->name,
					    .workload = m->workload,
					    .mesh = policy_mesh_name(m->policy->mesh),
					    .state = policy_state_name(m->state),
					    .node = agent->options.node_name,
					    .found_by = place_how_name(m->how),
					    .errors = m->policy->n_errors,
					    .warnings = managed_n_warnings(m) };

		fn(arg, &pod);
	}
}

struct hook_call {
	exporter_hook_fn fn;
	void *arg;
};

static void pass_hook(const char *name, bool attached, void *ctx)
{
	struct hook_call *call = ctx;

	call->fn(call->arg, name, attached);
}

/* sk_lookup has a link per captured pod: attached means that none is missing. */
static bool lookup_attached(const struct agent *agent)
{
	for (const struct managed *m = agent->reconciler->pods; m; m = m->next)
		if (m->state == POLICY_CAPTURED && !loader_netns_alive(agent->loader, m->cookie))
			return false;
	return true;
}

static void each_hook(void *ctx, exporter_hook_fn fn, void *arg)
{
	struct hook_call call = { .fn = fn, .arg = arg };
	struct agent *agent = ctx;

	loader_each_hook(agent->loader, pass_hook, &call);
	fn(arg, "sk_lookup", lookup_attached(agent));
}

/* Tables that the hooks fill, and where they count what did not fit. */
static const struct {
	const char *map;
	enum weir_counter counter;
} filled[] = {
	{ "weir_flows", WEIR_COUNTER_FLOWS_FULL },
	{ "weir_udp_flows", WEIR_COUNTER_UDP_FLOWS_FULL },
	{ "weir_flow_ports", WEIR_COUNTER_PORTS_FULL },
	{ "weir_origdst", WEIR_COUNTER_ORIGDST_LOST },
	{ "weir_listeners", WEIR_COUNTER_LISTENER_LOST },
	{ "weir_verdicts", WEIR_COUNTER_VERDICT_LOST },
};

/* How often a table had no room; -1 where that fails something that is told by itself. */
static int64_t times_full(const struct agent *agent, const char *map)
{
	for (size_t i = 0; i < ARRAY_SIZE(filled); i++) {
		uint32_t index = filled[i].counter;
		uint64_t count = 0;

		if (strcmp(filled[i].map, map))
			continue;
		bpf_map_lookup_elem(agent->exporter.counters, &index, &count);
		return (int64_t)count;
	}
	if (!strcmp(map, "weir_names"))
		return (int64_t)names_left_out(agent->names);
	if (!strcmp(map, "weir_peers"))
		return (int64_t)identity_left_out_ever(agent->reconciler->identity);
	return -1;
}

struct map_call {
	const struct agent *agent;
	exporter_map_fn fn;
	void *arg;
};

static void pass_map(const char *name, int fd, void *ctx)
{
	struct map_call *call = ctx;
	struct snapshot_map map = { .map = name, .full = times_full(call->agent, name) };

	if (exporter_map_entries(fd, &map.entries, &map.max_entries) == 0)
		call->fn(call->arg, &map);
}

static void each_map(void *ctx, exporter_map_fn fn, void *arg)
{
	struct agent *agent = ctx;
	struct map_call call = { .agent = agent, .fn = fn, .arg = arg };

	loader_each_map(agent->loader, pass_map, &call);
}

struct snapshot_kubernetes metrics_of_watch(const struct kube_watch *w)
{
	return (struct snapshot_kubernetes){ .resource = w->resource->name,
					     .up = w->connected,
					     .objects = kube_store_count(&w->store),
					     .broken = w->part->objects.n_errors,
					     .lists = w->lists,
					     .errors = w->errors,
					     .last_sync = w->heard };
}

static void each_kubernetes(void *ctx, exporter_kubernetes_fn fn, void *arg)
{
	struct agent *agent = ctx;

	for (size_t i = 0; i < KUBE_RESOURCES; i++) {
		const struct kube_watch *w = &agent->kube.watches[i];
		struct snapshot_kubernetes k;

		if (!w->resource)
			continue;
		k = metrics_of_watch(w);
		fn(arg, &k);
	}
}

static double last_sync(void *ctx)
{
	struct agent *agent = ctx;

	return kube_last_sync(&agent->kube);
}

static const struct weir_name *served(void *ctx, uint32_t workload, uint32_t port)
{
	struct agent *agent = ctx;
	uint32_t service = identity_served(agent->reconciler->identity,
					   names_workload(agent->names, workload), port);

	return service == WEIR_ID_NONE ? NULL : names_name(agent->names, service);
}

static uint64_t scraped(void *ctx, const struct snapshot *snapshot)
{
	struct agent *agent = ctx;
	uint64_t number = retire_scraped(&agent->retire, agent->loader, agent->names,
					 agent->reconciler, snapshot);

	agent_look_after(agent); /* after the scrape has shown what it found */
	return number;
}

bool agent_make_room(struct agent *agent)
{
	_cleanup_(snapshot_free) struct snapshot now = { 0 };
	_cleanup_free_ char *text = NULL;
	int freed;

	if (!retire_must_make_room(&agent->retire, agent->loader, agent->names) ||
	    exporter_collect(&agent->exporter, &now))
		return false;
	freed = retire_make_room(&agent->retire, agent->loader, agent->names, agent->reconciler,
				 &now);
	if (freed <= 0)
		return false;
	text = xasprintf("%d", freed);
	log_warn("the tables were full and nobody scrapes: the figures of workloads that had left "
		 "the node are gone",
		 "workloads", text, NULL);
	return true;
}

void metrics_init(struct agent *agent)
{
	const struct loader *l = agent->loader;

	agent->istio =
		(struct snapshot_istio){ agent->options.cluster_name, agent->options.network_name };
	agent->exporter = (struct exporter_source){
		.flows = loader_map(l, "weir_flows"),
		.udp_flows = loader_map(l, "weir_udp_flows"),
		.names = loader_map(l, "weir_names"),
		.traits = loader_map(l, "weir_traits"),
		.verdicts = loader_map(l, "weir_verdicts"),
		.counters = loader_map(l, "weir_counters"),
		.fold = fold,
		.pods = each_pod,
		.hooks = each_hook,
		.maps = each_map,
		.kubernetes = each_kubernetes,
		.last_sync = last_sync,
		.served = served,
		.scraped = scraped,
		.ctx = agent,
		.istio = agent->options.istio ? &agent->istio : NULL,
		.version = WEIR_VERSION,
		.revision = "",
	};
}
