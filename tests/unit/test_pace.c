/* SPDX-License-Identifier: Apache-2.0 */
/* When all pods are looked at: never too late, and never without a rest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/pace.h"
#include "base/cleanup.h"

#define IDLE 300000
#define KEPT -1 /* the timer stands as it is */

/* At 10000, after a run that took so long and that nothing has followed yet. */
static struct pace pace_at(int64_t took_ms)
{
	struct pace p = { .idle_ms = IDLE };

	pace_begin(&p, 10000 - took_ms);
	pace_end(&p, 10000);
	assert_int_equal(p.took_ms, took_ms);
	return p;
}

static void test_rest(void **state)
{
	static const struct {
		int64_t took_ms, changed_ms, peers_ms;
	} cases[] = {
		{ 0, 20, 20 },	   { 1, 20, 20 },	{ 5, 20, 100 },	       { 10, 40, 200 },
		{ 50, 200, 1000 }, { 250, 1000, 1000 }, { 60000, 1000, 1000 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pace p = pace_at(cases[i].took_ms), q = p, r = p;

		assert_int_equal(pace_cause(&p, PACE_CHANGED, 10000), cases[i].changed_ms);
		assert_int_equal(pace_cause(&q, PACE_PEERS, 10000), cases[i].peers_ms);
		assert_int_equal(pace_cause(&r, PACE_SETTLE, 10000), 1000);
	}
}

/* A source that never rests: the timer fires when it was to fire first. */
static void test_never_put_off(void **state)
{
	struct pace p = pace_at(50);

	(void)state;
	assert_int_equal(pace_cause(&p, PACE_PEERS, 10000), 1000);
	for (int64_t now = 10001; now < 11000; now++)
		assert_int_equal(pace_cause(&p, PACE_PEERS, now), KEPT);
	assert_int_equal(p.due_ms, 11000);
}

static void test_the_sooner_one_wins(void **state)
{
	struct pace p = pace_at(10);

	(void)state;
	assert_int_equal(pace_next(&p, -1, 10000), IDLE);
	assert_int_equal(pace_cause(&p, PACE_SETTLE, 10100), 1000);
	assert_int_equal(pace_cause(&p, PACE_PEERS, 10200), 200);
	assert_int_equal(pace_cause(&p, PACE_CHANGED, 10250), 40);
	assert_int_equal(pace_cause(&p, PACE_PEERS, 10260), KEPT);
	assert_int_equal(pace_cause(&p, PACE_SETTLE, 10260), KEPT);
	assert_int_equal(p.due_ms, 10290);
}

/* A run may be too far on to see it. */
static void test_changed_during_a_run(void **state)
{
	struct pace p = pace_at(10);

	(void)state;
	pace_cause(&p, PACE_CHANGED, 10000);
	pace_begin(&p, 10040);
	assert_int_equal(pace_cause(&p, PACE_CHANGED, 10050), 40);
	pace_end(&p, 10060);
	assert_int_equal(pace_next(&p, -1, 10060), KEPT);
	assert_int_equal(p.due_ms, 10090);
}

static void test_idle(void **state)
{
	static const struct {
		int64_t again_ms, wanted_ms;
	} cases[] = { { -1, IDLE }, { 0, 0 }, { 2000, 2000 }, { IDLE + 1, IDLE } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pace p = pace_at(10);

		assert_int_equal(pace_next(&p, cases[i].again_ms, 10000), cases[i].wanted_ms);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rest),
		cmocka_unit_test(test_never_put_off),
		cmocka_unit_test(test_the_sooner_one_wins),
		cmocka_unit_test(test_changed_during_a_run),
		cmocka_unit_test(test_idle),
	};

	return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
