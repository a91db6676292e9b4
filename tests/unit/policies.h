/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of policies share: pods from inline JSON, which has ' for ". */
#ifndef WEIR_TESTS_POLICIES_H
#define WEIR_TESTS_POLICIES_H

#include "agent/annotations.h"
#include "agent/object.h"
#include "agent/policy.h"
#include "base/buf.h"
#include "base/inet.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define POD(meta, spec)	 "{'metadata':{'namespace':'shop','name':'p'" meta "},'spec':{" spec "}}"
#define ENV(name, value) "{'name':'" name "','value':'" value "'}"
#define STATUS		 ",'annotations':{" ISTIO_ANNOTATION "}"

#define ISTIO_ANNOTATION "'sidecar.istio.io/status':'{}'"
#define ISTIO_PROXY	 "{'name':'istio-proxy','args':['proxy','sidecar']}"
#define WHY_ISTIO	 "container istio-proxy and annotation sidecar.istio.io/status"
#define T		 "traffic.sidecar.istio.io/"
#define V4		 "'status':{'podIP':'10.0.0.7'}"

static inline struct pod *load_pod(const char *text)
{
	_cleanup_free_ char *json = xstrdup(text);
	struct pod *pod = NULL;
	char *error = NULL;
	json_t *root;

	for (char *c = json; *c; c++)
		if (*c == '\'')
			*c = '"';
	root = json_loads(json, 0, NULL);
	if (!root)
		fail_msg("bad test data: %s", text);
	if (pod_parse(root, &pod, &error) < 0)
		fail_msg("%s", error);
	json_decref(root);
	return pod;
}

static inline struct policy *compile_with(const char *text, const struct policy_options *options)
{
	_cleanup_pod_ struct pod *pod = load_pod(text);
	struct policy *p = NULL;

	assert_int_equal(policy_compile(pod, options, &p), 0);
	assert_non_null(p->reason);
	return p;
}

static inline struct policy *compile(const char *text)
{
	static const struct policy_options options;

	return compile_with(text, &options);
}

/* An injected Istio pod with more annotations: "" or ",'key':'value'". */
static inline struct policy *istio(const char *annotations)
{
	_cleanup_free_ char *text = xasprintf(
		"{'metadata':{'namespace':'shop','name':'p','annotations':{" ISTIO_ANNOTATION
		"%s}},"
		"'spec':{'containers':[{'name':'app'}," ISTIO_PROXY "]}," V4 "}",
		annotations);

	return compile(text);
}

static inline struct policy *linkerd(const char *annotations, const char *env, const char *more)
{
	_cleanup_free_ char *text = xasprintf(
		"{'metadata':{'namespace':'shop','name':'p','annotations':{'linkerd.io/"
		"inject':'enabled'%s}},"
		"'spec':{'initContainers':[{'name':'linkerd-proxy','env':[%s]%s}]}," V4 "}",
		annotations, env, more);

	return compile(text);
}

static inline bool has_port(const struct policy *p, enum weir_list list, uint16_t port)
{
	for (size_t i = 0; i < p->n_ports; i++)
		if (p->ports[i].list == list && port >= p->ports[i].lo && port <= p->ports[i].hi)
			return true;
	return false;
}

static inline size_t count_ports(const struct policy *p, enum weir_list list)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_ports; i++)
		if (p->ports[i].list == list)
			n += p->ports[i].hi - p->ports[i].lo + 1U;
	return n;
}

static inline void expect(const struct policy *p, enum policy_state state, const char *reason)
{
	__u32 rules = p->pod.flags & ~(__u32)(WEIR_POD_CAPTURE_OFF | WEIR_POD_KEPT);

	if (p->state != state || strcmp(p->reason, reason))
		fail_msg("%s: %s, not %s: %s", policy_state_name(p->state), p->reason,
			 policy_state_name(state), reason);
	if (state == POLICY_FAILED) /* the mesh might have taken the pod */
		assert_int_equal(p->pod.mode,
				 strstr(reason, "(the default applies)")
					 ? rules ? WEIR_MODE_CAPTURE : WEIR_MODE_OBSERVE
					 : WEIR_MODE_REFUSE);
	else
		assert_int_equal(p->pod.mode,
				 state == POLICY_CAPTURED ? WEIR_MODE_CAPTURE : WEIR_MODE_OBSERVE);
	if (p->pod.mode != WEIR_MODE_CAPTURE) {
		assert_int_equal(p->n_ports + p->n_cidrs, 0);
		assert_int_equal(rules & ~(__u32)WEIR_POD_DNS, 0);
	}
}

static inline void expect_warning(const struct policy *p, const char *text)
{
	for (size_t i = 0; i < p->n_warnings; i++)
		if (!strcmp(p->warnings[i], text))
			return;
	fail_msg("no warning: %s (of %zu: %s)", text, p->n_warnings,
		 p->n_warnings ? p->warnings[0] : "");
}

#endif
