/* SPDX-License-Identifier: Apache-2.0 */
/* As which leg a connection is counted: every case there is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "maps/leg.h"

#define NOT_COUNTED -1

/* verdict redirect: the rules bring it to the proxy; refuse counts like direct, as a failure. */
static const struct {
	int lo, proxy, redirected;
	int via, via_pod_local; /* enum weir_via or NOT_COUNTED; the second with --metrics.pod-local
				 */
	enum weir_direction direction;
} dialled[] = {
	/* an application, to another pod: itself, or its proxy for it */
	{ 0, 0, 0, WEIR_VIA_DIRECT, WEIR_VIA_DIRECT, WEIR_OUTBOUND },
	{ 0, 0, 1, WEIR_VIA_PROXY, WEIR_VIA_PROXY, WEIR_OUTBOUND },
	/* the proxy, onward to the network, whatever the rules would do */
	{ 0, 1, 0, WEIR_VIA_LEG_NETWORK, WEIR_VIA_LEG_NETWORK, WEIR_OUTBOUND },
	{ 0, 1, 1, WEIR_VIA_LEG_NETWORK, WEIR_VIA_LEG_NETWORK, WEIR_OUTBOUND },
	/* an application, within the pod */
	{ 1, 0, 0, NOT_COUNTED, WEIR_VIA_DIRECT, WEIR_OUTBOUND },
	{ 1, 0, 1, NOT_COUNTED, WEIR_VIA_PROXY, WEIR_OUTBOUND },
	/* the proxy, to its application; and to its own pod, which the rules turn back to it */
	{ 1, 1, 0, WEIR_VIA_LEG_APPLICATION, WEIR_VIA_LEG_APPLICATION, WEIR_INBOUND },
	{ 1, 1, 1, NOT_COUNTED, WEIR_VIA_LEG_NETWORK, WEIR_OUTBOUND },
};

static void check_leg(struct weir_leg leg, int wanted, enum weir_direction direction)
{
	assert_int_equal(leg.counted, wanted != NOT_COUNTED);
	if (!leg.counted)
		return;
	assert_int_equal(leg.via, wanted);
	assert_int_equal(leg.direction, direction);
}

static void check(size_t i, int pod_local, enum weir_verdict verdict)
{
	int wanted = pod_local ? dialled[i].via_pod_local : dialled[i].via;
	struct weir_leg leg = weir_leg_dialled(dialled[i].lo, dialled[i].proxy, verdict, pod_local);

	check_leg(leg, wanted, dialled[i].direction);
}

static void test_dialled(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(dialled); i++)
		for (int pod_local = 0; pod_local < 2; pod_local++) {
			if (dialled[i].redirected) {
				check(i, pod_local, WEIR_REDIRECT);
				continue;
			}
			check(i, pod_local, WEIR_DIRECT);
			check(i, pod_local, WEIR_REFUSE);
		}
}

static void test_is_proxys(void **state)
{
	static const struct {
		int dialled, owned, marked, captured, observed;
	} cases[] = {
		{ 1, 0, 0, 0, 0 },
		{ 1, 0, 1, 0, 1 },
		{ 1, 1, 0, 1, 1 },
		{ 1, 1, 1, 1, 1 },
		/* what it accepts there is like an application's */
		{ 0, 0, 0, 0, 0 },
		{ 0, 0, 1, 0, 0 },
		{ 0, 1, 0, 1, 0 },
		{ 0, 1, 1, 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(
			weir_leg_is_proxys(0, cases[i].dialled, cases[i].owned, cases[i].marked),
			cases[i].captured);
		assert_int_equal(
			weir_leg_is_proxys(1, cases[i].dialled, cases[i].owned, cases[i].marked),
			cases[i].observed);
	}
}

static void test_accepted(void **state)
{
	static const struct {
		int machine, within, redirected, via, via_pod_local;
		enum weir_direction direction;
	} cases[] = {
		{ 0, 0, 0, WEIR_VIA_DIRECT, WEIR_VIA_DIRECT, WEIR_INBOUND },
		{ 0, 0, 1, WEIR_VIA_PROXY, WEIR_VIA_PROXY, WEIR_INBOUND },
		{ 0, 1, 0, NOT_COUNTED, NOT_COUNTED, WEIR_INBOUND }, /* its other end is */
		/* what a virtual machine dials is the workload's own */
		{ 1, 0, 0, WEIR_VIA_DIRECT, WEIR_VIA_DIRECT, WEIR_OUTBOUND },
		{ 1, 0, 1, WEIR_VIA_PROXY, WEIR_VIA_PROXY, WEIR_OUTBOUND },
		{ 1, 1, 1, NOT_COUNTED, WEIR_VIA_PROXY, WEIR_OUTBOUND },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int pod_local = 0; pod_local < 2; pod_local++)
			check_leg(
				weir_leg_accepted(cases[i].machine, cases[i].within,
						  cases[i].redirected ? WEIR_REDIRECT : WEIR_DIRECT,
						  pod_local),
				pod_local ? cases[i].via_pod_local : cases[i].via,
				cases[i].direction);
}

static void test_found(void **state)
{
	static const struct {
		int dialled, machine, within, proxy, via, via_pod_local;
		enum weir_direction direction;
	} cases[] = {
		{ 1, 0, 0, 0, WEIR_VIA_DIRECT, WEIR_VIA_DIRECT, WEIR_OUTBOUND },
		{ 1, 0, 0, 1, WEIR_VIA_LEG_NETWORK, WEIR_VIA_LEG_NETWORK, WEIR_OUTBOUND },
		{ 0, 0, 0, 0, WEIR_VIA_DIRECT, WEIR_VIA_DIRECT, WEIR_INBOUND },
		{ 0, 0, 0, 1, WEIR_VIA_PROXY, WEIR_VIA_PROXY, WEIR_INBOUND },
		{ 0, 1, 0, 0, WEIR_VIA_DIRECT, WEIR_VIA_DIRECT, WEIR_OUTBOUND },
		{ 0, 1, 0, 1, WEIR_VIA_PROXY, WEIR_VIA_PROXY, WEIR_OUTBOUND },
		/* within the pod: where it was dialled, and not by the proxy */
		{ 1, 0, 1, 0, NOT_COUNTED, WEIR_VIA_DIRECT, WEIR_OUTBOUND },
		{ 1, 0, 1, 1, NOT_COUNTED, NOT_COUNTED, WEIR_OUTBOUND },
		{ 0, 0, 1, 0, NOT_COUNTED, NOT_COUNTED, WEIR_INBOUND },
		{ 0, 0, 1, 1, NOT_COUNTED, NOT_COUNTED, WEIR_INBOUND },
		{ 0, 1, 1, 1, NOT_COUNTED, WEIR_VIA_PROXY, WEIR_OUTBOUND },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (int pod_local = 0; pod_local < 2; pod_local++)
			check_leg(weir_leg_found(cases[i].dialled, cases[i].machine,
						 cases[i].within, cases[i].proxy, pod_local),
				  pod_local ? cases[i].via_pod_local : cases[i].via,
				  cases[i].direction);
}

static void test_datagram(void **state)
{
	(void)state;
	check_leg(weir_leg_datagram(0, 0), WEIR_VIA_DIRECT, WEIR_OUTBOUND);
	check_leg(weir_leg_datagram(1, 0), WEIR_VIA_DIRECT, WEIR_INBOUND);
	check_leg(weir_leg_datagram(0, 1), WEIR_VIA_LEG_NETWORK, WEIR_OUTBOUND);
	check_leg(weir_leg_datagram(1, 1), WEIR_VIA_PROXY, WEIR_INBOUND);
}

/* Of a connection through proxies exactly one socket in each pod is on the network. */
static void test_on_network(void **state)
{
	static const struct {
		enum weir_direction direction;
		enum weir_via via;
		int wanted;
	} cases[] = {
		{ WEIR_OUTBOUND, WEIR_VIA_DIRECT, 1 },
		{ WEIR_INBOUND, WEIR_VIA_DIRECT, 1 },
		{ WEIR_OUTBOUND, WEIR_VIA_PROXY, 0 }, /* to the own proxy */
		{ WEIR_OUTBOUND, WEIR_VIA_LEG_NETWORK, 1 },
		{ WEIR_INBOUND, WEIR_VIA_PROXY, 1 }, /* what the proxy accepted */
		{ WEIR_INBOUND, WEIR_VIA_LEG_APPLICATION, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(weir_leg_on_network(cases[i].direction, cases[i].via),
				 cases[i].wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_is_proxys), cmocka_unit_test(test_dialled),
		cmocka_unit_test(test_accepted),  cmocka_unit_test(test_found),
		cmocka_unit_test(test_datagram),  cmocka_unit_test(test_on_network),
	};

	return cmocka_run_group_tests_name("leg", tests, NULL, NULL);
}
