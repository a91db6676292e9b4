/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Istio's inputs of one pod, as texts: what istio-iptables would be told, and by whom. Annotations,
 * arguments and environments meet here in the order in which they beat each other; what the texts
 * mean is policy_istio.c's business.
 */
#ifndef WEIR_AGENT_ISTIO_INPUTS_H
#define WEIR_AGENT_ISTIO_INPUTS_H

#include "agent/pod.h"
#include "agent/proxy_config.h"
#include "maps/policy.h"

enum istio_input {
	ISTIO_OUTBOUND_PORT,
	ISTIO_INBOUND_PORT,
	ISTIO_TUNNEL_PORT,
	ISTIO_UIDS,
	ISTIO_GIDS,
	ISTIO_MODE_NAME,
	ISTIO_CIDRS,
	ISTIO_CIDRS_EXCLUDE,
	ISTIO_OUT_PORTS,
	ISTIO_OUT_PORTS_EXCLUDE,
	ISTIO_IN_PORTS,
	ISTIO_IN_PORTS_EXCLUDE,
	ISTIO_IF_EXCLUDE,
	ISTIO_IF_VIRTUAL,
	ISTIO_DNS,
	ISTIO_DNS_ALL,
	ISTIO_DUAL_STACK,
	ISTIO_DROP_INVALID,
	ISTIO_GROUPS,
	ISTIO_GROUPS_EXCLUDE,
	ISTIO_LOOPBACK,
	ISTIO_INPUT_MAX
};

/* Who would load the rules: their defaults differ. */
enum istio_loader {
	ISTIO_CNI, /* the CNI plugin, for a pod without istio-init */
	ISTIO_INIT, /* istio-init, which is in the pod: its arguments are all that counts */
};

struct istio_value {
	const char *text; /* NULL: nobody says anything, and there is no default */
	enum weir_source source;
	const char *annotation; /* its key, when it is one */
	/* "annotation 'KEY'", "argument -o of container istio-init", ... for people */
	char where[128];
	/* A variable that says it, NULL for none, and its container: the value is not in the object
	 */
	const char *unknown, *unknown_in;
};

struct istio_inputs {
	enum istio_loader loader;
	struct istio_value values[ISTIO_INPUT_MAX];
	struct proxy_config config; /* owner of some of the texts; the pod owns the others */
};

/* -EINVAL with the injector's text when the annotation proxy.istio.io/config is wrong. */
int istio_inputs_gather(const struct pod *pod, struct istio_inputs *ret, char **ret_error);
void istio_inputs_free(struct istio_inputs *inputs);

#endif
