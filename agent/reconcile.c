/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/reconcile.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/apply.h"
#include "agent/claim.h"
#include "agent/delivery.h"
#include "agent/guard.h"
#include "agent/leftover.h"
#include "agent/machines.h"
#include "agent/takeover.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/netns.h"
#include "base/own_routes.h"

/*
 * A pod file that is replaced may be absent for a moment, and an agent that forgot its pod in that
 * moment would let its traffic through.
 */
#define MISSING_MS 2000
/*
 * A pod file may come before its network namespace, and that may come without an event; one that
 * has gone from sight may still be in use. Looked for less often the longer that lasts.
 */
#define WAITING_MS	500
#define WAITING_MOST_MS 10000
/* From CNI ADD until the runtime has certainly run its other plugins. */
#define YOUNG_MS 1000
/* A policy that does not fit is not written again and again. */
#define RETRY_MS 60000

struct reconciler *reconciler_new(struct loader *loader, struct names *names, struct source *source,
				  const struct places *places, const struct policy_options *options,
				  const struct traits_options *traits)
{
	struct reconciler *r = xcalloc(1, sizeof(*r));

	r->loader = loader;
	r->names = names;
	r->identity = identity_new(loader, names, traits->istio);
	r->source = source;
	r->places = places;
	r->options = *options;
	r->traits = *traits;
	netns_own_cookie(&r->own_cookie);
	return r;
}

int reconciler_watch(struct reconciler *r, struct loop *loop, void (*changed)(void *ctx), void *ctx)
{
	r->loop = loop;
	r->changed = changed;
	r->changed_ctx = ctx;
	return nsid_open(&r->nsid, loop, changed, ctx);
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
	nsid_close(r->nsid);
	free(r);
}

struct managed *reconciler_add(struct reconciler *r)
{
	struct managed *m = xcalloc(1, sizeof(*m));

	m->watch = (struct links_watch){ .loop = r->loop,
					 .changed = r->changed,
					 .ctx = r->changed_ctx };
	m->next = r->pods;
	r->pods = m;
	return m;
}

static struct managed *find_managed(struct reconciler *r, const char *namespace, const char *name,
				    const char *uid)
{
	for (struct managed *m = r->pods; m; m = m->next)
		if (!strcmp(m->namespace, namespace) && !strcmp(m->name, name) &&
		    !strcmp(m->uid, uid))
			return m;
	return reconciler_add(r);
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

/* For all pods that are looked at now: there may be thousands of Services. */
static void find_services(struct reconciler *r)
{
	r->options.api_server = find_service(r->source, "default", "kubernetes");
	r->options.cluster_dns = find_service(r->source, "kube-system", "kube-dns");
}

/* Takes what is new of the object into m. */
static void refresh(struct reconciler *r, struct managed *m, const struct pod *pod,
		    const struct source_file *file, struct place *place)
{
	const struct namespace *namespace = source_namespace(r->source, pod->namespace);
	struct policy_options options = r->options;
	uint32_t before = m->policy ? policy_generation(m->policy) : 0;

	managed_take(m, pod, file, place);
	if (namespace) {
		options.namespace_annotations = &namespace->annotations;
		options.namespace_labels = &namespace->labels;
	}
	policy_compile(pod, &options, &m->policy);
	if (policy_generation(m->policy) != before)
		m->retry_ms = 0;
	m->present = true;
	m->missing_since = 0;
	source_watch(r->source, m->netns);
}

static int release(struct reconciler *r, struct managed *m)
{
	int changes = m->cookie ? apply_removal(r->loader, m->cookie) : 0;

	if (m->cookie && !m->plain) /* nobody would take what is delivered there */
		own_routes_remove(m->netns, m->cookie);
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

static void deliver(struct managed *m, int netns_fd)
{
	const struct weir_pod *pod = &m->policy->pod;
	bool wanted = pod->mode == WEIR_MODE_CAPTURE &&
		      (pod->flags & (WEIR_POD_IF_VIRTUAL | WEIR_POD_TPROXY));
	int err;

	if (m->plain && !wanted)
		return;
	/* Its table goes with its last rule. */
	err = wanted ? delivery_sync(netns_fd, m->policy) : own_routes_remove(m->netns, m->cookie);
	m->plain = !wanted && err >= 0;
	if (err < 0)
		log_error("the pod's network cannot be made to deliver what its proxy should get",
			  "pod", m->name, "error", strerror(-err), NULL);
}

static int put_in_force(struct reconciler *r, struct managed *m, int netns_fd, uint64_t cookie)
{
	struct placement p = { .netns_fd = netns_fd,
			       .cookie = cookie,
			       .workload = traits_workload(r->names, &r->traits, m),
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
	if (r->nsid && m->cookie != cookie)
		nsid_follow(r->nsid, netns_fd); /* before it is read: what changes then is told */
	m->cookie = cookie;
	takeover_decide(m->policy, apply_taken(r->loader, cookie), netns_fd, m->netns);
	if (keeps_last_good(r, m, cookie)) {
		/* its program may be an older agent's */
		loader_attach_netns(r->loader, netns_fd, cookie);
		managed_set_state(
			m, POLICY_FAILED,
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
		managed_set_state(m, POLICY_FAILED, error);
		return 0;
	}
	deliver(m, netns_fd);
	managed_set_state(m, m->policy->state, xstrdup(m->policy->reason));
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
		managed_set_state(m, POLICY_FAILED, error);
	} else if (waits) {
		managed_set_state(m, POLICY_PENDING, error);
	} else {
		managed_set_state(m, m->policy->state, xstrdup(m->policy->reason));
		free(error);
	}
	return lost_netns(r, m) ? release(r, m) : 0;
}

/* Of a proxy that was there before its pod was known: a later one is given no such socket. */
static void judge_listener(const struct reconciler *r, struct managed *m)
{
	uint16_t port = m->policy->pod.inbound_port;
	bool wrong = m->state == POLICY_CAPTURED && apply_unsteerable(r->loader, m->cookie, port);

	if (wrong)
		managed_set_listener(
			m, xasprintf("its proxy has listened on port %u with MPTCP, Go's default, "
				     "since before weir knew the pod, and the kernel lets nothing "
				     "be steered there: it gets no inbound connections until it "
				     "listens anew: restart the pod",
				     port));
	else
		managed_set_listener(m, machines_denied(m) ? xstrdup(machines_denied_text) : NULL);
}

static int reconcile_pod(struct reconciler *r, struct managed *m)
{
	uint64_t cookie = 0;
	char *error = NULL;
	int changes = 0;
	_cleanup_close_ int fd = claim_netns(r, m, &cookie, &error);

	if (fd < 0) {
		if (!m->astray_since_ms)
			m->astray_since_ms = loop_now_ms();
		return without_netns(r, m, error);
	}
	m->astray_since_ms = 0;
	if (m->cookie && m->cookie != cookie)
		changes += release(r, m);
	changes += put_in_force(r, m, fd, cookie);
	judge_listener(r, m);
	return changes;
}

/* Pods that run elsewhere are peers, those of the host's network namespace are not ours. */
static struct managed *take_in(struct reconciler *r, const struct pod *pod,
			       const struct source_file *file)
{
	_cleanup_place_ struct place place = { 0 };
	struct managed *m;

	if (!place_find(r->places, pod, file->api, &place))
		return NULL;
	m = find_managed(r, pod->namespace, pod->name, pod->uid);
	refresh(r, m, pod, file, &place);
	return m;
}

static const struct pod *pod_of_sandbox(const struct source *s, const struct sandbox *sandbox,
					const struct source_file **ret_file)
{
	for (const struct source_file *f = s->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++)
			if (sandbox_is_of(sandbox, f->objects.pods[i])) {
				*ret_file = f;
				return f->objects.pods[i];
			}
	return NULL;
}

static struct managed *take_in_guard(struct reconciler *r, const struct sandbox *sandbox)
{
	struct managed *m = find_managed(r, sandbox->namespace, sandbox->name, sandbox->uid);

	guard_take(m, sandbox);
	m->present = true;
	m->missing_since = 0;
	return m;
}

/* A guard ends when the object comes, and never begins again: its later absence is its end. */
static void scan_guards(struct reconciler *r)
{
	const struct source_file *file;

	for (const struct sandbox *s = r->places->sandboxes->list; s; s = s->next) {
		if (!s->guarded)
			continue;
		if (pod_of_sandbox(r->source, s, &file))
			sandboxes_guard(r->places->sandboxes, s->container_id, s->ifname, false);
		else
			take_in_guard(r, s);
	}
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
	sandboxes_prune(r->places->sandboxes);
	find_services(r);
	for (struct managed *m = r->pods; m; m = m->next)
		m->present = false;
	for (const struct source_file *f = r->source->files; f; f = f->next)
		for (size_t i = 0; i < f->objects.n_pods; i++)
			take_in(r, f->objects.pods[i], f);
	scan_guards(r);
}

/*
 * A static pod's object is a mirror, which anybody may delete: the pod runs on, and the kubelet
 * makes another mirror, with another uid, within a minute or so.
 */
static bool runs_without_mirror(const struct reconciler *r, const struct managed *m)
{
	return m->mirrored && m->api && m->cookie &&
	       discovery_populated(r->places->discovery, m->cgroup);
}

/* True when the pod is to be let go; else sets when to look again. */
static bool is_gone(struct reconciler *r, struct managed *m, int64_t *again_ms)
{
	int64_t now = loop_now_ms(), left;

	if (m->present)
		return false;
	/* A source that cannot be read yet may tell of it. */
	if (m->recalled && source_incomplete(r->source))
		return leftover_ended(r, m);
	if (runs_without_mirror(r, m))
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

/* When to look for the network namespace of a pod again; -1: never, it will be told. */
static int64_t look_again(const struct managed *m)
{
	int64_t lasted = loop_now_ms() - m->astray_since_ms;

	if (!m->present || !m->astray_since_ms ||
	    (m->how == PLACE_PROCESS && !m->cookie && m->state != POLICY_PENDING))
		return -1;
	return lasted < WAITING_MS	  ? WAITING_MS
	       : lasted > WAITING_MOST_MS ? WAITING_MOST_MS
					  : lasted;
}

/* There is room again for what did not fit, and for who waited for a namespace that is free now. */
static void retry_soon(struct reconciler *r, int64_t *again_ms)
{
	for (struct managed *m = r->pods; m; m = m->next) {
		if (m->retry_ms || m->astray_since_ms)
			*again_ms = sooner(*again_ms, WAITING_MS);
		m->retry_ms = 0;
	}
}

int reconcile(struct reconciler *r, int64_t *ret_again_ms)
{
	int64_t again_ms = -1;
	int changes = 0, gone, err = 0;

	keyset_init(&r->addresses, sizeof(struct weir_local_addr));
	links_desired_init(&r->links);
	scan(r);
	if (source_listed(r->source)) { /* names that an earlier agent knew are better than none */
		traits_sync(r->names, &r->traits, r->source);
		err = identity_sync(r->identity, r->source);
	}
	if (err < 0)
		log_error("cannot update the table of peers", "error", strerror(-err), NULL);
	else
		changes += err;
	for (struct managed *m = r->pods; m; m = m->next) {
		m->written = false;
		if (m->present)
			changes += reconcile_pod(r, m);
		again_ms = sooner(again_ms, look_again(m));
		if (m->young_until_ms)
			again_ms = sooner(again_ms, time_left(m->young_until_ms));
	}
	gone = drop_gone(r, &again_ms); /* after its successor has taken over */
	if (gone)
		retry_soon(r, &again_ms);
	changes += gone;
	changes += leftover_former(r);
	if (changes) {
		err = apply_prune(r->loader);
		if (err < 0)
			log_error("cannot remove dead entries", "error", strerror(-err), NULL);
	}
	*ret_again_ms = again_ms;
	return changes;
}

/* What it had before goes in the next full run. */
static void reconcile_alone(struct reconciler *r, struct managed *m)
{
	keyset_init(&r->addresses, sizeof(struct weir_local_addr));
	links_desired_init(&r->links);
	if (!m->cookie)
		m->young_until_ms = loop_now_ms() + YOUNG_MS;
	reconcile_pod(r, m);
	keyset_free(&r->addresses);
	links_desired_free(&r->links);
}

int reconcile_sandbox(struct reconciler *r, const struct sandbox *sandbox,
		      const struct managed **ret)
{
	const struct source_file *file;
	const struct pod *pod = pod_of_sandbox(r->source, sandbox, &file);
	struct managed *m;

	find_services(r);
	m = pod ? take_in(r, pod, file) : NULL;
	if (!m)
		return -ENOENT;
	reconcile_alone(r, m);
	*ret = m;
	return 0;
}

const struct managed *reconcile_guard(struct reconciler *r, const struct sandbox *sandbox)
{
	struct managed *m = take_in_guard(r, sandbox);

	reconcile_alone(r, m);
	return m;
}

bool reconciler_in_force(const struct reconciler *r, const struct managed *m)
{
	return m->cookie && apply_captured(r->loader, m->cookie) &&
	       loader_netns_alive(r->loader, m->cookie);
}
