/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/cni.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "agent/agent.h"
#include "base/buf.h"
#include "base/file.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/shared_files.h"
#include "base/unix.h"

#define REQUEST_MAX (1 << 20) /* a GC names every sandbox of the node */
#define READ_MS	    5000 /* for the whole request */
#define WAIT_MS	    5000 /* for the pod's object; the plugin may ask for less */

/* Codes of error results; those below 100 are the specification's. */
enum {
	CODE_INVALID = 7, /* invalid network configuration; here: request */
	CODE_POLICY = 100, /* the pod is to be captured and cannot be */
	CODE_NOT_IN_FORCE = 101, /* CHECK: what ADD made is not there any more */
};

struct call {
	struct call *next;
	struct cni *cni;
	int fd;
	struct buf request;
	json_t *json; /* of an ADD that waits; NULL while the request is read */
	struct sandbox sandbox; /* what json says */
	int64_t deadline_ms;
	bool done;
};

struct cni {
	struct agent *agent;
	int fd;
	int timer;
	struct call *calls;
};

/* -- answers ------------------------------------------------------------------------------- */

static void finish(struct call *call)
{
	loop_remove(call->cni->agent->loop, call->fd);
	close_fd(&call->fd);
	call->done = true;
}

/* Takes json. An answer fits into the socket's buffer; a client that is gone needs none. */
static void answer(struct call *call, json_t *json)
{
	_cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	_cleanup_free_ char *line = xasprintf("%s\n", text ?: "{}");
	size_t len = strlen(line);

	json_decref(json);
	if (send(call->fd, line, len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)len)
		log_warn("a CNI client did not take its answer", NULL);
	finish(call);
}

static json_t *error_json(int code, const char *msg, const char *details)
{
	return json_pack("{s:{s:i, s:s, s:s}}", "error", "code", code, "msg", msg, "details",
			 details);
}

static void refuse_request(struct call *call, const char *what)
{
	answer(call, error_json(CODE_INVALID, "weir does not understand this request", what));
}

/* -- ADD and CHECK ------------------------------------------------------------------------- */

static json_t *state_json(const struct managed *m)
{
	return json_pack("{s:s, s:s, s:s}", "state", policy_state_name(m->state), "mesh",
			 policy_mesh_name(m->policy->mesh), "reason", m->reason ?: "");
}

/* What weir has nothing to do with starts whatever is wrong with weir. */
static bool must_not_start(const struct managed *m)
{
	return m->state == POLICY_FAILED && (m->guard || m->policy->state == POLICY_CAPTURED ||
					     m->policy->state == POLICY_FAILED);
}

static void answer_pod(struct call *call, const struct managed *m)
{
	_cleanup_free_ char *msg = NULL;

	if (!must_not_start(m)) {
		answer(call, state_json(m));
		return;
	}
	msg = xasprintf("weir cannot capture pod %s/%s: %s", m->namespace, m->name, m->reason);
	answer(call, error_json(CODE_POLICY, msg,
				"the pod's traffic would pass its proxy by; mend the pod, or "
				"annotate it with weir.io/capture: \"off\""));
}

/* An older plugin does not say whether the pod may be refused anything: then it is not. */
static bool is_guarded(const struct call *call)
{
	const struct agent *agent = call->cni->agent;

	return json_is_false(json_object_get(call->json, "exempt")) &&
	       captured_expected(&agent->captured, agent->reconciler, &call->sandbox);
}

static void answer_guarded(struct call *call)
{
	struct agent *agent = call->cni->agent;
	const struct sandbox *sandbox = sandboxes_guard(
		&agent->sandboxes, call->sandbox.container_id, call->sandbox.ifname, true);

	if (sandbox) /* else its DEL has overtaken it */
		answer_pod(call, reconcile_guard(agent->reconciler, sandbox));
	else
		answer(call, json_object());
}

static void answer_unknown(struct call *call)
{
	static const char why[] = "its object is not known yet; it is captured as soon as it is";
	_cleanup_free_ char *key = xasprintf("%s/%s", call->sandbox.namespace, call->sandbox.name);

	log_warn("CNI ADD", "pod", key, "state", "unknown", "reason", why, NULL);
	answer(call,
	       json_pack("{s:s, s:s, s:s}", "state", "unknown", "mesh", "none", "reason", why));
}

/* Answers if the pod is known by now. */
static void try_pod(struct call *call)
{
	const struct managed *m;

	if (reconcile_sandbox(call->cni->agent->reconciler, &call->sandbox, &m) == 0)
		answer_pod(call, m);
}

static void arm(struct cni *cni)
{
	int64_t first = -1, now = loop_now_ms();

	for (const struct call *c = cni->calls; c; c = c->next)
		if (!c->done && (first < 0 || c->deadline_ms < first))
			first = c->deadline_ms;
	loop_arm(cni->timer, first < 0 ? -1 : first > now ? first - now : 0);
}

/* Borrows the strings of request. */
static int read_sandbox(const json_t *request, struct sandbox *ret)
{
	const json_t *pod = json_object_get(request, "pod");
	const struct {
		char **member;
		const json_t *value;
	} members[] = {
		{ &ret->container_id, json_object_get(request, "containerID") },
		{ &ret->ifname, json_object_get(request, "ifName") },
		{ &ret->network, json_object_get(request, "network") },
		{ &ret->netns, json_object_get(request, "netns") },
		{ &ret->namespace, json_object_get(pod, "namespace") },
		{ &ret->name, json_object_get(pod, "name") },
	};

	for (size_t i = 0; i < ARRAY_SIZE(members); i++) {
		*members[i].member = (char *)json_string_value(members[i].value);
		if (!*members[i].member || !**members[i].member)
			return -EINVAL;
	}
	ret->uid = (char *)json_string_value(json_object_get(pod, "uid")) ?: "";
	return strchr(ret->container_id, '/') || strchr(ret->ifname, '/') ? -EINVAL : 0;
}

/* The plugin must hear the answer before it gives up. */
static int64_t patience(const json_t *request)
{
	json_int_t ms = json_integer_value(json_object_get(request, "timeoutMs")) / 4 * 3;

	return ms > 0 && ms < WAIT_MS ? ms : WAIT_MS;
}

/* The plugin tells an agent that waits for the pod's object from one that hangs. */
static void give_sign(const struct call *call)
{
	send(call->fd, " ", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void do_add(struct call *call, json_t *request)
{
	struct agent *agent = call->cni->agent;
	int err;

	if (read_sandbox(request, &call->sandbox)) {
		refuse_request(call, "ADD needs containerID, ifName, network, netns and pod");
		return;
	}
	err = sandboxes_put(&agent->sandboxes, &call->sandbox);
	if (err)
		log_error("a sandbox cannot be recorded", "error", strerror(-err), "effect",
			  "after a restart of the agent it has to be found again", NULL);
	call->json = json_incref(request);
	call->deadline_ms = loop_now_ms() + patience(request);
	try_pod(call);
	if (!call->done)
		give_sign(call);
	if (!call->done && agent->lookup_pod)
		agent->lookup_pod(agent, call->sandbox.namespace, call->sandbox.name);
	agent_settle(agent); /* what is superseded goes in the next full run */
}

static const struct managed *find_pod(const struct agent *agent, const struct sandbox *s)
{
	for (const struct managed *m = agent->reconciler->pods; m; m = m->next)
		if (!strcmp(m->namespace, s->namespace) && !strcmp(m->name, s->name) &&
		    (!*s->uid || !*m->uid || !strcmp(m->uid, s->uid)))
			return m;
	return NULL;
}

/* By its cookie: a pod that was found by its processes has another path for the same namespace. */
static bool runs_in(const struct managed *m, const char *netns)
{
	_cleanup_close_ int fd = netns_open(netns);
	uint64_t cookie = 0;

	if (fd < 0) /* out of our sight */
		return m->how == PLACE_PROCESS || !strcmp(m->netns, netns);
	return netns_cookie(fd, &cookie) == 0 && cookie == m->cookie;
}

/* A pod whose newest policy is wrong has its last good one; one that is pending is waited for. */
static bool is_to_be_in_force(const struct managed *m)
{
	return m->state == POLICY_CAPTURED || m->state == POLICY_FAILED;
}

/* Is what ADD put in force still there, in that very namespace? */
static void do_check(struct call *call, json_t *request)
{
	const struct agent *agent = call->cni->agent;
	struct sandbox sandbox = { 0 };
	const struct managed *m;
	_cleanup_free_ char *msg = NULL;
	bool elsewhere;

	if (read_sandbox(request, &sandbox)) {
		refuse_request(call, "CHECK needs containerID, ifName, network, netns and pod");
		return;
	}
	m = find_pod(agent, &sandbox);
	elsewhere = m && is_to_be_in_force(m) && m->cookie && !runs_in(m, sandbox.netns);
	if (!m || !is_to_be_in_force(m) ||
	    (!elsewhere && reconciler_in_force(agent->reconciler, m))) {
		answer(call, m ? state_json(m) : json_pack("{s:s}", "state", "unknown"));
		return;
	}
	msg = elsewhere ? xasprintf("weir captures pod %s/%s in another network namespace than %s",
				    m->namespace, m->name, sandbox.netns)
			: xasprintf("weir does not capture pod %s/%s, which it should: %s",
				    m->namespace, m->name, m->reason);
	answer(call, error_json(CODE_NOT_IN_FORCE, msg, "weir pods tells more"));
}

/* -- DEL, GC, STATUS ------------------------------------------------------------------------- */

static void do_del(struct call *call, json_t *request)
{
	struct agent *agent = call->cni->agent;
	const char *id = json_string_value(json_object_get(request, "containerID"));
	const char *ifname = json_string_value(json_object_get(request, "ifName"));

	if (id && sandboxes_drop(&agent->sandboxes, id, ifname))
		agent_settle(agent);
	answer(call, json_object());
}

static bool is_valid(const json_t *attachments, const struct sandbox *s)
{
	json_t *a;
	size_t i;

	json_array_foreach ((json_t *)attachments, i, a) {
		const char *id = json_string_value(json_object_get(a, "containerID"));
		const char *ifname = json_string_value(json_object_get(a, "ifname"));

		if (id && ifname && !strcmp(id, s->container_id) && !strcmp(ifname, s->ifname))
			return true;
	}
	return false;
}

/* Of this network alone: the runtime knows no others when it says which are valid. */
static void do_gc(struct call *call, json_t *request)
{
	struct agent *agent = call->cni->agent;
	const json_t *valid = json_object_get(request, "attachments");
	const char *network = json_string_value(json_object_get(request, "network"));
	struct sandbox *s = agent->sandboxes.list;

	while (json_is_array(valid) && network && s) {
		struct sandbox *next = s->next;

		if (!strcmp(s->network, network) && !is_valid(valid, s)) {
			sandboxes_drop(&agent->sandboxes, s->container_id, s->ifname);
			agent_settle(agent);
		}
		s = next;
	}
	answer(call, json_object());
}

static void do_status(struct call *call, json_t *request)
{
	(void)request;
	answer(call, json_pack("{s:b}", "ready", call->cni->agent->ready));
}

/* -- requests -------------------------------------------------------------------------------- */

static void handle(struct call *call)
{
	static const struct {
		const char *name;
		void (*fn)(struct call *call, json_t *request);
	} commands[] = {
		{ "ADD", do_add }, { "CHECK", do_check },   { "DEL", do_del },
		{ "GC", do_gc },   { "STATUS", do_status },
	};
	json_t *request = json_loadb(call->request.data, call->request.len, 0, NULL);
	const char *name = json_string_value(json_object_get(request, "command"));

	for (size_t i = 0; name && i < ARRAY_SIZE(commands); i++) {
		if (strcmp(commands[i].name, name))
			continue;
		commands[i].fn(call, request);
		json_decref(request);
		return;
	}
	json_decref(request);
	refuse_request(call, "one JSON object with a command: ADD, CHECK, DEL, GC or STATUS");
}

static void call_free(struct call *call)
{
	json_decref(call->json);
	buf_free(&call->request);
	free(call);
}

static void sweep(struct cni *cni)
{
	for (struct call **p = &cni->calls; *p;) {
		struct call *call = *p;

		if (!call->done) {
			p = &call->next;
			continue;
		}
		*p = call->next;
		call_free(call);
	}
	arm(cni);
}

/* The plugin was killed, or it does not keep to the protocol: nobody waits for an answer. */
static void hang_up(struct call *call)
{
	if (!call->json)
		refuse_request(call, "a line of JSON");
	else
		finish(call);
}

static void on_call(void *ctx, uint32_t events)
{
	struct call *call = ctx;
	struct cni *cni = call->cni;
	char chunk[16384];
	ssize_t n = recv(call->fd, chunk, sizeof(chunk), MSG_DONTWAIT);

	(void)events;
	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0 && !call->json && call->request.len + (size_t)n <= REQUEST_MAX) {
		buf_add(&call->request, chunk, (size_t)n);
		if (memchr(chunk, '\n', (size_t)n))
			handle(call);
	} else {
		hang_up(call);
	}
	sweep(cni);
}

static void on_connection(void *ctx, uint32_t events)
{
	struct cni *cni = ctx;
	int fd = accept4(cni->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct call *call;

	(void)events;
	if (fd < 0)
		return;
	call = xcalloc(1, sizeof(*call));
	*call = (struct call){
		.next = cni->calls, .cni = cni, .fd = fd, .deadline_ms = loop_now_ms() + READ_MS
	};
	if (loop_add(cni->agent->loop, fd, EPOLLIN, on_call, call) < 0) {
		close(fd);
		free(call);
		return;
	}
	cni->calls = call;
	arm(cni);
}

static void on_deadline(void *ctx, uint32_t events)
{
	struct cni *cni = ctx;
	int64_t now = loop_now_ms();

	(void)events;
	for (struct call *c = cni->calls; c; c = c->next) {
		if (c->done || c->deadline_ms > now)
			continue;
		if (c->json && is_guarded(c))
			answer_guarded(c);
		else if (c->json)
			answer_unknown(c);
		else
			hang_up(c);
	}
	sweep(cni);
}

void cni_known(struct cni *cni)
{
	if (!cni)
		return;
	for (struct call *c = cni->calls; c; c = c->next)
		if (!c->done && c->json)
			try_pod(c);
	sweep(cni);
}

int cni_open(struct agent *agent, struct cni **ret, char **ret_error)
{
	_cleanup_free_ char *dir = xasprintf("%s/sandboxes", agent->options.run_dir);
	struct cni *cni = xcalloc(1, sizeof(*cni));
	int err;

	*cni = (struct cni){ .agent = agent, .fd = -1, .timer = -1 };
	err = sandboxes_open(&agent->sandboxes, dir);
	if (!err)
		err = cni->timer = loop_timer(agent->loop, on_deadline, cni);
	if (err >= 0)
		err = cni->fd = unix_listen(agent->options.run_dir, RUN_CNI_SOCKET);
	if (err >= 0)
		err = loop_add(agent->loop, cni->fd, EPOLLIN, on_connection, cni);
	if (err) {
		*ret_error = xasprintf("cannot serve %s/" RUN_CNI_SOCKET ": %s",
				       agent->options.run_dir, strerror(-err));
		cni_close(cni);
		return err;
	}
	*ret = cni;
	return 0;
}

void cni_close(struct cni *cni)
{
	_cleanup_free_ char *path = NULL;

	if (!cni)
		return;
	path = xasprintf("%s/" RUN_CNI_SOCKET, cni->agent->options.run_dir);
	for (struct call *c = cni->calls; c; c = c->next)
		if (!c->done)
			finish(c);
	if (cni->fd >= 0)
		unlink(path);
	close_fd(&cni->fd);
	close_fd(&cni->timer);
	while (cni->calls) {
		struct call *call = cni->calls;

		cni->calls = call->next;
		call_free(call);
	}
	sandboxes_close(&cni->agent->sandboxes);
	free(cni);
}
