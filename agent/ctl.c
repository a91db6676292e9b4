/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket: one line in, one JSON object out, then the end. Requests are questions about
 * the agent's own view; nothing can be changed through it.
 */
#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "agent/agent.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/shared_files.h"
#include "base/unix.h"

static json_t *proxy_json(const struct weir_pod *pod)
{
	return json_pack("{s:i, s:i, s:I, s:I}", "outbound_port", pod->outbound_port,
			 "inbound_port", pod->inbound_port, "uid", (json_int_t)pod->proxy_uid,
			 "gid", (json_int_t)pod->proxy_gid);
}

static json_t *split_ips(const char *ips)
{
	_cleanup_free_ char *copy = xstrdup(ips);
	json_t *list = json_array();
	char *save = NULL;

	for (char *ip = strtok_r(copy, ",", &save); ip; ip = strtok_r(NULL, ",", &save))
		json_array_append_new(list, json_string(ip));
	return list;
}

static json_t *pod_json(const struct managed *m)
{
	json_t *warnings = json_array();
	json_t *pod = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:s}",
				"namespace", m->namespace, "name", m->name, "uid", m->uid, "mesh",
				policy_mesh_name(m->policy->mesh), "state",
				policy_state_name(m->state), "reason", m->reason ?: "", "workload",
				m->workload, "workload_kind", m->workload_kind, "netns", m->netns,
				"cgroup", m->cgroup, "found_by", place_how_name(m->how),
				"netns_cookie", (json_int_t)m->cookie, "file", m->file);

	if (!pod) /* a string that is not UTF-8 */
		pod = json_pack("{s:s}", "error", "not printable");
	for (size_t i = 0; i < managed_n_warnings(m); i++)
		json_array_append_new(warnings, json_string(managed_warning(m, i)));
	json_object_set_new(pod, "warnings", warnings);
	json_object_set_new(pod, "ips", split_ips(m->ips));
	if (m->policy->pod.mode != WEIR_MODE_OBSERVE)
		json_object_set_new(pod, "proxy", proxy_json(&m->policy->pod));
	return pod;
}

static json_t *answer_pods(const struct agent *agent)
{
	json_t *pods = json_array(), *errors = json_array();

	for (const struct managed *m = agent->reconciler->pods; m; m = m->next)
		json_array_append_new(pods, pod_json(m));
	for (const struct source_file *f = agent->source.files; f; f = f->next)
		if (f->error)
			json_array_append_new(errors, json_pack("{s:s, s:s}", "file", f->name,
								"error", f->error));
	return json_pack("{s:o, s:o, s:s}", "pods", pods, "errors", errors, "told_by", "agent");
}

static void add_hook(const char *name, bool attached, void *ctx)
{
	json_array_append_new(ctx,
			      json_pack("{s:s, s:b, s:s}", "name", name, "attached", attached,
					"detail", attached ? "" : "detached by somebody else"));
}

static json_t *count_pods(const struct agent *agent)
{
	json_int_t counts[POLICY_STATE_MAX] = { 0 };
	json_t *result = json_object();

	for (const struct managed *m = agent->reconciler->pods; m; m = m->next)
		counts[m->state]++;
	for (int i = 0; i < POLICY_STATE_MAX; i++)
		json_object_set_new(result, policy_state_name((enum policy_state)i),
				    json_integer(counts[i]));
	return result;
}

/* Seconds since the epoch; 0, never, is null. */
static json_t *time_json(double seconds)
{
	time_t whole = (time_t)seconds;
	char text[32];

	if (!whole)
		return json_null();
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", gmtime(&whole));
	return json_string(text);
}

static json_t *age_json(double seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return seconds ? json_real((double)now.tv_sec + (double)now.tv_nsec / 1e9 - seconds)
		       : json_null();
}

static json_t *watch_json(const struct kube_watch *w)
{
	struct snapshot_kubernetes k = metrics_of_watch(w);

	return json_pack("{s:s, s:b, s:o, s:s?, s:I, s:I, s:I, s:I, s:o, s:o, s:s?}", "resource",
			 k.resource, "up", k.up, "since", time_json(w->since), "version",
			 w->version, "objects", (json_int_t)k.objects, "broken",
			 (json_int_t)k.broken, "lists", (json_int_t)k.lists, "errors",
			 (json_int_t)k.errors, "last_sync", time_json(k.last_sync), "age_seconds",
			 age_json(k.last_sync), "error", w->error);
}

/* null: there is no API. */
static json_t *kubernetes_json(const struct kube *k)
{
	json_t *resources = json_array();
	double since, synced;
	bool reachable;

	if (!k->client) {
		json_decref(resources);
		return json_null();
	}
	for (size_t i = 0; i < KUBE_RESOURCES; i++)
		if (k->watches[i].resource)
			json_array_append_new(resources, watch_json(&k->watches[i]));
	reachable = kube_reachable(k, &since);
	synced = kube_last_sync(k);
	return json_pack("{s:s, s:b, s:o, s:o, s:o, s:s?, s:o}", "server",
			 kube_client_server(k->client), "reachable", reachable, "since",
			 time_json(since), "last_sync", time_json(synced), "age_seconds",
			 age_json(synced), "error", kube_error(k), "resources", resources);
}

static json_t *answer_status(const struct agent *agent)
{
	const struct agent_options *o = &agent->options;
	json_t *hooks = json_array(), *notes = json_array();
	char started[32], metrics[64] = "";

	strftime(started, sizeof(started), "%Y-%m-%dT%H:%M:%SZ", gmtime(&agent->started));
	if (agent->http)
		snprintf(metrics, sizeof(metrics), "port %u", http_port(agent->http));
	loader_each_hook(agent->loader, add_hook, hooks);
	for (size_t i = 0; i < agent->n_notes; i++)
		json_array_append_new(notes, json_string(agent->notes[i]));
	return json_pack(
		"{s:s, s:i, s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o}",
		"version", WEIR_VERSION, "pid", (int)getpid(), "ready", agent->ready, "started",
		started, "bpf_dir", o->bpf_dir, "cgroup_root", agent->cgroup_root, "pods_dir",
		o->pods_dir ?: "", "node", o->node_name, "mesh", o->mesh, "listen_address",
		o->listen_address, "metrics", metrics, "pods", count_pods(agent), "kubernetes",
		kubernetes_json(&agent->kube), "hooks", hooks, "notes", notes);
}

static json_t *answer(const struct agent *agent, const char *request)
{
	if (!strcmp(request, "pods"))
		return answer_pods(agent);
	if (!strcmp(request, "status"))
		return answer_status(agent);
	return json_pack("{s:s}", "error", "unknown request: status or pods");
}

/* The kernel takes the whole answer, so that no client, however slow, holds the loop up. */
static void make_room(int fd, size_t len)
{
	int size = len < RUN_CTL_ANSWER_MAX ? (int)len : RUN_CTL_ANSWER_MAX;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
}

static void send_all(int fd, const char *text, size_t len)
{
	make_room(fd, len);
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the client gave up or is too slow */
		text += n;
		len -= (size_t)n;
	}
}

/* A client has a second for its line and a second to take the answer: the loop waits no longer. */
static void on_client(void *ctx, uint32_t events)
{
	struct agent *agent = ctx;
	_cleanup_close_ int fd = accept4(agent->ctl_fd, NULL, NULL, SOCK_CLOEXEC);
	struct timeval second = { .tv_sec = 1 };
	char request[64];
	_cleanup_free_ char *text = NULL;
	json_t *json;
	ssize_t n;

	(void)events;
	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
	n = recv(fd, request, sizeof(request) - 1, 0);
	if (n <= 0)
		return;
	request[n] = '\0';
	request[strcspn(request, "\r\n")] = '\0';
	json = answer(agent, request);
	text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	json_decref(json);
	if (text)
		send_all(fd, text, strlen(text));
}

int ctl_open(struct agent *agent, char **ret_error)
{
	const char *dir = agent->options.run_dir;
	int err = make_dirs(dir, 0755);

	if (!err) /* the lock on BPFDIR says that nobody else serves it */
		err = agent->ctl_fd = unix_listen(dir, RUN_CTL_SOCKET);
	if (err >= 0)
		err = loop_add(agent->loop, agent->ctl_fd, EPOLLIN, on_client, agent);
	if (err)
		*ret_error = xasprintf("cannot listen on %s/" RUN_CTL_SOCKET ": %s", dir,
				       strerror(-err));
	return err;
}

void ctl_close(struct agent *agent)
{
	_cleanup_free_ char *path = xasprintf("%s/" RUN_CTL_SOCKET, agent->options.run_dir);

	if (agent->ctl_fd >= 0)
		unlink(path);
	close_fd(&agent->ctl_fd);
}
