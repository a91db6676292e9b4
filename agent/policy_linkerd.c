/* SPDX-License-Identifier: Apache-2.0 */
/* Linkerd's half of the compiler: ports from the proxy's environment, lists from annotations. */
#include "agent/init_args.h"
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

/* A port that the proxy listens on, and where that stands. */
struct listener {
	const char *env[2]; /* of container linkerd-proxy: nothing tells it as surely */
	const char *annotation; /* what the injector makes that environment of */
	uint16_t absent;
	const char *option; /* of linkerd-init, which redirects to that port */
	char letter;
};

static const struct listener inbound = {
	{ "LINKERD2_PROXY_INBOUND_LISTEN_ADDR" }, LINKERD_IN_PORT, 4143, "incoming-proxy-port", 'p'
};
static const struct listener outbound = { { "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS",
					    "LINKERD2_PROXY_OUTBOUND_LISTEN_ADDR" },
					  LINKERD_OUT_PORT,
					  4140,
					  "outgoing-proxy-port",
					  'o' };
static const struct listener control = {
	{ "LINKERD2_PROXY_CONTROL_LISTEN_ADDR" }, LINKERD_CONTROL_PORT, 4190, NULL, 0
};
static const struct listener admin = {
	{ "LINKERD2_PROXY_ADMIN_LISTEN_ADDR" }, LINKERD_ADMIN_PORT, 4191, NULL, 0
};

/* An address with a port, or several of which the first counts; *ret_v6: it is an IPv6 one. */
static void listen_addr(struct compiler *c, const char *env, const char *value, uint16_t *ret,
			bool *ret_v6)
{
	_cleanup_free_ char *first = xasprintf("%.*s", (int)strcspn(value, ","), value);
	uint8_t ip[16];

	if (inet_parse_endpoint(first, ip, ret) < 0 || !*ret)
		policy_error(
			c,
			xasprintf("%s of container linkerd-proxy is '%s': no address with a port",
				  env, value));
	else
		*ret_v6 = !inet_is_v4(ip);
}

/* An option of linkerd-init; NULL when it is not given, or the container not there. */
static const char *linkerd_init_arg(const struct compiler *c, const char *option, char letter)
{
	const struct pod_container *init = pod_container(c->pod, "linkerd-init");

	return init && option ? init_arg(init, option, letter) : NULL;
}

/* As errors name it; owned by the caller. */
static char *init_where(const char *option)
{
	return xasprintf("argument --%s of container linkerd-init", option);
}

static void told_port(struct compiler *c, const char *option, const char *value, uint16_t *ret)
{
	_cleanup_free_ char *where = init_where(option);
	const struct istio_key key = { .where = where };
	char *error;

	if (istio_port_parse(&key, value, ret, &error) < 0)
		policy_error(c, error);
}

static enum weir_source linkerd_port(struct compiler *c, const struct listener *l,
				     enum weir_source from_annotation, uint16_t *ret, bool *ret_v6)
{
	const struct pod_container *proxy = pod_container(c->pod, "linkerd-proxy");
	const char *told = linkerd_init_arg(c, l->option, l->letter), *value;
	enum weir_source source = WEIR_SOURCE_DEFAULT;
	char *error;

	*ret = l->absent;
	*ret_v6 = false;
	for (size_t i = 0; i < ARRAY_SIZE(l->env) && l->env[i]; i++) {
		value = pod_env(proxy, l->env[i]);
		if (!value || !*value)
			continue;
		listen_addr(c, l->env[i], value, ret, ret_v6);
		source = WEIR_SOURCE_LINKERD_ENV;
		break;
	}
	value = source == WEIR_SOURCE_DEFAULT ? linkerd_annotation(c, l->annotation) : NULL;
	if (value && own_port_parse(l->annotation, value, ret, &error) < 0) {
		policy_mistake(c, error); /* the injector keeps its default */
		value = NULL;
	}
	if (value)
		source = from_annotation;
	if (told) {
		told_port(c, l->option, told, ret);
		source = WEIR_SOURCE_LINKERD_INIT_ARGS;
	}
	return source;
}

static void linkerd_listeners(struct compiler *c)
{
	struct weir_pod *pod = &c->p->pod;
	__u32 *sources = c->p->sources;
	uint16_t ports[2];
	bool v6, unused;

	sources[WEIR_SETTING_INBOUND_PORT] =
		linkerd_port(c, &inbound, WEIR_SOURCE_LINKERD_IN_PORT, &pod->inbound_port, &v6);
	sources[WEIR_SETTING_OUTBOUND_PORT] = linkerd_port(
		c, &outbound, WEIR_SOURCE_LINKERD_OUT_PORT, &pod->outbound_port, &unused);
	sources[WEIR_LIST_IN_PORT_EXCLUDE] =
		linkerd_port(c, &control, WEIR_SOURCE_DEFAULT, &ports[0], &unused);
	if (linkerd_port(c, &admin, WEIR_SOURCE_DEFAULT, &ports[1], &unused) ==
	    WEIR_SOURCE_LINKERD_ENV)
		sources[WEIR_LIST_IN_PORT_EXCLUDE] = WEIR_SOURCE_LINKERD_ENV;
	/* linkerd-init is told these two among the others */
	for (size_t i = 0; i < ARRAY_SIZE(ports) && !pod_container(c->pod, "linkerd-init"); i++)
		lists_add_port(&c->lists, WEIR_LIST_IN_PORT_EXCLUDE, ports[i], ports[i]);
	/* Linkerd has IPv6 rules exactly when its proxy listens on IPv6 (disableIPv6: false). */
	if (c->options->ipv6 != POLICY_IPV6_AUTO)
		v6 = c->options->ipv6 == POLICY_IPV6_ON;
	pod->flags |= WEIR_POD_IPV4 | (v6 ? WEIR_POD_IPV6 : 0);
	sources[WEIR_SETTING_FAMILIES] = sources[WEIR_SETTING_INBOUND_PORT];
}

static const struct linkerd_list {
	const char *key;
	const char *option; /* of linkerd-init */
	enum weir_list list;
	__u32 flag;
	enum weir_source source;
	bool cidrs;
} linkerd_lists[] = {
	{ LINKERD_SKIP_IN, "inbound-ports-to-ignore", WEIR_LIST_IN_PORT_EXCLUDE,
	  WEIR_POD_IN_PORTS_EXCLUDE, WEIR_SOURCE_LINKERD_SKIP_IN, false },
	{ LINKERD_SKIP_OUT, "outbound-ports-to-ignore", WEIR_LIST_OUT_PORT_EXCLUDE,
	  WEIR_POD_OUT_PORTS_EXCLUDE, WEIR_SOURCE_LINKERD_SKIP_OUT, false },
	{ LINKERD_SKIP_SUBNETS, "subnets-to-ignore", WEIR_LIST_IN_SOURCE_EXCLUDE,
	  WEIR_POD_IN_SOURCES_EXCLUDE, WEIR_SOURCE_LINKERD_SKIP_SUBNETS, true },
	{ LINKERD_SKIP_IN_SUBNETS, NULL, WEIR_LIST_IN_SOURCE_EXCLUDE, WEIR_POD_IN_SOURCES_EXCLUDE,
	  WEIR_SOURCE_LINKERD_SKIP_IN_SUBNETS, true },
	{ LINKERD_SKIP_OUT_SUBNETS, NULL, WEIR_LIST_OUT_CIDR_EXCLUDE, WEIR_POD_OUT_CIDRS_EXCLUDE,
	  WEIR_SOURCE_LINKERD_SKIP_OUT_SUBNETS, true },
};

static void linkerd_skip(struct compiler *c, const struct linkerd_list *l,
			 const struct istio_key *key, const char *value, enum weir_source source)
{
	char *warning = NULL, *error;
	int r;

	r = l->cidrs ? linkerd_cidrs_parse(key, value, l->list, &c->lists, &error)
		     : linkerd_ports_parse(key, value, l->list, &c->lists, &warning, &error);
	if (r < 0)
		policy_error(c, error);
	if (!r && warning)
		policy_warn(c, "%s", warning);
	free(warning);
	c->p->pod.flags |= l->flag;
	c->p->sources[l->list] = source;
}

/*
 * The lists are what linkerd-init is told where it is in the pod, and else what linkerd-cni would
 * find: annotations, with no ports skipped by default but the proxy's own.
 */
static void linkerd_skips(struct compiler *c, const struct pod_container *init)
{
	for (size_t i = 0; i < ARRAY_SIZE(linkerd_lists); i++) {
		const struct linkerd_list *l = &linkerd_lists[i];
		_cleanup_free_ char *told =
			init && l->option ? init_arg_list(init, l->option, 0) : NULL;
		bool from_init = init && l->option;
		const char *value = from_init ? told : linkerd_annotation(c, l->key);
		_cleanup_free_ char *where = from_init ? init_where(l->option) : NULL;
		const struct istio_key key = { .key = l->key, .where = where };

		if (value && *value)
			linkerd_skip(c, l, &key, value,
				     from_init ? WEIR_SOURCE_LINKERD_INIT_ARGS : l->source);
	}
}

/* linkerd-init's -r: the ports that it redirects, instead of all. */
static void linkerd_redirected(struct compiler *c, const struct pod_container *init)
{
	_cleanup_free_ char *told = init ? init_arg_list(init, "ports-to-redirect", 'r') : NULL;
	const struct istio_key key = { .where = "argument -r of container linkerd-init" };
	char *error;
	bool all;

	c->p->pod.flags |= WEIR_POD_IN_ALL;
	if (!told || !*told)
		return;
	c->p->pod.flags ^= WEIR_POD_IN_ALL | WEIR_POD_IN_PORTS;
	c->p->sources[WEIR_LIST_IN_PORT_INCLUDE] = WEIR_SOURCE_LINKERD_INIT_ARGS;
	if (istio_ports_parse(&key, told, WEIR_LIST_IN_PORT_INCLUDE, &c->lists, &all, &error) < 0)
		policy_error(c, error);
}

struct linkerd_owner {
	const char *key;
	const char *option; /* of linkerd-init */
	char letter;
	enum weir_source source; /* when the annotation says it */
};

/*
 * Up to 0: no such rule. What linkerd-init is told counts most, then what the container runs as,
 * for that is what the kernel will compare with.
 */
static int64_t linkerd_id(struct compiler *c, const struct linkerd_owner *o, int64_t of_container,
			  int64_t of_pod, __u32 *ret_source)
{
	const char *told = linkerd_init_arg(c, o->option, o->letter);
	const char *value = told ?: linkerd_annotation(c, o->key);
	_cleanup_free_ char *where = told ? init_where(o->option) : NULL;
	const struct istio_key key = { .key = o->key, .where = where };
	int64_t id = -1;
	char *error;

	if (value && linkerd_id_parse(&key, value, &id, &error) < 0) {
		/* the injector keeps its default, linkerd-init ends */
		if (told)
			policy_error(c, error);
		else
			policy_mistake(c, error);
		value = NULL;
	}
	if (told || (value && of_container < 0)) {
		*ret_source = told ? WEIR_SOURCE_LINKERD_INIT_ARGS : o->source;
		return id;
	}
	id = of_container >= 0 ? of_container : of_pod;
	*ret_source = id >= 0 ? WEIR_SOURCE_LINKERD_CONTAINER : WEIR_SOURCE_DEFAULT;
	return id;
}

static void linkerd_ids(struct compiler *c)
{
	static const struct linkerd_owner user = { LINKERD_UID, "proxy-uid", 'u',
						   WEIR_SOURCE_LINKERD_UID };
	static const struct linkerd_owner group = { LINKERD_GID, "proxy-gid", 'g',
						    WEIR_SOURCE_LINKERD_GID };
	const struct pod_container *proxy = pod_container(c->pod, "linkerd-proxy");
	__u32 *sources = c->p->sources;
	int64_t uid, gid;

	uid = linkerd_id(c, &user, proxy->run_as_user, c->pod->run_as_user,
			 &sources[WEIR_SETTING_PROXY_UID]);
	gid = linkerd_id(c, &group, proxy->run_as_group, -1, &sources[WEIR_SETTING_PROXY_GID]);
	if (sources[WEIR_SETTING_PROXY_UID] == WEIR_SOURCE_DEFAULT)
		uid = LINKERD_PROXY_ID;
	c->p->pod.flags |= (uid > 0 ? WEIR_POD_PROXY_UID : 0) | (gid > 0 ? WEIR_POD_PROXY_GID : 0);
	c->p->pod.proxy_uid = uid > 0 ? (__u32)uid : 0;
	c->p->pod.proxy_gid = gid > 0 ? (__u32)gid : 0;
	if (uid <= 0 && gid <= 0)
		policy_warn(c, "the proxy has no user of its own: what it sends comes back to it");
}

static void skip_outbound(struct compiler *c, uint16_t port)
{
	lists_add_port(&c->lists, WEIR_LIST_OUT_PORT_EXCLUDE, port, port);
}

/*
 * The control plane must reach the API server before its own proxies work: all ports of Service
 * default/kubernetes are skipped, or those that it usually has while it is not known.
 */
static void linkerd_control_plane(struct compiler *c)
{
	const char *component = pod_label(c->pod, "linkerd.io/control-plane-component");
	const struct service *server = c->options->api_server;

	if (!component || !*component)
		return;
	c->p->pod.flags |= WEIR_POD_OUT_PORTS_EXCLUDE;
	if (!c->p->sources[WEIR_LIST_OUT_PORT_EXCLUDE])
		c->p->sources[WEIR_LIST_OUT_PORT_EXCLUDE] = WEIR_SOURCE_LINKERD_CONTROL;
	for (size_t i = 0; server && i < server->n_ports; i++) {
		skip_outbound(c, server->ports[i].port);
		if (server->ports[i].target_port)
			skip_outbound(c, server->ports[i].target_port);
	}
	if (server && server->n_ports)
		return;
	skip_outbound(c, 443);
	skip_outbound(c, 6443);
}

/* Ports that are skipped return before those that are redirected: here the exclusion wins. */
static void unlist_skipped(struct compiler *c)
{
	struct port_range *ports = c->lists.ports;
	size_t kept = 0;

	for (size_t i = 0; i < c->lists.n_ports; i++) {
		bool skipped = false;

		for (size_t j = 0;
		     ports[i].list == WEIR_LIST_IN_PORT_INCLUDE && j < c->lists.n_ports; j++)
			skipped |= ports[j].list == WEIR_LIST_IN_PORT_EXCLUDE &&
				   ports[j].lo <= ports[i].lo && ports[i].hi <= ports[j].hi;
		ports[i].list = skipped ? WEIR_LIST_MAX : ports[i].list;
	}
	for (size_t i = 0; i < c->lists.n_ports; i++)
		if (ports[i].list != WEIR_LIST_MAX)
			ports[kept++] = ports[i];
	c->lists.n_ports = kept;
}

void policy_linkerd_compile(struct compiler *c)
{
	const struct pod_container *init = pod_container(c->pod, "linkerd-init");

	if (init)
		policy_warn(c,
			    "container linkerd-init loads iptables rules beside weir: remove it");
	c->p->pod.rules = WEIR_RULES_LINKERD;
	c->p->pod.flags = WEIR_POD_OUT_ALL | WEIR_POD_IN_PORTS_EXCLUDE;
	linkerd_redirected(c, init);
	linkerd_listeners(c);
	linkerd_ids(c);
	linkerd_skips(c, init);
	linkerd_control_plane(c);
	unlist_skipped(c);
}
