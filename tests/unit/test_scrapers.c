/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "agent/scrapers.h"

static void come(struct scrapers *s, uint8_t who, uint64_t number)
{
	const uint8_t address[16] = { [15] = who };

	scrapers_delivered(s, number, address);
}

static void test_nobody_is_waited_for(void **state)
{
	struct scrapers s = { 0 };

	(void)state;
	assert_true(scrapers_have(&s, 1));
	come(&s, 1, 5);
	assert_true(scrapers_have(&s, 6)); /* it came once */
}

static void test_two_that_come_again(void **state)
{
	struct scrapers s = { 0 };

	(void)state;
	come(&s, 1, 1);
	come(&s, 2, 2);
	come(&s, 1, 3);
	come(&s, 2, 4);
	for (uint64_t n = 5; n < 20; n++)
		come(&s, 1, n);
	assert_true(scrapers_have(&s, 4));
	assert_false(scrapers_have(&s, 5)); /* the other one has not got it */
	come(&s, 2, 5);
	assert_true(scrapers_have(&s, 5));
	come(&s, 2, 3); /* one that was under way for long */
	assert_true(scrapers_have(&s, 5));
}

/* Comes again after so many seconds. */
static void come_after(struct scrapers *s, int64_t seconds, uint64_t number)
{
	s->items[0].when_s -= seconds;
	come(s, 1, number);
}

static bool waits_after(struct scrapers *s, int64_t seconds)
{
	bool waits;

	s->items[0].when_s -= seconds;
	waits = !scrapers_have(s, 100);
	s->items[0].when_s += seconds;
	return waits;
}

static void test_one_that_has_gone_away(void **state)
{
	struct scrapers often = { 0 }, seldom = { 0 }, hardly = { 0 };

	(void)state;
	come(&often, 1, 1);
	come_after(&often, 1, 2);
	assert_true(waits_after(&often, 14) && !waits_after(&often, 17));
	come(&seldom, 1, 1);
	come_after(&seldom, 60, 2);
	assert_true(waits_after(&seldom, 230) && !waits_after(&seldom, 245));
	come_after(&seldom, 2, 3); /* somebody else from there, who looks */
	assert_true(waits_after(&seldom, 115));
	come(&hardly, 1, 1);
	come_after(&hardly, 3600, 2);
	assert_true(waits_after(&hardly, 590) && !waits_after(&hardly, 605));
}

static void test_whether_anybody_comes(void **state)
{
	struct scrapers s = { 0 };

	(void)state;
	scrapers_begin(&s);
	assert_false(scrapers_none(&s)); /* those of an earlier agent may come yet */
	s.since_s -= SCRAPERS_MAX_S + 1;
	assert_true(scrapers_none(&s));
	come(&s, 1, 1);
	assert_false(scrapers_none(&s)); /* also one that came once */
	s.items[0].when_s -= SCRAPERS_MAX_S + 1;
	assert_true(scrapers_none(&s));
}

static void test_more_than_there_is_room_for(void **state)
{
	struct scrapers s = { 0 };

	(void)state;
	for (uint8_t who = 1; who <= 200; who++) {
		come(&s, who, who);
		come(&s, who, who);
		s.items[s.n - 1].when_s -= 200 - who; /* the later the nearer */
	}
	assert_int_equal(s.n, SCRAPERS_MAX);
	come(&s, 200, 300);
	assert_int_equal(s.n, SCRAPERS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_is_waited_for),
		cmocka_unit_test(test_two_that_come_again),
		cmocka_unit_test(test_one_that_has_gone_away),
		cmocka_unit_test(test_whether_anybody_comes),
		cmocka_unit_test(test_more_than_there_is_room_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
