/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows from the order of Istio's rules where several owners, groups, name lookups, the
 * loopback range and TPROXY meet. Questions and pods are written down, not compiled.
 */
#include "maps/decide.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define BASE (WEIR_POD_IPV4 | WEIR_POD_IPV6 | WEIR_POD_OUT_ALL | WEIR_POD_IN_ALL)
#define IDS  (WEIR_POD_PROXY_UID | WEIR_POD_PROXY_GID)

static const struct weir_pod base = {
	.mode = WEIR_MODE_CAPTURE,
	.flags = BASE | IDS,
	.outbound_port = 15001,
	.inbound_port = 15006,
	.tunnel_port = 15008,
	.dns_port = 15053,
	.loopback_net = { 127, 0, 0, 1 },
	.loopback_bits = 32,
};

#define FIRST WEIR_ID_PROXY_FIRST
#define LATER WEIR_ID_PROXY_LATER

/* Where to: outside the pod, its own address, 127.0.0.1, the rest of 127/8. */
enum where { REMOTE, OWN, ONE, TWO };

struct row {
	__u32 flags; /* beside those of `base` */
	struct weir_connect asked; /* has_owner unless NO_OWNER */
	enum where where;
	struct weir_answer want;
};

#define DIRECT(NAME)                                                 \
	{                                                            \
		.verdict = WEIR_DIRECT, .reason = WEIR_REASON_##NAME \
	}
#define TO(number, NAME)                                                               \
	{                                                                              \
		.verdict = WEIR_REDIRECT, .reason = WEIR_REASON_##NAME, .port = number \
	}
#define IN_PLACE(NAME)                                                                 \
	{                                                                              \
		.verdict = WEIR_REDIRECT, .reason = WEIR_REASON_##NAME, .port = 15006, \
		.in_place = 1                                                          \
	}
#define NO_OWNER 0x80

static void check(const struct weir_pod *like, const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct weir_connect c = rows[i].asked;
		struct weir_pod p = *like;
		struct weir_answer got;

		p.flags |= rows[i].flags;
		c.has_owner = c.has_owner != NO_OWNER;
		c.lo = rows[i].where != REMOTE;
		c.loopback = rows[i].where == ONE;
		got = weir_decide_outbound(&p, &c);
		if (memcmp(&got, &rows[i].want, sizeof(got)) != 0)
			fail_msg("row %zu, port %u: verdict %d, reason %d, port %u, in place %d", i,
				 c.port, got.verdict, got.reason, got.port, got.in_place);
	}
}

#define CHECK(like, rows) check(like, rows, sizeof(rows) / sizeof((rows)[0]))

/* A declared proxy that takes no inbound connections: its calls to its own pod are not for it. */
static void test_no_inbound_listener(void **state)
{
	static const struct row rows[] = {
		{ 0, { .port = 8080, .uid_is_proxy = FIRST }, OWN, DIRECT(PROXY_UID) },
		{ 0, { .port = 8080, .uid_is_proxy = FIRST }, TWO, DIRECT(PROXY_UID) },
		{ 0, { .port = 8080, .uid_is_proxy = FIRST }, REMOTE, DIRECT(PROXY_UID) },
		{ 0, { .port = 8080 }, REMOTE, TO(15001, ALL_INCLUDED) },
	};
	struct weir_pod pod = base;

	(void)state;
	pod.inbound_port = 0;
	pod.flags &= ~(__u32)WEIR_POD_IN_ALL;
	CHECK(&pod, rows);
}

static void test_several_ids(void **state)
{
	static const struct row rows[] = {
		{ 0, { .port = 80, .uid_is_proxy = FIRST }, OWN, TO(15006, SELF_CALL) },
		{ 0, { .port = 80, .uid_is_proxy = FIRST }, ONE, DIRECT(PROXY_UID) },
		{ 0, { .port = 15008, .uid_is_proxy = FIRST }, OWN, DIRECT(PROXY_UID) },
		/* 3b of the first uid comes before 3a of the others */
		{ 0, { .port = 80, .uid_is_proxy = LATER }, OWN, DIRECT(LOOPBACK) },
		{ 0, { .port = 80, .uid_is_proxy = LATER }, REMOTE, DIRECT(PROXY_UID) },
		{ 0, { .port = 80, .gid_is_proxy = FIRST }, OWN, DIRECT(LOOPBACK) },
		{ 0, { .port = 80, .gid_is_proxy = FIRST }, REMOTE, DIRECT(PROXY_GID) },
		{ 0, { .port = 80, .gid_is_proxy = LATER }, REMOTE, DIRECT(PROXY_GID) },
		{ 0,
		  { .port = 80, .has_owner = NO_OWNER, .uid_is_proxy = FIRST },
		  OWN,
		  DIRECT(LOOPBACK) },
		{ 0, { .port = 80, .has_owner = NO_OWNER }, REMOTE, TO(15001, ALL_INCLUDED) },
		/* with a loopback address among the included ranges there is no 3b nor 4b */
		{ WEIR_POD_OUT_LOOPBACK,
		  { .port = 80, .uid_is_proxy = LATER },
		  OWN,
		  TO(15006, SELF_CALL) },
		{ WEIR_POD_OUT_LOOPBACK,
		  { .port = 80, .gid_is_proxy = FIRST },
		  TWO,
		  TO(15006, SELF_CALL) },
		{ WEIR_POD_OUT_LOOPBACK,
		  { .port = 80, .gid_is_proxy = LATER },
		  TWO,
		  TO(15006, SELF_CALL) },
		{ WEIR_POD_OUT_LOOPBACK, { .port = 80 }, TWO, TO(15001, ALL_INCLUDED) },
		{ WEIR_POD_OUT_LOOPBACK, { .port = 80 }, ONE, DIRECT(LOOPBACK) },
		{ 0,
		  { .port = 80, .uid_is_proxy = FIRST, .port_excluded = 1 },
		  OWN,
		  DIRECT(PORT_EXCLUDED) },
	};
	struct weir_pod gid_only = base;

	static const struct row by_gid[] = {
		{ 0, { .port = 80, .gid_is_proxy = FIRST }, OWN, TO(15006, SELF_CALL) },
		{ 0, { .port = 80, .gid_is_proxy = LATER }, OWN, DIRECT(LOOPBACK) },
		{ 0, { .port = 80 }, OWN, DIRECT(LOOPBACK) },
	};

	(void)state;
	CHECK(&base, rows);
	gid_only.flags &= ~(__u32)WEIR_POD_PROXY_UID;
	CHECK(&gid_only, by_gid);
}

#define DNS (WEIR_POD_DNS | WEIR_POD_DNS_ALL)

static void test_lookups(void **state)
{
	static const struct row rows[] = {
		{ DNS, { .port = 53 }, REMOTE, TO(15053, DNS) },
		{ DNS, { .port = 53, .udp = 1 }, REMOTE, TO(15053, DNS) },
		{ DNS, { .port = 53 }, ONE, TO(15053, DNS) },
		{ DNS, { .port = 53, .udp = 1 }, ONE, TO(15053, DNS) },
		{ DNS, { .port = 53, .udp = 1 }, OWN, TO(15053, DNS) },
		{ DNS, { .port = 53, .udp = 1, .not_unicast = 1 }, REMOTE, TO(15053, DNS) },
		{ DNS, { .port = 53, .udp = 1, .has_owner = NO_OWNER }, REMOTE, TO(15053, DNS) },
		/* the proxy's own: never, and its lookups on lo are no self-calls, by uid */
		{ DNS, { .port = 53, .uid_is_proxy = FIRST }, OWN, DIRECT(PROXY_UID) },
		{ DNS, { .port = 53, .uid_is_proxy = LATER }, OWN, DIRECT(PROXY_UID) },
		{ DNS, { .port = 53, .uid_is_proxy = FIRST, .udp = 1 }, REMOTE, DIRECT(PROXY_UID) },
		{ DNS, { .port = 53, .gid_is_proxy = FIRST }, OWN, TO(15006, SELF_CALL) },
		{ DNS, { .port = 53, .gid_is_proxy = LATER }, TWO, TO(15006, SELF_CALL) },
		{ DNS, { .port = 53, .gid_is_proxy = FIRST }, ONE, DIRECT(PROXY_GID) },
		{ DNS, { .port = 53, .gid_is_proxy = FIRST, .udp = 1 }, OWN, DIRECT(PROXY_GID) },
		/* 3b spares port 53 alone */
		{ DNS, { .port = 80 }, TWO, DIRECT(LOOPBACK) },
		{ DNS, { .port = 80, .uid_is_proxy = FIRST }, TWO, TO(15006, SELF_CALL) },
		{ DNS, { .port = 80, .udp = 1 }, TWO, DIRECT(NOT_TCP) },
		{ DNS,
		  { .port = 53, .udp = 1, .port_excluded = 1 },
		  REMOTE,
		  DIRECT(PORT_EXCLUDED) },
		{ DNS,
		  { .port = 53, .udp = 1, .passthrough = 1 },
		  TWO,
		  DIRECT(PASSTHROUGH_SOURCE) },
		{ DNS, { .port = 53, .cidr_excluded = 1 }, REMOTE, TO(15053, DNS) },
		/* the servers of resolv.conf alone; the rest goes on through the chain */
		{ WEIR_POD_DNS, { .port = 53, .dns_server = 1 }, REMOTE, TO(15053, DNS) },
		{ WEIR_POD_DNS, { .port = 53, .dns_server = 1, .udp = 1 }, ONE, TO(15053, DNS) },
		{ WEIR_POD_DNS, { .port = 53, .udp = 1 }, REMOTE, DIRECT(NOT_TCP) },
		{ WEIR_POD_DNS, { .port = 53, .udp = 1 }, ONE, DIRECT(LOOPBACK) },
		{ WEIR_POD_DNS, { .port = 53 }, TWO, TO(15001, ALL_INCLUDED) },
		{ WEIR_POD_DNS, { .port = 53 }, OWN, TO(15001, ALL_INCLUDED) },
		{ WEIR_POD_DNS, { .port = 53 }, ONE, DIRECT(LOOPBACK) },
		{ 0, { .port = 53, .udp = 1 }, REMOTE, DIRECT(NOT_TCP) },
		{ 0, { .port = 53 }, TWO, DIRECT(LOOPBACK) },
	};
	struct weir_pod refused = base, v4 = base;

	static const struct row failed[] = {
		{ DNS,
		  { .port = 53, .udp = 1 },
		  REMOTE,
		  { .verdict = WEIR_REFUSE, .reason = WEIR_REASON_POLICY_FAILED } },
		{ DNS, { .port = 53, .udp = 1 }, ONE, DIRECT(LOOPBACK) },
		{ DNS, { .port = 54, .udp = 1 }, REMOTE, DIRECT(NOT_TCP) },
	};
	static const struct row family[] = {
		{ DNS, { .port = 53, .udp = 1, .v6 = 1 }, REMOTE, DIRECT(FAMILY_OFF) },
	};

	(void)state;
	CHECK(&base, rows);
	refused.mode = WEIR_MODE_REFUSE;
	CHECK(&refused, failed);
	v4.flags &= ~(__u32)WEIR_POD_IPV6;
	CHECK(&v4, family);
}

static void test_groups(void **state)
{
	static const struct row rows[] = {
		{ WEIR_POD_GROUPS_INCLUDE, { .port = 80 }, REMOTE, DIRECT(OWNER_GROUP) },
		{ WEIR_POD_GROUPS_INCLUDE,
		  { .port = 80, .group_included = 1 },
		  REMOTE,
		  TO(15001, ALL_INCLUDED) },
		{ WEIR_POD_GROUPS_INCLUDE,
		  { .port = 80, .has_owner = NO_OWNER },
		  REMOTE,
		  DIRECT(OWNER_GROUP) },
		{ WEIR_POD_GROUPS_INCLUDE | DNS,
		  { .port = 53, .udp = 1 },
		  REMOTE,
		  DIRECT(OWNER_GROUP) },
		{ WEIR_POD_GROUPS_INCLUDE | DNS,
		  { .port = 53, .udp = 1, .group_included = 1 },
		  REMOTE,
		  TO(15053, DNS) },
		{ WEIR_POD_GROUPS_INCLUDE,
		  { .port = 80, .uid_is_proxy = FIRST },
		  OWN,
		  TO(15006, SELF_CALL) },
		{ WEIR_POD_GROUPS_INCLUDE, { .port = 80 }, OWN, DIRECT(LOOPBACK) },
		{ WEIR_POD_GROUPS_EXCLUDE,
		  { .port = 80, .group_excluded = 1 },
		  REMOTE,
		  DIRECT(OWNER_GROUP) },
		{ WEIR_POD_GROUPS_EXCLUDE, { .port = 80 }, REMOTE, TO(15001, ALL_INCLUDED) },
		{ WEIR_POD_GROUPS_EXCLUDE,
		  { .port = 80, .has_owner = NO_OWNER },
		  REMOTE,
		  TO(15001, ALL_INCLUDED) },
	};

	(void)state;
	CHECK(&base, rows);
}

static void test_tproxy(void **state)
{
	const __u32 on = WEIR_POD_TPROXY;
	const struct row rows[] = {
		/* table nat comes first for the first uid: as in REDIRECT mode */
		{ on, { .port = 80, .uid_is_proxy = FIRST }, OWN, TO(15006, SELF_CALL) },
		{ on, { .port = 80, .gid_is_proxy = FIRST }, OWN, IN_PLACE(SELF_CALL) },
		{ on, { .port = 80, .gid_is_proxy = LATER }, TWO, IN_PLACE(SELF_CALL) },
		{ on, { .port = 80, .uid_is_proxy = LATER }, OWN, IN_PLACE(SELF_CALL) },
		{ on, { .port = 15008, .uid_is_proxy = FIRST }, OWN, IN_PLACE(SELF_CALL) },
		{ on, { .port = 80, .gid_is_proxy = FIRST }, ONE, DIRECT(LOOPBACK) },
		{ on, { .port = 80, .gid_is_proxy = FIRST }, REMOTE, DIRECT(PROXY_GID) },
		{ on,
		  { .port = 80, .gid_is_proxy = FIRST, .passthrough = 1 },
		  OWN,
		  DIRECT(PASSTHROUGH_SOURCE) },
		{ on, { .port = 80, .gid_is_proxy = FIRST, .marked = 1 }, OWN, DIRECT(LOOPBACK) },
		{ on,
		  { .port = 80, .gid_is_proxy = FIRST, .in_port_excluded = 1 },
		  OWN,
		  DIRECT(LOOPBACK) },
		/* table mangle does not know of outbound exclusions */
		{ on,
		  { .port = 80, .gid_is_proxy = FIRST, .port_excluded = 1 },
		  OWN,
		  IN_PLACE(SELF_CALL) },
		{ on, { .port = 80 }, OWN, DIRECT(LOOPBACK) },
		{ on, { .port = 80 }, REMOTE, TO(15001, ALL_INCLUDED) },
		{ on | DNS,
		  { .port = 53, .udp = 1, .gid_is_proxy = FIRST },
		  OWN,
		  DIRECT(PROXY_GID) },
		{ on | DNS, { .port = 53, .uid_is_proxy = FIRST }, OWN, IN_PLACE(SELF_CALL) },
	};
	const struct row listed[] = {
		{ on, { .port = 80, .gid_is_proxy = FIRST }, OWN, DIRECT(LOOPBACK) },
		{ on,
		  { .port = 80, .gid_is_proxy = FIRST, .in_port_included = 1 },
		  OWN,
		  IN_PLACE(SELF_CALL) },
		{ on,
		  { .port = 80,
		    .gid_is_proxy = FIRST,
		    .in_port_included = 1,
		    .in_port_excluded = 1 },
		  OWN,
		  IN_PLACE(SELF_CALL) },
	};
	struct weir_syn tunnel = { .port = 15008 };
	struct weir_pod p = base;

	(void)state;
	CHECK(&base, rows);
	p.flags &= ~(__u32)WEIR_POD_IN_ALL;
	CHECK(&p, listed);
	p = base;
	assert_int_equal(weir_decide_inbound(&p, &tunnel).reason, WEIR_REASON_TUNNEL_PORT);
	p.flags |= WEIR_POD_TPROXY;
	assert_int_equal(weir_decide_inbound(&p, &tunnel).port, 15006);
}

static void test_loopback_range(void **state)
{
	struct weir_addr src = { 0 }, two, outside;
	struct weir_connect c = { 0 };
	struct weir_pod p = base;

	(void)state;
	weir_addr_from_v4(&two, WEIR_WORD(127, 0, 0, 2));
	weir_addr_from_v4(&outside, WEIR_WORD(128, 0, 0, 2));
	weir_connect_set_addrs(&c, &p, &src, &two, 0);
	assert_true(c.lo && !c.loopback);
	p.loopback_bits = 8;
	weir_connect_set_addrs(&c, &p, &src, &two, 0);
	assert_true(c.lo && c.loopback);
	weir_connect_set_addrs(&c, &p, &src, &outside, 0);
	assert_true(!c.lo && !c.loopback);
	p.loopback_bits = 0; /* not set */
	weir_connect_set_addrs(&c, &p, &src, &two, 0);
	assert_true(c.lo && !c.loopback);
	weir_addr_from_v4(&two, WEIR_WORD(127, 0, 0, 1));
	weir_connect_set_addrs(&c, &p, &src, &two, 0);
	assert_true(c.lo && c.loopback);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_inbound_listener),
		cmocka_unit_test(test_several_ids),
		cmocka_unit_test(test_lookups),
		cmocka_unit_test(test_groups),
		cmocka_unit_test(test_tproxy),
		cmocka_unit_test(test_loopback_range),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
