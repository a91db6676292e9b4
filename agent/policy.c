/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compiler of policies. First: whose pod is it, and is it captured? The meshes' CNI plugins
 * answer that from the pod object alone, in the order that is kept here. Then the inputs that those
 * plugins would hand to iptables become flags and lists.
 */
#include "agent/policy_compiler.h"

#include "base/buf.h"
#include "base/hash.h"

#include <errno.h>
#include <string.h>

void policy_add_warning(struct policy *p, char *text)
{
	p->warnings = xrealloc(p->warnings, (p->n_warnings + 1) * sizeof(*p->warnings));
	p->warnings[p->n_warnings++] = text;
}

void policy_warn(struct compiler *c, const char *fmt, ...)
{
	struct buf text = { 0 };
	va_list ap;

	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	policy_add_warning(c->p, text.data);
}

void policy_error(struct compiler *c, char *text)
{
	buf_printf(&c->errors, "%s%s", c->errors.len ? "; " : "", text);
	c->p->n_errors++;
	free(text);
}

void policy_mistake(struct compiler *c, char *text)
{
	buf_printf(&c->mistakes, "%s%s (the default applies)", c->mistakes.len ? "; " : "", text);
	c->p->n_errors++;
	free(text);
}

void policy_set_state(struct compiler *c, enum policy_state state, const char *reason)
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
		 pod_asks_for_linkerd(c->pod, o->namespace_annotations, o->namespace_labels))
		c->p->mesh = WEIR_MESH_LINKERD;
	if (c->p->mesh != WEIR_MESH_NONE)
		policy_set_state(c, POLICY_MISSING_SIDECAR,
				 "a sidecar was to be injected and is not there");
	else if (mode && !strcmp(mode, "ambient"))
		policy_set_state(c, POLICY_NOT_CAPTURED,
				 "ambient mode, which weir does not capture yet");
	else
		policy_set_state(c, POLICY_NOT_CAPTURED, no_proxy[o->meshes]);
	if (policy_custom_mentioned(c))
		policy_warn(c,
			    "annotations of weir.io declare no proxy: weir.io/proxy-outbound-port "
			    "or weir.io/proxy-inbound-port is missing");
}

/* Whose proxy is there? NONE when nobody's and nobody insists. */
static enum weir_mesh find_mesh(struct compiler *c)
{
	bool istio = pod_container(c->pod, "istio-proxy") || pod_container(c->pod, "istio-init");
	bool linkerd = pod_container(c->pod, "linkerd-proxy");

	istio &= allows(c, POLICY_MESH_ISTIO);
	linkerd &= allows(c, POLICY_MESH_LINKERD);
	if (istio && linkerd)
		policy_warn(c,
			    "containers of both Istio and Linkerd are there: Istio's rules apply");
	return istio					? WEIR_MESH_ISTIO
	       : linkerd				? WEIR_MESH_LINKERD
	       : c->forced || policy_custom_declared(c) ? WEIR_MESH_CUSTOM
							: WEIR_MESH_NONE;
}

static const char *mesh_declines(const struct compiler *c)
{
	if (c->p->mesh == WEIR_MESH_CUSTOM)
		return NULL;
	if (c->p->mesh == WEIR_MESH_LINKERD)
		return !c->forced && !c->takeover && pod_container(c->pod, "linkerd-init")
			       ? "container linkerd-init programs its own iptables rules"
			       : NULL;
	return policy_istio_declines(c);
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

/* A setting of weir's own that has two values; *ret is untouched when it is absent or wrong. */
static void own_setting(struct compiler *c, const char *key, const char *first, const char *second,
			bool *ret)
{
	const char *value = pod_annotation(c->pod, key);
	char *error;

	if (value && annotation_choice(key, value, first, second, ret, &error))
		policy_mistake(c, error);
}

static void takeover_setting(struct compiler *c)
{
	c->takeover = c->options->takeover;
	own_setting(c, "weir.io/takeover", "on", "off", &c->takeover);
}

/* True when the pod is to be captured; else its state is set, unless an error was added. */
static bool wanted(struct compiler *c)
{
	const char *capture = pod_annotation(c->pod, "weir.io/capture");
	const char *why_not = never_captured(c);
	char *error;

	takeover_setting(c);
	if (!why_not && capture) {
		c->p->sources[WEIR_SETTING_CAPTURE] = WEIR_SOURCE_WEIR_CAPTURE;
		if (annotation_choice("weir.io/capture", capture, "on", "off", &c->forced,
				      &error)) {
			policy_mistake(c, error);
		} else if (!c->forced) {
			why_not = "annotation weir.io/capture is off";
			c->p->pod.flags = WEIR_POD_CAPTURE_OFF;
		}
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
		policy_set_state(c, POLICY_NOT_CAPTURED, why_not);
	return !why_not;
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
		policy_warn(c, "annotation weir.io/acceleration is not supported yet and ignored");
}

static void captured(struct compiler *c)
{
	static const char *const reasons[] = {
		[WEIR_MESH_ISTIO] = "container istio-proxy and annotation sidecar.istio.io/status",
		[WEIR_MESH_LINKERD] = "container linkerd-proxy",
		[WEIR_MESH_CUSTOM] = "a proxy is declared by annotations of weir.io",
	};
	struct policy *p = c->p;

	policy_set_state(c, POLICY_CAPTURED,
			 c->forced ? "annotation weir.io/capture is on" : reasons[p->mesh]);
	lists_normalize(&c->lists);
	p->pod.mode = WEIR_MODE_CAPTURE;
	p->ports = TAKE_PTR(c->lists.ports);
	p->n_ports = c->lists.n_ports;
	p->cidrs = TAKE_PTR(c->lists.cidrs);
	p->n_cidrs = c->lists.n_cidrs;
	p->ids = TAKE_PTR(c->lists.ids);
	p->n_ids = c->lists.n_ids;
	p->interfaces = TAKE_PTR(c->lists.interfaces);
	p->n_interfaces = c->lists.n_interfaces;
	c->lists = (struct lists){ 0 };
}

/*
 * Nothing of the rules stays, so that nothing suggests that they apply; but name lookups that would
 * have been captured are refused with the rest, and who wanted no capture sees what that does.
 */
static void clear_rules(struct compiler *c, enum weir_mode mode)
{
	struct policy *p = c->p;
	__u32 kept =
		p->pod.flags & (mode == WEIR_MODE_REFUSE ? WEIR_POD_DNS : WEIR_POD_CAPTURE_OFF);

	p->pod = (struct weir_pod){ .mode = mode, .rules = p->pod.rules, .flags = kept };
	pod_addresses(c->pod, &p->pod.ip4, &p->pod.ip6);
}

static void keep_proxy_ids(struct policy *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_ids; i++)
		if (p->ids[i].list == WEIR_LIST_PROXY_UID || p->ids[i].list == WEIR_LIST_PROXY_GID)
			p->ids[n++] = p->ids[i];
	p->n_ids = n;
}

/* Nothing of the rules stays but who the proxy is: other rules than weir's may bring it
 * connections, which count once all the same. */
static void leave_alone(struct policy *p)
{
	const struct weir_pod was = p->pod;

	p->pod = (struct weir_pod){ .mode = WEIR_MODE_OBSERVE,
				    .rules = was.rules,
				    .flags = was.flags & WEIR_POD_KEPT,
				    .proxy_uid = was.proxy_uid,
				    .proxy_gid = was.proxy_gid,
				    .ip4 = was.ip4,
				    .ip6 = was.ip6 };
	for (size_t i = 0; i < p->n_interfaces; i++)
		free(p->interfaces[i].name);
	p->n_ports = p->n_cidrs = p->n_interfaces = 0;
	keep_proxy_ids(p);
}

static void compile_rules(struct compiler *c)
{
	bool declared = policy_custom_declared(c);

	if (c->p->mesh == WEIR_MESH_LINKERD)
		policy_linkerd_compile(c);
	else if (c->p->mesh == WEIR_MESH_CUSTOM && declared)
		policy_custom_compile(c);
	else
		policy_istio_compile(c);
	if (c->p->mesh == WEIR_MESH_LINKERD || (c->p->mesh == WEIR_MESH_CUSTOM && declared))
		policy_dns_servers_unused(c);
	if (c->p->mesh != WEIR_MESH_CUSTOM && policy_custom_mentioned(c))
		policy_warn(c,
			    "the proxy declared by annotations of weir.io is ignored: the pod has "
			    "its mesh's proxy");
	else if (c->p->mesh == WEIR_MESH_CUSTOM && !declared)
		policy_warn(
			c,
			"no container is a known proxy: Istio's ports and user 1337 are assumed");
}

/* The mesh that redirects the pod by rules of its own, as far as the pod tells: weir does not. */
static enum weir_mesh redirected_by(const struct compiler *c)
{
	struct compiler asked = *c;

	asked.takeover = true; /* istio-init or istio-cni, whichever it is */
	if (c->pod->host_network)
		return WEIR_MESH_NONE;
	if (policy_istio_has_sidecar(c) &&
	    (pod_container(c->pod, "istio-init") || !policy_istio_declines(&asked)))
		return WEIR_MESH_ISTIO;
	return pod_container(c->pod, "linkerd-proxy") ? WEIR_MESH_LINKERD : WEIR_MESH_NONE;
}

/* Who the proxy is, of a pod that is left alone without its rules having been compiled. */
static void learn_proxy(struct compiler *c)
{
	_cleanup_policy_ struct policy *p = xcalloc(1, sizeof(*p));
	struct compiler alone = { .pod = c->pod, .options = c->options, .p = p };

	if (pod_has_ztunnel(c->pod)) /* known by its mark, as what Envoy goes on with is */
		c->p->pod.flags |= WEIR_POD_TPROXY;
	p->mesh = redirected_by(c);
	if (p->mesh == WEIR_MESH_NONE)
		return;
	compile_rules(&alone);
	lists_normalize(&alone.lists);
	if (!p->reason) { /* that it is not to be redirected at all */
		p->ids = TAKE_PTR(alone.lists.ids);
		p->n_ids = alone.lists.n_ids;
		leave_alone(p);
		c->p->pod.flags |= p->pod.flags;
		c->p->pod.proxy_uid = p->pod.proxy_uid;
		c->p->pod.proxy_gid = p->pod.proxy_gid;
		c->p->ids = TAKE_PTR(p->ids);
		c->p->n_ids = p->n_ids;
	}
	lists_free(&alone.lists);
	buf_free(&alone.errors);
	buf_free(&alone.mistakes);
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
	p->takeover = c.takeover || c.forced;
	if (capture)
		compile_rules(&c);
	if (capture && !p->reason)
		own_settings(&c);
	if (p->reason) { /* not captured, whatever else is wrong with it */
		clear_rules(&c, WEIR_MODE_OBSERVE);
		if (!capture)
			learn_proxy(&c);
	} else if (c.errors.len) {
		if (c.mistakes.len)
			policy_error(&c, xstrdup(buf_text(&c.mistakes)));
		policy_set_state(&c, POLICY_FAILED, buf_text(&c.errors));
		clear_rules(&c, WEIR_MODE_REFUSE);
	} else {
		captured(&c);
	}
	if (c.mistakes.len && p->state != POLICY_FAILED) {
		free(p->reason);
		policy_set_state(&c, POLICY_FAILED, buf_text(&c.mistakes));
	}
	lists_free(&c.lists);
	buf_free(&c.errors);
	buf_free(&c.mistakes);
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
	free(p->ids);
	for (size_t i = 0; i < p->n_interfaces; i++)
		free(p->interfaces[i].name);
	free(p->interfaces);
	free(p);
}

void policy_decline(struct policy *p, char *reason)
{
	free(p->reason);
	p->reason = reason;
	p->state = POLICY_NOT_CAPTURED;
	leave_alone(p);
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

/* Padding is not content: struct cidr has some, the others have not. */
_Static_assert(sizeof(struct port_range) == 8, "no padding");
_Static_assert(sizeof(struct policy_id) == 8, "no padding");
static void hash(uint64_t *h, const void *data, size_t len)
{
	*h = hash_bytes(*h, data, len);
}

uint32_t policy_generation(const struct policy *p)
{
	uint32_t head[] = {
		p->state,
		p->mesh,
		(uint32_t)p->n_ports,
		(uint32_t)p->n_cidrs,
		(uint32_t)p->n_ids,
		(uint32_t)p->n_interfaces,
	};
	struct weir_pod pod = p->pod;
	uint64_t h = HASH_BEGIN;

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
	hash(&h, p->ids, p->n_ids * sizeof(*p->ids));
	for (size_t i = 0; i < p->n_interfaces; i++) {
		uint32_t list = p->interfaces[i].list;

		hash(&h, &list, sizeof(list));
		hash(&h, p->interfaces[i].name, strlen(p->interfaces[i].name) + 1);
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
