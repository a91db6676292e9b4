/* SPDX-License-Identifier: Apache-2.0 */
/* Istio's half of the compiler: what its CNI plugin would hand to iptables becomes flags and lists.
 */
#include "agent/policy_compiler.h"

#include <string.h>

#define ISTIO_PROXY_ID 1337

/* Why istio-cni would leave the pod alone, in its order; NULL if it would not. */
const char *policy_istio_declines(const struct compiler *c)
{
	const struct pod_container *proxy = pod_container(c->pod, "istio-proxy");
	const char *inject = pod_istio_inject(c->pod), *disable;
	bool on;

	if (!c->forced && !strcmp(c->pod->namespace, "kube-system"))
		return "istio-cni excludes namespace kube-system";
	if (pod_container(c->pod, "istio-init"))
		return "container istio-init programs its own iptables rules";
	if (c->forced || !proxy)
		return NULL;
	disable = pod_env(proxy, "DISABLE_ENVOY");
	if (disable && !go_parse_bool(disable, &on, NULL) && on)
		return "DISABLE_ENVOY is set in container istio-proxy";
	if (proxy->n_args >= 2 && !strcmp(proxy->args[0], "proxy") && *proxy->args[1] &&
	    strcmp(proxy->args[1], "sidecar"))
		return "container istio-proxy is no sidecar: its second argument says otherwise";
	if (inject && !go_parse_bool(inject, &on, NULL) && !on)
		return "sidecar.istio.io/inject is false";
	if (!pod_annotation(c->pod, "sidecar.istio.io/status"))
		return "annotation sidecar.istio.io/status is missing";
	return NULL;
}

/*
 * Istio asks the interfaces at the time when it loads its rules: if the first address is IPv4, it
 * loads no IPv6 rules, unless dual stack is on and an IPv6 address is there; if it is IPv6, it
 * loads both. podIPs are these addresses. While they are unknown both families are captured: what
 * is captured in excess fails visibly, what is not captured would pass unseen.
 */
static __u32 policy_families(const struct compiler *c, bool dual_stack)
{
	bool v6 = !c->pod->n_ips;

	for (size_t i = 0; i < c->pod->n_ips && (!i || dual_stack); i++)
		v6 |= !weir_addr_is_v4(&c->pod->ips[i]);
	if (c->options->ipv6 != POLICY_IPV6_AUTO)
		v6 = c->options->ipv6 == POLICY_IPV6_ON;
	return WEIR_POD_IPV4 | (v6 ? WEIR_POD_IPV6 : 0);
}

static const struct istio_list {
	struct istio_key key;
	const char *absent; /* the CNI plugin's default; the second 15020 is a quirk of it */
	enum weir_list list;
	enum weir_source source, absent_source;
	__u32 some, all; /* flags: the list has entries; it is "*" */
	bool ports;
} istio_lists[] = {
#define ISTIO_LIST(NAME, name, wildcard, absent, LIST, FROM, some, all, ports)     \
	{                                                                          \
		{ ISTIO_##NAME, name, wildcard, false }, absent, WEIR_LIST_##LIST, \
			WEIR_SOURCE_##NAME, WEIR_SOURCE_##FROM, some, all, ports   \
	}
	/* clang-format off */
	ISTIO_LIST(OUT_INCLUDE_RANGES, "includeIPRanges", true, "*", OUT_CIDR_INCLUDE, DEFAULT,
		   WEIR_POD_OUT_CIDRS, WEIR_POD_OUT_ALL, false),
	ISTIO_LIST(OUT_EXCLUDE_RANGES, "excludeIPRanges", false, "", OUT_CIDR_EXCLUDE, DEFAULT,
		   WEIR_POD_OUT_CIDRS_EXCLUDE, 0, false),
	ISTIO_LIST(OUT_INCLUDE_PORTS, NULL, false, "", OUT_PORT_INCLUDE, DEFAULT,
		   WEIR_POD_OUT_PORTS, 0, true),
	ISTIO_LIST(IN_INCLUDE_PORTS, "includeInboundPorts", true, "*", IN_PORT_INCLUDE, DEFAULT,
		   WEIR_POD_IN_PORTS, WEIR_POD_IN_ALL, true),
	ISTIO_LIST(IN_EXCLUDE_PORTS, "excludeInboundPorts", false, "15020", IN_PORT_EXCLUDE, DEFAULT,
		   WEIR_POD_IN_PORTS_EXCLUDE, 0, true),
	ISTIO_LIST(OUT_EXCLUDE_PORTS, "excludeOutboundPorts", false, "15020", OUT_PORT_EXCLUDE,
		   CNI_DEFAULT, WEIR_POD_OUT_PORTS_EXCLUDE, 0, true),
	/* clang-format on */
};

static void istio_list(struct compiler *c, const struct istio_list *l)
{
	const char *annotation = pod_annotation(c->pod, l->key.key);
	const char *value = annotation ?: l->absent;
	size_t before = c->lists.n_ports + c->lists.n_cidrs;
	bool all = false, loopback = false;
	char *error;
	int r;

	r = l->ports ? istio_ports_parse(&l->key, value, l->list, &c->lists, &all, &error)
		     : istio_cidrs_parse(&l->key, value, l->list, &c->lists, &all, &loopback,
					 &error);
	if (r < 0) {
		policy_error(c, error);
		return;
	}
	if (all)
		c->p->pod.flags |= l->all;
	if (c->lists.n_ports + c->lists.n_cidrs > before)
		c->p->pod.flags |= l->some;
	if (loopback && l->list == WEIR_LIST_OUT_CIDR_INCLUDE)
		c->p->pod.flags |= WEIR_POD_OUT_LOOPBACK;
	c->p->sources[l->list] = annotation ? l->source : l->absent_source;
}

/*
 * Excluded interfaces may be ignored: more is captured than asked for. Virtual interfaces may not:
 * what a machine behind one sends is forwarded, and weir does not see it.
 */
static void istio_interfaces(struct compiler *c)
{
	static const char *const keys[] = { ISTIO_EXCLUDE_INTERFACES, ISTIO_REROUTE_INTERFACES,
					    ISTIO_KUBEVIRT_INTERFACES };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *value = pod_annotation(c->pod, keys[i]);
		size_t n = 0;
		char *error;

		if (!value)
			continue;
		if (istio_interfaces_parse(keys[i], value, &n, &error) < 0)
			policy_error(c, error);
		else if (n && !i)
			policy_warn(c, "annotation %s is not supported yet and ignored", keys[i]);
		else if (n)
			policy_error(c,
				     xasprintf("annotation %s is not supported yet, and what comes "
					       "from these interfaces would bypass the proxy",
					       keys[i]));
		if (i == 1)
			break; /* the deprecated name counts only without the new one */
	}
}

static bool istio_env_bool(struct compiler *c, const struct pod_container *proxy, const char *key)
{
	const char *value = proxy ? pod_env(proxy, key) : NULL;
	bool on = false;
	char *error;

	if (value && go_parse_bool(value, &on, &error) < 0) {
		policy_warn(c, "%s of container istio-proxy: %s", key, error);
		free(error);
	}
	return on;
}

static void istio_unsupported(struct compiler *c, const struct pod_container *proxy)
{
	static const char *const neutral[][2] = { { "ISTIO_OUTBOUND_OWNER_GROUPS", "*" },
						  { "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "" },
						  { "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
						    "127.0.0.1/32" } };
	static const char text[] = "%s of container istio-proxy is not supported yet and ignored";

	if (istio_env_bool(c, proxy, "ISTIO_META_DNS_CAPTURE"))
		policy_warn(c, text, "ISTIO_META_DNS_CAPTURE");
	for (size_t i = 0; proxy && i < ARRAY_SIZE(neutral); i++) {
		const char *value = pod_env(proxy, neutral[i][0]);

		if (value && *value && strcmp(value, neutral[i][1]))
			policy_warn(c, text, neutral[i][0]);
	}
}

static void istio_ids(struct compiler *c, const struct pod_container *proxy)
{
	int64_t uid = proxy ? proxy->run_as_user : -1, gid = proxy ? proxy->run_as_group : -1;
	struct policy *p = c->p;

	p->pod.flags |= WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID;
	p->pod.proxy_uid = uid > 0 ? (__u32)uid : ISTIO_PROXY_ID;
	p->pod.proxy_gid = gid > 0 ? (__u32)gid : ISTIO_PROXY_ID;
	p->sources[WEIR_SETTING_PROXY_UID] = uid > 0 ? WEIR_SOURCE_CONTAINER : WEIR_SOURCE_DEFAULT;
	p->sources[WEIR_SETTING_PROXY_GID] = gid > 0 ? WEIR_SOURCE_CONTAINER : WEIR_SOURCE_DEFAULT;
}

static enum istio_mode istio_mode(struct compiler *c)
{
	const char *value = pod_annotation(c->pod, ISTIO_MODE);
	enum istio_mode mode = ISTIO_REDIRECT;
	char *error;

	if (value && istio_mode_parse(value, &mode, &error) < 0)
		policy_error(c, error);
	if (mode == ISTIO_TPROXY)
		policy_error(c, xstrdup("annotation " ISTIO_MODE
					": TPROXY is not supported yet, use REDIRECT"));
	return mode;
}

/* The injector adds this port to excludeInboundPorts; here it is only checked, as it does. */
static void istio_status_port(struct compiler *c)
{
	static const struct istio_key key = { ISTIO_STATUS_PORT, "excludeInboundPorts", false,
					      true };
	const char *value = pod_annotation(c->pod, ISTIO_STATUS_PORT);
	_cleanup_lists_ struct lists unused = { 0 };
	char *error;
	bool all;

	if (value &&
	    istio_ports_parse(&key, value, WEIR_LIST_IN_PORT_EXCLUDE, &unused, &all, &error) < 0)
		policy_error(c, error);
}

void policy_istio_compile(struct compiler *c)
{
	const struct pod_container *proxy = pod_container(c->pod, "istio-proxy");
	static const uint16_t own_ports[] = { 15020, 15021, 15090 };
	struct weir_pod *pod = &c->p->pod;

	if (istio_mode(c) == ISTIO_NONE) {
		policy_set_state(c, POLICY_NOT_CAPTURED, "annotation " ISTIO_MODE " is NONE");
		return;
	}
	pod->rules = WEIR_RULES_ISTIO;
	pod->outbound_port = 15001;
	pod->inbound_port = 15006;
	pod->tunnel_port = 15008;
	pod->flags = policy_families(c, istio_env_bool(c, proxy, "ISTIO_DUAL_STACK"));
	for (size_t i = 0; i < ARRAY_SIZE(istio_lists); i++)
		istio_list(c, &istio_lists[i]);
	for (size_t i = 0; i < ARRAY_SIZE(own_ports); i++)
		lists_add_port(&c->lists, WEIR_LIST_IN_PORT_EXCLUDE, own_ports[i], own_ports[i]);
	pod->flags |= WEIR_POD_IN_PORTS_EXCLUDE;
	istio_status_port(c);
	istio_interfaces(c);
	istio_ids(c, proxy);
	istio_unsupported(c, proxy);
}
