/* SPDX-License-Identifier: Apache-2.0 */
/* What Linkerd's inputs become. */
#include "tests/unit/policies.h"

#include <netinet/in.h>

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

#define CONTROL ",'labels':{'linkerd.io/control-plane-component':'destination'}"

static void test_linkerd_control_plane(void **state)
{
	struct service_port ports[] = {
		{ .port = 8443, .target_port = 16443, .protocol = IPPROTO_TCP },
		{ .port = 9443, .target_port = 0, .protocol = IPPROTO_TCP }
	};
	struct service server = { .ports = ports, .n_ports = ARRAY_SIZE(ports) };
	struct policy_options options = { .api_server = &server };
	_cleanup_policy_ struct policy *p =
		compile_with(POD(CONTROL, "'containers':[{'name':'linkerd-proxy'}]"), &options);

	(void)state;
	assert_int_equal(count_ports(p, WEIR_LIST_OUT_PORT_EXCLUDE), 3);
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 8443));
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 16443));
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 9443)); /* its target is a name */
	assert_int_equal(p->sources[WEIR_LIST_OUT_PORT_EXCLUDE], WEIR_SOURCE_LINKERD_CONTROL);
}

/* What the injector gives to linkerd-init (A2), and the lab cases of proxy-init's own tests. */
static void test_linkerd_init(void **state)
{
	_cleanup_policy_ struct policy *p = compile(
		POD(",'annotations':{'weir.io/capture':'on','" LINKERD_SKIP_OUT "':'1'}",
		    "'containers':[{'name':'linkerd-proxy'}],'initContainers':[{'name':'linkerd-"
		    "init','args':"
		    "['--ipv6=false','--incoming-proxy-port','5143','--outgoing-proxy-port','5140',"
		    "'--proxy-uid','2103','--inbound-ports-to-ignore','4190,4191,4567,4568',"
		    "'--outbound-ports-to-ignore','4567','--outbound-ports-to-ignore','4568','-w',"
		    "'--subnets-to-ignore','10.0.0.0/8']}]"));
	_cleanup_policy_ struct policy *listed = compile(
		POD(",'annotations':{'weir.io/capture':'on'}",
		    "'containers':[{'name':'linkerd-proxy'}],'initContainers':[{'name':'linkerd-"
		    "init','args':"
		    "['-p','8080','-o','8080','-u','2102','-g','2102','-r','9090','-r','9099',"
		    "'--inbound-ports-to-ignore','9099,9100-9200']}]"));

	(void)state;
	expect(p, POLICY_CAPTURED, "annotation weir.io/capture is on");
	assert_int_equal(p->pod.inbound_port, 5143);
	assert_int_equal(p->pod.outbound_port, 5140);
	assert_int_equal(p->pod.proxy_uid, 2103);
	assert_false(p->pod.flags & WEIR_POD_PROXY_GID);
	assert_int_equal(count_ports(p, WEIR_LIST_IN_PORT_EXCLUDE), 4);
	assert_int_equal(count_ports(p, WEIR_LIST_OUT_PORT_EXCLUDE), 2);
	assert_false(
		has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 1)); /* it is not told the annotation */
	assert_int_equal(p->n_cidrs, 1);
	assert_int_equal(p->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_LINKERD_INIT_ARGS);
	assert_false(listed->pod.flags & WEIR_POD_IN_ALL);
	assert_true(has_port(listed, WEIR_LIST_IN_PORT_INCLUDE, 9090));
	assert_false(has_port(listed, WEIR_LIST_IN_PORT_INCLUDE, 9099));
	assert_int_equal(listed->pod.proxy_gid, 2102);
}

static void test_linkerd_annotations(void **state)
{
	_cleanup_policy_ struct policy *p = linkerd(
		",'" LINKERD_IN_PORT "':'5143','" LINKERD_OUT_PORT "':'5140','" LINKERD_ADMIN_PORT
		"':'5191','" LINKERD_CONTROL_PORT "':'5190','" LINKERD_SKIP_IN_SUBNETS
		"':'10.0.0.0/8','" LINKERD_SKIP_OUT_SUBNETS "':'192.168.0.0/16'",
		"", "");
	_cleanup_policy_ struct policy *bad = linkerd(",'" LINKERD_IN_PORT "':'65536'", "", "");

	(void)state;
	assert_int_equal(p->pod.inbound_port, 5143);
	assert_int_equal(p->pod.outbound_port, 5140);
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 5190));
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 5191));
	assert_false(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 4191));
	assert_int_equal(p->sources[WEIR_SETTING_INBOUND_PORT], WEIR_SOURCE_LINKERD_IN_PORT);
	assert_int_equal(p->n_cidrs, 2);
	assert_true(p->pod.flags & WEIR_POD_OUT_CIDRS_EXCLUDE);
	assert_true(p->pod.flags & WEIR_POD_IN_SOURCES_EXCLUDE);
	expect(bad, POLICY_FAILED,
	       "invalid value '65536' for annotation 'config.linkerd.io/inbound-port': failed "
	       "parsing "
	       "port \"65536\": strconv.ParseUint: parsing \"65536\": value out of range (the "
	       "default "
	       "applies)");
	assert_int_equal(bad->pod.mode,
			 WEIR_MODE_CAPTURE); /* the injector would keep its default */
	assert_int_equal(bad->pod.inbound_port, 4143);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linkerd),	       cmocka_unit_test(test_linkerd_ids),
		cmocka_unit_test(test_linkerd_errors), cmocka_unit_test(test_linkerd_control_plane),
		cmocka_unit_test(test_linkerd_init),   cmocka_unit_test(test_linkerd_annotations),
	};

	return cmocka_run_group_tests_name("policy_linkerd", tests, NULL, NULL);
}
