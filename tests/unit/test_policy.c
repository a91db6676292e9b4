/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From pods to policies: whose they are, whether they are captured and why not, what their
 * annotations become, and what is said when they are wrong. Inline JSON has ' for ".
 */
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

#define ISTIO_ANNOTATION "'sidecar.istio.io/status':'{}'"
#define ISTIO_PROXY	 "{'name':'istio-proxy','args':['proxy','sidecar']}"
#define WHY_ISTIO	 "container istio-proxy and annotation sidecar.istio.io/status"
#define T		 "traffic.sidecar.istio.io/"
#define V4		 "'status':{'podIP':'10.0.0.7'}"

static struct pod *load_pod(const char *text)
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

static struct policy *compile_with(const char *text, const struct policy_options *options)
{
	_cleanup_pod_ struct pod *pod = load_pod(text);
	struct policy *p = NULL;

	assert_int_equal(policy_compile(pod, options, &p), 0);
	assert_non_null(p->reason);
	return p;
}

static struct policy *compile(const char *text)
{
	static const struct policy_options options;

	return compile_with(text, &options);
}

/* An injected Istio pod with more annotations: "" or ",'key':'value'". */
static struct policy *istio(const char *annotations)
{
	_cleanup_free_ char *text = xasprintf(
		"{'metadata':{'namespace':'shop','name':'p','annotations':{" ISTIO_ANNOTATION
		"%s}},"
		"'spec':{'containers':[{'name':'app'}," ISTIO_PROXY "]}," V4 "}",
		annotations);

	return compile(text);
}

static struct policy *linkerd(const char *annotations, const char *env, const char *more)
{
	_cleanup_free_ char *text = xasprintf(
		"{'metadata':{'namespace':'shop','name':'p','annotations':{'linkerd.io/"
		"inject':'enabled'%s}},"
		"'spec':{'initContainers':[{'name':'linkerd-proxy','env':[%s]%s}]}," V4 "}",
		annotations, env, more);

	return compile(text);
}

static bool has_port(const struct policy *p, enum weir_list list, uint16_t port)
{
	for (size_t i = 0; i < p->n_ports; i++)
		if (p->ports[i].list == list && port >= p->ports[i].lo && port <= p->ports[i].hi)
			return true;
	return false;
}

static size_t count_ports(const struct policy *p, enum weir_list list)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_ports; i++)
		if (p->ports[i].list == list)
			n += p->ports[i].hi - p->ports[i].lo + 1U;
	return n;
}

static void expect(const struct policy *p, enum policy_state state, const char *reason)
{
	if (p->state != state || strcmp(p->reason, reason))
		fail_msg("%s: %s, not %s: %s", policy_state_name(p->state), p->reason,
			 policy_state_name(state), reason);
	assert_int_equal(p->pod.mode, state == POLICY_CAPTURED ? WEIR_MODE_CAPTURE
				      : state == POLICY_FAILED ? WEIR_MODE_REFUSE
							       : WEIR_MODE_OBSERVE);
	if (state != POLICY_CAPTURED) {
		assert_int_equal(p->n_ports + p->n_cidrs, 0);
		assert_int_equal(p->pod.flags, 0);
	}
}

static void expect_warning(const struct policy *p, const char *text)
{
	for (size_t i = 0; i < p->n_warnings; i++)
		if (!strcmp(p->warnings[i], text))
			return;
	fail_msg("no warning: %s (of %zu: %s)", text, p->n_warnings,
		 p->n_warnings ? p->warnings[0] : "");
}

/* conformance/istio/cni-sidecar/basic.golden */
static void test_istio_basic(void **state)
{
	static const uint16_t own[] = { 15020, 15021, 15090 };
	_cleanup_policy_ struct policy *p = istio("");

	(void)state;
	expect(p, POLICY_CAPTURED, WHY_ISTIO);
	assert_int_equal(p->mesh, WEIR_MESH_ISTIO);
	assert_int_equal(p->pod.rules, WEIR_RULES_ISTIO);
	assert_int_equal(p->pod.outbound_port, 15001);
	assert_int_equal(p->pod.inbound_port, 15006);
	assert_int_equal(p->pod.tunnel_port, 15008);
	assert_int_equal(p->pod.proxy_uid, 1337);
	assert_int_equal(p->pod.proxy_gid, 1337);
	assert_int_equal(p->pod.before_proxy, WEIR_ABSENT_REFUSE);
	assert_int_equal(p->pod.proxy_down, WEIR_ABSENT_REFUSE);
	assert_int_equal(p->pod.flags, WEIR_POD_IPV4 | WEIR_POD_OUT_ALL |
					       WEIR_POD_OUT_PORTS_EXCLUDE | WEIR_POD_IN_ALL |
					       WEIR_POD_IN_PORTS_EXCLUDE | WEIR_POD_PROXY_UID |
					       WEIR_POD_PROXY_GID);
	assert_int_equal(count_ports(p, WEIR_LIST_OUT_PORT_EXCLUDE), 1);
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 15020));
	assert_int_equal(count_ports(p, WEIR_LIST_IN_PORT_EXCLUDE), 3);
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, own[i]));
	assert_int_equal(p->sources[WEIR_LIST_OUT_PORT_EXCLUDE], WEIR_SOURCE_CNI_DEFAULT);
	assert_int_equal(p->sources[WEIR_LIST_IN_PORT_EXCLUDE], WEIR_SOURCE_DEFAULT);
	assert_int_equal(p->n_warnings, 0);
	assert_int_equal(p->pod.ip4.ip[15], 7);
	assert_true(weir_addr_is_any(&p->pod.ip6));
}

/* include-exclude-ports.golden, include-exclude-ip.golden, custom-uid.golden */
static void test_istio_goldens(void **state)
{
	_cleanup_policy_ struct policy *ports = istio(",'" T "includeInboundPorts':'1111,2222'"
						      ",'" T "excludeInboundPorts':'3333,4444'"
						      ",'" T "excludeOutboundPorts':'5555,6666'");
	_cleanup_policy_ struct policy *ranges =
		istio(",'" T "includeOutboundIPRanges':'127.0.0.0/8'"
		      ",'" T "excludeOutboundIPRanges':'10.0.0.0/8'");
	_cleanup_policy_ struct policy *uid =
		compile("{'metadata':{'namespace':'a','name':'b','annotations':{" ISTIO_ANNOTATION
			"}},'spec':{"
			"'securityContext':{'runAsUser':5},'containers':[{'name':'istio-proxy',"
			"'securityContext':{'runAsUser':1000670000,'runAsGroup':1000670001}}]}}");

	(void)state;
	assert_false(ports->pod.flags & WEIR_POD_IN_ALL);
	assert_true(ports->pod.flags & WEIR_POD_IN_PORTS);
	assert_int_equal(count_ports(ports, WEIR_LIST_IN_PORT_INCLUDE), 2);
	assert_int_equal(count_ports(ports, WEIR_LIST_OUT_PORT_EXCLUDE), 2);
	assert_false(has_port(ports, WEIR_LIST_OUT_PORT_EXCLUDE, 15020)); /* the default is gone */
	assert_int_equal(ports->sources[WEIR_LIST_OUT_PORT_EXCLUDE], WEIR_SOURCE_OUT_EXCLUDE_PORTS);
	assert_false(ranges->pod.flags & WEIR_POD_OUT_ALL);
	assert_true(ranges->pod.flags & WEIR_POD_OUT_CIDRS);
	assert_true(ranges->pod.flags & WEIR_POD_OUT_CIDRS_EXCLUDE);
	assert_true(ranges->pod.flags & WEIR_POD_OUT_LOOPBACK);
	assert_int_equal(ranges->n_cidrs, 2);
	assert_int_equal(ranges->cidrs[0].bits, 104);
	assert_int_equal(uid->pod.proxy_uid, 1000670000);
	assert_int_equal(uid->pod.proxy_gid, 1000670001);
	assert_int_equal(uid->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_CONTAINER);
}

/* Empty is not absent, and a proxy that runs as root is looked for under 1337. */
static void test_istio_edges(void **state)
{
	_cleanup_policy_ struct policy *empty = istio(",'" T "includeInboundPorts':'','" T ""
						      "excludeInboundPorts':''"
						      ",'" T "includeOutboundIPRanges':'','" T ""
						      "excludeOutboundPorts':''");
	_cleanup_policy_ struct policy *both =
		istio(",'" T "includeOutboundPorts':'443','" T ""
		      "excludeOutboundPorts':'443'"
		      ",'" T "includeOutboundIPRanges':'10.0.0.0/8'"
		      ",'" T "excludeOutboundIPRanges':'10.0.0.0/8,0.0.0.0/0'");
	_cleanup_policy_ struct policy *root =
		compile("{'metadata':{'namespace':'a','name':'b','annotations':{" ISTIO_ANNOTATION
			"}},'spec':{"
			"'containers':[{'name':'istio-proxy','securityContext':{'runAsUser':0,'"
			"runAsGroup':1337}}]}}");

	(void)state;
	expect(empty, POLICY_CAPTURED, WHY_ISTIO);
	assert_false(empty->pod.flags & (WEIR_POD_IN_ALL | WEIR_POD_IN_PORTS | WEIR_POD_OUT_ALL |
					 WEIR_POD_OUT_CIDRS | WEIR_POD_OUT_PORTS_EXCLUDE));
	assert_int_equal(count_ports(empty, WEIR_LIST_IN_PORT_EXCLUDE), 3);
	/* contradictory is legal: the order of the rules decides */
	expect(both, POLICY_CAPTURED, WHY_ISTIO);
	assert_true(has_port(both, WEIR_LIST_OUT_PORT_INCLUDE, 443));
	assert_true(has_port(both, WEIR_LIST_OUT_PORT_EXCLUDE, 443));
	assert_int_equal(both->n_cidrs, 3);
	assert_false(both->pod.flags & WEIR_POD_OUT_LOOPBACK);
	assert_int_equal(root->pod.proxy_uid, 1337);
	assert_int_equal(root->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_DEFAULT);
	assert_int_equal(root->sources[WEIR_SETTING_PROXY_GID], WEIR_SOURCE_CONTAINER);
}

static void test_istio_families(void **state)
{
	static const struct {
		const char *ips, *dual_stack;
		enum policy_ipv6 option;
		bool v6;
	} cases[] = {
		{ "{'ip':'10.0.0.1'}", "false", POLICY_IPV6_AUTO, false },
		{ "{'ip':'10.0.0.1'},{'ip':'fd00::1'}", "false", POLICY_IPV6_AUTO, false },
		{ "{'ip':'10.0.0.1'},{'ip':'fd00::1'}", "true", POLICY_IPV6_AUTO, true },
		{ "{'ip':'10.0.0.1'}", "true", POLICY_IPV6_AUTO, false },
		{ "{'ip':'fd00::1'}", "false", POLICY_IPV6_AUTO, true },
		{ "{'ip':'fd00::1'},{'ip':'10.0.0.1'}", "false", POLICY_IPV6_AUTO, true },
		{ "", "false", POLICY_IPV6_AUTO, true }, /* unknown: in doubt captured */
		{ "", "false", POLICY_IPV6_OFF, false },
		{ "{'ip':'10.0.0.1'}", "false", POLICY_IPV6_ON, true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct policy_options options = { .ipv6 = cases[i].option };
		_cleanup_free_ char *text = xasprintf(
			"{'metadata':{'namespace':'a','name':'b','annotations':{" ISTIO_ANNOTATION
			"}},'spec':{'containers':[{'name':'istio-proxy',"
			"'env':[{'name':'ISTIO_DUAL_STACK','value':'%s'}]}]},'status':{'podIPs':[%"
			"s]}}",
			cases[i].dual_stack, cases[i].ips);
		_cleanup_policy_ struct policy *p = compile_with(text, &options);

		assert_true(p->pod.flags & WEIR_POD_IPV4);
		assert_int_equal(!!(p->pod.flags & WEIR_POD_IPV6), cases[i].v6);
	}
}

#define POD(meta, spec)	 "{'metadata':{'namespace':'shop','name':'p'" meta "},'spec':{" spec "}}"
#define ENV(name, value) "{'name':'" name "','value':'" value "'}"
#define STATUS		 ",'annotations':{" ISTIO_ANNOTATION "}"

#define NOT(mesh) POLICY_NOT_CAPTURED, WEIR_MESH_##mesh
#define NO_PROXY  "no container is istio-proxy or linkerd-proxy", NOT(NONE)
#define INJECTED  WHY_ISTIO, POLICY_CAPTURED, WEIR_MESH_ISTIO

static const struct {
	const char *pod, *reason;
	enum policy_state state;
	enum weir_mesh mesh;
} decisions[] = {
	/* clang-format off */
	{ POD("", "'containers':[{'name':'app'}]"), NO_PROXY },
	{ POD("", ""), NO_PROXY },
	{ POD("", "'containers':[" ISTIO_PROXY "]"), "annotation sidecar.istio.io/status is missing", NOT(ISTIO) },
	{ POD(",'annotations':{'sidecar.istio.io/status':''}", "'containers':[" ISTIO_PROXY "]"), INJECTED },
	/* a native sidecar */
	{ POD(STATUS, "'initContainers':[" ISTIO_PROXY "],'containers':[{'name':'app'}]"), INJECTED },
	{ POD(STATUS, "'initContainers':[{'name':'istio-init'}],'containers':[" ISTIO_PROXY "]"),
	  "container istio-init programs its own iptables rules", NOT(ISTIO) },
	{ POD(STATUS, "'initContainers':[{'name':'istio-validation'}],'containers':[" ISTIO_PROXY "]"), INJECTED },
	{ POD(STATUS, "'containers':[{'name':'istio-proxy','env':[{'name':'DISABLE_ENVOY','value':'true'}]}]"),
	  "DISABLE_ENVOY is set in container istio-proxy", NOT(ISTIO) },
	{ POD(STATUS, "'containers':[{'name':'istio-proxy','env':[{'name':'DISABLE_ENVOY','value':'yes'}]}]"), INJECTED },
	{ POD(STATUS, "'containers':[{'name':'istio-proxy','args':['proxy','router']}]"),
	  "container istio-proxy is no sidecar: its second argument says otherwise", NOT(ISTIO) },
	{ POD(STATUS, "'containers':[{'name':'istio-proxy','args':['proxy']}]"), INJECTED },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'sidecar.istio.io/inject':'false'}", "'containers':[" ISTIO_PROXY "]"),
	  "sidecar.istio.io/inject is false", NOT(ISTIO) },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'sidecar.istio.io/inject':'F'}", "'containers':[" ISTIO_PROXY "]"),
	  "sidecar.istio.io/inject is false", NOT(ISTIO) },
	{ POD(",'labels':{'sidecar.istio.io/inject':'true'},'annotations':{" ISTIO_ANNOTATION
	      ",'sidecar.istio.io/inject':'false'}", "'containers':[" ISTIO_PROXY "]"), INJECTED },
	{ POD(",'labels':{'sidecar.istio.io/inject':'no'}" STATUS, "'containers':[" ISTIO_PROXY "]"), INJECTED },
	{ "{'metadata':{'namespace':'kube-system','name':'p'" STATUS "},'spec':{'containers':[" ISTIO_PROXY "]}}",
	  "istio-cni excludes namespace kube-system", NOT(ISTIO) },
	{ POD(STATUS, "'hostNetwork':true,'containers':[" ISTIO_PROXY "]"),
	  "hostNetwork is true: it shares the node's network namespace", NOT(NONE) },
	{ "{'metadata':{'namespace':'a','name':'p'" STATUS "},'spec':{'containers':[" ISTIO_PROXY "]},"
	  "'status':{'phase':'Succeeded','podIP':'10.0.0.7'}}",
	  "it has finished: its phase is Succeeded or Failed", NOT(NONE) },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'sidecar.istio.io/interceptionMode':'NONE'}",
	      "'containers':[" ISTIO_PROXY "]"),
	  "annotation sidecar.istio.io/interceptionMode is NONE", NOT(ISTIO) },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'sidecar.istio.io/interceptionMode':'TPROXY'}",
	      "'containers':[" ISTIO_PROXY "]"),
	  "annotation sidecar.istio.io/interceptionMode: TPROXY is not supported yet, use REDIRECT",
	  POLICY_FAILED, WEIR_MESH_ISTIO },
	/* injection was asked for */
	{ POD(",'labels':{'sidecar.istio.io/inject':'true'}", "'containers':[{'name':'app'}]"),
	  "a sidecar was to be injected and is not there", POLICY_MISSING_SIDECAR, WEIR_MESH_ISTIO },
	{ POD(",'annotations':{'linkerd.io/inject':'enabled'}", "'containers':[{'name':'app'}]"),
	  "a sidecar was to be injected and is not there", POLICY_MISSING_SIDECAR, WEIR_MESH_LINKERD },
	{ POD(",'annotations':{'linkerd.io/inject':'disabled'}", "'containers':[{'name':'app'}]"), NO_PROXY },
	{ POD(",'labels':{'istio.io/dataplane-mode':'ambient'}", "'containers':[{'name':'app'}]"),
	  "ambient mode, which weir does not capture yet", NOT(NONE) },
	/* Linkerd */
	{ POD("", "'containers':[{'name':'linkerd-proxy'}]"), "container linkerd-proxy", POLICY_CAPTURED,
	  WEIR_MESH_LINKERD },
	{ POD("", "'initContainers':[{'name':'linkerd-network-validator'},{'name':'linkerd-proxy'}]"),
	  "container linkerd-proxy", POLICY_CAPTURED, WEIR_MESH_LINKERD },
	{ POD("", "'initContainers':[{'name':'linkerd-init'}],'containers':[{'name':'linkerd-proxy'}]"),
	  "container linkerd-init programs its own iptables rules", NOT(LINKERD) },
	{ "{'metadata':{'namespace':'kube-system','name':'p'},'spec':{'containers':[{'name':'linkerd-proxy'}]}}",
	  "container linkerd-proxy", POLICY_CAPTURED, WEIR_MESH_LINKERD },
	/* weir's own word */
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'weir.io/capture':'off'}", "'containers':[" ISTIO_PROXY "]"),
	  "annotation weir.io/capture is off", NOT(NONE) },
	{ POD(",'annotations':{'weir.io/capture':'on'}", "'containers':[" ISTIO_PROXY "]"),
	  "annotation weir.io/capture is on", POLICY_CAPTURED, WEIR_MESH_ISTIO },
	{ POD(",'annotations':{'weir.io/capture':'on','sidecar.istio.io/inject':'false'}", "'containers':[" ISTIO_PROXY "]"),
	  "annotation weir.io/capture is on", POLICY_CAPTURED, WEIR_MESH_ISTIO },
	{ POD(",'annotations':{'weir.io/capture':'on'}", "'containers':[{'name':'haproxy'}]"),
	  "annotation weir.io/capture is on", POLICY_CAPTURED, WEIR_MESH_CUSTOM },
	{ POD(",'annotations':{'weir.io/capture':'on'}", "'containers':[" ISTIO_PROXY ",{'name':'istio-init'}]"),
	  "container istio-init programs its own iptables rules", NOT(ISTIO) },
	{ POD(",'annotations':{'weir.io/capture':'on'}", "'hostNetwork':true"),
	  "hostNetwork is true: it shares the node's network namespace", NOT(NONE) },
	{ POD(",'annotations':{'weir.io/capture':'true'}", "'containers':[{'name':'app'}]"),
	  "invalid value 'true' for annotation 'weir.io/capture': use on or off", POLICY_FAILED, WEIR_MESH_NONE },
	{ POD(",'annotations':{'weir.io/before-proxy':'maybe'}", "'containers':[{'name':'app'}]"), NO_PROXY },
	/* clang-format on */
};

static void test_decisions(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(decisions); i++) {
		_cleanup_policy_ struct policy *p = compile(decisions[i].pod);

		expect(p, decisions[i].state, decisions[i].reason);
		assert_int_equal(p->mesh, decisions[i].mesh);
	}
}

static void test_mesh_option(void **state)
{
	static const char both[] =
		POD(STATUS, "'containers':[" ISTIO_PROXY ",{'name':'linkerd-proxy'}]");
	struct policy_options options = { .meshes = POLICY_MESH_LINKERD };
	_cleanup_policy_ struct policy *first = compile(both),
				       *second = compile_with(both, &options);
	_cleanup_policy_ struct policy *third = NULL, *fourth = NULL, *fifth = NULL;

	(void)state;
	assert_int_equal(first->mesh, WEIR_MESH_ISTIO);
	expect_warning(first,
		       "containers of both Istio and Linkerd are there: Istio's rules apply");
	assert_int_equal(second->mesh, WEIR_MESH_LINKERD);
	third = compile_with(POD(STATUS, "'containers':[" ISTIO_PROXY "]"), &options);
	expect(third, POLICY_NOT_CAPTURED,
	       "no container is linkerd-proxy (weir runs with --mesh=linkerd)");
	options.meshes = POLICY_MESH_NONE;
	fourth = compile_with(POD(",'annotations':{'weir.io/capture':'on'}", ""), &options);
	expect(fourth, POLICY_NOT_CAPTURED, "weir runs with --mesh=none");
	options.meshes = POLICY_MESH_AMBIENT;
	fifth = compile_with(both, &options);
	expect(fifth, POLICY_NOT_CAPTURED,
	       "weir runs with --mesh=ambient, which captures no pod yet");
}

static void test_namespace(void **state)
{
	struct pod_pair pairs[] = { { (char *)LINKERD_SKIP_OUT, (char *)"25" },
				    { (char *)LINKERD_SKIP_IN, (char *)"9000-9001" },
				    { (char *)"istio-injection", (char *)"enabled" } };
	struct pod_pairs all = { pairs, ARRAY_SIZE(pairs) };
	struct policy_options options = { .namespace_annotations = &all, .namespace_labels = &all };
	_cleanup_policy_ struct policy *missing =
		compile_with(POD("", "'containers':[{'name':'app'}]"), &options);
	_cleanup_policy_ struct policy *p = compile_with(
		POD(",'annotations':{'" LINKERD_SKIP_OUT "':'','" LINKERD_SKIP_IN "':'7'}",
		    "'containers':[{'name':'linkerd-proxy'}]"),
		&options);

	(void)state;
	expect(missing, POLICY_MISSING_SIDECAR, "a sidecar was to be injected and is not there");
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 25)); /* an empty annotation is none */
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 7));
	assert_false(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 9000));
}

#define INVALID(value, key) "invalid value '" value "' for annotation '" key "': "
#define SYNTAX(text)	    "strconv.ParseUint: parsing \"" text "\": invalid syntax"
#define PORT(item)	    "failed parsing port '" item "': "
#define RANGE(item)	    "failed parsing cidr '" item "': netip.ParsePrefix(\"" item "\"): no '/'"

static void test_errors(void **state)
{
	static const struct {
		const char *annotations, *reason;
	} cases[] = {
		/* clang-format off */
		{ ",'" T "excludeOutboundPorts':'80,http'",
		  INVALID("80,http", T "excludeOutboundPorts") "excludeOutboundPorts invalid: "
		  PORT("http") PORT("http") SYNTAX("http") },
		{ ",'" T "includeOutboundIPRanges':'10.0.0.0'",
		  INVALID("10.0.0.0", T "includeOutboundIPRanges") "includeIPRanges invalid: " RANGE("10.0.0.0") },
		{ ",'status.sidecar.istio.io/port':'-1'",
		  INVALID("-1", "status.sidecar.istio.io/port") "excludeInboundPorts invalid: " PORT("-1") SYNTAX("-1") },
		{ ",'sidecar.istio.io/interceptionMode':'redirect'",
		  INVALID("redirect", "sidecar.istio.io/interceptionMode")
		  "interceptionMode invalid, use REDIRECT,TPROXY,NONE: redirect" },
		{ ",'" T "excludeInterfaces':'eth0,,'",
		  INVALID("eth0,,", T "excludeInterfaces") "empty interface name" },
		{ ",'istio.io/reroute-virtual-interfaces':'net1','" T "kubevirtInterfaces':'net 2'",
		  "annotation istio.io/reroute-virtual-interfaces is not supported yet, and what comes from these "
		  "interfaces would bypass the proxy" },
		{ ",'weir.io/before-proxy':'allow','weir.io/proxy-down':'','weir.io/acceleration':'yes'",
		  INVALID("allow", "weir.io/before-proxy") "use refuse or direct; "
		  INVALID("", "weir.io/proxy-down") "use refuse or direct; "
		  INVALID("yes", "weir.io/acceleration") "use on or off" },
		{ ",'" T "includeInboundPorts':'x','" T "excludeOutboundIPRanges':'y'",
		  INVALID("y", T "excludeOutboundIPRanges") "excludeIPRanges invalid: " RANGE("y") "; "
		  INVALID("x", T "includeInboundPorts") "includeInboundPorts invalid: " PORT("x") PORT("x") SYNTAX("x") },
		/* clang-format on */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_policy_ struct policy *p = istio(cases[i].annotations);

		expect(p, POLICY_FAILED, cases[i].reason);
		assert_int_equal(p->pod.ip4.ip[15], 7);
	}
}

static void test_own_settings(void **state)
{
	_cleanup_policy_ struct policy *p =
		istio(",'weir.io/before-proxy':'direct','weir.io/proxy-down':'refuse'"
		      ",'weir.io/acceleration':'on'");
	_cleanup_policy_ struct policy *custom =
		compile(POD(",'annotations':{'weir.io/capture':'on'}", ""));

	(void)state;
	assert_int_equal(p->state, POLICY_CAPTURED);
	assert_int_equal(p->pod.before_proxy, WEIR_ABSENT_DIRECT);
	assert_int_equal(p->pod.proxy_down, WEIR_ABSENT_REFUSE);
	assert_int_equal(p->sources[WEIR_SETTING_BEFORE_PROXY], WEIR_SOURCE_WEIR_BEFORE_PROXY);
	assert_int_equal(p->sources[WEIR_SETTING_PROXY_DOWN], WEIR_SOURCE_WEIR_PROXY_DOWN);
	expect_warning(p, "annotation weir.io/acceleration is not supported yet and ignored");
	expect_warning(custom,
		       "no container is a known proxy: Istio's ports and user 1337 are assumed");
	assert_int_equal(custom->pod.outbound_port, 15001);
	assert_int_equal(custom->sources[WEIR_SETTING_CAPTURE], WEIR_SOURCE_WEIR_CAPTURE);
}

#define IGNORED " is not supported yet and ignored"

static void test_unsupported(void **state)
{
	_cleanup_policy_ struct policy *p = compile(
		POD(",'annotations':{" ISTIO_ANNOTATION ",'" T "excludeInterfaces':'eth1'"
		    ",'istio.io/reroute-virtual-interfaces':'','" T "kubevirtInterfaces':'net1'}",
		    "'containers':[{'name':'istio-proxy','env':[" ENV(
			    "ISTIO_DUAL_STACK",
			    "maybe") "," ENV("ISTIO_META_DNS_CAPTURE",
					     "true") "," ENV("ISTIO_OUTBOUND_OWNER_GROUPS",
							     "java") "," ENV("ISTIO_OUTBOUND_OWNER_"
									     "GROUPS_EXCLUDE",
									     "") "]}]"));
	_cleanup_policy_ struct policy *quiet = compile(
		POD(STATUS, "'containers':[{'name':'istio-proxy','env':[" ENV(
				    "ISTIO_META_DNS_CAPTURE",
				    "0") "," ENV("ISTIO_OUTBOUND_OWNER_GROUPS", "*") "]}]"));

	(void)state;
	/* an empty new name hides the deprecated one */
	assert_int_equal(p->state, POLICY_CAPTURED);
	assert_int_equal(p->n_warnings, 4);
	expect_warning(p, "annotation " T "excludeInterfaces" IGNORED);
	expect_warning(p, "ISTIO_META_DNS_CAPTURE of container istio-proxy" IGNORED);
	expect_warning(p, "ISTIO_OUTBOUND_OWNER_GROUPS of container istio-proxy" IGNORED);
	expect_warning(p, "ISTIO_DUAL_STACK of container istio-proxy: strconv.ParseBool: "
			  "parsing \"maybe\": invalid syntax");
	assert_int_equal(quiet->n_warnings, 0);
}

static void test_linkerd(void **state)
{
	_cleanup_policy_ struct policy *plain = linkerd("", "", "");
	_cleanup_policy_ struct policy *p = linkerd(
		",'" LINKERD_SKIP_IN "':'22, 8100-8102','" LINKERD_SKIP_OUT
		"':'5432','" LINKERD_SKIP_SUBNETS "':'10.1.2.3/16'"
		",'" LINKERD_UID "':'99','" LINKERD_GID "':'98'",
		ENV("LINKERD2_PROXY_INBOUND_LISTEN_ADDR", "[::]:5143") "," ENV(
			"LINKERD2_PROXY_OUTBOUND_LISTEN_ADDRS",
			"127.0.0.1:5140,[::1]:5140") "," ENV("LINKERD2_PROXY_CONTROL_LISTEN_ADDR",
							     "[::]:5190"),
		",'securityContext':{'runAsUser':2103}");

	(void)state;
	expect(plain, POLICY_CAPTURED, "container linkerd-proxy");
	assert_int_equal(plain->pod.rules, WEIR_RULES_LINKERD);
	assert_int_equal(plain->pod.outbound_port, 4140);
	assert_int_equal(plain->pod.inbound_port, 4143);
	assert_int_equal(plain->pod.tunnel_port, 0);
	assert_int_equal(plain->pod.proxy_uid, 2102);
	assert_int_equal(plain->pod.flags, WEIR_POD_IPV4 | WEIR_POD_OUT_ALL | WEIR_POD_IN_ALL |
						   WEIR_POD_IN_PORTS_EXCLUDE | WEIR_POD_PROXY_UID);
	assert_int_equal(count_ports(plain, WEIR_LIST_IN_PORT_EXCLUDE), 2);
	assert_int_equal(plain->n_ports, 1); /* 4190-4191 as one range */

	assert_int_equal(p->pod.outbound_port, 5140);
	assert_int_equal(p->pod.inbound_port, 5143);
	assert_true(p->pod.flags & WEIR_POD_IPV6);
	assert_int_equal(p->pod.proxy_uid, 2103); /* what it runs as, not what was asked for */
	assert_int_equal(p->pod.proxy_gid, 98);
	assert_int_equal(p->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_LINKERD_CONTAINER);
	assert_int_equal(p->sources[WEIR_SETTING_PROXY_GID], WEIR_SOURCE_LINKERD_GID);
	assert_int_equal(p->sources[WEIR_SETTING_OUTBOUND_PORT], WEIR_SOURCE_LINKERD_ENV);
	assert_int_equal(count_ports(p, WEIR_LIST_IN_PORT_EXCLUDE), 6);
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 5190));
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 4191)); /* the admin port stays */
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 8101));
	assert_int_equal(count_ports(p, WEIR_LIST_OUT_PORT_EXCLUDE), 1);
	assert_true(p->pod.flags & WEIR_POD_IN_SOURCES_EXCLUDE);
	assert_int_equal(p->n_cidrs, 1);
	assert_int_equal(p->cidrs[0].addr.ip[14], 0);
	assert_int_equal(p->cidrs[0].bits, 112);
}

static void test_linkerd_ids(void **state)
{
	_cleanup_policy_ struct policy *annotated = linkerd(",'" LINKERD_UID "':'99'", "", "");
	_cleanup_policy_ struct policy *root =
		linkerd("", "", ",'securityContext':{'runAsUser':0}");
	_cleanup_policy_ struct policy *control = compile(POD(
		",'labels':{'linkerd.io/control-plane-component':'destination'}",
		"'securityContext':{'runAsUser':2109},'containers':[{'name':'linkerd-proxy'}]"));

	(void)state;
	assert_int_equal(annotated->pod.proxy_uid, 99);
	assert_int_equal(annotated->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_LINKERD_UID);
	assert_false(root->pod.flags & (WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID));
	assert_int_equal(root->n_warnings, 1);
	assert_int_equal(control->pod.proxy_uid, 2109);
	assert_true(has_port(control, WEIR_LIST_OUT_PORT_EXCLUDE, 443));
	assert_true(has_port(control, WEIR_LIST_OUT_PORT_EXCLUDE, 6443));
	assert_true(control->pod.flags & WEIR_POD_OUT_PORTS_EXCLUDE);
}

static void test_linkerd_errors(void **state)
{
	_cleanup_policy_ struct policy *some = linkerd(",'" LINKERD_SKIP_OUT "':'25,smtp'", "", "");
	_cleanup_policy_ struct policy *none = linkerd(
		",'" LINKERD_SKIP_OUT "':'smtp','" LINKERD_SKIP_SUBNETS "':'10.0.0.0'", "", "");
	_cleanup_policy_ struct policy *env =
		linkerd("", "{'name':'LINKERD2_PROXY_INBOUND_LISTEN_ADDR','value':'4143'}", "");

	(void)state;
	assert_int_equal(some->state, POLICY_CAPTURED);
	expect_warning(some, "invalid value '25,smtp' for annotation "
			     "'config.linkerd.io/skip-outbound-ports': Invalid "
			     "port range [smtp]: \"smtp\" is not a valid lower-bound (must be a "
			     "16-bit unsigned integer) "
			     "(ignored)");
	expect(none, POLICY_FAILED,
	       "invalid value 'smtp' for annotation 'config.linkerd.io/skip-outbound-ports': "
	       "Invalid port range [smtp]: "
	       "\"smtp\" is not a valid lower-bound (must be a 16-bit unsigned integer); "
	       "invalid value '10.0.0.0' for annotation 'config.linkerd.io/skip-subnets': "
	       "10.0.0.0 is not a valid CIDR address");
	expect(env, POLICY_FAILED,
	       "LINKERD2_PROXY_INBOUND_LISTEN_ADDR of container linkerd-proxy is '4143': no "
	       "address with a port");
}

static void test_generation(void **state)
{
	static const char *const annotations[] = {
		"",
		",'" T "excludeOutboundPorts':'15020'", /* another source */
		",'" T "excludeOutboundPorts':'15021'",
		",'" T "excludeOutboundPorts':'15020,15021'",
		",'" T "includeOutboundPorts':'15020'",
		",'" T "excludeOutboundIPRanges':'10.0.0.0/8'",
		",'" T "excludeOutboundIPRanges':'10.0.0.0/9'",
		",'" T "includeOutboundIPRanges':'10.0.0.0/8'",
		",'weir.io/proxy-down':'direct'",
		",'weir.io/capture':'off'",
		",'" T "includeInboundPorts':'x'",
	};
	uint32_t seen[ARRAY_SIZE(annotations)];
	_cleanup_policy_ struct policy *a =
		istio(",'" T "excludeOutboundIPRanges':'10.0.0.0/8,10.9.0.0/16'");
	_cleanup_policy_ struct policy *b =
		istio(",'" T "excludeOutboundIPRanges':'10.9.1.1/16,10.0.0.0/"
		      "8,10.9.0.0/16'");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(annotations); i++) {
		_cleanup_policy_ struct policy *p = istio(annotations[i]),
					       *again = istio(annotations[i]);

		seen[i] = policy_generation(p);
		assert_int_not_equal(seen[i], 0);
		again->pod.workload = 17;
		again->pod.generation = 4;
		assert_int_equal(policy_generation(again), seen[i]);
		for (size_t j = 0; j < i; j++)
			assert_int_not_equal(seen[j], seen[i]);
	}
	assert_int_equal(policy_generation(a),
			 policy_generation(b)); /* order and spelling do not count */
}

static void test_names(void **state)
{
	enum policy_meshes meshes = POLICY_MESH_NONE;
	struct policy *p = NULL;
	struct pod pod = { 0 };

	(void)state;
	assert_string_equal(policy_state_name(POLICY_NOT_CAPTURED), "not_captured");
	assert_string_equal(policy_state_name(POLICY_MISSING_SIDECAR), "missing_sidecar");
	assert_string_equal(policy_state_name((enum policy_state)77), "unknown");
	assert_string_equal(policy_mesh_name(WEIR_MESH_CUSTOM), "custom");
	assert_int_equal(policy_meshes_parse("auto", &meshes), 0);
	assert_int_equal(meshes, POLICY_MESH_AUTO);
	assert_int_equal(policy_meshes_parse("Istio", &meshes), -EINVAL);
	assert_int_equal(policy_meshes_parse("", &meshes), -EINVAL);
	assert_int_equal(policy_compile(&pod, NULL, &p), -EINVAL);
	policy_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_istio_basic),    cmocka_unit_test(test_istio_goldens),
		cmocka_unit_test(test_istio_edges),    cmocka_unit_test(test_istio_families),
		cmocka_unit_test(test_decisions),      cmocka_unit_test(test_mesh_option),
		cmocka_unit_test(test_namespace),      cmocka_unit_test(test_errors),
		cmocka_unit_test(test_own_settings),   cmocka_unit_test(test_unsupported),
		cmocka_unit_test(test_linkerd),	       cmocka_unit_test(test_linkerd_ids),
		cmocka_unit_test(test_linkerd_errors), cmocka_unit_test(test_generation),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
