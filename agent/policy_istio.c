/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Istio's half of the compiler: what its CNI plugin, or istio-init where it is in the pod, would
 * hand to iptables becomes flags and lists.
 */
#include "agent/go_text.h"
#include "agent/policy_compiler.h"

#include <string.h>

#define ISTIO_PROXY_ID 1337
#define ISTIO_DNS_PORT 15053
#define DNS_SERVERS    "weir.io/dns-servers"

static bool is_cni_node(const struct pod *pod)
{
	static const char prefix[] = "istio-cni-node-";

	return !strcmp(pod->namespace, "istio-system") &&
	       !strncmp(pod->name, prefix, strlen(prefix));
}

/* Its second argument names its role: sidecar, router, waypoint. */
static bool is_sidecar(const struct pod_container *proxy)
{
	return proxy->n_args < 2 || strcmp(proxy->args[0], "proxy") || !*proxy->args[1] ||
	       !strcmp(proxy->args[1], "sidecar");
}

bool policy_istio_has_sidecar(const struct compiler *c)
{
	const struct pod_container *proxy = pod_container(c->pod, "istio-proxy");

	return proxy && is_sidecar(proxy);
}

/* Why istio-cni would leave the pod alone, in its order; NULL if it would not. */
const char *policy_istio_declines(const struct compiler *c)
{
	const struct pod_container *proxy = pod_container(c->pod, "istio-proxy");
	const char *inject = pod_istio_inject(c->pod), *disable;
	bool on;

	if (!c->forced && !strcmp(c->pod->namespace, "kube-system"))
		return "istio-cni excludes namespace kube-system";
	if (is_cni_node(c->pod))
		return "istio-cni lets its own pods through";
	if (!c->forced && !c->takeover && pod_container(c->pod, "istio-init"))
		return "container istio-init programs its own iptables rules";
	if (c->forced || !proxy)
		return NULL;
	disable = pod_env(proxy, "DISABLE_ENVOY");
	if (disable && !go_parse_bool(disable, &on, NULL) && on)
		return "DISABLE_ENVOY is set in container istio-proxy";
	if (!is_sidecar(proxy))
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
static void families(struct compiler *c, bool dual_stack)
{
	bool v6 = !c->pod->n_ips;

	for (size_t i = 0; i < c->pod->n_ips && (!i || dual_stack); i++)
		v6 |= !weir_addr_is_v4(&c->pod->ips[i]);
	if (c->options->ipv6 != POLICY_IPV6_AUTO)
		v6 = c->options->ipv6 == POLICY_IPV6_ON;
	c->p->pod.flags |= WEIR_POD_IPV4 | (v6 ? WEIR_POD_IPV6 : 0);
	c->p->sources[WEIR_SETTING_FAMILIES] =
		c->pod->n_ips ? WEIR_SOURCE_POD_IPS : WEIR_SOURCE_DEFAULT;
}

/* What an input's text is parsed by: an annotation's grammar, or that of istio-iptables. */
static struct istio_key key_of(const struct istio_value *v, const char *name, bool wildcard)
{
	return (struct istio_key){ .key = v->annotation ?: "",
				   .name = name,
				   .wildcard = wildcard,
				   .where = v->annotation ? NULL : v->where };
}

static const struct istio_list {
	enum istio_input input;
	const char *name; /* in the injector's errors */
	bool wildcard;
	enum weir_list list;
	__u32 some, all; /* flags: the list has entries; it is "*" */
	bool ports;
} istio_lists[] = {
	{ ISTIO_CIDRS, "includeIPRanges", true, WEIR_LIST_OUT_CIDR_INCLUDE, WEIR_POD_OUT_CIDRS,
	  WEIR_POD_OUT_ALL, false },
	{ ISTIO_CIDRS_EXCLUDE, "excludeIPRanges", false, WEIR_LIST_OUT_CIDR_EXCLUDE,
	  WEIR_POD_OUT_CIDRS_EXCLUDE, 0, false },
	{ ISTIO_OUT_PORTS, NULL, false, WEIR_LIST_OUT_PORT_INCLUDE, WEIR_POD_OUT_PORTS, 0, true },
	{ ISTIO_IN_PORTS, "includeInboundPorts", true, WEIR_LIST_IN_PORT_INCLUDE, WEIR_POD_IN_PORTS,
	  WEIR_POD_IN_ALL, true },
	{ ISTIO_IN_PORTS_EXCLUDE, "excludeInboundPorts", false, WEIR_LIST_IN_PORT_EXCLUDE,
	  WEIR_POD_IN_PORTS_EXCLUDE, 0, true },
	{ ISTIO_OUT_PORTS_EXCLUDE, "excludeOutboundPorts", false, WEIR_LIST_OUT_PORT_EXCLUDE,
	  WEIR_POD_OUT_PORTS_EXCLUDE, 0, true },
};

static void istio_list(struct compiler *c, const struct istio_list *l, const struct istio_value *v)
{
	struct istio_key key = key_of(v, l->name, l->wildcard);
	size_t before = c->lists.n_ports + c->lists.n_cidrs;
	bool all = false, loopback = false;
	char *error;
	int r;

	r = l->ports
		    ? istio_ports_parse(&key, v->text, l->list, &c->lists, &all, &error)
		    : istio_cidrs_parse(&key, v->text, l->list, &c->lists, &all, &loopback, &error);
	if (r < 0) {
		policy_error(c, error);
		return;
	}
	if (all)
		c->p->pod.flags |= l->all;
	if (c->lists.n_ports + c->lists.n_cidrs > before)
		c->p->pod.flags |= l->some;
	/* One of either family takes the rules from both. */
	if (loopback && l->list == WEIR_LIST_OUT_CIDR_INCLUDE)
		c->p->pod.flags |= WEIR_POD_OUT_LOOPBACK;
	c->p->sources[l->list] = v->source;
}

static void istio_interfaces(struct compiler *c, const struct istio_value *v, enum weir_list list,
			     __u32 flag)
{
	struct istio_key key = key_of(v, NULL, false);
	size_t before = c->lists.n_interfaces;
	char *error;

	if (istio_interfaces_parse(&key, v->text, list, &c->lists, &error) < 0)
		policy_error(c, error);
	if (c->lists.n_interfaces > before)
		c->p->pod.flags |= flag;
	c->p->sources[list] = v->source;
}

void policy_istio_lists(struct compiler *c, const struct istio_inputs *inputs)
{
	for (size_t i = 0; i < ARRAY_SIZE(istio_lists); i++)
		istio_list(c, &istio_lists[i], &inputs->values[istio_lists[i].input]);
	istio_interfaces(c, &inputs->values[ISTIO_IF_EXCLUDE], WEIR_LIST_IF_EXCLUDE,
			 WEIR_POD_IF_EXCLUDE);
	istio_interfaces(c, &inputs->values[ISTIO_IF_VIRTUAL], WEIR_LIST_IF_VIRTUAL,
			 WEIR_POD_IF_VIRTUAL);
}

/*
 * As Istio does: a variable that is no truth value is warned of, and off; an argument ends
 * istio-iptables, and with it the pod's start.
 */
static bool istio_bool(struct compiler *c, const struct istio_value *v)
{
	bool argument =
		v->source == WEIR_SOURCE_INIT_ARGS || v->source == WEIR_SOURCE_VALIDATION_ARGS;
	struct istio_key key = key_of(v, NULL, false);
	bool on = false;
	char *error;

	if (argument && istio_switch_parse(&key, v->text, &on, &error) < 0)
		policy_error(c, error);
	else if (!argument && v->text && go_parse_bool(v->text, &on, &error) < 0) {
		policy_warn(c, "%s: %s", v->where, error);
		free(error);
	}
	return on;
}

static void istio_port(struct compiler *c, const struct istio_value *v, __u16 *ret,
		       __u32 *ret_source)
{
	struct istio_key key = key_of(v, NULL, false);
	char *error;

	if (istio_port_parse(&key, v->text, ret, &error) < 0)
		policy_error(c, error);
	if (ret_source)
		*ret_source = v->source;
}

/* A proxy that runs as root is known by its group alone, and by 1337: the CNI plugin's rule. */
static int64_t container_id(int64_t id)
{
	return id > 0 ? id : -1;
}

struct owner {
	enum istio_input input;
	enum weir_list list;
	enum weir_setting setting;
	__u32 flag, more; /* flags: the first one, those after it */
};

/* The first id of a list; -1 when nobody names one. */
static int64_t owners(struct compiler *c, const struct istio_value *v, const struct owner *o)
{
	struct istio_key key = key_of(v, NULL, false);
	size_t before = c->lists.n_ids;
	int64_t first = -1;
	char *error;

	if (v->text && istio_ids_parse(&key, v->text, o->list, &c->lists, &first, &error) < 0)
		policy_error(c, error);
	if (c->lists.n_ids > before)
		c->p->pod.flags |= o->more;
	return first;
}

static __u32 istio_owner(struct compiler *c, const struct istio_inputs *inputs,
			 const struct owner *o, int64_t of_container)
{
	const struct istio_value *v = &inputs->values[o->input];
	__u32 *source = &c->p->sources[o->setting];
	bool told = v->text &&
		    (inputs->loader == ISTIO_INIT || v->source == WEIR_SOURCE_VALIDATION_ARGS ||
		     v->source == WEIR_SOURCE_VALIDATION_ENV);
	int64_t id = told ? -1 : container_id(of_container);

	c->p->pod.flags |= o->flag;
	*source = WEIR_SOURCE_CONTAINER;
	if (id < 0) { /* istio-iptables was told, or the container does not say */
		id = owners(c, v, o);
		*source = id < 0 ? WEIR_SOURCE_DEFAULT : v->source;
	}
	return id < 0 ? ISTIO_PROXY_ID : (__u32)id;
}

static void istio_ids(struct compiler *c, const struct istio_inputs *inputs)
{
	static const struct owner uid = { ISTIO_UIDS, WEIR_LIST_PROXY_UID, WEIR_SETTING_PROXY_UID,
					  WEIR_POD_PROXY_UID, WEIR_POD_PROXY_UIDS };
	static const struct owner gid = { ISTIO_GIDS, WEIR_LIST_PROXY_GID, WEIR_SETTING_PROXY_GID,
					  WEIR_POD_PROXY_GID, WEIR_POD_PROXY_GIDS };
	const struct pod_container *proxy = pod_container(c->pod, "istio-proxy");
	const char *gids = inputs->values[ISTIO_GIDS].text;
	struct istio_inputs as_uid = *inputs;

	c->p->pod.proxy_uid = istio_owner(c, inputs, &uid, proxy ? proxy->run_as_user : -1);
	/* istio-iptables without -g takes the ids of -u for groups too: the injector never has -g
	 */
	if (inputs->loader == ISTIO_INIT && (!gids || !*gids)) {
		as_uid.values[ISTIO_GIDS] = inputs->values[ISTIO_UIDS];
		inputs = &as_uid;
	}
	c->p->pod.proxy_gid = istio_owner(c, inputs, &gid, proxy ? proxy->run_as_group : -1);
}

/* The injector adds the status port to the inbound ports that are excluded; 0 has no status. */
static void istio_status_port(struct compiler *c)
{
	static const struct istio_key key = { ISTIO_STATUS_PORT, "excludeInboundPorts", false, true,
					      NULL };
	const char *value = pod_annotation(c->pod, ISTIO_STATUS_PORT);
	_cleanup_lists_ struct lists port = { 0 };
	char *error;
	bool all;

	if (!value)
		return;
	if (istio_ports_parse(&key, value, WEIR_LIST_IN_PORT_EXCLUDE, &port, &all, &error) < 0)
		policy_error(c, error);
	else if (port.ports[0].lo)
		lists_add_port(&c->lists, WEIR_LIST_IN_PORT_EXCLUDE, port.ports[0].lo,
			       port.ports[0].lo);
}

/* What the injector and the CNI plugin exclude for Envoy's own sake. */
static void istio_own_ports(struct compiler *c, const struct istio_inputs *inputs)
{
	static const uint16_t own_ports[] = { 15020, 15021, 15090 };

	enum weir_source source = inputs->values[ISTIO_IN_PORTS_EXCLUDE].source;

	if (source == WEIR_SOURCE_INIT_ARGS || source == WEIR_SOURCE_INIT_ENV ||
	    source == WEIR_SOURCE_INIT_DEFAULT)
		return; /* they stand among its arguments, or are not meant */
	istio_status_port(c);
	for (size_t i = 0; i < ARRAY_SIZE(own_ports); i++)
		lists_add_port(&c->lists, WEIR_LIST_IN_PORT_EXCLUDE, own_ports[i], own_ports[i]);
	c->p->pod.flags |= WEIR_POD_IN_PORTS_EXCLUDE;
}

void policy_dns_servers_unused(struct compiler *c)
{
	if (pod_annotation(c->pod, DNS_SERVERS))
		policy_warn(c, "annotation " DNS_SERVERS
			       " is ignored: it counts where istio-init captures queries to "
			       "the servers of resolv.conf alone");
}

/* Who knows better than the kubelet's rules says so; false when nobody does. */
static bool named_servers(struct compiler *c)
{
	const char *value = pod_annotation(c->pod, DNS_SERVERS);
	size_t before = c->lists.n_cidrs;
	char *error;

	if (!value)
		return false;
	if (own_addrs_parse(DNS_SERVERS, value, WEIR_LIST_DNS_SERVER, &c->lists, &error) < 0) {
		c->lists.n_cidrs = before;
		policy_mistake(c, error);
		return false;
	}
	c->p->sources[WEIR_LIST_DNS_SERVER] = WEIR_SOURCE_WEIR_DNS_SERVERS;
	return true;
}

/*
 * istio-init captures queries to the servers of /etc/resolv.conf alone. The kubelet writes that
 * file from the pod's dnsConfig and, unless dnsPolicy is None, from the cluster's DNS service.
 */
static void dns_servers(struct compiler *c)
{
	const struct service *cluster = c->options->cluster_dns;
	bool own_only = c->pod->dns_policy && !strcmp(c->pod->dns_policy, "None");
	enum weir_source source = WEIR_SOURCE_DNS_CONFIG;
	size_t n = 0;

	if (named_servers(c))
		return;
	for (size_t i = 0; i < c->pod->n_dns_servers; i++, n++)
		lists_add_cidr(&c->lists, WEIR_LIST_DNS_SERVER, &c->pod->dns_servers[i], 128,
			       weir_addr_is_v4(&c->pod->dns_servers[i]));
	for (size_t i = 0; cluster && !own_only && i < cluster->n_cluster_ips; i++, n++) {
		lists_add_cidr(&c->lists, WEIR_LIST_DNS_SERVER, &cluster->cluster_ips[i], 128,
			       weir_addr_is_v4(&cluster->cluster_ips[i]));
		source = WEIR_SOURCE_CLUSTER_DNS;
	}
	c->p->sources[WEIR_LIST_DNS_SERVER] = source;
	if (n)
		return;
	c->p->pod.flags |= WEIR_POD_DNS_ALL;
	c->p->sources[WEIR_LIST_DNS_SERVER] = WEIR_SOURCE_DEFAULT;
	policy_warn(c, "the servers of the pod's resolv.conf are not known (no dnsConfig, no "
		       "Service kube-system/kube-dns): queries to every server are captured");
}

static void istio_dns(struct compiler *c, const struct istio_inputs *inputs)
{
	const struct istio_value *dns = &inputs->values[ISTIO_DNS];
	bool on = istio_bool(c, dns);
	bool all = istio_bool(c, &inputs->values[ISTIO_DNS_ALL]) || inputs->loader == ISTIO_CNI;

	c->p->sources[WEIR_SETTING_DNS] = dns->source;
	if (on) {
		c->p->pod.flags |= WEIR_POD_DNS | (all ? WEIR_POD_DNS_ALL : 0);
		c->p->pod.dns_port = ISTIO_DNS_PORT;
	}
	if (on && !all)
		dns_servers(c);
	else
		policy_dns_servers_unused(c);
}

/* "*" with exceptions, or a list; an empty list lets every group's traffic through. */
static void istio_groups(struct compiler *c, const struct istio_inputs *inputs)
{
	const struct istio_value *include = &inputs->values[ISTIO_GROUPS];
	bool all = !strcmp(include->text, "*");
	const struct istio_value *v = all ? &inputs->values[ISTIO_GROUPS_EXCLUDE] : include;
	enum weir_list list = all ? WEIR_LIST_GROUP_EXCLUDE : WEIR_LIST_GROUP_INCLUDE;
	struct istio_key key = key_of(v, NULL, false);
	char *error;
	size_t n = 0;

	if (istio_groups_parse(&key, v->text, list, &c->lists, &n, &error) < 0) {
		policy_error(c, error);
		return;
	}
	if (!all)
		c->p->pod.flags |= WEIR_POD_GROUPS_INCLUDE;
	else if (n)
		c->p->pod.flags |= WEIR_POD_GROUPS_EXCLUDE;
	if (!all && !n)
		policy_warn(c, "%s is empty: no group's outbound traffic is captured", v->where);
	c->p->sources[list] = v->source;
}

static void istio_loopback(struct compiler *c, const struct istio_value *v)
{
	struct istio_key key = key_of(v, NULL, false);
	struct weir_pod *pod = &c->p->pod;
	char *error;

	if (istio_loopback_parse(&key, v->text, pod->loopback_net, &pod->loopback_bits, &error) < 0)
		policy_error(c, error);
	c->p->sources[WEIR_SETTING_LOOPBACK] = v->source;
}

static enum istio_mode istio_mode(struct compiler *c, const struct istio_value *v)
{
	struct istio_key key = key_of(v, NULL, false);
	enum istio_mode mode = ISTIO_REDIRECT;
	char *error;

	if (istio_mode_parse(&key, v->text, &mode, &error) < 0)
		policy_error(c, error);
	if (mode == ISTIO_TPROXY)
		c->p->pod.flags |= WEIR_POD_TPROXY;
	c->p->sources[WEIR_SETTING_MODE] = v->source;
	return mode;
}

/* Nothing passes conntrack, so nothing can be invalid to it. */
static void istio_drop_invalid(struct compiler *c, const struct istio_value *v)
{
	if (istio_bool(c, v))
		policy_warn(c,
			    "%s has no effect: no connection that weir redirects is tracked, so no "
			    "packet of it can be invalid",
			    v->where);
}

static void compile(struct compiler *c, const struct istio_inputs *inputs)
{
	const struct istio_value *v = inputs->values;
	struct weir_pod *pod = &c->p->pod;

	pod->rules = WEIR_RULES_ISTIO;
	for (size_t i = 0; i < ISTIO_INPUT_MAX; i++)
		if (v[i].unknown)
			policy_warn(c,
				    "%s of container %s is ignored: its value is not in the pod's "
				    "object (valueFrom)",
				    v[i].unknown, v[i].unknown_in);
	if (istio_mode(c, &v[ISTIO_MODE_NAME]) == ISTIO_NONE && !c->forced) {
		policy_set_state(c, POLICY_NOT_CAPTURED, "annotation " ISTIO_MODE " is NONE");
		return;
	}
	istio_port(c, &v[ISTIO_OUTBOUND_PORT], &pod->outbound_port,
		   &c->p->sources[WEIR_SETTING_OUTBOUND_PORT]);
	istio_port(c, &v[ISTIO_INBOUND_PORT], &pod->inbound_port,
		   &c->p->sources[WEIR_SETTING_INBOUND_PORT]);
	istio_port(c, &v[ISTIO_TUNNEL_PORT], &pod->tunnel_port, NULL);
	families(c, istio_bool(c, &v[ISTIO_DUAL_STACK]));
	policy_istio_lists(c, inputs);
	istio_own_ports(c, inputs);
	istio_ids(c, inputs);
	istio_dns(c, inputs);
	istio_groups(c, inputs);
	istio_loopback(c, &v[ISTIO_LOOPBACK]);
	istio_drop_invalid(c, &v[ISTIO_DROP_INVALID]);
}

void policy_istio_compile(struct compiler *c)
{
	struct istio_inputs inputs;
	char *error;

	if (istio_inputs_gather(c->pod, &inputs, &error) < 0)
		policy_error(c, error);
	if (inputs.loader == ISTIO_INIT)
		policy_warn(c, "container istio-init loads iptables rules beside weir: remove it");
	compile(c, &inputs);
	istio_inputs_free(&inputs);
}
