/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers of servers, and the addresses that hold them. */
#include "base/inet.h"
#include "maps/asked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static int number_in(const char *text)
{
	struct weir_addr addr;

	assert_int_equal(inet_parse(text, addr.ip), 0);
	return weir_asked_from_addr(&addr);
}

static void test_round_trip(void **state)
{
	static const __u32 numbers[] = { 0, 1, 255, 256, 65535, 65536, WEIR_ASKED_NUMBERS - 1 };
	struct weir_addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		for (int v6 = 0; v6 < 2; v6++) {
			weir_asked_to_addr(&addr, numbers[i], v6);
			assert_int_equal(weir_addr_is_v4(&addr), !v6);
			assert_int_equal(weir_asked_from_addr(&addr), numbers[i]);
		}
}

static void test_addresses(void **state)
{
	(void)state;
	assert_int_equal(number_in("127.128.0.0"), 0);
	assert_int_equal(number_in("127.255.255.255"), WEIR_ASKED_NUMBERS - 1);
	assert_int_equal(number_in("100::2:1"), 0x20001);
	/* nobody's: what applications use of 127/8, and neighbours */
	assert_int_equal(number_in("127.0.0.1"), -1);
	assert_int_equal(number_in("127.0.0.53"), -1);
	assert_int_equal(number_in("127.127.255.255"), -1);
	assert_int_equal(number_in("128.128.0.1"), -1);
	assert_int_equal(number_in("::1"), -1);
	assert_int_equal(number_in("100::80:1"), -1);
	assert_int_equal(number_in("100::1:0:1"), -1);
	assert_int_equal(number_in("100:0:0:1::1"), -1);
}

static void test_memory(void **state)
{
	struct weir_asked asked = { .next = 0 };

	(void)state;
	assert_false(weir_asked_knows(&asked, 0));
	asked.next = 1;
	assert_true(weir_asked_knows(&asked, 0));
	assert_false(weir_asked_knows(&asked, 1));
	assert_false(weir_asked_knows(&asked, -1));
	asked.next = WEIR_ASKED_SERVERS + 1;
	assert_false(weir_asked_knows(&asked, 0));
	assert_true(weir_asked_knows(&asked, 1));
}

static void test_server(void **state)
{
	struct weir_asked asked = { .next = 2, .flags = WEIR_ASKED_PLAIN };
	struct weir_addr token, own;

	(void)state;
	assert_int_equal(inet_parse("10.96.0.10", asked.plain.ip), 0);
	assert_int_equal(inet_parse("10.96.0.11", asked.servers[1].ip), 0);
	assert_int_equal(inet_parse("10.244.0.5", own.ip), 0);
	assert_ptr_equal(weir_asked_server(&asked, &own), &asked.plain);
	weir_asked_to_addr(&token, 1, 0);
	assert_ptr_equal(weir_asked_server(&asked, &token), &asked.servers[1]);
	weir_asked_to_addr(&token, 2, 0); /* not asked yet */
	assert_null(weir_asked_server(&asked, &token));
	assert_int_equal(inet_parse("fd00::5", own.ip), 0); /* of the other family */
	assert_null(weir_asked_server(&asked, &own));
	asked.flags = 0;
	assert_int_equal(inet_parse("10.244.0.5", own.ip), 0);
	assert_null(weir_asked_server(&asked, &own));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_memory),
		cmocka_unit_test(test_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
