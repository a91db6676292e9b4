/* SPDX-License-Identifier: Apache-2.0 */
/* What Istio's inputs become: annotations, arguments, environments, and their defaults. */
#include "maps/decide.h"
#include "tests/unit/policies.h"

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

static size_t count_ids(const struct policy *p, enum weir_list list)
{
	size_t n = 0;

	for (size_t i = 0; i < p->n_ids; i++)
		n += p->ids[i].list == list;
	return n;
}

/* dns.golden: the CNI plugin captures queries to all servers. tproxy.golden. */
static void test_istio_more_goldens(void **state)
{
	_cleanup_policy_ struct policy *dns =
		compile(POD(STATUS, "'containers':[{'name':'istio-proxy','env':[" ENV(
					    "ISTIO_META_DNS_CAPTURE", "true") "]}]"));
	_cleanup_policy_ struct policy *tproxy =
		istio(",'sidecar.istio.io/interceptionMode':'TPROXY'");

	(void)state;
	assert_int_equal(dns->pod.flags & (WEIR_POD_DNS | WEIR_POD_DNS_ALL),
			 WEIR_POD_DNS | WEIR_POD_DNS_ALL);
	assert_int_equal(dns->pod.dns_port, 15053);
	assert_int_equal(dns->sources[WEIR_SETTING_DNS], WEIR_SOURCE_ISTIO_ENV);
	assert_true(tproxy->pod.flags & WEIR_POD_TPROXY);
	assert_int_equal(tproxy->sources[WEIR_SETTING_MODE], WEIR_SOURCE_ISTIO_MODE);
	assert_int_equal(tproxy->pod.loopback_bits, 32);
	assert_int_equal(tproxy->pod.loopback_net[0], 127);
}

#define FORCED	   ",'annotations':{'weir.io/capture':'on'}"
#define INIT(args) "'containers':[" ISTIO_PROXY "],'initContainers':[{'name':'istio-init'" args "}]"
#define INJECTED_ARGS                                                                            \
	"'istio-iptables','-p','15101','-z','15106','-u','1338','-m','REDIRECT','-i','10.0.0.0/" \
	"8',"                                                                                    \
	"'-x','10.1.0.0/16','-b','80,443','-d','15090,15021,15020','--log_output_level=default:" \
	"info','-o=25','-q','3306'"

static void test_istio_init(void **state)
{
	_cleanup_policy_ struct policy *p = compile(POD(
		FORCED, INIT(",'args':[" INJECTED_ARGS "],'env':[" ENV(
				"ISTIO_META_DNS_CAPTURE", "true") "," ENV("PROXY_UID", "7") "]")));
	_cleanup_policy_ struct policy *several = compile(
		POD(FORCED, INIT(",'args':['--proxy-uid=3,4,3','-g','1,2','-b','*','-i','*']")));
	_cleanup_policy_ struct policy *bare = compile(POD(FORCED, INIT("")));

	(void)state;
	expect(p, POLICY_CAPTURED, "annotation weir.io/capture is on");
	assert_int_equal(p->pod.outbound_port, 15101);
	assert_int_equal(p->pod.inbound_port, 15106);
	assert_int_equal(p->pod.proxy_uid, 1338); /* the argument, not the variable */
	assert_int_equal(p->pod.proxy_gid, 1338); /* no -g: the same */
	assert_int_equal(p->sources[WEIR_SETTING_PROXY_UID], WEIR_SOURCE_INIT_ARGS);
	assert_int_equal(count_ports(p, WEIR_LIST_IN_PORT_INCLUDE), 2);
	assert_int_equal(count_ports(p, WEIR_LIST_IN_PORT_EXCLUDE), 3);
	assert_int_equal(count_ports(p, WEIR_LIST_OUT_PORT_EXCLUDE), 1); /* no 15020 */
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_INCLUDE, 3306));
	assert_int_equal(p->n_cidrs, 2);
	/* resolv.conf's servers are unknown: all are captured, and it is said */
	assert_true(p->pod.flags & WEIR_POD_DNS_ALL);
	assert_int_equal(p->sources[WEIR_SETTING_DNS], WEIR_SOURCE_INIT_ENV);
	assert_int_equal(p->n_warnings, 2);
	assert_int_equal(several->pod.proxy_uid, 3);
	assert_int_equal(several->pod.proxy_gid, 1);
	assert_int_equal(count_ids(several, WEIR_LIST_PROXY_UID), 1);
	assert_int_equal(count_ids(several, WEIR_LIST_PROXY_GID), 1);
	assert_true(several->pod.flags & WEIR_POD_PROXY_UIDS);
	assert_true(several->pod.flags & WEIR_POD_IN_ALL);
	assert_true(bare->pod.flags & WEIR_POD_OUT_ALL);
	assert_int_equal(count_ports(bare, WEIR_LIST_OUT_PORT_EXCLUDE), 0);
	assert_int_equal(count_ports(bare, WEIR_LIST_IN_PORT_EXCLUDE), 3);
}

static void test_istio_interfaces(void **state)
{
	_cleanup_policy_ struct policy *p =
		istio(",'" T "excludeInterfaces':'eth1, net1,eth1'"
		      ",'istio.io/reroute-virtual-interfaces':'tap0','" T ""
		      "kubevirtInterfaces':'tap1'");
	_cleanup_policy_ struct policy *old = istio(",'" T "kubevirtInterfaces':'tap1'");
	_cleanup_policy_ struct policy *hidden =
		istio(",'istio.io/reroute-virtual-interfaces':'','" T "kubevirtInterfaces':'tap1'");

	(void)state;
	assert_int_equal(p->n_interfaces, 3);
	assert_string_equal(p->interfaces[0].name, "eth1");
	assert_int_equal(p->interfaces[0].list, WEIR_LIST_IF_EXCLUDE);
	assert_string_equal(p->interfaces[2].name, "tap0");
	assert_int_equal(p->interfaces[2].list, WEIR_LIST_IF_VIRTUAL);
	assert_int_equal(p->pod.flags & (WEIR_POD_IF_EXCLUDE | WEIR_POD_IF_VIRTUAL),
			 WEIR_POD_IF_EXCLUDE | WEIR_POD_IF_VIRTUAL);
	assert_string_equal(old->interfaces[0].name, "tap1");
	assert_int_equal(old->sources[WEIR_LIST_IF_VIRTUAL], WEIR_SOURCE_ISTIO_KUBEVIRT);
	assert_int_equal(hidden->n_interfaces, 0); /* an empty new name hides the deprecated one */
}

/* What the injector tells istio-validation counts where the annotations say nothing. */
static void test_istio_validation(void **state)
{
	static const char spec[] =
		"'containers':[{'name':'istio-proxy'}],'initContainers':[{'name':'istio-validation'"
		","
		"'args':['istio-iptables','-p','15101','-z','15106','-u','1338','-m','REDIRECT','-"
		"i',"
		"'10.0.0.0/"
		"8','-x','','-b','*','-d','15090,15021,15020','-o','25','--run-validation',"
		"'--skip-rule-apply']}]";
	_cleanup_free_ char *plain = xasprintf(POD(STATUS, "%s"), spec);
	_cleanup_free_ char *annotated = xasprintf(
		POD(",'annotations':{" ISTIO_ANNOTATION ",'" T "excludeOutboundPorts':'26'}", "%s"),
		spec);
	_cleanup_policy_ struct policy *p = compile(plain), *both = compile(annotated);
	_cleanup_policy_ struct policy *several = compile(
		POD(STATUS, "'containers':[{'name':'istio-proxy','securityContext':{'runAsUser':5,'"
			    "runAsGroup':1}}],"
			    "'initContainers':[{'name':'istio-validation','args':['-u','3,4']}]"));

	(void)state;
	expect(p, POLICY_CAPTURED, WHY_ISTIO);
	assert_int_equal(p->pod.outbound_port, 15101);
	assert_int_equal(p->pod.inbound_port, 15106);
	assert_int_equal(p->sources[WEIR_SETTING_INBOUND_PORT], WEIR_SOURCE_VALIDATION_ARGS);
	assert_int_equal(p->pod.proxy_uid, 1338);
	assert_int_equal(p->pod.proxy_gid, 1337); /* the CNI plugin's, not the user's id */
	assert_int_equal(several->pod.proxy_uid, 3); /* and not what the container says */
	assert_int_equal(count_ids(several, WEIR_LIST_PROXY_UID), 1);
	assert_int_equal(several->pod.proxy_gid, 1);
	assert_int_equal(p->n_cidrs, 1);
	assert_true(has_port(p, WEIR_LIST_OUT_PORT_EXCLUDE, 25));
	assert_true(has_port(both, WEIR_LIST_OUT_PORT_EXCLUDE, 26));
	assert_false(has_port(both, WEIR_LIST_OUT_PORT_EXCLUDE, 25));
}

#define CONFIG(yaml) ",'proxy.istio.io/config':'" yaml "'"

static void test_istio_proxy_config(void **state)
{
	_cleanup_policy_ struct policy *p =
		istio(CONFIG("concurrency: 2\\ninterceptionMode: TPROXY\\nproxyMetadata:\\n"
			     "  ISTIO_META_DNS_CAPTURE: \\u0022true\\u0022\\n"
			     "  ISTIO_OUTBOUND_OWNER_GROUPS: \\u0022202,203\\u0022\\n"
			     "  ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: 127.0.0.1/16\\n"));
	_cleanup_policy_ struct policy *mode =
		istio(CONFIG("{interceptionMode: TPROXY}") ",'sidecar.istio.io/"
							   "interceptionMode':'REDIRECT'");

	(void)state;
	assert_int_equal(p->state, POLICY_CAPTURED);
	assert_true(p->pod.flags & WEIR_POD_TPROXY);
	assert_true(p->pod.flags & WEIR_POD_DNS);
	assert_int_equal(p->sources[WEIR_SETTING_DNS], WEIR_SOURCE_PROXY_CONFIG);
	assert_true(p->pod.flags & WEIR_POD_GROUPS_INCLUDE);
	assert_int_equal(count_ids(p, WEIR_LIST_GROUP_INCLUDE), 2);
	assert_int_equal(p->pod.loopback_bits, 16);
	assert_false(mode->pod.flags & WEIR_POD_TPROXY); /* the annotation beats ProxyConfig */
}

static void test_istio_status_port(void **state)
{
	_cleanup_policy_ struct policy *p =
		istio(",'status.sidecar.istio.io/port':'8099','" T "excludeInboundPorts':'9000'");
	_cleanup_policy_ struct policy *none = istio(",'status.sidecar.istio.io/port':'0'");

	(void)state;
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 8099));
	assert_true(has_port(p, WEIR_LIST_IN_PORT_EXCLUDE, 9000));
	assert_false(has_port(none, WEIR_LIST_IN_PORT_EXCLUDE, 0));
}

/* Servers of resolv.conf: istio-init without CAPTURE_ALL_DNS captures queries to these alone. */
static void test_istio_dns_servers(void **state)
{
	struct weir_addr address = { .ip = { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = 10 } };
	struct service dns = { .cluster_ips = &address, .n_cluster_ips = 1 };
	struct policy_options options = { .cluster_dns = &dns };
	static const struct {
		const char *annotations, *spec, *env;
		size_t n;
		enum weir_source source;
	} cases[] = {
		{ "", "", "", 1, WEIR_SOURCE_CLUSTER_DNS },
		{ "", "'dnsConfig':{'nameservers':['1.1.1.1','fd00::1']},", "", 3,
		  WEIR_SOURCE_CLUSTER_DNS },
		{ "", "'dnsPolicy':'None','dnsConfig':{'nameservers':['1.1.1.1']},", "", 1,
		  WEIR_SOURCE_DNS_CONFIG },
		{ ",'weir.io/dns-servers':'9.9.9.9, 8.8.8.8'", "'dnsPolicy':'None',", "", 2,
		  WEIR_SOURCE_WEIR_DNS_SERVERS },
		{ ",'weir.io/dns-servers':'9.9.9.9,x'", "", "", 1, WEIR_SOURCE_CLUSTER_DNS },
		{ ",'weir.io/dns-servers':' '", "", "", 1, WEIR_SOURCE_CLUSTER_DNS },
		{ "", "", "," ENV("CAPTURE_ALL_DNS", "true"), 0, WEIR_SOURCE_DEFAULT },
		{ "", "'dnsPolicy':'None',", "", 0, WEIR_SOURCE_DEFAULT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text =
			xasprintf("{'metadata':{'namespace':'a','name':'b','annotations':{'weir.io/"
				  "capture':'on'%s}},'spec':{%s'containers':[" ISTIO_PROXY
				  "],'initContainers':[{'name':'istio-init','env':[" ENV(
					  "ISTIO_META_DNS_CAPTURE", "true") "%s]}]}," V4 "}",
				  cases[i].annotations, cases[i].spec, cases[i].env);
		_cleanup_policy_ struct policy *p = compile_with(text, &options);

		assert_int_equal(p->pod.mode, WEIR_MODE_CAPTURE);
		assert_int_equal(p->n_cidrs, cases[i].n);
		assert_int_equal(!!(p->pod.flags & WEIR_POD_DNS_ALL), !cases[i].n);
		assert_int_equal(p->sources[WEIR_LIST_DNS_SERVER], cases[i].source);
	}
}

static void test_istio_loopback_ranges(void **state)
{
	_cleanup_policy_ struct policy *v6 = istio(",'" T "includeOutboundIPRanges':'::1/128'");
	_cleanup_policy_ struct policy *v4 = istio(",'" T "includeOutboundIPRanges':'127.0.0.0/8'");

	(void)state;
	assert_true(v6->pod.flags & WEIR_POD_OUT_LOOPBACK);
	assert_true(v4->pod.flags & WEIR_POD_OUT_LOOPBACK);
}

/* A failed policy lets nothing out that would have been captured, and refuses nothing else. */
static void test_istio_failed_lookups(void **state)
{
	_cleanup_policy_ struct policy *dns =
		compile(POD(",'annotations':{" ISTIO_ANNOTATION ",'" T "excludeOutboundPorts':'x'}",
			    "'containers':[{'name':'istio-proxy','env':[" ENV(
				    "ISTIO_META_DNS_CAPTURE", "true") "]}]"));
	_cleanup_policy_ struct policy *plain = istio(",'" T "excludeOutboundPorts':'x'");
	struct weir_connect query = { .port = WEIR_DNS_PORT, .udp = 1 };

	(void)state;
	assert_int_equal(dns->pod.mode, WEIR_MODE_REFUSE);
	assert_int_equal(weir_decide_outbound(&dns->pod, &query).verdict, WEIR_REFUSE);
	assert_int_equal(plain->pod.mode, WEIR_MODE_REFUSE);
	assert_int_equal(weir_decide_outbound(&plain->pod, &query).verdict, WEIR_DIRECT);
	query.port = 54;
	assert_int_equal(weir_decide_outbound(&dns->pod, &query).verdict, WEIR_DIRECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_istio_basic),
		cmocka_unit_test(test_istio_goldens),
		cmocka_unit_test(test_istio_edges),
		cmocka_unit_test(test_istio_families),
		cmocka_unit_test(test_istio_more_goldens),
		cmocka_unit_test(test_istio_init),
		cmocka_unit_test(test_istio_interfaces),
		cmocka_unit_test(test_istio_validation),
		cmocka_unit_test(test_istio_proxy_config),
		cmocka_unit_test(test_istio_status_port),
		cmocka_unit_test(test_istio_dns_servers),
		cmocka_unit_test(test_istio_loopback_ranges),
		cmocka_unit_test(test_istio_failed_lookups),
	};

	return cmocka_run_group_tests_name("policy_istio", tests, NULL, NULL);
}
