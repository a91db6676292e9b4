/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/istio_inputs.h"

#include "agent/annotations.h"
#include "agent/init_args.h"
#include "agent/object.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/*
 * One row an input: its option and environment variables of istio-iptables (the option wins), its
 * annotations (the first one that is there counts), the variable of container istio-proxy and of
 * proxyMetadata that istio-cni heeds, and the default of each that could load the rules.
 */
static const struct input {
	const char *option;
	char letter;
	const char *env[2];
	const char *annotations[2];
	enum weir_source from[2]; /* of annotations */
	const char *proxy_env;
	const char *cni, *init; /* defaults; `init`: the injector's, for an istio-init without
				   arguments */
	const char *binary; /* what istio-iptables does without the option */
} inputs[ISTIO_INPUT_MAX] = {
	[ISTIO_OUTBOUND_PORT] = { "envoy-port", 'p', .cni = "15001", .init = "15001",
				  .binary = "15001" },
	[ISTIO_INBOUND_PORT] = { "inbound-capture-port", 'z', .env = { "INBOUND_CAPTURE_PORT" },
				 .cni = "15006", .init = "15006", .binary = "15006" },
	[ISTIO_TUNNEL_PORT] = { "inbound-tunnel-port", 'e', .env = { "INBOUND_TUNNEL_PORT" },
				.cni = "15008", .init = "15008", .binary = "15008" },
	[ISTIO_UIDS] = { "proxy-uid", 'u', .env = { "PROXY_UID" } },
	[ISTIO_GIDS] = { "proxy-gid", 'g', .env = { "PROXY_GID" } },
	[ISTIO_MODE_NAME] = { "istio-inbound-interception-mode", 'm',
			      .env = { "ISTIO_INBOUND_INTERCEPTION_MODE" },
			      .annotations = { ISTIO_MODE }, .from = { WEIR_SOURCE_ISTIO_MODE },
			      .cni = "REDIRECT", .init = "REDIRECT", .binary = "REDIRECT" },
	[ISTIO_CIDRS] = { "istio-service-cidr", 'i', .env = { "ISTIO_SERVICE_CIDR" },
			  .annotations = { ISTIO_OUT_INCLUDE_RANGES },
			  .from = { WEIR_SOURCE_OUT_INCLUDE_RANGES }, .cni = "*", .init = "*",
			  .binary = "" },
	[ISTIO_CIDRS_EXCLUDE] = { "istio-service-exclude-cidr", 'x',
				  .env = { "ISTIO_SERVICE_EXCLUDE_CIDR" },
				  .annotations = { ISTIO_OUT_EXCLUDE_RANGES },
				  .from = { WEIR_SOURCE_OUT_EXCLUDE_RANGES }, .cni = "", .init = "",
				  .binary = "" },
	[ISTIO_OUT_PORTS] = { "istio-outbound-ports", 'q', .env = { "ISTIO_OUTBOUND_PORTS" },
			      .annotations = { ISTIO_OUT_INCLUDE_PORTS },
			      .from = { WEIR_SOURCE_OUT_INCLUDE_PORTS }, .cni = "", .init = "",
			      .binary = "" },
	[ISTIO_OUT_PORTS_EXCLUDE] = { "istio-local-outbound-ports-exclude", 'o',
				      .env = { "ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE" },
				      .annotations = { ISTIO_OUT_EXCLUDE_PORTS },
				      .from = { WEIR_SOURCE_OUT_EXCLUDE_PORTS },
				      .cni = "15020", /* a quirk of it */
				      .init = "", .binary = "" },
	[ISTIO_IN_PORTS] = { "istio-inbound-ports", 'b', .env = { "ISTIO_INBOUND_PORTS" },
			     .annotations = { ISTIO_IN_INCLUDE_PORTS },
			     .from = { WEIR_SOURCE_IN_INCLUDE_PORTS }, .cni = "*", .init = "*",
			     .binary = "" },
	[ISTIO_IN_PORTS_EXCLUDE] = { "istio-local-exclude-ports", 'd',
				     .env = { "ISTIO_LOCAL_EXCLUDE_PORTS" },
				     .annotations = { ISTIO_IN_EXCLUDE_PORTS },
				     .from = { WEIR_SOURCE_IN_EXCLUDE_PORTS }, .cni = "",
				     .init = "", .binary = "" },
	[ISTIO_IF_EXCLUDE] = { "istio-exclude-interfaces", 'c',
			       .env = { "ISTIO_EXCLUDE_INTERFACES" },
			       .annotations = { ISTIO_EXCLUDE_INTERFACES },
			       .from = { WEIR_SOURCE_ISTIO_IF_EXCLUDE }, .cni = "", .init = "",
			       .binary = "" },
	[ISTIO_IF_VIRTUAL] = { "kube-virt-interfaces", 'k', .env = { "KUBE_VIRT_INTERFACES" },
			       .annotations = { ISTIO_REROUTE_INTERFACES,
						ISTIO_KUBEVIRT_INTERFACES },
			       .from = { WEIR_SOURCE_ISTIO_REROUTE, WEIR_SOURCE_ISTIO_KUBEVIRT },
			       .cni = "", .init = "", .binary = "" },
	[ISTIO_DNS] = { "redirect-dns", 0, .env = { "REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE" },
			.proxy_env = "ISTIO_META_DNS_CAPTURE" },
	[ISTIO_DNS_ALL] = { "capture-all-dns", 0, .env = { "CAPTURE_ALL_DNS" } },
	[ISTIO_DUAL_STACK] = { "dual-stack", 0, .env = { "DUAL_STACK", "ISTIO_DUAL_STACK" },
			       .proxy_env = "ISTIO_DUAL_STACK" },
	[ISTIO_DROP_INVALID] = { "drop-invalid", 0, .env = { "DROP_INVALID", "INVALID_DROP" },
				 .proxy_env = "INVALID_DROP" },
	[ISTIO_GROUPS] = { NULL, 0, .env = { "ISTIO_OUTBOUND_OWNER_GROUPS" },
			   .proxy_env = "ISTIO_OUTBOUND_OWNER_GROUPS", .cni = "*", .init = "*",
			   .binary = "*" },
	[ISTIO_GROUPS_EXCLUDE] = { NULL, 0, .env = { "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE" },
				   .proxy_env = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", .cni = "",
				   .init = "", .binary = "" },
	[ISTIO_LOOPBACK] = { NULL, 0, .env = { "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR" },
			     .proxy_env = "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
			     .cni = "127.0.0.1/32", .init = "127.0.0.1/32",
			     .binary = "127.0.0.1/32" },
};

static bool set(struct istio_value *v, const char *text, enum weir_source source, const char *fmt,
		...)
{
	va_list ap;

	if (!text)
		return false;
	va_start(ap, fmt);
	vsnprintf(v->where, sizeof(v->where), fmt, ap);
	va_end(ap);
	v->text = text;
	v->source = source;
	return true;
}

/* NULL as well when its value is not to be known; that is noted. */
static const char *variable(struct istio_value *v, const struct pod_container *c, const char *name)
{
	const char *value = pod_env(c, name);

	if (!value && pairs_get(&c->env_elsewhere, name)) {
		v->unknown = name;
		v->unknown_in = c->name;
	}
	return value;
}

/* What istio-iptables is told in this container. */
static bool from_container(struct istio_value *v, const struct input *in,
			   const struct pod_container *c, bool validation)
{
	const char *text = in->option ? init_arg(c, in->option, in->letter) : NULL;
	enum weir_source args = validation ? WEIR_SOURCE_VALIDATION_ARGS : WEIR_SOURCE_INIT_ARGS;
	enum weir_source env = validation ? WEIR_SOURCE_VALIDATION_ENV : WEIR_SOURCE_INIT_ENV;

	if (text && in->letter)
		return set(v, text, args, "argument -%c of container %s", in->letter, c->name);
	if (text)
		return set(v, text, args, "argument --%s of container %s", in->option, c->name);
	for (size_t i = 0; i < ARRAY_SIZE(in->env) && in->env[i]; i++)
		if (set(v, variable(v, c, in->env[i]), env, "%s of container %s", in->env[i],
			c->name))
			return true;
	return false;
}

static bool from_annotations(struct istio_value *v, const struct input *in, const struct pod *pod)
{
	for (size_t i = 0; i < ARRAY_SIZE(in->annotations) && in->annotations[i]; i++) {
		v->annotation = in->annotations[i];
		if (set(v, pod_annotation(pod, v->annotation), in->from[i], "annotation '%s'",
			v->annotation))
			return true;
	}
	v->annotation = NULL;
	return false;
}

static bool from_proxy(struct istio_value *v, const struct input *in,
		       const struct pod_container *proxy)
{
	return proxy && in->proxy_env &&
	       set(v, variable(v, proxy, in->proxy_env), WEIR_SOURCE_ISTIO_ENV,
		   "%s of container %s", in->proxy_env, proxy->name);
}

static bool from_config(struct istio_value *v, const struct input *in,
			const struct istio_inputs *all)
{
	const char *text = in->proxy_env ? pairs_get(&all->config.metadata, in->proxy_env) : NULL;

	if (in == &inputs[ISTIO_MODE_NAME])
		text = all->config.interception_mode;
	return set(v, text, WEIR_SOURCE_PROXY_CONFIG, "%s in annotation '" ISTIO_PROXY_CONFIG "'",
		   in->proxy_env ?: "interceptionMode");
}

/* istio-init has its arguments and its environment, and asks for nothing else. */
static void gather_init(const struct pod *pod, struct istio_inputs *all,
			const struct pod_container *init)
{
	const struct pod_container *proxy = pod_container(pod, "istio-proxy");

	for (size_t i = 0; i < ISTIO_INPUT_MAX; i++) {
		struct istio_value *v = &all->values[i];
		const struct input *in = &inputs[i];

		if (from_container(v, in, init, false))
			continue;
		if (init->n_args) {
			set(v, in->binary, WEIR_SOURCE_INIT_DEFAULT, "default of istio-init");
			continue;
		}
		/* not as the injector writes it: what it would have been told is looked up */
		if (!from_annotations(v, in, pod) && !from_proxy(v, in, proxy) &&
		    !from_config(v, in, all))
			set(v, in->init, WEIR_SOURCE_DEFAULT, "default");
	}
}

/*
 * The CNI plugin reads annotations and the proxy's environment. What these do not say the
 * validation container may: the injector tells it what it would have told istio-init.
 */
static void gather_cni(const struct pod *pod, struct istio_inputs *all)
{
	const struct pod_container *validation = pod_container(pod, "istio-validation");
	const struct pod_container *proxy = pod_container(pod, "istio-proxy");

	for (size_t i = 0; i < ISTIO_INPUT_MAX; i++) {
		struct istio_value *v = &all->values[i];
		const struct input *in = &inputs[i];

		if (from_annotations(v, in, pod) || from_proxy(v, in, proxy) ||
		    (validation && from_container(v, in, validation, true)) ||
		    from_config(v, in, all))
			continue;
		set(v, in->cni,
		    i == ISTIO_OUT_PORTS_EXCLUDE ? WEIR_SOURCE_CNI_DEFAULT : WEIR_SOURCE_DEFAULT,
		    "default of istio-cni");
	}
}

int istio_inputs_gather(const struct pod *pod, struct istio_inputs *ret, char **ret_error)
{
	const char *config = pod_annotation(pod, ISTIO_PROXY_CONFIG);
	const struct pod_container *init = pod_container(pod, "istio-init");
	int r;

	*ret = (struct istio_inputs){ .loader = init ? ISTIO_INIT : ISTIO_CNI };
	r = config ? proxy_config_parse(config, &ret->config, ret_error) : 0;
	if (init)
		gather_init(pod, ret, init);
	else
		gather_cni(pod, ret);
	return r;
}

void istio_inputs_free(struct istio_inputs *all)
{
	proxy_config_free(&all->config);
}
