/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses and endpoints as text, both ways. */
#include "base/inet.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void test_both_ways(void **state)
{
	static const struct {
		const char *text, *canonical;
		bool v4;
	} cases[] = {
		{ "10.1.2.3", "10.1.2.3", true },
		{ "0.0.0.0", "0.0.0.0", true },
		{ "255.255.255.255", "255.255.255.255", true },
		{ "::ffff:10.1.2.3", "10.1.2.3", true }, /* one address, one spelling */
		{ "::", "::", false },
		{ "::1", "::1", false },
		{ "2001:DB8:0:0::1", "2001:db8::1", false },
		{ "::10.1.2.3", "::10.1.2.3", false },
	};
	char text[INET_TEXT];
	uint8_t ip[16];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(inet_parse(cases[i].text, ip), 0);
		assert_string_equal(inet_format(ip, text), cases[i].canonical);
		assert_int_equal(inet_is_v4(ip), cases[i].v4);
	}
}

static void test_bad_addresses(void **state)
{
	static const char *const bad[] = { "",		" ",	     "1.2.3",	 "1.2.3.4.5",
					   "1.2.3.256", "01.2.3.4",  "1.2.3.4 ", " 1.2.3.4",
					   "1.2.3.4/8", ":::",	     "g::",	 "fe80::1%eth0",
					   "[::1]",	"localhost", "1.2.3.4\n" };
	uint8_t ip[16], before[16];

	(void)state;
	memset(ip, 7, sizeof(ip));
	memcpy(before, ip, sizeof(ip));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(inet_parse(bad[i], ip), -EINVAL);
		assert_memory_equal(ip, before, sizeof(ip)); /* outputs only on success */
	}
}

static void test_endpoints(void **state)
{
	static const struct {
		const char *text, *canonical;
		uint16_t port;
	} cases[] = {
		{ "10.1.2.3:80", "10.1.2.3:80", 80 }, { "[::1]:65535", "[::1]:65535", 65535 },
		{ "0.0.0.0:0", "0.0.0.0:0", 0 },      { "[::ffff:1.2.3.4]:9", "1.2.3.4:9", 9 },
		{ "1.2.3.4:0080", "1.2.3.4:80", 80 },
	};
	char text[INET_TEXT];
	uint8_t ip[16];
	uint16_t port;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(inet_parse_endpoint(cases[i].text, ip, &port), 0);
		assert_int_equal(port, cases[i].port);
		assert_string_equal(inet_format_endpoint(ip, port, text), cases[i].canonical);
	}
}

static void test_bad_endpoints(void **state)
{
	static const char *const bad[] = { "",
					   "80",
					   ":",
					   ":80",
					   "1.2.3.4",
					   "1.2.3.4:",
					   "1.2.3.4:x",
					   "1.2.3.4:-1",
					   "1.2.3.4:65536",
					   "1.2.3.4: 80",
					   "1.2.3.4:+80",
					   "::1:80",
					   "[::1]",
					   "[::1]80",
					   "[::1:80",
					   "[]:80",
					   "1.2.3.4:99999999999999999999" };
	uint8_t ip[16];
	uint16_t port = 7;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(inet_parse_endpoint(bad[i], ip, &port), -EINVAL);
		assert_int_equal(port, 7);
	}
}

static void test_long_text(void **state)
{
	char text[4096];
	uint8_t ip[16];
	uint16_t port;

	(void)state;
	memset(text, '1', sizeof(text));
	memcpy(text + sizeof(text) - 4, ":80", 4);
	assert_int_equal(inet_parse_endpoint(text, ip, &port), -EINVAL);
	memset(text, 0, sizeof(text));
	inet_parse("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ip);
	inet_format_endpoint(ip, 65535, text);
	assert_true(strlen(text) < INET_TEXT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_ways), cmocka_unit_test(test_bad_addresses),
		cmocka_unit_test(test_endpoints), cmocka_unit_test(test_bad_endpoints),
		cmocka_unit_test(test_long_text),
	};

	return cmocka_run_group_tests_name("inet", tests, NULL, NULL);
}
