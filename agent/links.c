/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/links.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/map.h"
#include "agent/routes.h"
#include "base/buf.h"
#include "base/netns.h"
#include "maps/link.h"

void links_desired_init(struct links_desired *d)
{
	keyset_init(&d->links, sizeof(struct weir_link_key));
	keyset_init(&d->routes, sizeof(struct weir_route_entry));
}

void links_desired_free(struct links_desired *d)
{
	keyset_free(&d->links);
	keyset_free(&d->routes);
}

static bool names(const struct policy *policy, enum weir_list list)
{
	for (size_t i = 0; i < policy->n_interfaces; i++)
		if (policy->interfaces[i].list == list)
			return true;
	return false;
}

/* Interfaces of one namespace by name, asked in it. */
struct resolution {
	const struct policy *policy;
	uint32_t *indexes; /* of policy->interfaces; 0: there is none */
};

static int resolve(void *ctx)
{
	struct resolution *r = ctx;

	for (size_t i = 0; i < r->policy->n_interfaces; i++)
		r->indexes[i] = if_nametoindex(r->policy->interfaces[i].name);
	return 0;
}

static int write_links(const struct loader *loader, const struct policy *policy, int netns_fd,
		       uint64_t cookie, struct links_desired *desired)
{
	_cleanup_free_ uint32_t *indexes = xcalloc(policy->n_interfaces, sizeof(*indexes));
	struct resolution r = { .policy = policy, .indexes = indexes };
	int changes = 0, err = netns_call(netns_fd, resolve, &r);

	for (size_t i = 0; !err && i < policy->n_interfaces; i++) {
		struct weir_link_key key = { .netns_cookie = cookie, .ifindex = indexes[i] };
		struct weir_link link = { 0 };

		strncpy(link.name, policy->interfaces[i].name, sizeof(link.name) - 1);

		if (!indexes[i])
			continue;
		for (size_t k = 0; k < policy->n_interfaces; k++)
			if (indexes[k] == indexes[i])
				link.flags |= policy->interfaces[k].list == WEIR_LIST_IF_EXCLUDE
						      ? WEIR_LINK_EXCLUDED
						      : WEIR_LINK_VIRTUAL;
		keyset_add(&desired->links, &key);
		err = map_put(loader_map(loader, "weir_links"), &key, &link, sizeof(link));
		changes += err > 0;
		err = err < 0 ? err : 0;
	}
	return err < 0 ? err : changes;
}

static int write_routes(const struct loader *loader, int netns_fd, uint64_t cookie,
			struct links_desired *desired)
{
	_cleanup_routes_ struct routes routes = { 0 };
	int changes = 0, err = routes_read(netns_fd, &routes);

	for (size_t i = 0; !err && i < routes.n; i++) {
		const struct route *from = &routes.items[i];
		struct weir_route_entry key = { .prefixlen = WEIR_ROUTE_BITS + from->bits,
						.family = from->v6 ? 6 : 4,
						.netns_cookie = cookie,
						.addr = from->dst };
		struct weir_route route = { .ifindex = from->ifindex };

		keyset_add(&desired->routes, &key);
		err = map_put(loader_map(loader, "weir_routes"), &key, &route, sizeof(route));
		changes += err > 0;
		err = err < 0 ? err : 0;
	}
	return err < 0 ? err : changes;
}

int links_apply(const struct loader *loader, const struct policy *policy, int netns_fd,
		uint64_t cookie, struct links_desired *desired)
{
	int links = 0, routes = 0;

	if (!policy->n_interfaces)
		return 0;
	links = write_links(loader, policy, netns_fd, cookie, desired);
	if (links >= 0 && names(policy, WEIR_LIST_IF_EXCLUDE))
		routes = write_routes(loader, netns_fd, cookie, desired);
	return links < 0 ? links : routes < 0 ? routes : links + routes;
}

/* What changed is read again as a whole, so the messages themselves are of no interest. */
static void on_change(void *ctx, uint32_t events)
{
	struct links_watch *w = ctx;
	char buffer[8192];

	(void)events;
	while (recv(w->fd, buffer, sizeof(buffer), MSG_TRUNC) > 0 || errno == ENOBUFS)
		errno = 0;
	w->changed(w->ctx);
}

int links_follow(struct links_watch *w, const struct policy *policy, int netns_fd, uint64_t cookie)
{
	int fd, err;

	if (w->cookie == cookie && policy->n_interfaces)
		return 0;
	links_unfollow(w);
	if (!policy->n_interfaces)
		return 0;
	fd = routes_watch(netns_fd);
	if (fd < 0)
		return fd;
	err = loop_add(w->loop, fd, EPOLLIN, on_change, w);
	if (err) {
		close(fd);
		return err;
	}
	w->fd = fd;
	w->cookie = cookie;
	return 0;
}

void links_unfollow(struct links_watch *w)
{
	if (!w->cookie)
		return;
	loop_remove(w->loop, w->fd);
	close(w->fd);
	w->cookie = 0;
}
