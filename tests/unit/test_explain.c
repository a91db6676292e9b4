/* SPDX-License-Identifier: Apache-2.0 */
/* weir explain: from a question and what the maps say to a verdict, a landing place and words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#include "base/inet.h"
#include "cli/explain.h"
#include "maps/link.h"
#include "cli/near.h"

#define BOTH_FAMILIES (WEIR_POD_IPV4 | WEIR_POD_IPV6)
#define PROXY	      (WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID)

static struct weir_addr addr(const char *text)
{
	struct weir_addr a;

	assert_int_equal(inet_parse(text, a.ip), 0);
	return a;
}

static struct explain_query outbound(const char *to, uint32_t uid, uint32_t gid)
{
	struct explain_query q = { .direction = WEIR_OUTBOUND, .uid = uid, .gid = gid };

	assert_int_equal(inet_parse_endpoint(to, q.to.ip, &q.port), 0);
	return q;
}

static struct explain_query inbound(const char *to)
{
	struct explain_query q = outbound(to, 0, 0);

	q.direction = WEIR_INBOUND;
	return q;
}

/* Istio's defaults: everything in and out. */
static struct explain_facts istio(void)
{
	struct explain_facts f = {
		.pod = {
			.mode = WEIR_MODE_CAPTURE,
			.flags = BOTH_FAMILIES | PROXY | WEIR_POD_OUT_ALL | WEIR_POD_IN_ALL,
			.proxy_uid = 1337,
			.proxy_gid = 1337,
			.outbound_port = 15001,
			.inbound_port = 15006,
			.tunnel_port = 15008,
			.ip4 = addr("10.244.0.10"),
			.ip6 = addr("fd00::10"),
		},
		.mesh = WEIR_MESH_ISTIO,
	};

	return f;
}

static void expect(const struct explain_query *q, const struct explain_facts *f,
		   const char *verdict, const char *to, const char *reason, const char *because)
{
	struct weir_answer answer = explain_decide(q, f);
	struct weir_endpoint landing = { 0 };
	char *text = explain_because(q, f, &answer);
	char where[INET_TEXT];

	explain_landing(q, &answer, &landing);
	assert_string_equal(explain_verdict_name(answer.verdict), verdict);
	assert_string_equal(explain_reason_name(answer.reason), reason);
	assert_string_equal(inet_format_endpoint(landing.addr.ip, landing.port, where), to);
	if (because)
		assert_string_equal(text, because);
	free(text);
}

static void test_outbound(void **state)
{
	struct explain_facts f = istio();
	struct explain_query q = outbound("10.96.0.1:80", 0, 0);

	(void)state;
	expect(&q, &f, "redirect", "127.0.0.1:15001", "all_included",
	       "every destination is included (mesh default)");
	q = outbound("[fd00::5]:443", 1000, 1000);
	expect(&q, &f, "redirect", "[::1]:15001", "all_included", NULL);
	q = outbound("[::ffff:10.96.0.1]:80", 0, 0);
	expect(&q, &f, "redirect", "127.0.0.1:15001", "all_included", NULL);
	q = outbound("10.96.0.1:80", 1337, 1337);
	f.sources[WEIR_SETTING_PROXY_UID] = WEIR_SOURCE_CONTAINER;
	expect(&q, &f, "direct", "10.96.0.1:80", "proxy_uid",
	       "the socket belongs to the proxy's user (securityContext of container istio-proxy)");
	q = outbound("10.96.0.1:80", 1000, 1337);
	expect(&q, &f, "direct", "10.96.0.1:80", "proxy_gid",
	       "the socket belongs to the proxy's group (mesh default)");
}

static void test_uid_without_proxy(void **state)
{
	struct explain_facts f = istio();
	struct explain_query q = outbound("10.96.0.1:80", 0, 0);

	(void)state;
	f.pod.flags &= ~(uint32_t)PROXY;
	f.pod.proxy_uid = f.pod.proxy_gid = 0;
	expect(&q, &f, "redirect", "127.0.0.1:15001", "all_included", NULL);
}

static void test_lists(void **state)
{
	struct explain_facts f = istio();
	struct explain_query q = outbound("10.96.0.1:3306", 0, 0);

	(void)state;
	f.listed[WEIR_LIST_OUT_PORT_EXCLUDE] = true;
	f.sources[WEIR_LIST_OUT_PORT_EXCLUDE] = WEIR_SOURCE_OUT_EXCLUDE_PORTS;
	expect(&q, &f, "direct", "10.96.0.1:3306", "port_excluded",
	       "the destination port is excluded (annotation "
	       "traffic.sidecar.istio.io/excludeOutboundPorts)");
	f.sources[WEIR_LIST_OUT_PORT_EXCLUDE] = WEIR_SOURCE_CNI_DEFAULT;
	expect(&q, &f, "direct", "10.96.0.1:3306", "port_excluded",
	       "the destination port is excluded (default of istio-cni "
	       "(excludeOutboundPorts=15020))");
	f.listed[WEIR_LIST_OUT_PORT_EXCLUDE] = false;
	f.listed[WEIR_LIST_OUT_CIDR_EXCLUDE] = true;
	f.sources[WEIR_LIST_OUT_CIDR_EXCLUDE] = WEIR_SOURCE_OUT_EXCLUDE_RANGES;
	expect(&q, &f, "direct", "10.96.0.1:3306", "cidr_excluded",
	       "the destination address is excluded (annotation "
	       "traffic.sidecar.istio.io/excludeOutboundIPRanges)");
	f.listed[WEIR_LIST_OUT_CIDR_EXCLUDE] = false;
	f.pod.flags &= ~(uint32_t)WEIR_POD_OUT_ALL;
	f.sources[WEIR_LIST_OUT_CIDR_INCLUDE] = WEIR_SOURCE_OUT_INCLUDE_RANGES;
	expect(&q, &f, "direct", "10.96.0.1:3306", "not_included",
	       "nothing includes this destination (annotation "
	       "traffic.sidecar.istio.io/includeOutboundIPRanges)");
	f.listed[WEIR_LIST_OUT_PORT_INCLUDE] = true;
	f.sources[WEIR_LIST_OUT_PORT_INCLUDE] = WEIR_SOURCE_OUT_INCLUDE_PORTS;
	expect(&q, &f, "redirect", "127.0.0.1:15001", "port_included",
	       "the destination port is included (annotation "
	       "traffic.sidecar.istio.io/includeOutboundPorts)");
}

static void test_own_pod(void **state)
{
	struct explain_facts f = istio();
	struct explain_query q = outbound("10.244.0.10:8080", 0, 0);

	(void)state;
	f.local = true;
	expect(&q, &f, "direct", "10.244.0.10:8080", "loopback",
	       "the route leaves by lo, and traffic within a pod stays in it (rule of istio)");
	q = outbound("10.244.0.10:8080", 1337, 0);
	expect(&q, &f, "redirect", "127.0.0.1:15006", "self_call", NULL);
	q.from = addr("127.0.0.6");
	q.has_from = true;
	expect(&q, &f, "direct", "10.244.0.10:8080", "passthrough_source", NULL);
}

static void test_self_call_by_group(void **state)
{
	struct explain_query q = outbound("10.244.0.10:8080", 0, 1337);
	struct explain_facts f = istio();

	(void)state;
	f.local = true;
	f.pod.flags |= WEIR_POD_OUT_LOOPBACK;
	f.sources[WEIR_SETTING_PROXY_GID] = WEIR_SOURCE_CONTAINER;
	expect(&q, &f, "redirect", "127.0.0.1:15006", "self_call",
	       "the proxy calls its own pod, which enters as inbound traffic "
	       "(securityContext of container istio-proxy)");
}

static void test_any(void **state)
{
	struct explain_query q = outbound("0.0.0.0:80", 0, 0);
	struct explain_facts f = istio();

	(void)state;
	explain_resolve_any(&q);
	expect(&q, &f, "direct", "127.0.0.1:80", "loopback", NULL);
	q = outbound("[::]:80", 0, 0);
	explain_resolve_any(&q);
	expect(&q, &f, "direct", "[::1]:80", "loopback", NULL);
	q = outbound("0.0.0.0:80", 0, 0);
	q.from = addr("10.244.0.10");
	q.has_from = true;
	explain_resolve_any(&q);
	f.local = true;
	expect(&q, &f, "direct", "10.244.0.10:80", "loopback", NULL);
	q = outbound("10.0.0.1:80", 0, 0);
	explain_resolve_any(&q);
	assert_memory_equal(&q.to, addr("10.0.0.1").ip, sizeof(q.to));
}

static void test_no_tcp(void **state)
{
	struct explain_query q = outbound("8.8.8.8:53", 0, 0);
	struct explain_facts f = istio();

	(void)state;
	q.udp = true;
	expect(&q, &f, "direct", "8.8.8.8:53", "not_tcp", "only TCP is redirected");
}

/* What is assumed about a question, joined by "; ". */
static void expect_assumed(const struct explain_query *q, const struct explain_facts *f,
			   const char *want)
{
	struct explain_result r = { .texts.assumed = json_array() };
	_cleanup_buf_ struct buf b = { 0 };
	json_t *text;
	size_t i;

	r.answer = explain_decide(q, f);
	explain_landing(q, &r.answer, &r.to);
	explain_assume(q, f, &r);
	json_array_foreach (r.texts.assumed, i, text)
		buf_printf(&b, "%s%s", i ? "; " : "", json_string_value(text));
	assert_string_equal(buf_text(&b), want);
	json_decref(r.texts.assumed);
}

static void test_assumed(void **state)
{
	struct explain_query q = outbound("192.0.2.1:80", 1000, 1000),
			     in = inbound("10.244.0.10:80");
	struct explain_facts f = istio();

	(void)state;
	expect_assumed(
		&q, &f,
		"the socket was opened by uid 1000 (--uid); the socket was opened by gid 1000 "
		"(--gid)");
	q.has_uid = q.has_gid = true;
	expect_assumed(&q, &f, "");
	q.uid = 1337;
	expect_assumed(&q, &f, "a route leads to 192.0.2.1; something listens on 192.0.2.1:80");
	q.udp = true;
	expect_assumed(&q, &f, "a route leads to 192.0.2.1; something answers at 192.0.2.1:80");
	expect_assumed(&in, &f, "it comes from outside the pod (--from)");
}

static void test_inbound(void **state)
{
	struct explain_query q = inbound("10.244.0.10:8080");
	struct explain_facts f = istio();

	(void)state;
	expect(&q, &f, "redirect", "10.244.0.10:15006", "all_included",
	       "every destination is included (mesh default)");
	q = inbound("[fd00::10]:8080");
	expect(&q, &f, "redirect", "[fd00::10]:15006", "all_included", NULL);
	q.from = addr("fd00::10");
	q.has_from = true;
	f.local = true;
	expect(&q, &f, "direct", "[fd00::10]:8080", "loopback", NULL);
	f.local = false;
	f.listed[WEIR_LIST_IN_SOURCE_EXCLUDE] = true;
	f.sources[WEIR_LIST_IN_SOURCE_EXCLUDE] = WEIR_SOURCE_LINKERD_SKIP_SUBNETS;
	expect(&q, &f, "direct", "[fd00::10]:8080", "source_excluded",
	       "the source address is excluded (annotation config.linkerd.io/skip-subnets)");
	q = inbound("10.244.0.10:15008");
	expect(&q, &f, "direct", "10.244.0.10:15008", "tunnel_port",
	       "the mesh's tunnel port is never redirected (rule of istio)");
}

static void test_machine(void **state)
{
	struct explain_query q = outbound("192.0.2.1:80", 0, 0), in = inbound("10.244.0.10:80");
	struct explain_facts f = istio();

	(void)state;
	q.interface = in.interface = "tap0";
	expect(&q, &f, "direct", "192.0.2.1:80", "forwarded", NULL);
	f.link_flags = WEIR_LINK_VIRTUAL;
	expect(&q, &f, "redirect", "192.0.2.1:15001", "interface_virtual", NULL);
	f.pod.flags &= ~(uint32_t)WEIR_POD_OUT_ALL;
	f.pod.flags |= WEIR_POD_OUT_CIDRS;
	expect(&in, &f, "direct", "10.244.0.10:80", "not_included", NULL);
	f.listed[WEIR_LIST_OUT_CIDR_INCLUDE] = true;
	expect(&in, &f, "redirect", "10.244.0.10:15001", "interface_virtual", NULL);
	f = (struct explain_facts){ 0 };
	expect(&q, &f, "direct", "192.0.2.1:80", "not_captured", NULL);
}

static void test_inbound_ports(void **state)
{
	struct explain_query q = inbound("10.244.0.10:9090");
	struct explain_facts f = istio();

	(void)state;
	f.listed[WEIR_LIST_IN_PORT_EXCLUDE] = true;
	f.sources[WEIR_LIST_IN_PORT_EXCLUDE] = WEIR_SOURCE_IN_EXCLUDE_PORTS;
	expect(&q, &f, "direct", "10.244.0.10:9090", "port_excluded",
	       "the destination port is excluded (annotation "
	       "traffic.sidecar.istio.io/excludeInboundPorts)");
	q = inbound("10.244.0.10:15021");
	expect(&q, &f, "direct", "10.244.0.10:15021", "port_excluded",
	       "the destination port is excluded (mesh default: istio always excludes 15020, 15021 "
	       "and 15090)");
}

static void test_inbound_address(void **state)
{
	struct weir_addr none = { 0 }, v4 = addr("10.244.0.10"), v6 = addr("fd00::10");
	struct explain_query q = { .direction = WEIR_INBOUND };

	(void)state;
	explain_set_inbound_to(&q, &v4, &v6);
	assert_memory_equal(&q.to, &v4, sizeof(v4));
	explain_set_inbound_to(&q, &none, &v6);
	assert_memory_equal(&q.to, &v6, sizeof(v6));
	q.has_from = true;
	q.from = addr("fd00::99");
	explain_set_inbound_to(&q, &v4, &v6);
	assert_memory_equal(&q.to, &v6, sizeof(v6));
	q.from = addr("10.0.0.1");
	explain_set_inbound_to(&q, &none, &v6);
	assert_true(weir_addr_is_v4(&q.to) && weir_addr_is_any(&q.to));
}

static void test_presence(void **state)
{
	struct explain_query q = outbound("10.96.0.1:80", 0, 0);
	struct explain_facts f = istio();
	struct weir_answer answer = explain_decide(&q, &f);
	struct weir_answer after;
	char *text;

	(void)state;
	after = weir_decide_presence(&f.pod, answer, WEIR_PROXY_NEVER);
	text = explain_because(&q, &f, &after);
	assert_string_equal(explain_verdict_name(after.verdict), "refuse");
	assert_string_equal(text, "the proxy has not listened yet (mesh default)");
	free(text);
	f.pod.proxy_down = WEIR_ABSENT_DIRECT;
	f.sources[WEIR_SETTING_PROXY_DOWN] = WEIR_SOURCE_WEIR_PROXY_DOWN;
	after = weir_decide_presence(&f.pod, answer, WEIR_PROXY_GONE);
	text = explain_because(&q, &f, &after);
	assert_string_equal(explain_verdict_name(after.verdict), "direct");
	assert_string_equal(text, "the proxy listened once and does not now (annotation "
				  "weir.io/proxy-down)");
	free(text);
}

static void test_not_captured(void **state)
{
	struct explain_query q = outbound("10.96.0.1:80", 0, 0);
	struct explain_facts f = { 0 };

	(void)state;
	expect(&q, &f, "direct", "10.96.0.1:80", "not_captured", "the pod is not captured");
	f.sources[WEIR_SETTING_CAPTURE] = WEIR_SOURCE_WEIR_CAPTURE;
	expect(&q, &f, "direct", "10.96.0.1:80", "not_captured",
	       "the pod is not captured (annotation weir.io/capture)");
	f.pod.mode = WEIR_MODE_REFUSE;
	expect(&q, &f, "refuse", "10.96.0.1:80", "policy_failed", NULL);
}

/* Maps outlive the program that wrote them: numbers may be unknown here. */
static void test_newer_numbers(void **state)
{
	struct explain_query q = outbound("10.96.0.1:80", 0, 0);
	struct weir_answer answer = { .verdict = 9, .reason = (enum weir_reason)200 };
	struct explain_facts f = istio();
	char *text = explain_because(&q, &f, &answer);

	(void)state;
	assert_string_equal(text, "a reason of a newer weir");
	assert_string_equal(explain_verdict_name(answer.verdict), "unknown");
	assert_string_equal(explain_reason_name(answer.reason), "unknown");
	free(text);
	f.sources[WEIR_LIST_OUT_CIDR_INCLUDE] = 77;
	expect(&q, &f, "redirect", "127.0.0.1:15001", "all_included",
	       "every destination is included (a setting of a newer weir)");
}

static void test_near(void **state)
{
	(void)state;
	assert_int_equal(near_distance("status", "statsu"), 1);
	assert_int_equal(near_distance("", "pods"), 4);
	assert_true(near_enough("statsu", "status"));
	assert_true(near_enough("cart", "cart-7d9f-x2x"));
	assert_false(near_enough("nope", "top"));
	assert_false(near_enough("frobnicate", "explain"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outbound),
		cmocka_unit_test(test_uid_without_proxy),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_own_pod),
		cmocka_unit_test(test_self_call_by_group),
		cmocka_unit_test(test_any),
		cmocka_unit_test(test_no_tcp),
		cmocka_unit_test(test_assumed),
		cmocka_unit_test(test_inbound),
		cmocka_unit_test(test_machine),
		cmocka_unit_test(test_inbound_ports),
		cmocka_unit_test(test_inbound_address),
		cmocka_unit_test(test_presence),
		cmocka_unit_test(test_not_captured),
		cmocka_unit_test(test_newer_numbers),
		cmocka_unit_test(test_near),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
