/* SPDX-License-Identifier: Apache-2.0 */
/* Inside the compiler of policies: what policy.c and the meshes' halves of it share. */
#ifndef WEIR_AGENT_POLICY_COMPILER_H
#define WEIR_AGENT_POLICY_COMPILER_H

#include "agent/annotations.h"
#include "agent/istio_inputs.h"
#include "agent/policy.h"
#include "base/buf.h"

struct compiler {
	const struct pod *pod;
	const struct policy_options *options;
	struct policy *p;
	struct lists lists;
	struct buf errors; /* of several annotations, joined */
	struct buf mistakes; /* those for which no mesh would refuse the pod */
	bool forced; /* weir.io/capture: on */
	bool takeover; /* weir.io/takeover: on, or --takeover */
};

void policy_warn(struct compiler *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Take text. For an error the mesh would not let the pod run: its traffic is refused. */
void policy_error(struct compiler *c, char *text);
/* For a mistake it would run, with the default: so it does here, and its state says what is wrong.
 */
void policy_mistake(struct compiler *c, char *text);
/* Ends the decision unless the state is captured; reason is copied. */
void policy_set_state(struct compiler *c, enum policy_state state, const char *reason);

/* Why istio-cni would leave the pod alone, in its order; NULL if it would not. */
const char *policy_istio_declines(const struct compiler *c);
/* Is container istio-proxy there, beside an application? */
bool policy_istio_has_sidecar(const struct compiler *c);
/* Flags, ports, ids and lists of a pod that is to be captured; errors are added. */
void policy_istio_compile(struct compiler *c);
void policy_linkerd_compile(struct compiler *c);
void policy_custom_compile(struct compiler *c);
/* Warns of weir.io/dns-servers where it has no effect. */
void policy_dns_servers_unused(struct compiler *c);
/* Is a proxy declared by annotations of weir's own? */
bool policy_custom_declared(const struct compiler *c);
/* Or is at least something said of it that nobody will read otherwise? */
bool policy_custom_mentioned(const struct compiler *c);

/* Istio's lists of ports, ranges and interfaces, which a declared proxy has as well. */
void policy_istio_lists(struct compiler *c, const struct istio_inputs *inputs);

#endif
