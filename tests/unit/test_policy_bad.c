/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bad input: every annotation and variable with every kind of value that nobody meant. For each the
 * state of the pod, what is done with its traffic, and the words of the mesh.
 */
#include "tests/unit/policies.h"

#define P	"invalid value '%s' for annotation '%s': "
#define UINT(x) "strconv.ParseUint: parsing \"" x "\": "

enum outcome { TAKEN, WARNED, REFUSED, DEFAULTED };

/* What becomes of one value of one annotation. `says` is a part of the reason, or of a warning. */
struct bad {
	const char *key, *value;
	enum outcome outcome;
	const char *says;
};

static const struct bad istio_values[] = {
	/* clang-format off */
	/* malformed */
	{ T "includeInboundPorts", "http", REFUSED, UINT("http") "invalid syntax" },
	{ T "excludeInboundPorts", "80-90", REFUSED, UINT("80-90") "invalid syntax" },
	{ T "excludeInboundPorts", "*", REFUSED, UINT("*") "invalid syntax" },
	{ T "includeOutboundPorts", "65536", REFUSED, "portList \"65536\" invalid: failed parsing port \"65536\": " UINT("65536") "value out of range" },
	{ T "excludeOutboundPorts", "-1", REFUSED, "excludeOutboundPorts invalid: failed parsing port '-1'" },
	{ T "excludeOutboundPorts", "0x50", REFUSED, UINT("0x50") "invalid syntax" },
	{ T "excludeOutboundPorts", "8_0", REFUSED, UINT("8_0") "invalid syntax" },
	{ T "includeOutboundIPRanges", "*,10.0.0.0/8", REFUSED, "includeIPRanges invalid: failed parsing cidr '*': netip.ParsePrefix(\"*\"): no '/'" },
	{ T "includeOutboundIPRanges", "10.0.0.0/33", REFUSED, "prefix length out of range" },
	{ T "excludeOutboundIPRanges", "*", REFUSED, "excludeIPRanges invalid: failed parsing cidr '*'" },
	{ T "excludeOutboundIPRanges", "fe80::1%eth0/64", REFUSED, "IPv6 zones cannot be present in a prefix" },
	{ T "excludeInterfaces", "eth0/1", REFUSED, "interface name \"eth0/1\" contains invalid characters" },
	{ T "kubevirtInterfaces", "averyveryverylongname", REFUSED, "too long (max 15 chars)" },
	{ "istio.io/reroute-virtual-interfaces", ",", REFUSED, "empty interface name" },
	{ "status.sidecar.istio.io/port", "15020,15021", REFUSED, "excludeInboundPorts invalid: failed parsing port '15020,15021'" },
	{ "sidecar.istio.io/interceptionMode", "tproxy", REFUSED, "interceptionMode invalid, use REDIRECT,TPROXY,NONE: tproxy" },
	{ "proxy.istio.io/config", "proxyMetadata: [a]", REFUSED, "failed to convert to apply proxy config: " },
	{ "proxy.istio.io/config", "{", REFUSED, "failed to convert to apply proxy config: line " },
	{ "proxy.istio.io/config", "interceptionMode: NONE", REFUSED, "unknown value" },
	{ "proxy.istio.io/config", "just a text", REFUSED, "this is a string, not an object" },
	{ "weir.io/capture", "yes", DEFAULTED, "use on or off" },
	{ "weir.io/before-proxy", "REFUSE", DEFAULTED, "use refuse or direct" },
	{ "weir.io/proxy-down", "drop", DEFAULTED, "use refuse or direct" },
	{ "weir.io/acceleration", "1", DEFAULTED, "use on or off" },
	{ "weir.io/dns-servers", "10.96.0.10", WARNED, "annotation weir.io/dns-servers is ignored" },
	/* empty */
	{ T "includeInboundPorts", "", TAKEN, NULL },
	{ T "excludeInboundPorts", "", TAKEN, NULL },
	{ T "includeOutboundPorts", "", TAKEN, NULL },
	{ T "excludeOutboundPorts", "", TAKEN, NULL },
	{ T "includeOutboundIPRanges", "", TAKEN, NULL },
	{ T "excludeOutboundIPRanges", "", TAKEN, NULL },
	{ T "excludeInterfaces", "", TAKEN, NULL },
	{ "istio.io/reroute-virtual-interfaces", "", TAKEN, NULL },
	{ "proxy.istio.io/config", "", TAKEN, NULL },
	{ "proxy.istio.io/config", "null", TAKEN, NULL },
	{ "proxy.istio.io/config", "notKnown: 1", TAKEN, NULL },
	{ "status.sidecar.istio.io/port", "", REFUSED, UINT("") "invalid syntax" },
	{ "sidecar.istio.io/interceptionMode", "", REFUSED, "use REDIRECT,TPROXY,NONE: " },
	{ "weir.io/proxy-down", "", DEFAULTED, "use refuse or direct" },
	/* an empty item */
	{ T "includeInboundPorts", "80,", REFUSED, UINT("") "invalid syntax" },
	{ T "excludeOutboundPorts", ",80", REFUSED, UINT("") "invalid syntax" },
	{ T "excludeOutboundIPRanges", "10.0.0.0/8,", REFUSED, "failed parsing cidr ''" },
	/* spaces: ports are trimmed, ranges are not */
	{ T "includeInboundPorts", " 80 ,\t443\n", TAKEN, NULL },
	{ T "includeInboundPorts", " * ", REFUSED, UINT("*") "invalid syntax" },
	{ T "excludeOutboundIPRanges", " 10.0.0.0/8", REFUSED, "failed parsing cidr ' 10.0.0.0/8'" },
	{ T "excludeInterfaces", " eth0 , eth1 ", TAKEN, NULL },
	{ "status.sidecar.istio.io/port", " 15020 ", TAKEN, NULL },
	{ "sidecar.istio.io/interceptionMode", " REDIRECT", REFUSED, "interceptionMode invalid" },
	{ "weir.io/proxy-down", "direct ", DEFAULTED, "use refuse or direct" },
	/* characters that look like others */
	{ T "excludeOutboundPorts", "\u0668\u0660", REFUSED, UINT("\u0668\u0660") "invalid syntax" },
	{ T "excludeOutboundPorts", "80\u00a0", TAKEN, NULL }, /* Go trims this space */
	{ T "excludeOutboundPorts", "80\u200b", REFUSED, UINT("80\\u200b") "invalid syntax" },
	{ T "excludeInterfaces", "\u00e9th0", REFUSED, "contains invalid characters" },
	/* twice */
	{ T "excludeOutboundPorts", "80,80,080", TAKEN, NULL },
	{ T "excludeOutboundIPRanges", "10.0.0.0/8,10.0.0.0/8,10.1.0.0/8", TAKEN, NULL },
	{ T "excludeInterfaces", "eth0,eth0", TAKEN, NULL },
	/* clang-format on */
};

static const struct bad variables[] = {
	/* clang-format off */
	{ "ISTIO_META_DNS_CAPTURE", "yes", WARNED, "strconv.ParseBool: parsing \"yes\": invalid syntax" },
	{ "ISTIO_META_DNS_CAPTURE", "", WARNED, "strconv.ParseBool: parsing \"\": invalid syntax" },
	{ "ISTIO_META_DNS_CAPTURE", " true", WARNED, "strconv.ParseBool: parsing \" true\": invalid syntax" },
	{ "ISTIO_META_DNS_CAPTURE", "T", TAKEN, NULL },
	{ "ISTIO_DUAL_STACK", "\u0442rue", WARNED, "strconv.ParseBool" },
	{ "INVALID_DROP", "true", WARNED, "has no effect" },
	{ "INVALID_DROP", "false", TAKEN, NULL },
	{ "ISTIO_OUTBOUND_OWNER_GROUPS", "java,202", REFUSED, "invalid value 'java,202' for ISTIO_OUTBOUND_OWNER_GROUPS of container istio-proxy: " },
	{ "ISTIO_OUTBOUND_OWNER_GROUPS", "", WARNED, "is empty: no group's outbound traffic is captured" },
	{ "ISTIO_OUTBOUND_OWNER_GROUPS", "202,*", REFUSED, UINT("*") "invalid syntax" },
	{ "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "4294967296", REFUSED, "value out of range" },
	{ "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", " 202 ,, 202", TAKEN, NULL },
	{ "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1", REFUSED, "failed to parse CIDR 127.0.0.1: " },
	{ "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "10.0.0.0/8", REFUSED, "expected valid IPv4 loopback address in CIDR" },
	{ "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "127.0.0.1/7", REFUSED, "to have mask in range [8, 32]; found 7" },
	{ "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "", REFUSED, "failed to parse CIDR" },
	{ "DISABLE_ENVOY", "perhaps", TAKEN, NULL },
	/* clang-format on */
};

/* Arguments of istio-validation: `key` is one, or a switch that takes its value itself. */
static const struct bad arguments[] = {
	/* clang-format off */
	{ "-p", "http", REFUSED, "invalid value 'http' for argument -p of container istio-validation: failed parsing port \"http\": " UINT("http") "invalid syntax" },
	{ "-p", "0", REFUSED, "port 0 is no listener" },
	{ "-z", " 15006 ", REFUSED, UINT(" 15006 ") "invalid syntax" },
	{ "-e", "", REFUSED, UINT("") "invalid syntax" },
	{ "-u", " 1337 ,, 1338,1337", TAKEN, NULL },
	{ "-u", "istio-proxy", REFUSED, "a name is known inside of the container only" },
	{ "-g", "\uff18\uff10", REFUSED, UINT("\uff18\uff10") "invalid syntax" },
	{ "-m", "tproxy", TAKEN, NULL }, /* anything else is REDIRECT */
	{ "-i", "10.0.0.0/8,, 11.0.0.0/8", TAKEN, NULL },
	{ "-x", "*", REFUSED, "failed parsing cidr '*': netip.ParsePrefix(\"*\"): no '/'" },
	{ "-b", "80-90", REFUSED, UINT("80-90") "invalid syntax" },
	{ "-d", "*", REFUSED, UINT("*") "invalid syntax" },
	{ "-q", "80,80, ,80", TAKEN, NULL },
	{ "-o", "65536", REFUSED, UINT("65536") "value out of range" },
	{ "-c", "eth0/1", REFUSED, "interface name \"eth0/1\" contains invalid characters" },
	{ "-k", "", TAKEN, NULL },
	{ "--redirect-dns", "yes", REFUSED, "invalid value 'yes' for argument --redirect-dns of container istio-validation: strconv.ParseBool: parsing \"yes\": invalid syntax" },
	{ "--dual-stack", "", REFUSED, "strconv.ParseBool: parsing \"\": invalid syntax" },
	{ "--capture-all-dns", "all", REFUSED, "strconv.ParseBool: parsing \"all\": invalid syntax" },
	{ "--drop-invalid", "False", TAKEN, NULL },
	/* clang-format on */
};

/* The same of linkerd-init, which ends at what linkerd-cni would leave out or default. */
static const struct bad linkerd_arguments[] = {
	/* clang-format off */
	{ "--subnets-to-ignore", "10.0.0.0", REFUSED, "invalid value '10.0.0.0' for argument --subnets-to-ignore of container linkerd-init: 10.0.0.0 is not a valid CIDR address" },
	{ "--inbound-ports-to-ignore", "http", REFUSED, "invalid value 'http' for argument --inbound-ports-to-ignore of container linkerd-init: Invalid port range [http]" },
	{ "--proxy-uid", "linkerd", REFUSED, "invalid value 'linkerd' for argument --proxy-uid of container linkerd-init: " UINT("linkerd") "invalid syntax" },
	{ "--incoming-proxy-port", "", REFUSED, "argument --incoming-proxy-port of container linkerd-init: " },
	{ "--ports-to-redirect", "80-90", REFUSED, UINT("80-90") "invalid syntax" },
	/* clang-format on */
};

static const struct bad linkerd_values[] = {
	/* clang-format off */
	{ LINKERD_SKIP_IN, "http", REFUSED, "Invalid port range [http]: \"http\" is not a valid lower-bound" },
	{ LINKERD_SKIP_IN, "80,http", WARNED, "Invalid port range [http]: " },
	{ LINKERD_SKIP_IN, "90-80", REFUSED, "upper-bound must be greater than or equal to lower-bound" },
	{ LINKERD_SKIP_IN, " 80", WARNED, "linkerd-init and linkerd-cni do not skip ports that have spaces" },
	{ LINKERD_SKIP_OUT, "80,80,80-90", TAKEN, NULL },
	{ LINKERD_SKIP_OUT, "", TAKEN, NULL },
	{ LINKERD_SKIP_OUT, "\u0668\u0660", REFUSED, "is not a valid lower-bound" },
	{ LINKERD_SKIP_SUBNETS, "10.0.0.0/8, 0.0.0.0", REFUSED, "0.0.0.0 is not a valid CIDR address" },
	{ LINKERD_SKIP_SUBNETS, "10.0.0.0/8 ", TAKEN, NULL },
	{ LINKERD_SKIP_OUT_SUBNETS, "x", REFUSED, "x is not a valid CIDR address" },
	{ LINKERD_UID, "linkerd", DEFAULTED, UINT("linkerd") "invalid syntax" },
	{ LINKERD_GID, "4294967296", DEFAULTED, "value out of range" },
	{ LINKERD_GID, "-1", TAKEN, NULL },
	{ LINKERD_IN_PORT, "0", DEFAULTED, "port 0 is no listener" },
	{ LINKERD_OUT_PORT, "four", DEFAULTED, UINT("four") "invalid syntax" },
	{ LINKERD_ADMIN_PORT, "", TAKEN, NULL },
	/* clang-format on */
};

static bool warned(const struct policy *p, const char *says)
{
	for (size_t i = 0; i < p->n_warnings; i++)
		if (strstr(p->warnings[i], says))
			return true;
	return false;
}

static void check(const struct policy *p, const struct bad *b)
{
	static const enum weir_mode modes[] = { WEIR_MODE_CAPTURE, WEIR_MODE_CAPTURE,
						WEIR_MODE_REFUSE, WEIR_MODE_CAPTURE };
	bool failed = b->outcome == REFUSED || b->outcome == DEFAULTED;

	if (p->state != (failed ? POLICY_FAILED : POLICY_CAPTURED) ||
	    p->pod.mode != modes[b->outcome])
		fail_msg("%s='%s': %s, mode %d: %s", b->key, b->value, policy_state_name(p->state),
			 p->pod.mode, p->reason);
	if (b->says && !(failed ? strstr(p->reason, b->says) != NULL : warned(p, b->says)))
		fail_msg("%s='%s': '%s' is not said: %s%s", b->key, b->value, b->says, p->reason,
			 p->n_warnings ? p->warnings[0] : "");
	assert_int_equal(p->n_warnings, b->outcome == WARNED);
	assert_int_equal(p->n_errors, failed);
}

/* JSON of a text, in which ' and " change places as in all of these tests. */
static char *quoted(const char *text)
{
	struct buf b = { 0 };

	buf_json_str(&b, text);
	for (char *c = b.data; *c; c++)
		if (*c == '"')
			*c = '\'';
	return b.data;
}

static void test_istio_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(istio_values); i++) {
		_cleanup_free_ char *value = quoted(istio_values[i].value);
		_cleanup_free_ char *annotation = xasprintf(",'%s':%s", istio_values[i].key, value);
		_cleanup_policy_ struct policy *p = istio(annotation);

		check(p, &istio_values[i]);
	}
}

static void test_variables(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
		_cleanup_free_ char *value = quoted(variables[i].value);
		_cleanup_free_ char *text = xasprintf(
			"{'metadata':{'namespace':'a','name':'b','annotations':{" ISTIO_ANNOTATION
			"}},'spec':{'containers':[{'name':'istio-proxy','env':[{'name':'%s','value'"
			":"
			"%s}]}]}," V4 "}",
			variables[i].key, value);
		_cleanup_policy_ struct policy *p = compile(text);

		check(p, &variables[i]);
	}
}

static void test_arguments(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
		bool is_switch = arguments[i].key[1] == '-';
		_cleanup_free_ char *value = quoted(arguments[i].value);
		_cleanup_free_ char *args =
			is_switch ? xasprintf("'%s=%s'", arguments[i].key, arguments[i].value)
				  : xasprintf("'%s',%s", arguments[i].key, value);
		_cleanup_free_ char *text = xasprintf(
			"{'metadata':{'namespace':'a','name':'b','annotations':{" ISTIO_ANNOTATION
			"}},'spec':{'containers':[" ISTIO_PROXY
			"],'initContainers':[{'name':'istio-validation','args':[%s]}]}," V4 "}",
			args);
		_cleanup_policy_ struct policy *p = compile(text);

		check(p, &arguments[i]);
	}
}

static void test_linkerd_arguments(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(linkerd_arguments); i++) {
		_cleanup_free_ char *text = xasprintf(
			"{'metadata':{'namespace':'a','name':'b','annotations':{'weir.io/capture':"
			"'on'}},'spec':{'containers':[{'name':'linkerd-proxy'}],'initContainers':"
			"[{'name':'linkerd-init','args':['%s','%s']}]}," V4 "}",
			linkerd_arguments[i].key, linkerd_arguments[i].value);
		_cleanup_policy_ struct policy *p = compile(text);

		assert_int_equal(p->pod.mode, WEIR_MODE_REFUSE);
		if (!strstr(p->reason, linkerd_arguments[i].says))
			fail_msg("%s: %s", linkerd_arguments[i].key, p->reason);
	}
}

static void test_linkerd_values(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(linkerd_values); i++) {
		_cleanup_free_ char *value = quoted(linkerd_values[i].value);
		_cleanup_free_ char *annotation =
			xasprintf(",'%s':%s", linkerd_values[i].key, value);
		_cleanup_policy_ struct policy *p = linkerd(annotation, "", "");

		check(p, &linkerd_values[i]);
	}
}

/* Ten thousand items in every list, right ones and one that is wrong at the end. */
static void test_huge_lists(void **state)
{
	static const struct {
		const char *key, *item, *wrong;
	} lists[] = {
		{ T "includeInboundPorts", "%u", "x" },
		{ T "excludeInboundPorts", "%u", "x" },
		{ T "includeOutboundPorts", "%u", "x" },
		{ T "excludeOutboundPorts", "%u", "x" },
		{ T "includeOutboundIPRanges", "%u.1.2.0/24", "x" },
		{ T "excludeOutboundIPRanges", "10.%u.0.0/16", "x" },
		{ T "excludeInterfaces", "if%u", "0" },
		{ "istio.io/reroute-virtual-interfaces", "if%u", "0" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		_cleanup_buf_ struct buf value = { 0 };
		_cleanup_free_ char *good = NULL, *bad = NULL;
		_cleanup_policy_ struct policy *p = NULL, *wrong = NULL;

		for (unsigned int n = 0; n < 10000; n++) {
			_cleanup_free_ char *number =
				xasprintf("%u", strchr(lists[i].item, '/') ? n % 256 : n);
			const char *at = strstr(lists[i].item, "%u");

			buf_printf(&value, "%s%.*s%s%s", n ? "," : "", (int)(at - lists[i].item),
				   lists[i].item, number, at + 2);
		}
		good = xasprintf(",'%s':'%s'", lists[i].key, buf_text(&value));
		bad = xasprintf(",'%s':'%s,%s'", lists[i].key, buf_text(&value), lists[i].wrong);
		p = istio(good);
		assert_int_equal(p->state, POLICY_CAPTURED);
		wrong = istio(bad);
		assert_int_equal(wrong->state, POLICY_FAILED);
		assert_int_equal(wrong->n_errors, 1);
	}
}

/* Legal, and decided by the order of the rules. */
static void test_contradictions(void **state)
{
	_cleanup_policy_ struct policy *p =
		istio(",'" T "includeInboundPorts':'80','" T "excludeInboundPorts':'80','" T
		      "includeOutboundPorts':'443','" T "excludeOutboundPorts':'443','" T
		      "includeOutboundIPRanges':'10.0.0.0/8','" T
		      "excludeOutboundIPRanges':'10.0.0.0/8','" T
		      "excludeInterfaces':'net1','istio.io/reroute-virtual-interfaces':'net1'");
	_cleanup_policy_ struct policy *envs = compile(POD(
		",'annotations':{" ISTIO_ANNOTATION
		",'proxy.istio.io/config':'proxyMetadata:\\n  ISTIO_META_DNS_CAPTURE: \\'true\\''}",
		"'containers':[{'name':'istio-proxy','env':[" ENV(
			"ISTIO_META_DNS_CAPTURE", "true") "," ENV("ISTIO_META_DNS_CAPTURE",
								  "false") "]}]"));

	(void)state;
	assert_int_equal(p->state, POLICY_CAPTURED);
	assert_true(has_port(p, WEIR_LIST_IN_PORT_INCLUDE, 80));
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 80));
	assert_int_equal(p->n_cidrs, 2);
	assert_int_equal(p->n_interfaces, 2);
	/* the last of a name, as for the kubelet, and the environment before the annotation */
	assert_false(envs->pod.flags & WEIR_POD_DNS);
	assert_int_equal(envs->sources[WEIR_SETTING_DNS], WEIR_SOURCE_ISTIO_ENV);
}

/* A value that a ConfigMap or a field holds is not known: the default applies, and that is told. */
static void test_values_from_elsewhere(void **state)
{
	static const char *const names[] = { "ISTIO_META_DNS_CAPTURE",
					     "ISTIO_OUTBOUND_OWNER_GROUPS",
					     "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *text = xasprintf(
			"{'metadata':{'namespace':'a','name':'b','annotations':{" ISTIO_ANNOTATION
			"}},'spec':{'containers':[{'name':'istio-proxy','env':[{'name':'%s',"
			"'valueFrom':{'fieldRef':{}}}]}]}," V4 "}",
			names[i]);
		const struct bad expected = { names[i], "(elsewhere)", WARNED,
					      "of container istio-proxy is ignored" };
		_cleanup_policy_ struct policy *p = compile(text);

		check(p, &expected);
		assert_false(p->pod.flags & (WEIR_POD_GROUPS_INCLUDE | WEIR_POD_DNS));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_istio_values),   cmocka_unit_test(test_variables),
		cmocka_unit_test(test_arguments),      cmocka_unit_test(test_linkerd_arguments),
		cmocka_unit_test(test_linkerd_values), cmocka_unit_test(test_huge_lists),
		cmocka_unit_test(test_contradictions), cmocka_unit_test(test_values_from_elsewhere),
	};

	return cmocka_run_group_tests_name("policy_bad", tests, NULL, NULL);
}
