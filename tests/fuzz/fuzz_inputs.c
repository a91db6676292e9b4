/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pod whose inputs are arbitrary texts: each line of the data is one of them, and its first byte
 * says which. So the fuzzer need not find out what JSON looks like.
 */
#include "agent/annotations.h"
#include "agent/object.h"
#include "base/buf.h"
#include "tests/fuzz/invariants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const annotations[] = {
	ISTIO_MODE,
	ISTIO_IN_INCLUDE_PORTS,
	ISTIO_IN_EXCLUDE_PORTS,
	ISTIO_OUT_INCLUDE_PORTS,
	ISTIO_OUT_EXCLUDE_PORTS,
	ISTIO_OUT_INCLUDE_RANGES,
	ISTIO_OUT_EXCLUDE_RANGES,
	ISTIO_EXCLUDE_INTERFACES,
	ISTIO_KUBEVIRT_INTERFACES,
	ISTIO_REROUTE_INTERFACES,
	ISTIO_STATUS_PORT,
	LINKERD_SKIP_IN,
	LINKERD_SKIP_OUT,
	LINKERD_SKIP_SUBNETS,
	LINKERD_SKIP_IN_SUBNETS,
	LINKERD_SKIP_OUT_SUBNETS,
	LINKERD_IN_PORT,
	LINKERD_OUT_PORT,
	LINKERD_CONTROL_PORT,
	LINKERD_ADMIN_PORT,
	LINKERD_UID,
	LINKERD_GID,
	"proxy.istio.io/config",
	"sidecar.istio.io/inject",
	"weir.io/capture",
	"weir.io/before-proxy",
	"weir.io/proxy-down",
	"weir.io/dns-servers",
	"weir.io/proxy-outbound-port",
	"weir.io/proxy-inbound-port",
	"weir.io/proxy-dns-port",
	"weir.io/proxy-uid",
	"weir.io/proxy-gid",
};

static const char *const variables[] = {
	"ISTIO_META_DNS_CAPTURE",
	"ISTIO_DUAL_STACK",
	"INVALID_DROP",
	"DISABLE_ENVOY",
	"ISTIO_OUTBOUND_OWNER_GROUPS",
	"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
	"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
	"CAPTURE_ALL_DNS",
	"PROXY_UID",
	"PROXY_GID",
	"LINKERD2_PROXY_INBOUND_LISTEN_ADDR",
	"LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS",
	"LINKERD2_PROXY_CONTROL_LISTEN_ADDR",
	"LINKERD2_PROXY_ADMIN_LISTEN_ADDR",
};

static const char *const proxies[] = { "istio-proxy", "linkerd-proxy", "app" };
static const char *const inits[] = { "istio-init", "istio-validation", "linkerd-init", "app-init" };

static void add_pair(struct pod_pairs *pairs, const char *key, const char *value)
{
	pairs->items = xrealloc(pairs->items, (pairs->n + 1) * sizeof(*pairs->items));
	pairs->items[pairs->n++] =
		(struct pod_pair){ .key = xstrdup(key), .value = xstrdup(value) };
}

static struct pod_container *add_container(struct pod_containers *containers, const char *name)
{
	containers->items = xcalloc(1, sizeof(*containers->items));
	containers->n = 1;
	containers->items[0] = (struct pod_container){ .name = xstrdup(name),
						       .run_as_user = -1,
						       .run_as_group = -1 };
	return &containers->items[0];
}

static void add_input(struct pod *pod, unsigned char which, const char *text)
{
	struct pod_container *proxy = &pod->containers.items[0];
	struct pod_container *init = &pod->init_containers.items[0];

	if (which < ARRAY_SIZE(annotations)) {
		add_pair(&pod->annotations, annotations[which], text);
	} else if (which - ARRAY_SIZE(annotations) < ARRAY_SIZE(variables)) {
		const char *name = variables[which - ARRAY_SIZE(annotations)];

		add_pair(&proxy->env, name, text);
		add_pair(&init->env, name, text);
	} else {
		init->args = xrealloc(init->args, (init->n_args + 1) * sizeof(*init->args));
		init->args[init->n_args++] = xstrdup(text);
	}
}

static struct pod *new_pod(unsigned char kind)
{
	struct pod *pod = xcalloc(1, sizeof(*pod));

	pod->namespace = xstrdup("shop");
	pod->name = xstrdup("cart");
	pod->uid = xstrdup("");
	pod->host_users = true;
	pod->run_as_user = pod->run_as_group = -1;
	add_pair(&pod->annotations, "sidecar.istio.io/status", "{}");
	if (kind & 0x80)
		add_pair(&pod->annotations, "weir.io/capture", "on");
	add_container(&pod->containers, proxies[(kind & 0x0f) % ARRAY_SIZE(proxies)]);
	add_container(&pod->init_containers, inits[(kind >> 4 & 7) % ARRAY_SIZE(inits)]);
	return pod;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	_cleanup_pod_ struct pod *pod = new_pod(size ? data[0] : 0);
	struct policy_options options = { 0 };
	const unsigned char *end = data + size;

	for (const unsigned char *at = data + (size ? 1 : 0); at < end;) {
		const unsigned char *stop = memchr(at, '\n', (size_t)(end - at)) ?: end;
		_cleanup_free_ char *text =
			stop > at ? text_of(at + 1, (size_t)(stop - at - 1)) : NULL;

		if (text) /* letters stand for inputs, so that seeds can be read */
			add_input(pod, (unsigned char)(*at - '0'), text);
		at = stop + 1;
	}
	check_pod(pod, &options);
	return 0;
}
