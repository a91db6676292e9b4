/* SPDX-License-Identifier: Apache-2.0 */
/* What Linkerd's inputs become. */
#include "tests/unit/policies.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_linkerd),
		cmocka_unit_test(test_linkerd_ids),
		cmocka_unit_test(test_linkerd_errors),
	};

	return cmocka_run_group_tests_name("policy_linkerd", tests, NULL, NULL);
}
