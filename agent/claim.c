/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/claim.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/netns.h"

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
			: err == -EINVAL
				? "the processes in its cgroup %s run in the host's network "
				  "namespace"
			: err == -EADDRNOTAVAIL ? "no process in its cgroup %s has an address yet"
						: "no process runs in its cgroup %s yet",
			m->cgroup);
	return xasprintf("%s: %s %s", netns_name(m), m->netns,
			 err == -EMEDIUMTYPE ? "is not a network namespace"
			 : err == -ENOENT    ? "does not exist"
					     : strerror(-err));
}

struct others {
	const struct reconciler *r;
	const struct managed *but;
};

static bool is_anothers(const void *ctx, const struct weir_addr *addr)
{
	const struct others *o = ctx;

	for (const struct managed *m = o->r->pods; m; m = m->next)
		for (size_t i = 0; m != o->but && m->present && i < m->n_addrs; i++)
			if (weir_addr_equal(addr, &m->addrs[i]))
				return true;
	return false;
}

/* A path that CNI ADD named may be gone from sight; the pod's processes are not. */
static int open_netns(const struct reconciler *r, struct managed *m)
{
	const struct others others = { .r = r, .but = m };
	struct discovery_hint hint = { .cookie = m->cookie,
				       .host_cookie = r->own_cookie,
				       .ips = m->addrs,
				       .n_ips = m->n_addrs,
				       .is_anothers = is_anothers,
				       .ctx = &others };
	int fd = m->how == PLACE_PROCESS ? -ESRCH : netns_open(m->netns), found;
	char *path;

	if (fd >= 0 || m->how == PLACE_FILE || !*m->cgroup || !r->places->discovery)
		return fd;
	found = discovery_netns(r->places->discovery, m->cgroup, &hint, &path);
	if (found < 0)
		return m->how == PLACE_PROCESS ? found : fd;
	free(m->netns);
	m->netns = path;
	m->how = PLACE_PROCESS;
	return found;
}

struct managed *claim_holder(const struct reconciler *r, uint64_t cookie, const struct managed *but)
{
	for (struct managed *m = r->pods; m; m = m->next)
		if (m != but && m->cookie == cookie)
			return m;
	return NULL;
}

/*
 * A pod that is gone leaves its network namespace to its successor, the pod of its name, as it is:
 * nothing may pass meanwhile; so does a guard to the pod itself, and what is only recalled to
 * whoever claims it. Another pod has to wait until the first one has been gone for a while.
 */
static void hand_over(struct reconciler *r, uint64_t cookie, const struct managed *to)
{
	struct managed *from = claim_holder(r, cookie, to);

	if (!from || (from->present && !from->guard) ||
	    (!from->recalled &&
	     (strcmp(from->namespace, to->namespace) || strcmp(from->name, to->name))))
		return;
	from->cookie = 0;
	from->applied = false;
}

int claim_netns(struct reconciler *r, struct managed *m, uint64_t *ret_cookie, char **ret_error)
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
	other = claim_holder(r, cookie, m);
	if (other) {
		*ret_error = xasprintf("%s: %s is the network namespace of pod %s/%s",
				       netns_name(m), m->netns, other->namespace, other->name);
		return -EEXIST;
	}
	*ret_cookie = cookie;
	return TAKE_FD(fd);
}
