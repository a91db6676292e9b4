/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A proxy that no mesh injected: annotations of weir's own say where it listens and who it is, and
 * Istio's annotations what goes to it. Its rules are Istio's without what Envoy needs for itself.
 */
#include "agent/policy_compiler.h"

#define OUTBOUND_PORT "weir.io/proxy-outbound-port"
#define INBOUND_PORT  "weir.io/proxy-inbound-port"
#define DNS_PORT      "weir.io/proxy-dns-port"
#define PROXY_UID     "weir.io/proxy-uid"
#define PROXY_GID     "weir.io/proxy-gid"
#define DEFAULT_ID    1337

bool policy_custom_declared(const struct compiler *c)
{
	return pod_annotation(c->pod, OUTBOUND_PORT) || pod_annotation(c->pod, INBOUND_PORT);
}

bool policy_custom_mentioned(const struct compiler *c)
{
	static const char *const keys[] = { OUTBOUND_PORT, INBOUND_PORT, DNS_PORT, PROXY_UID,
					    PROXY_GID };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (pod_annotation(c->pod, keys[i]))
			return true;
	return false;
}

/* False when the annotation is not there. */
static bool own_port(struct compiler *c, const char *key, __u16 *ret)
{
	const char *value = pod_annotation(c->pod, key);
	char *error;

	if (value && own_port_parse(key, value, ret, &error) < 0)
		policy_error(c, error);
	return value;
}

static void ports(struct compiler *c)
{
	struct weir_pod *pod = &c->p->pod;

	if (own_port(c, OUTBOUND_PORT, &pod->outbound_port))
		c->p->sources[WEIR_SETTING_OUTBOUND_PORT] = WEIR_SOURCE_WEIR_OUTBOUND_PORT;
	if (own_port(c, INBOUND_PORT, &pod->inbound_port))
		c->p->sources[WEIR_SETTING_INBOUND_PORT] = WEIR_SOURCE_WEIR_INBOUND_PORT;
	if (own_port(c, DNS_PORT, &pod->dns_port)) {
		pod->flags |= WEIR_POD_DNS | WEIR_POD_DNS_ALL;
		c->p->sources[WEIR_SETTING_DNS] = WEIR_SOURCE_WEIR_DNS_PORT;
	}
}

/* Returns the first id; -1 without the annotation. */
static int64_t ids(struct compiler *c, const char *key, enum weir_list list, __u32 more)
{
	const struct istio_key k = { .key = key };
	const char *value = pod_annotation(c->pod, key);
	size_t before = c->lists.n_ids;
	int64_t first = -1;
	char *error;

	if (value && istio_ids_parse(&k, value, list, &c->lists, &first, &error) < 0)
		policy_error(c, error);
	if (c->lists.n_ids > before)
		c->p->pod.flags |= more;
	return first;
}

static void owner(struct compiler *c)
{
	int64_t uid = ids(c, PROXY_UID, WEIR_LIST_PROXY_UID, WEIR_POD_PROXY_UIDS);
	int64_t gid = ids(c, PROXY_GID, WEIR_LIST_PROXY_GID, WEIR_POD_PROXY_GIDS);
	struct policy *p = c->p;

	if (uid >= 0)
		p->sources[WEIR_SETTING_PROXY_UID] = WEIR_SOURCE_WEIR_UID;
	if (gid >= 0)
		p->sources[WEIR_SETTING_PROXY_GID] = WEIR_SOURCE_WEIR_GID;
	if (uid < 0 && gid < 0) {
		uid = DEFAULT_ID;
		policy_warn(c, "neither " PROXY_UID " nor " PROXY_GID
			       " says who the proxy is: user 1337 is assumed");
	}
	p->pod.flags |= (uid >= 0 ? WEIR_POD_PROXY_UID : 0) | (gid >= 0 ? WEIR_POD_PROXY_GID : 0);
	p->pod.proxy_uid = uid >= 0 ? (__u32)uid : 0;
	p->pod.proxy_gid = gid >= 0 ? (__u32)gid : 0;
}

/* Envoy's own ports mean nothing to another proxy; a direction without a listener is not captured.
 */
static void clear_inputs(const struct weir_pod *pod, struct istio_inputs *inputs)
{
	static const struct istio_value none = { .text = "" };
	struct istio_value *v = inputs->values;

	if (v[ISTIO_OUT_PORTS_EXCLUDE].source == WEIR_SOURCE_CNI_DEFAULT)
		v[ISTIO_OUT_PORTS_EXCLUDE] = none;
	if (!pod->outbound_port)
		v[ISTIO_CIDRS] = v[ISTIO_OUT_PORTS] = none;
	if (!pod->inbound_port)
		v[ISTIO_IN_PORTS] = none;
}

void policy_custom_compile(struct compiler *c)
{
	struct weir_pod *pod = &c->p->pod;
	struct istio_inputs inputs;
	char *error;

	pod->rules = WEIR_RULES_ISTIO;
	pod->flags = WEIR_POD_DECLARED | WEIR_POD_IPV4 |
		     (c->options->ipv6 != POLICY_IPV6_OFF ? WEIR_POD_IPV6 : 0);
	pod->loopback_net[0] = 127;
	pod->loopback_net[3] = 1;
	pod->loopback_bits = 32;
	ports(c);
	owner(c);
	if (istio_inputs_gather(c->pod, &inputs, &error) < 0)
		policy_error(c, error);
	clear_inputs(pod, &inputs);
	policy_istio_lists(c, &inputs);
	istio_inputs_free(&inputs);
}
