/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd's half of the compiler: ports from the proxy's environment, lists from annotations. */
#include "agent/object.h"
#include "agent/policy_compiler.h"
#include "base/inet.h"

#include <string.h>

#define LINKERD_PROXY_ID 2102

/* As linkerd-cni: the pod's annotation, else the namespace's; an empty one counts as absent. */
static const char *linkerd_annotation(const struct compiler *c, const char *key)
{
	const char *value = pod_annotation(c->pod, key);

	if ((!value || !*value) && c->options->namespace_annotations)
		value = pairs_get(c->options->namespace_annotations, key);
	return value && *value ? value : NULL;
}

/*
 * The port on which the proxy listens, from its environment: no annotation tells it as surely.
 * True when the environment says so; *ret_v6: the address is an IPv6 one.
 */
static bool linkerd_port(struct compiler *c, const char *key, uint16_t absent, uint16_t *ret,
			 bool *ret_v6)
{
	const char *value = pod_env(pod_container(c->pod, "linkerd-proxy"), key);
	_cleanup_free_ char *first = NULL;
	uint8_t ip[16];

	*ret = absent;
	*ret_v6 = false;
	if (!value || !*value)
		return false;
	first = xasprintf("%.*s", (int)strcspn(value, ","), value);
	if (inet_parse_endpoint(first, ip, ret) < 0 || !*ret)
		policy_error(
			c,
			xasprintf("%s of container linkerd-proxy is '%s': no address with a port",
				  key, value));
	else
		*ret_v6 = !inet_is_v4(ip);
	return true;
}

static void linkerd_listeners(struct compiler *c)
{
	static const char env[] = "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS";
	static const char old_env[] = "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR";
	struct weir_pod *pod = &c->p->pod;
	uint16_t control, admin;
	bool v6, unused, from_env;

	if (linkerd_port(c, "LINKERD2_PROXY_INBOUND_LISTEN_ADDR", 4143, &pod->inbound_port, &v6))
		c->p->sources[WEIR_SETTING_INBOUND_PORT] = WEIR_SOURCE_LINKERD_ENV;
	if (linkerd_port(c, env, 4140, &pod->outbound_port, &unused) ||
	    linkerd_port(c, old_env, 4140, &pod->outbound_port, &unused))
		c->p->sources[WEIR_SETTING_OUTBOUND_PORT] = WEIR_SOURCE_LINKERD_ENV;
	from_env = linkerd_port(c, "LINKERD2_PROXY_CONTROL_LISTEN_ADDR", 4190, &control, &unused);
	from_env |= linkerd_port(c, "LINKERD2_PROXY_ADMIN_LISTEN_ADDR", 4191, &admin, &unused);
	if (from_env)
		c->p->sources[WEIR_LIST_IN_PORT_EXCLUDE] = WEIR_SOURCE_LINKERD_ENV;
	lists_add_port(&c->lists, WEIR_LIST_IN_PORT_EXCLUDE, control, control);
	lists_add_port(&c->lists, WEIR_LIST_IN_PORT_EXCLUDE, admin, admin);
	/* Linkerd has IPv6 rules exactly when its proxy listens on IPv6 (disableIPv6: false). */
	if (c->options->ipv6 != POLICY_IPV6_AUTO)
		v6 = c->options->ipv6 == POLICY_IPV6_ON;
	pod->flags |= WEIR_POD_IPV4 | (v6 ? WEIR_POD_IPV6 : 0);
}

static void linkerd_skip(struct compiler *c, const char *key, enum weir_list list, __u32 flag,
			 enum weir_source source)
{
	const char *value = linkerd_annotation(c, key);
	char *warning = NULL, *error;
	int r;

	if (!value)
		return;
	r = list == WEIR_LIST_IN_SOURCE_EXCLUDE
		    ? linkerd_cidrs_parse(key, value, list, &c->lists, &error)
		    : linkerd_ports_parse(key, value, list, &c->lists, &warning, &error);
	if (r < 0)
		policy_error(c, error);
	if (!r && warning)
		policy_warn(c, "%s", warning);
	free(warning);
	c->p->pod.flags |= flag;
	c->p->sources[list] = source;
}

/* Up to 0: no such rule. What the container runs as beats what was asked for. */
static int64_t linkerd_id(struct compiler *c, const char *key, int64_t of_container, int64_t of_pod,
			  enum weir_source from_annotation, __u32 *ret_source)
{
	const char *value = linkerd_annotation(c, key);
	int64_t id = -1;
	char *error;

	if (value && linkerd_id_parse(key, value, &id, &error) < 0)
		policy_error(c, error);
	*ret_source = of_container >= 0 ? WEIR_SOURCE_LINKERD_CONTAINER
		      : value		? from_annotation
		      : of_pod >= 0	? WEIR_SOURCE_LINKERD_CONTAINER
					: WEIR_SOURCE_DEFAULT;
	return of_container >= 0 ? of_container : value ? id : of_pod;
}

static void linkerd_ids(struct compiler *c)
{
	const struct pod_container *proxy = pod_container(c->pod, "linkerd-proxy");
	__u32 *sources = c->p->sources;
	int64_t uid, gid;

	uid = linkerd_id(c, LINKERD_UID, proxy->run_as_user, c->pod->run_as_user,
			 WEIR_SOURCE_LINKERD_UID, &sources[WEIR_SETTING_PROXY_UID]);
	gid = linkerd_id(c, LINKERD_GID, proxy->run_as_group, -1, WEIR_SOURCE_LINKERD_GID,
			 &sources[WEIR_SETTING_PROXY_GID]);
	if (sources[WEIR_SETTING_PROXY_UID] == WEIR_SOURCE_DEFAULT)
		uid = LINKERD_PROXY_ID;
	c->p->pod.flags |= (uid > 0 ? WEIR_POD_PROXY_UID : 0) | (gid > 0 ? WEIR_POD_PROXY_GID : 0);
	c->p->pod.proxy_uid = uid > 0 ? (__u32)uid : 0;
	c->p->pod.proxy_gid = gid > 0 ? (__u32)gid : 0;
	if (uid <= 0 && gid <= 0)
		policy_warn(c, "the proxy has no user of its own: what it sends comes back to it");
}

void policy_linkerd_compile(struct compiler *c)
{
	const char *component = pod_label(c->pod, "linkerd.io/control-plane-component");

	c->p->pod.rules = WEIR_RULES_LINKERD;
	c->p->pod.flags = WEIR_POD_OUT_ALL | WEIR_POD_IN_ALL | WEIR_POD_IN_PORTS_EXCLUDE;
	linkerd_listeners(c);
	linkerd_ids(c);
	linkerd_skip(c, LINKERD_SKIP_IN, WEIR_LIST_IN_PORT_EXCLUDE, WEIR_POD_IN_PORTS_EXCLUDE,
		     WEIR_SOURCE_LINKERD_SKIP_IN);
	linkerd_skip(c, LINKERD_SKIP_OUT, WEIR_LIST_OUT_PORT_EXCLUDE, WEIR_POD_OUT_PORTS_EXCLUDE,
		     WEIR_SOURCE_LINKERD_SKIP_OUT);
	linkerd_skip(c, LINKERD_SKIP_SUBNETS, WEIR_LIST_IN_SOURCE_EXCLUDE,
		     WEIR_POD_IN_SOURCES_EXCLUDE, WEIR_SOURCE_LINKERD_SKIP_SUBNETS);
	if (!component || !*component)
		return;
	/* The control plane must reach the API server before its own proxies work. */
	lists_add_port(&c->lists, WEIR_LIST_OUT_PORT_EXCLUDE, 443, 443);
	lists_add_port(&c->lists, WEIR_LIST_OUT_PORT_EXCLUDE, 6443, 6443);
	c->p->pod.flags |= WEIR_POD_OUT_PORTS_EXCLUDE;
}
