/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From pods to policies: whose they are, whether they are captured and why not, and what is said
 * when they are wrong.
 */
#include "tests/unit/policies.h"

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
	  INJECTED },
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
	  "annotation weir.io/capture is on", POLICY_CAPTURED, WEIR_MESH_ISTIO },
	{ POD(",'annotations':{'weir.io/capture':'on'}", "'hostNetwork':true"),
	  "hostNetwork is true: it shares the node's network namespace", NOT(NONE) },
	{ POD(",'annotations':{'weir.io/capture':'true'}", "'containers':[{'name':'app'}]"),
	  "invalid value 'true' for annotation 'weir.io/capture': use on or off (the default applies)", POLICY_FAILED, WEIR_MESH_NONE },
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

/* Its legs are not the workload's own, whoever redirects to it. */
static void test_proxy_of_a_pod_with_own_rules(void **state)
{
	_cleanup_policy_ struct policy *istio = compile(
		POD(",'annotations':{" ISTIO_ANNOTATION "}",
		    "'containers':[" ISTIO_PROXY "],'initContainers':[{'name':'istio-init'}]"));
	_cleanup_policy_ struct policy *linkerd =
		compile(POD("", "'initContainers':[{'name':'linkerd-init'}],'containers':[{'name':'"
				"linkerd-proxy'}]"));
	_cleanup_policy_ struct policy *off =
		compile(POD(",'annotations':{" ISTIO_ANNOTATION ",'weir.io/takeover':'off'}",
			    "'containers':[" ISTIO_PROXY ",{'name':'istio-init'}]"));
	_cleanup_policy_ struct policy *declined = compile(
		POD(",'annotations':{" ISTIO_ANNOTATION "}", "'containers':[" ISTIO_PROXY "]"));

	(void)state;
	policy_decline(declined, strdup("rules"));
	assert_int_equal(istio->pod.flags, WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID);
	assert_int_equal(istio->pod.proxy_uid, 1337);
	assert_int_equal(linkerd->pod.flags, WEIR_POD_PROXY_UID);
	assert_int_equal(linkerd->pod.proxy_uid, 2102);
	assert_int_equal(off->pod.proxy_uid, 1337);
	assert_int_equal(declined->pod.proxy_uid, 1337);
	assert_int_equal(declined->pod.mode, WEIR_MODE_OBSERVE);
}

/* Of pods that their mesh's own rules redirect the proxy is known, so that its legs are
 * counted apart; of those that nobody redirects it is a process like any other. */
static const struct {
	const char *pod;
	enum policy_meshes meshes;
	__u32 flags, uid, gid;
	size_t n_ids;
} left_alone[] = {
/* clang-format off */
#define INIT(args) "'initContainers':[{'name':'istio-init','args':[" args "]}],'containers':[" ISTIO_PROXY "]"
#define IDS (WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID)
	{ POD(STATUS, INIT("")), POLICY_MESH_AUTO, IDS, 1337, 1337, 0 },
	{ POD(STATUS, INIT("'istio-iptables','-u','1337,1400','-g','1338'")), POLICY_MESH_AUTO, IDS | WEIR_POD_PROXY_UIDS, 1337, 1338, 1 },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'sidecar.istio.io/interceptionMode':'TPROXY'}", INIT("")),
	  POLICY_MESH_AUTO, IDS | WEIR_POD_TPROXY, 1337, 1337, 0 },
	{ POD(STATUS, "'containers':[" ISTIO_PROXY "]"), POLICY_MESH_NONE, IDS, 1337, 1337, 0 },
	{ POD(STATUS, "'containers':[" ISTIO_PROXY "]"), POLICY_MESH_LINKERD, IDS, 1337, 1337, 0 },
	{ POD("", "'initContainers':[{'name':'linkerd-init'}],'containers':[{'name':'linkerd-proxy'}]"),
	  POLICY_MESH_AUTO, WEIR_POD_PROXY_UID, 2102, 0, 0 },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'weir.io/capture':'off'}", "'containers':[" ISTIO_PROXY "]"),
	  POLICY_MESH_AUTO, IDS | WEIR_POD_CAPTURE_OFF, 1337, 1337, 0 },
	{ POD(",'labels':{'istio.io/dataplane-mode':'ambient'},'annotations':{'ambient.istio.io/redirection':'enabled'}",
	      "'containers':[{'name':'app'}]"), POLICY_MESH_AUTO, WEIR_POD_TPROXY, 0, 0, 0 },
	{ POD(",'labels':{'istio.io/dataplane-mode':'ambient'},'annotations':{'ambient.istio.io/redirection':'pending'}",
	      "'containers':[{'name':'app'}]"), POLICY_MESH_AUTO, 0, 0, 0, 0 },
	/* a gateway's connections are its own, and so are those of a sidecar that nothing leads to */
	{ POD(STATUS, "'containers':[{'name':'istio-proxy','args':['proxy','router']}]"), POLICY_MESH_AUTO, 0, 0, 0, 0 },
	{ POD("", "'containers':[" ISTIO_PROXY "]"), POLICY_MESH_AUTO, 0, 0, 0, 0 },
	{ POD(",'annotations':{" ISTIO_ANNOTATION ",'sidecar.istio.io/interceptionMode':'NONE'}", "'containers':[" ISTIO_PROXY "]"),
	  POLICY_MESH_NONE, 0, 0, 0, 0 },
	{ POD("", "'containers':[{'name':'app'}]"), POLICY_MESH_NONE, 0, 0, 0, 0 },
	/* clang-format on */
};

static void test_left_alone(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(left_alone); i++) {
		struct policy_options options = { .meshes = left_alone[i].meshes };
		_cleanup_policy_ struct policy *p = compile_with(left_alone[i].pod, &options);

		assert_int_equal(p->state, POLICY_NOT_CAPTURED);
		assert_int_equal(p->pod.mode, WEIR_MODE_OBSERVE);
		assert_int_equal(p->pod.flags, left_alone[i].flags);
		assert_int_equal(p->pod.proxy_uid, left_alone[i].uid);
		assert_int_equal(p->pod.proxy_gid, left_alone[i].gid);
		assert_int_equal(p->n_ids, left_alone[i].n_ids);
		assert_int_equal(p->n_warnings + p->n_errors, 0);
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
#define DEFAULT		    " (the default applies)"
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
		{ ",'istio.io/reroute-virtual-interfaces':'net 1','" T "kubevirtInterfaces':'net 2'",
		  INVALID("net 1", "istio.io/reroute-virtual-interfaces")
		  "interface name \"net 1\" contains invalid characters" },
		{ ",'weir.io/before-proxy':'allow','weir.io/proxy-down':'','weir.io/acceleration':'yes'",
		  INVALID("allow", "weir.io/before-proxy") "use refuse or direct" DEFAULT "; "
		  INVALID("", "weir.io/proxy-down") "use refuse or direct" DEFAULT "; "
		  INVALID("yes", "weir.io/acceleration") "use on or off" DEFAULT },
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

#define DECLARED(more)                                                       \
	POD(",'annotations':{'weir.io/proxy-outbound-port':'3128'" more "}", \
	    "'containers':[{'name':'haproxy'}]")

static void test_declared_proxy(void **state)
{
	_cleanup_policy_ struct policy *p = compile(
		DECLARED(",'weir.io/proxy-inbound-port':'3129','weir.io/proxy-uid':'99,100',"
			 "'weir.io/proxy-gid':'98','" T "excludeOutboundPorts':'5432'"));
	_cleanup_policy_ struct policy *outbound =
		compile(DECLARED(",'" T "includeInboundPorts':'80'"));
	_cleanup_policy_ struct policy *off = compile(DECLARED(",'weir.io/capture':'off'"));
	_cleanup_policy_ struct policy *bad = compile(DECLARED(",'weir.io/proxy-uid':'haproxy'"));
	_cleanup_policy_ struct policy *meshed = istio(",'weir.io/proxy-uid':'x'");

	(void)state;
	expect(p, POLICY_CAPTURED, "a proxy is declared by annotations of weir.io");
	assert_int_equal(p->mesh, WEIR_MESH_CUSTOM);
	assert_int_equal(p->pod.outbound_port, 3128);
	assert_int_equal(p->pod.inbound_port, 3129);
	assert_int_equal(p->pod.tunnel_port, 0);
	assert_int_equal(p->pod.proxy_uid, 99);
	assert_int_equal(p->pod.proxy_gid, 98);
	assert_int_equal(p->n_ids, 1);
	assert_int_equal(p->ids[0].id, 100);
	assert_int_equal(p->n_ports, 1); /* none of Envoy's own */
	assert_int_equal(p->n_warnings, 0);
	assert_int_equal(p->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_WEIR_UID);
	/* a direction without a listener is not captured, and has no lists */
	assert_true(outbound->pod.flags & WEIR_POD_OUT_ALL);
	assert_false(outbound->pod.flags & (WEIR_POD_IN_ALL | WEIR_POD_IN_PORTS));
	assert_int_equal(outbound->n_ports, 0);
	assert_int_equal(outbound->pod.proxy_uid, 1337);
	expect_warning(outbound, "neither weir.io/proxy-uid nor weir.io/proxy-gid says who the "
				 "proxy is: user 1337 is assumed");
	expect(off, POLICY_NOT_CAPTURED, "annotation weir.io/capture is off");
	assert_int_equal(off->pod.flags, WEIR_POD_CAPTURE_OFF);
	assert_int_equal(bad->state, POLICY_FAILED);
	assert_int_equal(bad->n_errors, 1);
	expect_warning(meshed, "the proxy declared by annotations of weir.io is ignored: the pod "
			       "has its mesh's proxy");
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
		cmocka_unit_test(test_decisions),
		cmocka_unit_test(test_proxy_of_a_pod_with_own_rules),
		cmocka_unit_test(test_left_alone),
		cmocka_unit_test(test_mesh_option),
		cmocka_unit_test(test_namespace),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_own_settings),
		cmocka_unit_test(test_declared_proxy),
		cmocka_unit_test(test_generation),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
