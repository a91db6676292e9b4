/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiler of policies. First: whose pod is it, and is it captured? The meshes' CNI plugins
 * answer that from the pod object alone, in the order that is kept here. Then the inputs that those
 * plugins would hand to iptables become flags and lists.
 */
#include "agent/policy.h"

#include "agent/object.h"
#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <string.h>

#define ISTIO_PROXY_ID	 1337
#define LINKERD_PROXY_ID 2102

struct compiler {
	const struct pod *pod;
	const struct policy_options *options;
	struct policy *p;
	struct lists lists;
	struct buf errors; /* of several annotations, joined */
	bool forced; /* weir.io/capture: on */
};

__attribute__((format(printf, 2, 3))) static void warn(struct compiler *c, const char *fmt, ...)
{
	struct policy *p = c->p;
	struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	p->warnings = xrealloc(p->warnings, (p->n_warnings + 1) * sizeof(*p->warnings));
	p->warnings[p->n_warnings++] = text.data;
}

/* Takes text. */
static void add_error(struct compiler *c, char *text)
{
	buf_printf(&c->errors, "%s%s", c->errors.len ? "; " : "", text);
	free(text);
}

static void set_state(struct compiler *c, enum policy_state state, const char *reason)
{
	c->p->state = state;
	c->p->reason = xstrdup(reason);
}

static bool allows(const struct compiler *c, enum policy_meshes mesh)
{
	return c->options->meshes == POLICY_MESH_AUTO || c->options->meshes == mesh;
}

static const char *const no_proxy[] = {
	[POLICY_MESH_AUTO] = "no container is istio-proxy or linkerd-proxy",
	[POLICY_MESH_ISTIO] = "no container is istio-proxy (weir runs with --mesh=istio)",
	[POLICY_MESH_LINKERD] = "no container is linkerd-proxy (weir runs with --mesh=linkerd)",
};

static void without_proxy(struct compiler *c)
{
	const struct policy_options *o = c->options;
	const char *mode = pod_label(c->pod, "istio.io/dataplane-mode");

	if (allows(c, POLICY_MESH_ISTIO) && pod_asks_for_istio(c->pod, o->namespace_labels))
		c->p->mesh = WEIR_MESH_ISTIO;
	else if (allows(c, POLICY_MESH_LINKERD) &&
		 pod_asks_for_linkerd(c->pod, o->namespace_annotations))
		c->p->mesh = WEIR_MESH_LINKERD;
	if (c->p->mesh != WEIR_MESH_NONE)
		set_state(c, POLICY_MISSING_SIDECAR,
			  "a sidecar was to be injected and is not there");
	else if (mode && !strcmp(mode, "ambient"))
		set_state(c, POLICY_NOT_CAPTURED, "ambient mode, which weir does not capture yet");
	else
		set_state(c, POLICY_NOT_CAPTURED, no_proxy[o->meshes]);
}

/* Why istio-cni would leave the pod alone, in its order; NULL if it would not. */
static const char *istio_declines(const struct compiler *c)
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

/* Whose proxy is there? NONE when nobody's and nobody insists. */
static enum weir_mesh find_mesh(struct compiler *c)
{
	bool istio = pod_container(c->pod, "istio-proxy") || pod_container(c->pod, "istio-init");
	bool linkerd = pod_container(c->pod, "linkerd-proxy");

	istio &= allows(c, POLICY_MESH_ISTIO);
	linkerd &= allows(c, POLICY_MESH_LINKERD);
	if (istio && linkerd)
		warn(c, "containers of both Istio and Linkerd are there: Istio's rules apply");
	return istio	   ? WEIR_MESH_ISTIO
	       : linkerd   ? WEIR_MESH_LINKERD
	       : c->forced ? WEIR_MESH_CUSTOM
			   : WEIR_MESH_NONE;
}

static const char *mesh_declines(const struct compiler *c)
{
	if (c->p->mesh == WEIR_MESH_LINKERD)
		return pod_container(c->pod, "linkerd-init")
			       ? "container linkerd-init programs its own iptables rules"
			       : NULL;
	return istio_declines(c);
}

/* What no annotation can change: the host is never touched, nor what the operator excludes. */
static const char *never_captured(const struct compiler *c)
{
	if (c->pod->host_network)
		return "hostNetwork is true: it shares the node's network namespace";
	if (pod_finished(c->pod))
		return "it has finished: its phase is Succeeded or Failed";
	if (c->options->meshes == POLICY_MESH_NONE)
		return "weir runs with --mesh=none";
	if (c->options->meshes == POLICY_MESH_AMBIENT)
		return "weir runs with --mesh=ambient, which captures no pod yet";
	return NULL;
}

/* True when the pod is to be captured; else its state is set, unless an error was added. */
static bool wanted(struct compiler *c)
{
	const char *capture = pod_annotation(c->pod, "weir.io/capture");
	const char *why_not = never_captured(c);
	char *error;

	if (!why_not && capture) {
		c->p->sources[WEIR_SETTING_CAPTURE] = WEIR_SOURCE_WEIR_CAPTURE;
		if (annotation_choice("weir.io/capture", capture, "on", "off", &c->forced,
				      &error)) {
			add_error(c, error);
			c->p->mesh = find_mesh(c);
			return false;
		}
		why_not = c->forced ? NULL : "annotation weir.io/capture is off";
	}
	if (!why_not) {
		c->p->mesh = find_mesh(c);
		if (c->p->mesh == WEIR_MESH_NONE) {
			without_proxy(c);
			return false;
		}
		why_not = mesh_declines(c);
	}
	if (why_not)
		set_state(c, POLICY_NOT_CAPTURED, why_not);
	return !why_not;
}

/* A setting of weir's own that has two values; *ret is untouched when it is absent or wrong. */
static void own_setting(struct compiler *c, const char *key, const char *first, const char *second,
			bool *ret)
{
	const char *value = pod_annotation(c->pod, key);
	char *error;

	if (value && annotation_choice(key, value, first, second, ret, &error))
		add_error(c, error);
}

static void own_settings(struct compiler *c)
{
	bool before = true, down = true, accelerate = false;

	own_setting(c, "weir.io/before-proxy", "refuse", "direct", &before);
	own_setting(c, "weir.io/proxy-down", "refuse", "direct", &down);
	own_setting(c, "weir.io/acceleration", "on", "off", &accelerate);
	c->p->pod.before_proxy = before ? WEIR_ABSENT_REFUSE : WEIR_ABSENT_DIRECT;
	c->p->pod.proxy_down = down ? WEIR_ABSENT_REFUSE : WEIR_ABSENT_DIRECT;
	if (pod_annotation(c->pod, "weir.io/before-proxy"))
		c->p->sources[WEIR_SETTING_BEFORE_PROXY] = WEIR_SOURCE_WEIR_BEFORE_PROXY;
	if (pod_annotation(c->pod, "weir.io/proxy-down"))
		c->p->sources[WEIR_SETTING_PROXY_DOWN] = WEIR_SOURCE_WEIR_PROXY_DOWN;
	if (accelerate)
		warn(c, "annotation weir.io/acceleration is not supported yet and ignored");
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
		add_error(c, error);
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
			add_error(c, error);
		else if (n && !i)
			warn(c, "annotation %s is not supported yet and ignored", keys[i]);
		else if (n)
			add_error(c, xasprintf("annotation %s is not supported yet, and what comes "
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
		warn(c, "%s of container istio-proxy: %s", key, error);
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
		warn(c, text, "ISTIO_META_DNS_CAPTURE");
	for (size_t i = 0; proxy && i < ARRAY_SIZE(neutral); i++) {
		const char *value = pod_env(proxy, neutral[i][0]);

		if (value && *value && strcmp(value, neutral[i][1]))
			warn(c, text, neutral[i][0]);
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
		add_error(c, error);
	if (mode == ISTIO_TPROXY)
		add_error(c, xstrdup("annotation " ISTIO_MODE
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
		add_error(c, error);
}

static void compile_istio(struct compiler *c)
{
	const struct pod_container *proxy = pod_container(c->pod, "istio-proxy");
	static const uint16_t own_ports[] = { 15020, 15021, 15090 };
	struct weir_pod *pod = &c->p->pod;

	if (istio_mode(c) == ISTIO_NONE) {
		set_state(c, POLICY_NOT_CAPTURED, "annotation " ISTIO_MODE " is NONE");
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
		add_error(c,
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
		add_error(c, error);
	if (!r && warning)
		warn(c, "%s", warning);
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
		add_error(c, error);
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
		warn(c, "the proxy has no user of its own: what it sends comes back to it");
}

static void compile_linkerd(struct compiler *c)
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

static void captured(struct compiler *c)
{
	static const char *const reasons[] = {
		[WEIR_MESH_ISTIO] = "container istio-proxy and annotation sidecar.istio.io/status",
		[WEIR_MESH_LINKERD] = "container linkerd-proxy",
		[WEIR_MESH_CUSTOM] = "annotation weir.io/capture is on",
	};
	struct policy *p = c->p;

	set_state(c, POLICY_CAPTURED, reasons[c->forced ? WEIR_MESH_CUSTOM : p->mesh]);
	if (p->mesh == WEIR_MESH_CUSTOM)
		warn(c, "no container is a known proxy: Istio's ports and user 1337 are assumed");
	lists_normalize(&c->lists);
	p->pod.mode = WEIR_MODE_CAPTURE;
	p->ports = TAKE_PTR(c->lists.ports);
	p->n_ports = c->lists.n_ports;
	p->cidrs = TAKE_PTR(c->lists.cidrs);
	p->n_cidrs = c->lists.n_cidrs;
}

/* Nothing of the rules stays, so that nothing suggests that they apply. */
static void clear_rules(struct compiler *c, enum weir_mode mode)
{
	struct policy *p = c->p;

	p->pod = (struct weir_pod){ .mode = mode, .rules = p->pod.rules };
	pod_addresses(c->pod, &p->pod.ip4, &p->pod.ip6);
}

int policy_compile(const struct pod *pod, const struct policy_options *options, struct policy **ret)
{
	_cleanup_policy_ struct policy *p = NULL;
	struct compiler c = { .pod = pod, .options = options };
	bool capture;

	if (!pod || !options || !ret)
		return -EINVAL;
	c.p = p = xcalloc(1, sizeof(*p));
	pod_addresses(pod, &p->pod.ip4, &p->pod.ip6);
	capture = wanted(&c);
	if (capture && p->mesh == WEIR_MESH_LINKERD)
		compile_linkerd(&c);
	else if (capture)
		compile_istio(&c);
	if (capture && !p->reason)
		own_settings(&c);
	if (p->reason) { /* not captured, whatever else is wrong with it */
		clear_rules(&c, WEIR_MODE_OBSERVE);
	} else if (c.errors.len) {
		set_state(&c, POLICY_FAILED, buf_text(&c.errors));
		clear_rules(&c, WEIR_MODE_REFUSE);
	} else {
		captured(&c);
	}
	lists_free(&c.lists);
	buf_free(&c.errors);
	*ret = TAKE_PTR(p);
	return 0;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->n_warnings; i++)
		free(p->warnings[i]);
	free(p->warnings);
	free(p->reason);
	free(p->ports);
	free(p->cidrs);
	free(p);
}

const char *policy_state_name(enum policy_state state)
{
	static const char *const names[] = {
#define X(number, NAME, name) [number] = #name,
		POLICY_STATES(X)
#undef X
	};

	_Static_assert(ARRAY_SIZE(names) == POLICY_STATE_MAX, "a name for each state");
	return (size_t)state < ARRAY_SIZE(names) ? names[state] : "unknown";
}

const char *policy_mesh_name(enum weir_mesh mesh)
{
	static const char *const names[] = { "none", "istio", "linkerd", "custom" };

	return (size_t)mesh < ARRAY_SIZE(names) ? names[mesh] : "unknown";
}

int policy_meshes_parse(const char *text, enum policy_meshes *ret)
{
	static const char *const names[] = { "auto", "istio", "linkerd", "ambient", "none" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], text))
			continue;
		*ret = (enum policy_meshes)i;
		return 0;
	}
	return -EINVAL;
}

/* FNV-1a in 64 bits. Padding is not content: struct cidr has some, the others have not. */
_Static_assert(sizeof(struct port_range) == 8, "no padding");
static void hash(uint64_t *h, const void *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		*h = (*h ^ ((const uint8_t *)data)[i]) * 0x100000001b3ULL;
}

uint32_t policy_generation(const struct policy *p)
{
	uint32_t head[] = { p->state, p->mesh, (uint32_t)p->n_ports, (uint32_t)p->n_cidrs };
	struct weir_pod pod = p->pod;
	uint64_t h = 0xcbf29ce484222325ULL;

	pod.workload = pod.generation = 0;
	hash(&h, head, sizeof(head));
	hash(&h, &pod, sizeof(pod));
	hash(&h, p->sources, sizeof(p->sources));
	hash(&h, p->ports, p->n_ports * sizeof(*p->ports));
	for (size_t i = 0; i < p->n_cidrs; i++) {
		uint32_t list[] = { p->cidrs[i].list, p->cidrs[i].bits };

		hash(&h, list, sizeof(list));
		hash(&h, &p->cidrs[i].addr, sizeof(p->cidrs[i].addr));
	}
	hash(&h, p->reason ?: "", strlen(p->reason ?: ""));
	h ^= h >> 32;
	return (uint32_t)h ?: 1;
}

int range_to_prefixes(uint16_t lo, uint16_t hi, int (*cb)(uint16_t prefix, int bits, void *arg),
		      void *arg)
{
	uint32_t at = lo, end = (uint32_t)hi + 1;

	while (at < end) { /* the largest aligned block that starts here and fits */
		uint32_t size = at ? at & -at : 0x10000;
		int r;

		while (at + size > end)
			size /= 2;
		r = cb((uint16_t)at, 16 - __builtin_ctz(size), arg);
		if (r)
			return r;
		at += size;
	}
	return 0;
}
