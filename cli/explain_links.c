/* SPDX-License-Identifier: Apache-2.0 */
/* By which interface does it leave or come, and what does the pod's policy say of that one? */
#include <bpf/bpf.h>
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "cli/explain.h"
#include "cli/maps.h"
#include "maps/link.h"

/* enum weir_link_flag of an interface by its index or, if that is 0, its name; 0 when the policy
 * does not name it. -errno. */
static int link_flags(int fd, uint64_t cookie, uint32_t ifindex, const char *name)
{
	struct weir_link_key key, *previous = NULL;
	struct weir_link link;

	while (bpf_map_get_next_key(fd, previous, &key) == 0) {
		previous = &key;
		if (key.netns_cookie == cookie && bpf_map_lookup_elem(fd, &key, &link) == 0 &&
		    (ifindex ? key.ifindex == ifindex : !strcmp(link.name, name)))
			return (int)link.flags;
	}
	return 0;
}

static int route_to(const char *bpf_dir, uint64_t cookie, const struct weir_addr *to,
		    uint32_t *ret_ifindex)
{
	_cleanup_close_ int fd = maps_open(bpf_dir, "weir_routes", sizeof(struct weir_route_entry),
					   sizeof(struct weir_route));
	struct weir_route_entry key = { .prefixlen = WEIR_ROUTE_BITS + 128,
					.family = weir_addr_is_v4(to) ? 4 : 6,
					.netns_cookie = cookie,
					.addr = *to };
	struct weir_route route = { 0 };

	if (fd < 0)
		return fd;
	if (bpf_map_lookup_elem(fd, &key, &route) < 0 && errno != ENOENT)
		return -errno;
	*ret_ifindex = route.ifindex;
	return 0;
}

static int ask_outbound(const char *bpf_dir, int fd, const struct explain_query *q,
			const struct pod_entry *pod, bool local)
{
	uint32_t ifindex = WEIR_LO_IFINDEX;
	int err = 0;

	if (!local && !weir_addr_is_loopback(&q->to))
		err = route_to(bpf_dir, pod->cookie, &q->to, &ifindex);
	if (err < 0 || !ifindex)
		return err;
	return link_flags(fd, pod->cookie, ifindex, NULL);
}

int explain_ask_links(const char *bpf_dir, const struct explain_query *q,
		      const struct pod_entry *pod, struct explain_facts *f)
{
	_cleanup_close_ int fd = maps_open(bpf_dir, "weir_links", sizeof(struct weir_link_key),
					   sizeof(struct weir_link));
	int flags = fd < 0 ? fd : 0;

	if (fd >= 0 && q->direction == WEIR_OUTBOUND && !q->interface)
		flags = ask_outbound(bpf_dir, fd, q, pod, f->local);
	else if (fd >= 0 && q->interface)
		flags = link_flags(fd, pod->cookie, 0, q->interface);
	f->link_flags = flags < 0 ? 0 : (uint32_t)flags;
	return flags < 0 ? flags : 0;
}

void explain_assume_links(const struct explain_query *q, const struct explain_facts *f,
			  const struct explain_notes *notes)
{
	if (!(f->pod.flags & (WEIR_POD_IF_EXCLUDE | WEIR_POD_IF_VIRTUAL)))
		return;
	if (q->interface)
		return;
	if (q->direction == WEIR_OUTBOUND)
		json_array_append_new(
			notes->assumed,
			json_string("it is sent as the pod's routes say, not by a bound device"));
	else
		json_array_append_new(
			notes->assumed,
			json_string("it comes in by an interface that the pod's policy does not "
				    "name: --interface=NAME says which"));
}
