/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/apply.h"
#include "agent/identity.h"
#include "agent/map.h"
#include "agent/netns.h"
#include "agent/takeover.h"
#include "agent/virtual.h"
#include "agent/workload.h"
#include "base/buf.h"
#include "base/inet.h"
#include "base/log.h"
#include "maps/link.h"

/*
 * A pod file that is replaced may be absent for a moment, and an agent that forgot its pod in that
 * moment would let its traffic through.
 */
#define MISSING_MS 1000
/* A pod file may come before its network namespace, and that comes without an event. */
#define WAITING_MS 500
/* From CNI ADD until the runtime has certainly run its other plugins. */
#define YOUNG_MS 1000
/* A proxy that begins to listen must answer a virtual machine before it gives up. */
#define VIRTUAL_MS 1000
/* A policy that does not fit is not written again and again. */
#define RETRY_MS 60000

struct reconciler *reconciler_new(struct loader *loader, struct names *names, struct source *source,
				  const struct places *places, const struct policy_options *options)
{
	struct reconciler *r = xcalloc(1, sizeof(*r));

	r->loader = loader;
	r->names = names;
	r->identity = identity_new(loader, names);
	r->source = source;
	r->places = places;
	r->options = *options;
	netns_own_cookie(&r->own_cookie);
	return r;
}

void reconciler_watch(struct reconciler *r, struct loop *loop, void (*changed)(void *ctx),
		      void *ctx)
{
	r->loop = loop;
	r->changed = changed;
	r->changed_ctx = ctx;
}

static void managed_clear(struct managed *m)
{
	char **strings[] = { &m->namespace,	&m->name,  &m->uid,    &m->node, &m->workload,
			     &m->workload_kind, &m->netns, &m->cgroup, &m->file, &m->ips };

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		free(*strings[i]);
		*strings[i] = NULL;
	}
	free(m->addrs);
	m->addrs = NULL;
	policy_free(m->policy);
	m->policy = NULL;
}

static void managed_free(struct managed *m)
{
	managed_clear(m);
	links_unfollow(&m->watch);
	free(m->reason);
	free(m);
}

void reconciler_free(struct reconciler *r)
{
	if (!r)
		return;
	while (r->pods) {
		struct managed *m = r->pods;

		r->pods = m->next;
		managed_free(m);
	}
	identity_free(r->identity);
	free(r);
}

char *managed_key(const struct managed *m)
{
	return xasprintf("%s/%s", m->namespace, m->name);
}

static struct managed *find_managed(struct reconciler *r, const struct pod *pod)
{
	struct managed *m;

	for (m = r->pods; m; m = m->next)
		if (!strcmp(m->namespace, pod->namespace) && !strcmp(m->name, pod->name) &&
		    !strcmp(m->uid, pod->uid))
			return m;
	m = xcalloc(1, sizeof(*m));
	m->watch = (struct links_watch){ .loop = r->loop,
					 .changed = r->changed,
					 .ctx = r->changed_ctx };
	m->next = r->pods;
	r->pods = m;
	return m;
}

static char *list_ips(const struct pod *pod)
{
	_cleanup_buf_ struct buf b = { 0 };
	char text[INET_TEXT];

	for (size_t i = 0; i < pod->n_ips; i++)
		buf_printf(&b, "%s%s", i ? "," : "", inet_format(pod->ips[i].ip, text));
	return xstrdup(buf_text(&b));
}

static const struct namespace *find_namespace(const struct source *s, const char *name)
{
	for (const struct source_file *f = s->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_namespaces; i++)
			if (!strcmp(f->objects.namespaces[i]->name, name))
				return f->objects.namespaces[i];
	return NULL;
}

static const struct service *find_service(const struct source *s, const char *namespace,
					  const char *name)
{
	for (const struct source_file *f = s->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_services; i++)
			if (!strcmp(f->objects.services[i]->namespace, namespace) &&
			    !strcmp(f->objects.services[i]->name, name))
				return f->objects.services[i];
	return NULL;
}

/* Takes what is new of the object into m. */
static void refresh(struct reconciler *r, struct managed *m, const struct pod *pod,
		    const struct source_file *file, struct place *place)
{
	const struct namespace *namespace = find_namespace(r->source, pod->namespace);
	struct policy_options options = r->options;
	uint32_t before = m->policy ? policy_generation(m->policy) : 0;

	managed_clear(m);
	m->namespace = xstrdup(pod->namespace);
	m->name = xstrdup(pod->name);
	m->uid = xstrdup(pod->uid);
	m->node = xstrdup(pod->node_name ?: "");
	pod_workload(pod, &m->workload, &m->workload_kind);
	m->netns = TAKE_PTR(place->netns);
	m->cgroup = TAKE_PTR(place->cgroup);
	m->how = place->how;
	m->file = xstrdup(file->name);
	m->api = file->api;
	m->ips = list_ips(pod);
	m->n_addrs = pod->n_ips;
	m->addrs = xcalloc(pod->n_ips, sizeof(*m->addrs));
	if (pod->n_ips)
		memcpy(m->addrs, pod->ips, pod->n_ips * sizeof(*m->addrs));
	if (namespace) {
		options.namespace_annotations = &namespace->annotations;
		options.namespace_labels = &namespace->labels;
	}
	options.api_server = find_service(r->source, "default", "kubernetes");
	options.cluster_dns = find_service(r->source, "kube-system", "kube-dns");
	policy_compile(pod, &options, &m->policy);
	if (policy_generation(m->policy) != before)
		m->retry_ms = 0;
	m->present = true;
	m->missing_since = 0;
	source_watch(r->source, m->netns);
}

/* Logs a change of state, once. Takes reason. */
static void set_state(struct managed *m, enum policy_state state, char *reason)
{
	bool same = m->reason && m->state == state && !strcmp(m->reason, reason);
	_cleanup_free_ char *key = managed_key(m);

	free(m->reason);
	m->reason = reason;
	m->state = state;
	if (same)
		return;
	log_event(state == POLICY_FAILED ? LOG_ERROR : LOG_INFO, "pod", "pod", key, "state",
		  policy_state_name(state), "mesh", policy_mesh_name(m->policy->mesh), "reason",
		  reason, "netns", m->netns, NULL);
	for (size_t i = 0; i < m->policy->n_warnings; i++)
		log_warn("pod", "pod", key, "warning", m->policy->warnings[i], NULL);
}

/* Whom to ask about the path. */
static const char *netns_name(const struct managed *m)
{
	return m->how == PLACE_FILE  ? "annotation weir.io/netns"
	       : m->how == PLACE_CNI ? "the network namespace that CNI ADD named"
				     : "the network namespace of its processes";
}

static char *netns_error(const struct managed *m, int err)
{
	if (m->how == PLACE_PROCESS && !*m->cgroup)
		return xstrdup("it has no cgroup on this node yet");
	if (m->how == PLACE_PROCESS)
		return xasprintf(
			err == -EPERM ? "the processes in its cgroup %s cannot be looked "
					"at: the agent needs hostPID"
			: err == -EADDRNOTAVAIL
				? "no process in its cgroup %s has an address of the pod yet"
				: "no process runs in its cgroup %s yet",
			m->cgroup);
	return xasprintf("%s: %s %s", netns_name(m), m->netns,
			 err == -EMEDIUMTYPE ? "is not a network namespace"
			 : err == -ENOENT    ? "does not exist"
					     : strerror(-err));
}

/* A path that CNI ADD named may be gone from sight; the pod's processes are not. */
static int open_netns(const struct reconciler *r, struct managed *m)
{
	struct discovery_hint hint = { .cookie = m->cookie,
				       .host_cookie = r->own_cookie,
				       .ips = m->addrs,
				       .n_ips = m->n_addrs };
	int fd = m->how == PLACE_PROCESS ? -ESRCH : netns_open(m->netns), pid, found;

	if (fd >= 0 || m->how == PLACE_FILE || !*m->cgroup || !r->places->discovery)
		return fd;
	found = discovery_netns(r->places->discovery, m->cgroup, &hint, &pid);
	if (found < 0)
		return m->how == PLACE_PROCESS ? found : fd;
	free(m->netns);
	m->netns = xasprintf("/proc/%d/ns/net", pid);
	m->how = PLACE_PROCESS;
	return found;
}

static struct managed *holder_of(const struct reconciler *r, uint64_t cookie,
				 const struct managed *but)
{
	for (struct managed *m = r->pods; m; m = m->next)
		if (m != but && m->cookie == cookie)
			return m;
	return NULL;
}

/* Of two pods that claim one network namespace the one stays that an earlier agent gave it to. */
static const struct managed *former_holder(const struct reconciler *r, uint64_t cookie,
					   const struct managed *but)
{
	struct weir_netns key = { .cookie = cookie };
	struct weir_pod_names names;

	if (bpf_map_lookup_elem(loader_map(r->loader, "weir_pod_names"), &key, &names) < 0)
		return NULL;
	for (const struct managed *m = r->pods; m; m = m->next)
		if (m != but && m->present && !strcmp(m->namespace, names.namespace) &&
		    !strcmp(m->name, names.name) && !strcmp(m->uid, names.uid) &&
		    !strcmp(m->netns, names.netns))
			return m;
	return NULL;
}

/*
 * A pod that is gone leaves its network namespace to its successor, the pod of its name, as it is:
 * nothing may pass meanwhile. Another pod has to wait until the first one has been gone for a
 * while.
 */
static void hand_over(struct reconciler *r, uint64_t cookie, const struct managed *to)
{
	struct managed *from = holder_of(r, cookie, to);

	if (!from || from->present || strcmp(from->namespace, to->namespace) ||
	    strcmp(from->name, to->name))
		return;
	from->cookie = 0;
	from->applied = false;
}

/* Finds the pod's network namespace: a file descriptor, or -errno with *ret_error. */
static int find_netns(struct reconciler *r, struct managed *m, uint64_t *ret_cookie,
		      char **ret_error)
{
	_cleanup_close_ int fd = open_netns(r, m);
	const struct managed *other;
	uint64_t cookie = 0;
	int err = fd < 0 ? fd : netns_cookie(fd, &cookie);

	if (err < 0) {
		*ret_error = netns_error(m, err);
		return err;
	}
	if (cookie == r->own_cookie) {
		*ret_error = xasprintf("%s: %s is the host's own network namespace", netns_name(m),
				       m->netns);
		return -EINVAL;
	}
	hand_over(r, cookie, m);
	other = holder_of(r, cookie, m) ?: former_holder(r, cookie, m);
	if (other) {
		*ret_error = xasprintf("%s: %s is the network namespace of pod %s/%s",
				       netns_name(m), m->netns, other->namespace, other->name);
		return -EEXIST;
	}
	*ret_cookie = cookie;
	return TAKE_FD(fd);
}

/* Nobody would take what virtual machines send, once the pod is let go. */
static void unroute(const struct managed *m)
{
	static const struct policy none;
	_cleanup_close_ int fd = netns_open(m->netns);
	uint64_t cookie;

	if (fd >= 0 && netns_cookie(fd, &cookie) == 0 && cookie == m->cookie)
		virtual_route(fd, &none);
}

static int release(struct reconciler *r, struct managed *m)
{
	int changes = m->cookie ? apply_removal(r->loader, m->cookie) : 0;

	if (m->cookie && (m->policy->pod.flags & WEIR_POD_IF_VIRTUAL))
		unroute(m);

	links_unfollow(&m->watch);
	m->cookie = 0;
	m->applied = false;
	m->plain = false;
	m->retry_ms = 0; /* its next network namespace must not wait unguarded */
	return changes;
}

/* A policy that is wrong does not replace one that was right, but it is no other than itself. */
static bool keeps_last_good(struct reconciler *r, struct managed *m, uint64_t cookie)
{
	return m->policy->state == POLICY_FAILED && apply_captured(r->loader, cookie) &&
	       apply_generation(r->loader, cookie) != policy_generation(m->policy);
}

static void serve_virtual(struct managed *m, int netns_fd)
{
	bool wanted = m->policy->pod.flags & WEIR_POD_IF_VIRTUAL;
	int err;

	if (m->plain && !wanted)
		return;
	err = virtual_route(netns_fd, m->policy);
	m->plain = !wanted && err >= 0;
	if (wanted && err >= 0)
		err = virtual_open_listeners(netns_fd, m->policy->pod.outbound_port);
	if (err < 0)
		log_error("what virtual machines send cannot be taken", "pod", m->name, "error",
			  strerror(-err), NULL);
}

static int put_in_force(struct reconciler *r, struct managed *m, int netns_fd, uint64_t cookie)
{
	struct placement p = { .netns_fd = netns_fd,
			       .cookie = cookie,
			       .workload = names_id(r->names, m->workload_kind, m->namespace,
						    m->workload),
			       .policy = m->policy,
			       .namespace = m->namespace,
			       .name = m->name,
			       .uid = m->uid,
			       .netns = m->netns,
			       .young = loop_now_ms() < m->young_until_ms,
			       .addresses = &r->addresses,
			       .links = &r->links };
	char *error = NULL;
	int changes;

	if (!p.young)
		m->young_until_ms = 0;
	m->cookie = cookie;
	takeover_decide(m->policy, apply_captured(r->loader, cookie), netns_fd, m->netns);
	if (keeps_last_good(r, m, cookie)) {
		/* its program may be an older agent's */
		loader_attach_netns(r->loader, netns_fd, cookie);
		set_state(m, POLICY_FAILED,
			  xasprintf("%s (the last good policy stays in force)", m->policy->reason));
		return 0;
	}
	if (loop_now_ms() < m->retry_ms)
		return 0; /* it did not fit a moment ago, and its state says so */
	/* Followed first: what changes while it is read is read again. */
	changes = links_follow(&m->watch, m->policy, netns_fd, cookie);
	if (changes < 0)
		log_warn("cannot follow a pod's routes", "pod", m->name, "error",
			 strerror(-changes), NULL);
	changes = apply_policy(r->loader, &p, &error);
	if (error) {
		apply_prune(r->loader); /* what it left must not be in another pod's way */
		m->retry_ms = loop_now_ms() + RETRY_MS;
	}
	m->applied = changes >= 0;
	m->written = changes >= 0;
	if (error) {
		set_state(m, POLICY_FAILED, error);
		return 0;
	}
	serve_virtual(m, netns_fd);
	set_state(m, m->policy->state, xstrdup(m->policy->reason));
	return changes;
}

/* Its network namespace has ended; a path that is merely wrong leaves what is in force. */
static bool lost_netns(const struct reconciler *r, const struct managed *m)
{
	return m->cookie && m->applied && m->policy->pod.mode != WEIR_MODE_OBSERVE &&
	       !loader_netns_alive(r->loader, m->cookie);
}

/* Whoever is found by its processes may have none for a moment: its containers start again. */
static int without_netns(struct reconciler *r, struct managed *m, char *error)
{
	bool waits = m->how == PLACE_PROCESS && m->policy->state == POLICY_CAPTURED;

	if (m->how == PLACE_PROCESS && m->cookie && !lost_netns(r, m)) {
		free(error);
		return 0;
	}
	if (m->how != PLACE_PROCESS) {
		set_state(m, POLICY_FAILED, error);
	} else if (waits) {
		set_state(m, POLICY_PENDING, error);
	} else {
		set_state(m, m->policy->state, xstrdup(m->policy->reason));
		free(error);
	}
	return lost_netns(r, m) ? release(r, m) : 0;
}

static int reconcile_pod(struct reconciler *r, struct managed *m)
{
	uint64_t cookie = 0;
	char *error = NULL;
	int changes = 0;
	_cleanup_close_ int fd = find_netns(r, m, &cookie, &error);

	if (fd < 0)
		return without_netns(r, m, error);
	if (m->cookie && m->cookie != cookie)
		changes += release(r, m);
	return changes + put_in_force(r, m, fd, cookie);
}

/* Pods that run elsewhere are peers, those of the host's network namespace are not ours. */
static struct managed *take_in(struct reconciler *r, const struct pod *pod,
			       const struct source_file *file)
{
	_cleanup_place_ struct place place = { 0 };
	struct managed *m;

	if (!place_find(r->places, pod, file->api, &place))
		return NULL;
	m = find_managed(r, pod);
	refresh(r, m, pod, file, &place);
	return m;
}

static void scan(struct reconciler *r)
{
	int err = source_scan(r->source);

	if (err < 0) {
		log_error("cannot read pods", "dir", r->source->dir, "error", strerror(-err),
			  "effect", "the known pods stay", NULL);
		return;
	}
	if (r->places->discovery)
		discovery_scan(r->places->discovery);
	for (struct managed *m = r->pods; m; m = m->next)
		m->present = false;
	for (const struct source_file *f = r->source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++)
			take_in(r, f->objects.pods[i], f);
}

/* True when the pod is to be let go; else sets when to look again. */
static bool is_gone(struct reconciler *r, struct managed *m, int64_t *again_ms)
{
	int64_t now = loop_now_ms(), left;

	if (m->present)
		return false;
	if (!m->missing_since)
		m->missing_since = now;
	left = m->missing_since + MISSING_MS - now;
	if (left <= 0 || lost_netns(r, m))
		return true;
	if (*again_ms < 0 || left < *again_ms)
		*again_ms = left;
	return false;
}

static int drop_gone(struct reconciler *r, int64_t *again_ms)
{
	int changes = 0;

	for (struct managed **p = &r->pods; *p;) {
		struct managed *m = *p;

		if (!is_gone(r, m, again_ms)) {
			p = &m->next;
			continue;
		}
		_cleanup_free_ char *key = managed_key(m);

		changes += release(r, m);
		log_info("pod", "pod", key, "state", "gone", NULL);
		*p = m->next;
		managed_free(m);
	}
	return changes;
}

/* What an earlier agent knew and nobody names now. A file that cannot be read may name it. */
static bool is_stranger(const void *key, const void *value, void *ctx)
{
	(void)value;
	return !holder_of(ctx, ((const struct weir_netns *)key)->cookie, NULL);
}

static int drop_strangers(struct reconciler *r)
{
	_cleanup_free_ uint64_t *links = NULL;
	size_t n = 0;
	int changes;

	if (source_incomplete(r->source))
		return 0;
	loader_list_netns(r->loader, &links, &n);
	for (size_t i = 0; i < n; i++)
		if (!holder_of(r, links[i], NULL))
			loader_detach_netns(r->loader, links[i]);
	changes = map_prune(loader_map(r->loader, "weir_pods"), sizeof(struct weir_netns),
			    sizeof(struct weir_pod), is_stranger, r);
	map_prune(loader_map(r->loader, "weir_pod_names"), sizeof(struct weir_netns),
		  sizeof(struct weir_pod_names), is_stranger, r);
	r->adopted = true;
	return changes;
}

/* A table of what is in the pods' networks, and where its keys have the cookie. */
struct network_map {
	const char *name;
	struct desired *desired;
	size_t cookie_offset;
	struct reconciler *r;
};

/* An address that a pod had once may be another pod's now: it is no longer within the first one. */
static bool is_former(const void *key, const void *value, void *ctx)
{
	struct network_map *map = ctx;
	const struct managed *m;
	uint64_t cookie;

	(void)value;
	if (desired_has(map->desired, key))
		return false;
	memcpy(&cookie, (const char *)key + map->cookie_offset, sizeof(cookie));
	m = holder_of(map->r, cookie, NULL);
	return m ? m->written : !apply_known(map->r->loader, cookie);
}

static int drop_former(struct reconciler *r)
{
	struct network_map maps[] = {
		{ "weir_local", &r->addresses, offsetof(struct weir_local_addr, netns_cookie), r },
		{ "weir_links", &r->links.links, offsetof(struct weir_link_key, netns_cookie), r },
		{ "weir_routes", &r->links.routes, offsetof(struct weir_route_entry, netns_cookie),
		  r },
	};
	int changes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		int n = map_prune(loader_map(r->loader, maps[i].name), maps[i].desired->key_size,
				  maps[i].desired->value_size, is_former, &maps[i]);

		changes += n > 0 ? n : 0;
		desired_free(maps[i].desired);
	}
	return changes;
}

/* The earlier of two moments, of which -1 is none. */
static int64_t sooner(int64_t a_ms, int64_t b_ms)
{
	return a_ms < 0 || (b_ms >= 0 && b_ms < a_ms) ? b_ms : a_ms;
}

static int64_t time_left(int64_t until_ms)
{
	int64_t left = until_ms - loop_now_ms();

	return left > 0 ? left : 0;
}

/* There is room again for what did not fit. */
static void retry_soon(struct reconciler *r, int64_t *again_ms)
{
	for (struct managed *m = r->pods; m; m = m->next) {
		if (m->retry_ms && (*again_ms < 0 || *again_ms > WAITING_MS))
			*again_ms = WAITING_MS;
		m->retry_ms = 0;
	}
}

int reconcile(struct reconciler *r, int64_t *ret_again_ms)
{
	int64_t again_ms = -1;
	int changes = 0, gone, err;

	desired_init(&r->addresses, sizeof(struct weir_local_addr), sizeof(__u32));
	links_desired_init(&r->links);
	scan(r);
	/* names that an earlier agent knew are better than none */
	err = source_listed(r->source) ? identity_sync(r->identity, r->source) : 0;
	if (err < 0)
		log_error("cannot update the table of peers", "error", strerror(-err), NULL);
	else
		changes += err;
	for (struct managed *m = r->pods; m; m = m->next) {
		m->written = false;
		if (m->present)
			changes += reconcile_pod(r, m);
		if (m->present && !m->cookie &&
		    (m->how != PLACE_PROCESS || m->state == POLICY_PENDING))
			again_ms = sooner(again_ms, WAITING_MS);
		if (m->young_until_ms)
			again_ms = sooner(again_ms, time_left(m->young_until_ms));
		if (m->applied && (m->policy->pod.flags & WEIR_POD_IF_VIRTUAL))
			again_ms = sooner(again_ms, VIRTUAL_MS);
	}
	gone = drop_gone(r, &again_ms); /* after its successor has taken over */
	if (gone)
		retry_soon(r, &again_ms);
	changes += gone;
	if (!r->adopted)
		changes += drop_strangers(r);
	changes += drop_former(r);
	if (changes) {
		err = apply_prune(r->loader);
		if (err < 0)
			log_error("cannot remove dead entries", "error", strerror(-err), NULL);
	}
	*ret_again_ms = again_ms;
	return changes;
}

static struct managed *take_in_sandbox(struct reconciler *r, const struct sandbox *sandbox)
{
	for (const struct source_file *f = r->source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++)
			if (sandbox_is_of(sandbox, f->objects.pods[i]))
				return take_in(r, f->objects.pods[i], f);
	return NULL;
}

int reconcile_sandbox(struct reconciler *r, const struct sandbox *sandbox,
		      const struct managed **ret)
{
	struct managed *m = take_in_sandbox(r, sandbox);

	if (!m)
		return -ENOENT;
	desired_init(&r->addresses, sizeof(struct weir_local_addr), sizeof(__u32));
	if (!m->cookie)
		m->young_until_ms = loop_now_ms() + YOUNG_MS;
	reconcile_pod(r, m);
	desired_free(&r->addresses); /* what it had before goes in the next full run */
	*ret = m;
	return 0;
}

bool reconciler_in_force(const struct reconciler *r, const struct managed *m)
{
	return m->cookie && apply_captured(r->loader, m->cookie) &&
	       loader_netns_alive(r->loader, m->cookie);
}
