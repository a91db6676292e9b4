/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision, against what Istio's and Linkerd's iptables rules did in the lab. Policies come
 * from annotations, as in a cluster; the numbers in comments are rows of the table of outcomes.
 */
#include "agent/policy.h"
#include "base/buf.h"
#include "base/inet.h"
#include "maps/decide.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define POD_IP	"10.244.0.10"
#define PEER	"10.244.0.20"
#define VIP	"10.96.0.1"
#define POD_IP6 "fd00::10"
#define PEER6	"fd00::20"

#define APP    1000, 1000
#define PROXY  1337, 1337
#define NOBODY -1, -1 /* a socket without a file */

static struct policy *compile(const char *container, const char *annotations, const char *ip)
{
	static const struct policy_options options;
	_cleanup_free_ char *text =
		xasprintf("{'metadata':{'namespace':'shop','name':'p','annotations':{'sidecar."
			  "istio.io/status':''%s}},"
			  "'spec':{'containers':[{'name':'%s'}]},'status':{'podIP':'%s'}}",
			  annotations, container, ip);
	_cleanup_pod_ struct pod *pod = NULL;
	struct policy *p = NULL;
	char *error = NULL;
	json_t *root;

	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	root = json_loads(text, 0, NULL);
	assert_non_null(root);
	assert_int_equal(pod_parse(root, &pod, &error), 0);
	json_decref(root);
	assert_int_equal(policy_compile(pod, &options, &p), 0);
	return p;
}

/* Istio's annotations without their prefix: ",'t/includeInboundPorts':'80'". */
static struct policy *istio(const char *annotations, const char *ip)
{
	_cleanup_buf_ struct buf b = { 0 };

	for (const char *s = annotations; *s; s++)
		if (!strncmp(s, "'t/", 3)) {
			buf_str(&b, "'traffic.sidecar.istio.io");
			s++;
		} else {
			buf_add(&b, s, 1);
		}
	return compile("istio-proxy", buf_text(&b), ip);
}

/* The tries, as BPF asks them: only when the flag says that the list is in use. */
static bool port_in(const struct policy *p, __u32 flag, enum weir_list list, uint16_t port)
{
	bool found = false;

	for (size_t i = 0; i < p->n_ports; i++)
		found |= p->ports[i].list == list && port >= p->ports[i].lo &&
			 port <= p->ports[i].hi;
	return found && p->pod.flags & flag;
}

static bool cidr_in(const struct policy *p, __u32 flag, enum weir_list list,
		    const struct weir_addr *addr)
{
	for (size_t i = 0; i < p->n_cidrs; i++) {
		struct weir_addr masked = *addr;

		for (int bit = p->cidrs[i].bits; bit < 128; bit++)
			masked.ip[bit / 8] &= (__u8) ~(0x80 >> bit % 8);
		if (p->cidrs[i].list == list && weir_addr_equal(&masked, &p->cidrs[i].addr))
			return p->pod.flags & flag;
	}
	return false;
}

static struct weir_addr addr(const char *text)
{
	struct weir_addr result;

	assert_int_equal(inet_parse(text, result.ip), 0);
	return result;
}

struct outbound {
	long uid, gid;
	const char *src; /* NULL: not bound */
	const char *dst;
	uint16_t port;
	enum weir_verdict verdict;
	enum weir_reason reason;
	uint16_t to;
};

static struct weir_answer ask(const struct policy *p, const struct outbound *o)
{
	struct weir_addr src = addr(o->src ?: "::"), dst = addr(o->dst);
	bool local = weir_addr_equal(&dst, &p->pod.ip4) || weir_addr_equal(&dst, &p->pod.ip6);
	struct weir_connect c = {
		.port = o->port,
		.has_owner = o->uid >= 0,
		.uid_is_proxy = p->pod.flags & WEIR_POD_PROXY_UID && o->uid == p->pod.proxy_uid,
		.gid_is_proxy = p->pod.flags & WEIR_POD_PROXY_GID && o->gid == p->pod.proxy_gid,
		.port_excluded =
			port_in(p, WEIR_POD_OUT_PORTS_EXCLUDE, WEIR_LIST_OUT_PORT_EXCLUDE, o->port),
		.port_included =
			port_in(p, WEIR_POD_OUT_PORTS, WEIR_LIST_OUT_PORT_INCLUDE, o->port),
		.cidr_excluded =
			cidr_in(p, WEIR_POD_OUT_CIDRS_EXCLUDE, WEIR_LIST_OUT_CIDR_EXCLUDE, &dst),
		.cidr_included = cidr_in(p, WEIR_POD_OUT_CIDRS, WEIR_LIST_OUT_CIDR_INCLUDE, &dst),
	};

	/* ::6 is an address of lo in every pod with IPv6 rules, as ::1 is */
	weir_connect_set_addrs(&c, &p->pod, &src, &dst, local || weir_addr_is_v6_low(&dst, 6));
	return weir_decide_outbound(&p->pod, &c);
}

static void expect_all(const struct policy *p, const struct outbound *o, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_answer answer = ask(p, &o[i]);

		if (answer.verdict != o[i].verdict || answer.reason != o[i].reason ||
		    answer.port != o[i].to)
			fail_msg("case %zu, %ld:%ld %s -> %s:%u: verdict %d, reason %d, port %u", i,
				 o[i].uid, o[i].gid, o[i].src ?: "", o[i].dst, o[i].port,
				 answer.verdict, answer.reason, answer.port);
	}
}

#define EXPECT(p, ...)                                          \
	expect_all(p, (const struct outbound[]){ __VA_ARGS__ }, \
		   sizeof((const struct outbound[]){ __VA_ARGS__ }) / sizeof(struct outbound))
#define DIRECT(reason)	 WEIR_DIRECT, WEIR_REASON_##reason, 0
#define OUTBOUND(reason) WEIR_REDIRECT, WEIR_REASON_##reason, 15001
#define INBOUND(reason)	 WEIR_REDIRECT, WEIR_REASON_##reason, 15006

static void test_basic(void **state)
{
	_cleanup_policy_ struct policy *p = istio("", POD_IP);

	(void)state;
	/* clang-format off */
	EXPECT(p, { APP, NULL, VIP, 80, OUTBOUND(ALL_INCLUDED) }, /* 1 */
		  { APP, NULL, PEER, 443, OUTBOUND(ALL_INCLUDED) },
		  { APP, NULL, PEER, 15001, OUTBOUND(ALL_INCLUDED) },
		  { APP, NULL, PEER, 15008, OUTBOUND(ALL_INCLUDED) }, /* no outbound exception for the tunnel */
		  { APP, POD_IP, PEER, 443, OUTBOUND(ALL_INCLUDED) },
		  { NOBODY, NULL, PEER, 443, OUTBOUND(ALL_INCLUDED) },
		  { 0, 0, NULL, PEER, 443, OUTBOUND(ALL_INCLUDED) },
		  { APP, NULL, POD_IP, 8080, DIRECT(LOOPBACK) }, /* 2 */
		  { APP, NULL, POD_IP, 15006, DIRECT(LOOPBACK) },
		  { NOBODY, NULL, POD_IP, 8080, DIRECT(LOOPBACK) },
		  { APP, NULL, "127.0.0.1", 8080, DIRECT(LOOPBACK) }, /* 3 */
		  { APP, NULL, "127.0.0.2", 8080, DIRECT(LOOPBACK) },
		  { APP, NULL, "127.0.0.6", 15002, DIRECT(LOOPBACK) }, /* 4: nobody listens there */
		  { APP, NULL, PEER, 15020, DIRECT(PORT_EXCLUDED) }, /* 5 */
		  { PROXY, NULL, VIP, 80, DIRECT(PROXY_UID) }, /* 6 */
		  { PROXY, NULL, PEER, 443, DIRECT(PROXY_UID) },
		  { PROXY, NULL, POD_IP, 8080, INBOUND(SELF_CALL) }, /* 7 */
		  { PROXY, "127.0.0.6", POD_IP, 8080, DIRECT(PASSTHROUGH_SOURCE) }, /* 8 */
		  { APP, "127.0.0.6", POD_IP, 8080, DIRECT(PASSTHROUGH_SOURCE) },
		  { PROXY, NULL, "127.0.0.1", 8080, DIRECT(PROXY_UID) }, /* 9 */
		  { PROXY, NULL, "127.0.0.2", 8080, INBOUND(SELF_CALL) }, /* 10 */
		  { PROXY, NULL, "127.0.0.6", 15002, INBOUND(SELF_CALL) }, /* istio-validation asks for this one */
		  { PROXY, "127.0.0.1", "127.0.0.6", 15002, INBOUND(SELF_CALL) },
		  { PROXY, NULL, POD_IP, 15008, DIRECT(PROXY_UID) }, /* 11 */
		  { PROXY, NULL, POD_IP, 15006, INBOUND(SELF_CALL) }, /* 12 */
		  { 1337, 1000, NULL, PEER, 443, DIRECT(PROXY_UID) }, /* 13 */
		  { 1337, 1000, NULL, POD_IP, 8080, INBOUND(SELF_CALL) },
		  { 1000, 1337, NULL, PEER, 443, DIRECT(PROXY_GID) }, /* 14 */
		  { 0, 1337, NULL, PEER, 443, DIRECT(PROXY_GID) },
		  { 1000, 1337, NULL, POD_IP, 8080, DIRECT(LOOPBACK) }, /* 15 */
		  { 1000, 1337, NULL, "127.0.0.2", 8080, DIRECT(LOOPBACK) },
		  { 0, 1337, NULL, "127.0.0.6", 15002, DIRECT(LOOPBACK) },
		  /* rule 1 stands before the proxy's call to its own pod */
		  { PROXY, NULL, POD_IP, 15020, DIRECT(PORT_EXCLUDED) },
		  { APP, NULL, POD_IP, 15020, DIRECT(PORT_EXCLUDED) },
		  /* no route takes these sources and destinations, whatever the rules */
		  { APP, "127.0.0.1", PEER, 443, DIRECT(SOURCE_LOOPBACK) },
		  { APP, NULL, "224.0.0.1", 443, DIRECT(NOT_UNICAST) },
		  { APP, NULL, "255.255.255.255", 443, DIRECT(NOT_UNICAST) },
		  { PROXY, NULL, "127.255.255.255", 443, DIRECT(NOT_UNICAST) },
		  { PROXY, NULL, "127.255.255.254", 443, INBOUND(SELF_CALL) },
		  /* IPv4 came first and dual stack is off: no IPv6 rule exists */
		  { APP, NULL, PEER6, 443, DIRECT(FAMILY_OFF) },
		  { APP, NULL, "::1", 443, DIRECT(FAMILY_OFF) },
		  /* the JVM's way to dial IPv4 */
		  { APP, NULL, "::ffff:" VIP, 80, OUTBOUND(ALL_INCLUDED) });
	/* clang-format on */
}

static void test_v6(void **state)
{
	_cleanup_policy_ struct policy *p = istio("", POD_IP6);

	(void)state;
	/* clang-format off */
	EXPECT(p, { APP, NULL, PEER6, 443, OUTBOUND(ALL_INCLUDED) },
		  { APP, NULL, PEER, 443, OUTBOUND(ALL_INCLUDED) }, /* IPv6 first: both are loaded */
		  { APP, NULL, POD_IP6, 8080, DIRECT(LOOPBACK) },
		  { APP, NULL, "::1", 8080, DIRECT(LOOPBACK) },
		  { PROXY, NULL, POD_IP6, 8080, INBOUND(SELF_CALL) },
		  { PROXY, "::6", POD_IP6, 8080, DIRECT(PASSTHROUGH_SOURCE) },
		  { PROXY, "::1", "::6", 15002, INBOUND(SELF_CALL) },
		  { PROXY, NULL, "::6", 15002, DIRECT(PASSTHROUGH_SOURCE) }, /* its source is ::6 */
		  { PROXY, NULL, "::1", 15002, DIRECT(PROXY_UID) },
		  { PROXY, NULL, PEER6, 443, DIRECT(PROXY_UID) },
		  { APP, NULL, "ff02::1", 443, DIRECT(NOT_UNICAST) },
		  { APP, "::1", PEER6, 443, OUTBOUND(ALL_INCLUDED) });
	/* clang-format on */
}

/* An included loopback address takes rules 3b and 4b away. */
static void test_loopback_included(void **state)
{
	_cleanup_policy_ struct policy *p =
		istio(",'t/includeOutboundIPRanges':'127.0.0.0/8'", POD_IP);
	_cleanup_policy_ struct policy *golden =
		istio(",'t/includeOutboundIPRanges':'127.0.0.0/8','t/"
		      "excludeOutboundIPRanges':'10.0.0.0/8'",
		      POD_IP);

	(void)state;
	/* clang-format off */
	EXPECT(p, { APP, NULL, "127.0.0.2", 8080, OUTBOUND(CIDR_INCLUDED) },
		  { APP, NULL, "127.0.0.6", 8080, OUTBOUND(CIDR_INCLUDED) },
		  { APP, NULL, "127.0.0.53", 53, OUTBOUND(CIDR_INCLUDED) },
		  { APP, NULL, "127.0.0.1", 8080, DIRECT(LOOPBACK) }, /* rule 7 */
		  { APP, NULL, POD_IP, 8080, DIRECT(NOT_INCLUDED) },
		  { APP, NULL, PEER, 443, DIRECT(NOT_INCLUDED) },
		  { NOBODY, NULL, "127.0.0.2", 8080, OUTBOUND(CIDR_INCLUDED) },
		  { 0, 1337, NULL, "127.0.0.2", 8080, INBOUND(SELF_CALL) }, /* now 4a is reached */
		  { 0, 1337, NULL, POD_IP, 8080, INBOUND(SELF_CALL) },
		  { 0, 1337, NULL, POD_IP, 15008, DIRECT(PROXY_GID) },
		  { 0, 1337, NULL, "127.0.0.1", 8080, DIRECT(PROXY_GID) },
		  { PROXY, NULL, "127.0.0.2", 8080, INBOUND(SELF_CALL) },
		  { PROXY, NULL, "127.0.0.1", 8080, DIRECT(PROXY_UID) });
	EXPECT(golden, { APP, NULL, PEER, 443, DIRECT(CIDR_EXCLUDED) },
		       { APP, NULL, POD_IP, 8080, DIRECT(CIDR_EXCLUDED) },
		       { APP, NULL, "127.9.9.9", 8080, OUTBOUND(CIDR_INCLUDED) },
		       { APP, NULL, "192.0.2.1", 443, DIRECT(NOT_INCLUDED) });
	/* clang-format on */
}

static void test_lists(void **state)
{
	_cleanup_policy_ struct policy *none = istio(",'t/includeOutboundIPRanges':''", POD_IP);
	_cleanup_policy_ struct policy *mixed =
		istio(",'t/includeOutboundIPRanges':'10.96.0.0/12','t/"
		      "excludeOutboundIPRanges':'10.96.0.9/32,192.0.2.0/24'"
		      ",'t/includeOutboundPorts':'443,3306','t/excludeOutboundPorts':'3306'",
		      POD_IP);
	_cleanup_policy_ struct policy *wide =
		istio(",'t/includeOutboundIPRanges':'0.0.0.0/0','t/excludeOutboundIPRanges':'::/"
		      "0','t/excludeOutboundPorts':''",
		      POD_IP6);

	(void)state;
	/* clang-format off */
	EXPECT(none, { APP, NULL, PEER, 443, DIRECT(NOT_INCLUDED) },
		     { PROXY, NULL, POD_IP, 8080, INBOUND(SELF_CALL) }, /* still the proxy's own call */
		     { PROXY, NULL, PEER, 443, DIRECT(PROXY_UID) });
	EXPECT(mixed, { APP, NULL, VIP, 80, OUTBOUND(CIDR_INCLUDED) },
		      { APP, NULL, PEER, 80, DIRECT(NOT_INCLUDED) },
		      { APP, NULL, PEER, 443, OUTBOUND(PORT_INCLUDED) }, /* ports OR ranges */
		      { APP, NULL, VIP, 443, OUTBOUND(PORT_INCLUDED) },
		      { APP, NULL, PEER, 3306, DIRECT(PORT_EXCLUDED) }, /* excluded beats included */
		      { APP, NULL, "10.96.0.9", 80, DIRECT(CIDR_EXCLUDED) },
		      { APP, NULL, "192.0.2.7", 443, DIRECT(CIDR_EXCLUDED) }, /* 8 stands before 9 */
		      { APP, NULL, PEER, 15020, DIRECT(NOT_INCLUDED) }, /* the default list is replaced */
		      { APP, NULL, POD_IP, 443, DIRECT(LOOPBACK) });
	EXPECT(wide, { APP, NULL, PEER, 15020, OUTBOUND(CIDR_INCLUDED) },
		     { APP, NULL, "127.0.0.2", 80, DIRECT(LOOPBACK) }, /* 0.0.0.0/0 names no loopback address */
		     { APP, NULL, PEER6, 80, DIRECT(CIDR_EXCLUDED) }); /* and ::/0 no IPv4 one */
	/* clang-format on */
}

struct inbound {
	const char *src;
	uint16_t port;
	enum weir_verdict verdict;
	enum weir_reason reason;
	uint16_t to;
};

static void expect_inbound(const struct policy *p, const struct inbound *in, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_addr src = addr(in[i].src);
		struct weir_syn s = {
			.port = in[i].port,
			.v6 = !weir_addr_is_v4(&src),
			.lo = weir_addr_is_loopback(&src),
			.port_excluded = port_in(p, WEIR_POD_IN_PORTS_EXCLUDE,
						 WEIR_LIST_IN_PORT_EXCLUDE, in[i].port),
			.port_included = port_in(p, WEIR_POD_IN_PORTS, WEIR_LIST_IN_PORT_INCLUDE,
						 in[i].port),
			.source_excluded = cidr_in(p, WEIR_POD_IN_SOURCES_EXCLUDE,
						   WEIR_LIST_IN_SOURCE_EXCLUDE, &src),
		};
		struct weir_answer answer = weir_decide_inbound(&p->pod, &s);

		if (answer.verdict != in[i].verdict || answer.reason != in[i].reason ||
		    answer.port != in[i].to)
			fail_msg("case %zu, %s -> %u: verdict %d, reason %d, port %u", i, in[i].src,
				 in[i].port, answer.verdict, answer.reason, answer.port);
	}
}

#define EXPECT_IN(p, ...)                                          \
	expect_inbound(p, (const struct inbound[]){ __VA_ARGS__ }, \
		       sizeof((const struct inbound[]){ __VA_ARGS__ }) / sizeof(struct inbound))

static void test_inbound(void **state)
{
	static const uint16_t redirected[] = { 8080,  9090,  22,    53, 15000, 15001,
					       15004, 15053, 15006, 1,	65535 };
	_cleanup_policy_ struct policy *p = istio("", POD_IP);
	_cleanup_policy_ struct policy *listed =
		istio(",'t/includeInboundPorts':'1111,2222,15008','t/excludeInboundPorts':'2222'",
		      POD_IP);
	_cleanup_policy_ struct policy *none = istio(",'t/includeInboundPorts':''", POD_IP);
	_cleanup_policy_ struct policy *more =
		istio(",'t/excludeInboundPorts':'8080, 9090'", POD_IP);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(redirected); i++) /* 16, 17 */
		EXPECT_IN(p, { PEER, redirected[i], INBOUND(ALL_INCLUDED) });
	/* clang-format off */
	EXPECT_IN(p, { PEER, 15008, DIRECT(TUNNEL_PORT) }, /* 18 */
		     { PEER, 15020, DIRECT(PORT_EXCLUDED) },
		     { PEER, 15021, DIRECT(PORT_EXCLUDED) },
		     { PEER, 15090, DIRECT(PORT_EXCLUDED) },
		     { "127.0.0.1", 8080, DIRECT(LOOPBACK) },
		     { PEER6, 8080, DIRECT(FAMILY_OFF) });
	EXPECT_IN(listed, { PEER, 1111, INBOUND(PORT_INCLUDED) },
			  { PEER, 2222, INBOUND(PORT_INCLUDED) }, /* exclusions are not asked */
			  { PEER, 15008, DIRECT(TUNNEL_PORT) }, /* listed, and yet never */
			  { PEER, 3333, DIRECT(NOT_INCLUDED) },
			  { PEER, 15020, DIRECT(NOT_INCLUDED) });
	EXPECT_IN(none, { PEER, 8080, DIRECT(NOT_INCLUDED) });
	EXPECT_IN(more, { PEER, 8080, DIRECT(PORT_EXCLUDED) },
			{ PEER, 9090, DIRECT(PORT_EXCLUDED) },
			{ PEER, 15090, DIRECT(PORT_EXCLUDED) },
			{ PEER, 15006, INBOUND(ALL_INCLUDED) });
	/* clang-format on */
}

#define LINKERD 2102, 2102
#define TO_OUT	WEIR_REDIRECT, WEIR_REASON_ALL_INCLUDED, 4140
#define TO_IN	WEIR_REDIRECT, WEIR_REASON_ALL_INCLUDED, 4143

static void test_linkerd(void **state)
{
	_cleanup_policy_ struct policy *p = compile(
		"linkerd-proxy",
		",'config.linkerd.io/skip-outbound-ports':'25,3300-3310','config.linkerd.io/"
		"skip-inbound-ports':'6000-8000'"
		",'config.linkerd.io/skip-subnets':'192.0.2.0/24','config.linkerd.io/"
		"proxy-gid':'2103'",
		POD_IP);

	(void)state;
	/* clang-format off */
	EXPECT(p, { APP, NULL, PEER, 443, TO_OUT },
		  { APP, NULL, VIP, 80, TO_OUT }, /* its own ClusterIP is no address of the pod */
		  { LINKERD, NULL, PEER, 443, DIRECT(PROXY_UID) },
		  { 1000, 2103, NULL, PEER, 443, DIRECT(PROXY_GID) }, /* uid OR gid */
		  { LINKERD, NULL, POD_IP, 8080, DIRECT(PROXY_UID) }, /* must not loop */
		  { APP, NULL, "127.0.0.1", 8080, DIRECT(LOOPBACK) },
		  { APP, NULL, "127.0.0.2", 8080, DIRECT(LOOPBACK) },
		  { APP, NULL, POD_IP, 8080, DIRECT(LOOPBACK) },
		  { APP, NULL, PEER, 25, DIRECT(PORT_EXCLUDED) },
		  { APP, NULL, PEER, 3310, DIRECT(PORT_EXCLUDED) },
		  { APP, NULL, PEER, 3311, TO_OUT },
		  { NOBODY, NULL, PEER, 443, TO_OUT },
		  { 1337, 1337, NULL, PEER, 15008, TO_OUT }, /* nothing of Istio's applies */
		  { APP, NULL, PEER, 15020, TO_OUT },
		  { APP, NULL, PEER6, 443, DIRECT(FAMILY_OFF) });
	EXPECT_IN(p, { PEER, 9090, TO_IN },
		     { PEER, 4140, TO_IN }, /* the outbound port is not ignored */
		     { PEER, 4143, TO_IN }, /* meshed traffic */
		     { PEER, 15008, TO_IN },
		     { PEER, 4190, DIRECT(PORT_EXCLUDED) },
		     { PEER, 4191, DIRECT(PORT_EXCLUDED) },
		     { PEER, 7070, DIRECT(PORT_EXCLUDED) },
		     { "192.0.2.77", 9090, DIRECT(SOURCE_EXCLUDED) },
		     { "192.0.3.1", 9090, TO_IN },
		     { "127.0.0.1", 9090, DIRECT(LOOPBACK) });
	/* clang-format on */
}

static void test_modes(void **state)
{
	_cleanup_policy_ struct policy *off = istio(",'weir.io/capture':'off'", POD_IP);
	_cleanup_policy_ struct policy *failed = istio(",'t/excludeOutboundPorts':'x'", POD_IP);

	(void)state;
	/* clang-format off */
	EXPECT(off, { APP, NULL, PEER, 443, DIRECT(NOT_CAPTURED) },
		    { PROXY, NULL, POD_IP, 8080, DIRECT(NOT_CAPTURED) });
	EXPECT_IN(off, { PEER, 8080, DIRECT(NOT_CAPTURED) });
	/* nothing leaves or enters unseen, of either family, not even the proxy's; the pod talks to itself */
	EXPECT(failed, { APP, NULL, PEER, 443, WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0 },
		       { PROXY, NULL, PEER6, 443, WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0 },
		       { APP, NULL, PEER, 15020, WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0 },
		       { APP, NULL, "127.0.0.1", 80, DIRECT(LOOPBACK) },
		       { APP, NULL, POD_IP, 80, DIRECT(LOOPBACK) });
	EXPECT_IN(failed, { PEER, 8080, WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0 },
			  { PEER6, 15021, WEIR_REFUSE, WEIR_REASON_POLICY_FAILED, 0 });
	/* clang-format on */
}

static void test_presence(void **state)
{
	static const struct {
		const char *annotations;
		enum weir_presence presence;
		enum weir_verdict verdict;
		enum weir_reason reason;
	} cases[] = {
		{ "", WEIR_PROXY_LISTENS, WEIR_REDIRECT, WEIR_REASON_ALL_INCLUDED },
		{ "", WEIR_PROXY_NEVER, WEIR_REFUSE, WEIR_REASON_BEFORE_PROXY },
		{ "", WEIR_PROXY_GONE, WEIR_REFUSE, WEIR_REASON_PROXY_DOWN },
		{ ",'weir.io/before-proxy':'direct'", WEIR_PROXY_NEVER, WEIR_DIRECT,
		  WEIR_REASON_BEFORE_PROXY },
		{ ",'weir.io/before-proxy':'direct'", WEIR_PROXY_GONE, WEIR_REFUSE,
		  WEIR_REASON_PROXY_DOWN },
		{ ",'weir.io/proxy-down':'direct'", WEIR_PROXY_NEVER, WEIR_REFUSE,
		  WEIR_REASON_BEFORE_PROXY },
		{ ",'weir.io/proxy-down':'direct'", WEIR_PROXY_GONE, WEIR_DIRECT,
		  WEIR_REASON_PROXY_DOWN },
	};
	static const struct outbound remote = {
		.uid = 1000, .gid = 1000, .dst = PEER, .port = 443
	};
	static const struct outbound self = {
		.uid = 1000, .gid = 1000, .dst = POD_IP, .port = 443
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_policy_ struct policy *p = istio(cases[i].annotations, POD_IP);
		struct weir_answer answer =
			weir_decide_presence(&p->pod, ask(p, &remote), cases[i].presence);

		assert_int_equal(answer.verdict, cases[i].verdict);
		assert_int_equal(answer.reason, cases[i].reason);
		assert_int_equal(answer.port, answer.verdict == WEIR_REDIRECT ? 15001 : 0);
		answer = weir_decide_presence(&p->pod, ask(p, &self), cases[i].presence);
		assert_int_equal(answer.verdict,
				 WEIR_DIRECT); /* not a redirect: the proxy does not matter */
		assert_int_equal(answer.reason, WEIR_REASON_LOOPBACK);
	}
}

/* How the lists of ports come into a trie. */
static int add_ports(uint16_t prefix, int bits, void *arg)
{
	uint8_t *seen = arg;

	seen[0x10000]++;
	for (uint32_t port = prefix; port < prefix + (0x10000U >> bits); port++)
		seen[port]++;
	return 0;
}

static int stop(uint16_t prefix, int bits, void *arg)
{
	(void)prefix;
	(void)bits;
	return ++*(int *)arg == 3 ? 7 : 0;
}

static uint8_t expect_range(uint32_t lo, uint32_t hi)
{
	_cleanup_free_ uint8_t *seen = xcalloc(0x10001, 1);

	assert_int_equal(range_to_prefixes((uint16_t)lo, (uint16_t)hi, add_ports, seen), 0);
	for (uint32_t port = 0; port < 0x10000; port++)
		if (seen[port] != (port >= lo && port <= hi))
			fail_msg("%u-%u: port %u is there %u times", lo, hi, port, seen[port]);
	assert_in_range(seen[0x10000], 1, 30);
	return seen[0x10000];
}

static void test_prefixes(void **state)
{
	uint32_t seed = 3;
	int calls = 0;

	(void)state;
	assert_int_equal(expect_range(0, 65535), 1);
	assert_int_equal(expect_range(0, 0), 1);
	assert_int_equal(expect_range(65535, 65535), 1);
	assert_int_equal(expect_range(1, 65534), 30); /* the worst */
	assert_int_equal(expect_range(4190, 4191), 1);
	assert_int_equal(expect_range(32767, 32768), 2);
	for (int i = 0; i < 300; i++) {
		uint32_t lo = seed >> 16;

		seed = seed * 1664525 + 1013904223;
		expect_range(lo, lo + (seed >> 16) % (0x10000 - lo));
	}
	assert_int_equal(range_to_prefixes(1, 65534, stop, &calls), 7);
	assert_int_equal(calls, 3);
}

static void test_addresses(void **state)
{
	struct weir_addr any4 = addr("0.0.0.0"), any6 = addr("::"), mapped = addr("::ffff:1.2.3.4");

	(void)state;
	assert_true(weir_addr_is_any(&any4));
	assert_true(weir_addr_is_any(&any6));
	assert_false(weir_addr_is_any(&mapped));
	assert_true(weir_addr_is_v4(&mapped));
	assert_false(weir_addr_is_v4(&any6));
	for (int low = 0; low < 256; low++) {
		_cleanup_free_ char *v4 = xasprintf("127.0.0.%d", low),
				    *v6 = xasprintf("::%x", low);
		struct weir_addr a4 = addr(v4), a6 = addr(v6);

		assert_true(weir_addr_is_loopback(&a4));
		assert_int_equal(weir_addr_is_loopback(&a6), low == 1);
		assert_int_equal(weir_addr_is_v4_loop(&a4, 6), low == 6);
		assert_int_equal(weir_addr_is_v6_low(&a6, 6), low == 6);
		assert_false(weir_addr_is_global(&a4));
		assert_int_equal(weir_addr_is_global(&a6), low > 1 && low != 6);
	}
}

/* Of the others only a pod's table of addresses can tell whether they are its own. */
static void test_global_addresses(void **state)
{
	static const char *const global[] = { "10.244.0.10", "169.253.255.255", "169.255.0.0",
					      "8.8.8.8",     "fd00::10",	"2001:db8::6",
					      "fec0::1" },
				 *const others[] = {
					 "0.0.0.0",	"::",	   "127.0.0.1",	 "::1",
					 "169.254.1.1", "fe80::1", "febf::ffff", "::6"
				 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(global); i++) {
		struct weir_addr a = addr(global[i]);

		assert_true(weir_addr_is_global(&a));
	}
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		struct weir_addr a = addr(others[i]);

		assert_false(weir_addr_is_global(&a));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_basic),
		cmocka_unit_test(test_v6),
		cmocka_unit_test(test_loopback_included),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_inbound),
		cmocka_unit_test(test_linkerd),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_presence),
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_global_addresses),
	};

	return cmocka_run_group_tests_name("decide", tests, NULL, NULL);
}
