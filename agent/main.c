/* SPDX-License-Identifier: Apache-2.0 */
/* `weir agent`: everything from start to end in agent_run(). */
#include <bpf/bpf.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "agent/agent.h"
#include "agent/kube_config.h"
#include "agent/leftover.h"
#include "agent/report.h"
#include "base/buf.h"
#include "base/cgroup.h"
#include "base/log.h"
#include "maps/flow.h"

/*
 * All that a run depends on is told: files, cgroups, the API, CNI, pods' addresses and the ends of
 * their network namespaces. Hooks that somebody else detaches are not; each scrape looks after
 * them, and where nobody scrapes this does. It is also what puts a message right that was lost.
 */
#define RECONCILE_MS	   300000
#define RECONCILE_BLIND_MS 10000 /* where the kernel does not tell what changes */

/* The cgroup to attach to; never the root of the tree unasked. */
static int choose_cgroup(struct agent *agent, char **ret_error)
{
	const char *given = agent->options.cgroup_root;
	_cleanup_free_ char *mount = NULL;
	int err = cgroup2_mount(&mount);

	if (err < 0) {
		*ret_error = xstrdup(
			"no cgroup v2 hierarchy is mounted: weir attaches its programs there");
		return err;
	}
	if (given)
		agent->cgroup_root = xstrdup(given);
	else
		err = cgroup_find_kubepods(mount, &agent->cgroup_root);
	if (err < 0) {
		*ret_error = err == -ENOTUNIQ ? xasprintf("several kubepods cgroups below %s: "
							  "choose one with --cgroup-root",
							  mount)
					      : xasprintf("no kubepods cgroup below %s: name one "
							  "with --cgroup-root",
							  mount);
		return err;
	}
	err = cgroup_is_root(agent->cgroup_root);
	if (err == -ENOTSUP)
		*ret_error =
			xasprintf("--cgroup-root=%s is not in a cgroup v2 hierarchy (that is %s)",
				  agent->cgroup_root, mount);
	else if (err < 0)
		*ret_error = xasprintf("--cgroup-root=%s: %s", agent->cgroup_root, strerror(-err));
	else if (err > 0 && !agent->options.allow_root_cgroup)
		*ret_error = xasprintf(
			"--cgroup-root=%s is the root of the cgroup tree, which holds the "
			"host's own processes: name the pods' cgroup, or give "
			"--allow-root-cgroup",
			agent->cgroup_root);
	return *ret_error ? (err < 0 ? err : -EINVAL) : 0;
}

/* Somebody who detaches our links lets traffic pass unseen: that is put right, and said. */
static void repair_hooks(struct agent *agent)
{
	int n = loader_repair(agent->loader);
	_cleanup_free_ char *text = xasprintf("%d", n);

	if (n < 0)
		log_error("a hook was detached by somebody else and cannot be attached again",
			  "error", strerror(-n), NULL);
	else if (n)
		log_error("hooks were detached by somebody else; they are attached again", "hooks",
			  text, NULL);
}

/* A table that is full is said once, and again only when more was lost. */
static void report_losses(struct agent *agent)
{
	static const struct {
		enum weir_counter counter;
		const char *text;
	} losses[] = {
		{ WEIR_COUNTER_UNTRACKED_SOCKETS, "sockets without room for their storage" },
		{ WEIR_COUNTER_FLOW_OVERFLOW,
		  "counted as other: weir_flows is full, or a workload has too many ports" },
		{ WEIR_COUNTER_ORIGDST_LOST, "weir_origdst is full: original destinations lost" },
		{ WEIR_COUNTER_LISTENER_LOST, "listeners that could not be recorded" },
		{ WEIR_COUNTER_VERDICT_LOST, "weir_verdicts is full: verdicts not counted" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(losses); i++) {
		__u32 index = losses[i].counter;
		_cleanup_free_ char *text = NULL;
		__u64 count = 0;

		if (bpf_map_lookup_elem(loader_map(agent->loader, "weir_counters"), &index,
					&count) ||
		    count <= agent->reported[index])
			continue;
		agent->reported[index] = count;
		text = xasprintf("%llu", (unsigned long long)count);
		log_warn("lost", "what", losses[i].text, "total", text, NULL);
	}
}

void agent_look_after(struct agent *agent)
{
	repair_hooks(agent);
	report_losses(agent);
}

/* Did an earlier agent leave pods that are captured? Then traffic is diverted without us. */
static bool has_adopted(const struct agent *agent)
{
	struct weir_netns first;

	return !bpf_map_get_next_key(loader_map(agent->loader, "weir_pods"), NULL, &first);
}

/* Once, when all that should be known is. */
static void become_ready(struct agent *agent)
{
	_cleanup_free_ char *port = NULL;
	const struct kube *kube = &agent->kube;

	if (agent->ready ||
	    (kube->client && !kube_synced(kube) && !(kube_grace_over(kube) && has_adopted(agent))))
		return;
	agent->ready = true;
	port = xasprintf("%u", http_port(agent->http));
	log_info("ready", "version", WEIR_VERSION, "cgroup_root", agent->cgroup_root, "bpf_dir",
		 agent->options.bpf_dir, "listen_address", agent->options.listen_address, "port",
		 port, NULL);
}

/* What pace_cause() and pace_next() say. */
static void arm_reconcile(struct agent *agent, int64_t ms)
{
	if (ms >= 0)
		loop_arm(agent->reconcile_timer, ms);
}

static void reconcile_for(struct agent *agent, enum pace_cause cause)
{
	arm_reconcile(agent, pace_cause(&agent->pace, cause, loop_now_ms()));
}

static void run_reconcile(struct agent *agent)
{
	int64_t again_ms;
	_cleanup_free_ char *text = NULL, *took = NULL;
	int changes;

	pace_begin(&agent->pace, loop_now_ms());
	agent_look_after(agent);
	changes = reconcile(agent->reconciler, &again_ms);
	if (changes)
		retire_soon(&agent->retire);
	if (agent_make_room(agent))
		agent_changed(agent); /* for those that had no room */
	pace_end(&agent->pace, loop_now_ms());
	text = xasprintf("%d", changes);
	took = xasprintf("%lld", (long long)agent->pace.took_ms);
	log_debug("reconciled", "changes", text, "ms", took, NULL);
	cni_known(agent->cni);
	machines_look(&agent->machines);
	report_pods(&agent->kube, agent->reconciler);
	captured_update(&agent->captured, agent->reconciler);
	arm_reconcile(agent, pace_next(&agent->pace, again_ms, loop_now_ms()));
	become_ready(agent);
}

static void on_reconcile(void *ctx, uint32_t events)
{
	(void)events;
	run_reconcile(ctx);
}

void agent_changed(struct agent *agent)
{
	reconcile_for(agent, PACE_CHANGED);
}

void agent_settle(struct agent *agent)
{
	reconcile_for(agent, PACE_SETTLE);
}

static void on_source_changed(void *ctx)
{
	agent_changed(ctx);
}

static void on_signal(void *ctx, uint32_t events)
{
	struct agent *agent = ctx;
	struct signalfd_siginfo info;

	(void)events;
	if (read(agent->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	log_info(agent->uninstall.decided ? "stopping; what is attached goes"
					  : "stopping; what is attached stays",
		 "signal", strsignal((int)info.ssi_signo), NULL);
	loop_stop(agent->loop);
}

static int watch_signals(struct agent *agent)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	agent->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (agent->signal_fd < 0)
		return -errno;
	return loop_add(agent->loop, agent->signal_fd, EPOLLIN, on_signal, agent);
}

static void serve_http(void *ctx, uint32_t events)
{
	struct agent *agent = ctx;

	(void)events;
	http_run(agent->http);
	loop_arm(agent->http_timer, http_timeout_ms(agent->http));
}

static int write_metrics(void *ctx, enum render_format format, struct buf *out,
			 uint64_t *ret_number)
{
	struct agent *agent = ctx;

	return exporter_write(&agent->exporter, format, out, ret_number);
}

static void on_delivered(void *ctx, uint64_t number, const uint8_t client[16])
{
	struct agent *agent = ctx;

	retire_delivered(&agent->retire, number, client);
}

static bool is_ready(void *ctx, struct buf *text)
{
	struct agent *agent = ctx;

	if (agent->ready || !agent->kube.client)
		buf_str(text, agent->ready ? "ready" : "known pods are not reconciled yet");
	else
		buf_printf(text, "what the Kubernetes API knows has not been listed yet: %s",
			   kube_error(&agent->kube) ?: "it is being asked");
	return agent->ready;
}

static int start_http(struct agent *agent, char **ret_error)
{
	struct http_options o = { .listen_address = agent->options.listen_address,
				  .telemetry_path = agent->options.telemetry_path,
				  .config_file = agent->options.web_config,
				  .name = "weir",
				  .description =
					  "Diverts and gauges the traffic of this node's pods",
				  .version = WEIR_VERSION,
				  .metrics = write_metrics,
				  .delivered = on_delivered,
				  .ready = is_ready,
				  .ctx = agent };
	int err = http_start(&o, &agent->http, ret_error);

	if (err)
		return err;
	agent->http_timer = loop_timer(agent->loop, serve_http, agent);
	if (agent->http_timer < 0)
		return agent->http_timer;
	return loop_add(agent->loop, http_fd(agent->http), EPOLLIN, serve_http, agent);
}

static void lookup_pod(struct agent *agent, const char *namespace, const char *name)
{
	kube_lookup_pod(&agent->kube, namespace, name);
}

/* A pod that CNI ADD waits for does not wait for a run over all pods. */
static void on_kube_changed(void *ctx, bool peers)
{
	struct agent *agent = ctx;

	if (!peers)
		cni_known(agent->cni);
	reconcile_for(agent, peers && agent->ready ? PACE_PEERS : PACE_CHANGED);
}

/* As it is named, or by KUBECONFIG where no files of pods are named instead. */
static const char *choose_kubeconfig(const struct agent_options *o)
{
	const char *said = o->kubeconfig || o->pods_dir ? o->kubeconfig : getenv("KUBECONFIG");

	return said && *said ? said : NULL;
}

/* The API is asked when it is named, or when we run in a cluster and no files are named instead. */
static int start_kube(struct agent *agent, char **ret_error)
{
	const struct agent_options *o = &agent->options;
	const char *kubeconfig = choose_kubeconfig(o);
	bool in_cluster = kubeconfig ? !strcmp(kubeconfig, "in-cluster")
				     : !o->pods_dir && kube_config_in_cluster();
	struct kube_options kube = { .kubeconfig = in_cluster ? NULL : kubeconfig,
				     .node_name = o->node_name,
				     .all_peers = o->all_peers,
				     .watch_ms = o->watch_ms,
				     .changed = on_kube_changed,
				     .ctx = agent };
	int err;

	if (!in_cluster && !kubeconfig)
		return 0;
	agent->lookup_pod = lookup_pod;
	err = kube_start(&agent->kube, agent->loop, &agent->source, &kube, ret_error);
	if (err)
		return err;
	return uninstall_watch(&agent->uninstall, agent->loop, agent->kube.client, o->daemonset,
			       o->run_dir);
}

/* Who is not told looks now and then. */
static void be_blind(struct agent *agent, const char *text)
{
	agent->pace.idle_ms = RECONCILE_BLIND_MS;
	log_warn(text, NULL);
}

static int open_places(struct agent *agent, char **ret_error)
{
	const char *pods_dir = agent->options.pods_dir;
	int err;

	agent->places =
		(struct places){ .sandboxes = &agent->sandboxes, .node = agent->options.node_name };
	err = discovery_open(&agent->places.discovery, agent->cgroup_root, agent->loop,
			     on_source_changed, agent);
	if (!err && pods_dir)
		err = source_open(&agent->source, pods_dir, agent->loop, on_source_changed, agent,
				  ret_error);
	if (!err &&
	    (!discovery_is_told(agent->places.discovery) || (pods_dir && !agent->source.told)))
		be_blind(agent,
			 "what changes in cgroups and pod files is not told "
			 "(fs.inotify.max_user_instances, max_user_watches); they are looked at "
			 "now and then");
	return err;
}

static int open_loader(struct agent *agent, char **ret_error)
{
	const struct agent_options *o = &agent->options;
	struct loader_options loader = { .bpf_dir = o->bpf_dir,
					 .cgroup_root = agent->cgroup_root,
					 .sizes = &o->sizes,
					 .max_flows = o->max_flows,
					 .tls = o->tls,
					 .udp = o->udp,
					 .pod_local = o->pod_local,
					 .traits = o->pod_label || o->istio };

	return loader_open(&loader, &agent->loader, ret_error);
}

/* Everything up to the first reconciliation; *ret_error says what failed. */
static int start(struct agent *agent, char **ret_error)
{
	struct policy_options policy = { .meshes = POLICY_MESH_AUTO,
					 .takeover = agent->options.takeover };
	struct traits_options traits = { .pod_label = agent->options.pod_label,
					 .istio = agent->options.istio };
	int err = policy_meshes_parse(agent->options.mesh, &policy.meshes);

	if (err) {
		*ret_error = xasprintf("--mesh=%s: auto, istio, linkerd, ambient or none",
				       agent->options.mesh);
		return err;
	}
	err = choose_cgroup(agent, ret_error);
	if (!err)
		err = loop_new(&agent->loop);
	if (!err)
		err = watch_signals(agent);
	if (!err)
		err = open_loader(agent, ret_error);
	if (err)
		return err;
	feature_probe(agent);
	metrics_init(agent);
	scrapers_begin(&agent->retire.scrapers);
	agent->names = names_open(&(struct names_maps){
		.names = loader_map(agent->loader, "weir_names"),
		.traits = loader_map(agent->loader, "weir_traits"),
		.counters = loader_map(agent->loader, "weir_counters"),
	});
	agent->reconciler = reconciler_new(agent->loader, agent->names, &agent->source,
					   &agent->places, &policy, &traits);
	err = reconciler_watch(agent->reconciler, agent->loop, on_source_changed, agent);
	agent->pace.idle_ms = RECONCILE_MS;
	if (err)
		be_blind(
			agent,
			"what happens in pods' network namespaces is not told (CAP_NET_BROADCAST); "
			"they are looked at now and then");
	agent->reconcile_timer = loop_timer(agent->loop, on_reconcile, agent);
	if (agent->reconcile_timer < 0)
		return agent->reconcile_timer;
	err = machines_open(&agent->machines, agent->loop, agent->reconciler);
	if (!err)
		err = open_places(agent, ret_error);
	if (!err)
		err = start_kube(agent, ret_error);
	if (!err)
		err = start_http(agent, ret_error);
	if (!err)
		err = ctl_open(agent, ret_error);
	if (!err)
		err = cni_open(agent, &agent->cni, ret_error);
	if (!err)
		err = leftover_recall(agent->reconciler);
	if (!err)
		err = captured_open(&agent->captured, agent->loop, agent->options.state_dir,
				    agent->options.run_dir);
	if (!err) /* last: whatever fails before leaves nothing attached */
		err = loader_attach(agent->loader, ret_error);
	return err;
}

static void stop(struct agent *agent)
{
	ctl_close(agent);
	cni_close(agent->cni);
	captured_close(&agent->captured);
	discovery_close(agent->places.discovery);
	http_stop(agent->http);
	machines_close(&agent->machines);
	reconciler_free(agent->reconciler);
	names_free(agent->names);
	retire_clear(&agent->retire);
	uninstall_stop(&agent->uninstall);
	kube_stop(&agent->kube);
	source_close(&agent->source);
	loader_free(agent->loader);
	loop_free(agent->loop);
	close_fd(&agent->signal_fd);
	close_fd(&agent->reconcile_timer);
	close_fd(&agent->http_timer);
	free(agent->notes);
	free(agent->cgroup_root);
}

static int agent_run(struct agent *agent)
{
	_cleanup_free_ char *error = NULL;
	int err = start(agent, &error);

	if (err) {
		log_error("cannot start", "error", error ?: strerror(-err), NULL);
		return err;
	}
	run_reconcile(agent);
	serve_http(agent, 0);
	return loop_run(agent->loop);
}

int weir_agent_main(int argc, char **argv)
{
	struct agent agent = {
		.options = agent_options_parse(argc, argv),
		.uninstall.timer = -1,
		.ctl_fd = -1,
		.signal_fd = -1,
		.reconcile_timer = -1,
		.http_timer = -1,
		.started = time(NULL),
	};
	int err = agent_run(&agent);

	stop(&agent);
	if (agent.uninstall.decided)
		err = uninstall_finish(agent.options.run_dir, agent.options.bpf_dir);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}
