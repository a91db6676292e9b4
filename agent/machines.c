/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/machines.h"

#include <bpf/bpf.h>
#include <string.h>

#include "agent/delivery.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/netns.h"
#include "maps/origdst.h"

#define LOOK_MS 1000 /* who has just begun to listen must answer before a machine gives up */

const char machines_denied_text[] =
	"what its virtual machines send cannot reach its proxy: weir may not look for the proxy's "
	"listener (CAP_DAC_READ_SEARCH; virtualMachines: true in the chart)";

/* Of all sockets that listen there; 0: none does. */
static uint64_t cookies_of(int map, uint64_t netns_cookie, uint16_t port)
{
	uint64_t all = 0;

	for (int i = 0; i < 2 * WEIR_LISTENER_SLOTS; i++) {
		struct weir_listener_key key = { .netns_cookie = netns_cookie,
						 .port = port,
						 .v6 = i & 1,
						 .slot = (uint8_t)(i / 2) };
		uint64_t cookie;

		if (bpf_map_lookup_elem(map, &key, &cookie) == 0)
			all = all * 31 + cookie;
	}
	return all;
}

static void open_listeners(struct managed *pod, uint64_t cookies)
{
	_cleanup_close_ int fd = netns_open(pod->netns);
	uint64_t cookie = 0;
	int err = fd < 0 ? fd : netns_cookie(fd, &cookie);

	if (err < 0 || cookie != pod->cookie)
		return; /* gone: the next run says so */
	err = delivery_open_listeners(fd, pod->policy->pod.outbound_port);
	pod->machines_denied = err == -EACCES;
	if (pod->machines_denied)
		managed_set_listener(pod, xstrdup(machines_denied_text));
	else if (err < 0)
		log_error("what virtual machines send cannot reach their pod's proxy", "pod",
			  pod->name, "error", strerror(-err), NULL);
	pod->machines_cookies = cookies;
}

static bool has_machines(const struct managed *pod)
{
	return pod->present && pod->applied && pod->cookie &&
	       (pod->policy->pod.flags & WEIR_POD_IF_VIRTUAL);
}

bool machines_denied(const struct managed *pod)
{
	return pod->machines_denied && has_machines(pod);
}

void machines_look(struct machines *m)
{
	int map = loader_map(m->reconciler->loader, "weir_listeners");
	bool any = false;

	for (struct managed *pod = m->reconciler->pods; pod; pod = pod->next) {
		uint64_t cookies;

		if (!has_machines(pod))
			continue;
		any = true;
		cookies = cookies_of(map, pod->cookie, pod->policy->pod.outbound_port);
		if (cookies && cookies != pod->machines_cookies)
			open_listeners(pod, cookies);
	}
	loop_arm(m->timer, any ? LOOK_MS : -1);
}

static void on_timer(void *ctx, uint32_t events)
{
	(void)events;
	machines_look(ctx);
}

int machines_open(struct machines *m, struct loop *loop, struct reconciler *reconciler)
{
	*m = (struct machines){ .loop = loop, .reconciler = reconciler };
	m->timer = loop_timer(loop, on_timer, m);
	return m->timer < 0 ? m->timer : 0;
}

void machines_close(struct machines *m)
{
	if (m->loop)
		loop_remove(m->loop, m->timer);
	if (m->loop)
		close_fd(&m->timer);
}
