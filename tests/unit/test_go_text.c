/* SPDX-License-Identifier: Apache-2.0 */
/* Go's library functions. The tables of answers were printed by Go 1.26. */
#include "agent/go_text.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/inet.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static const struct {
	const char *in, *addr;
	unsigned int bits;
	const char *error;
} go_prefixes[] = {
	/* clang-format off */
	{ "10.0.0.0/8", "10.0.0.0", 8, NULL },
	{ "10.1.2.3/8", "10.1.2.3", 8, NULL },
	{ "1.1.1.1/32", "1.1.1.1", 32, NULL },
	{ "0.0.0.0/0", "0.0.0.0", 0, NULL },
	{ "127.0.0.1/0", "127.0.0.1", 0, NULL },
	{ "::/0", "::", 0, NULL },
	{ "::1/128", "::1", 128, NULL },
	{ "2001:db8::1/32", "2001:db8::1", 32, NULL },
	{ "1:2:3:4:5:6:7::/112", "1:2:3:4:5:6:7:0", 112, NULL },
	{ "::1.2.3.4/128", "::102:304", 128, NULL },
	{ "::ffff:1.2.3.4/96", "::ffff:1.2.3.4", 96, NULL },
	{ "FE80::1/10", "fe80::1", 10, NULL },
	{ "", NULL, 0, "netip.ParsePrefix(\"\"): no '/'" },
	{ "1.1.1.1", NULL, 0, "netip.ParsePrefix(\"1.1.1.1\"): no '/'" },
	{ "x", NULL, 0, "netip.ParsePrefix(\"x\"): no '/'" },
	{ "/", NULL, 0, "netip.ParsePrefix(\"/\"): ParseAddr(\"\"): unable to parse IP" },
	{ "/8", NULL, 0, "netip.ParsePrefix(\"/8\"): ParseAddr(\"\"): unable to parse IP" },
	{ "*", NULL, 0, "netip.ParsePrefix(\"*\"): no '/'" },
	{ "1.1.1.1/", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/\"): bad bits after slash: \"\"" },
	{ "1.1.1.1/33", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/33\"): prefix length out of range" },
	{ "::/129", NULL, 0, "netip.ParsePrefix(\"::/129\"): prefix length out of range" },
	{ "1.1.1.1/08", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/08\"): bad bits after slash: \"08\"" },
	{ "1.1.1.1/+8", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/+8\"): bad bits after slash: \"+8\"" },
	{ "1.1.1.1/-1", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/-1\"): bad bits after slash: \"-1\"" },
	{ "1.1.1.1/a", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/a\"): bad bits after slash: \"a\"" },
	{ "1.1.1.1/ 8", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/ 8\"): bad bits after slash: \" 8\"" },
	{ "1.1.1.1/99999999999999999999", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/99999999999999999999\"): bad bits after slash: \"99999999999999999999\"" },
	{ "1.1.1/8", NULL, 0, "netip.ParsePrefix(\"1.1.1/8\"): ParseAddr(\"1.1.1\"): IPv4 address too short" },
	{ "1.1.1.1.1/8", NULL, 0, "netip.ParsePrefix(\"1.1.1.1.1/8\"): ParseAddr(\"1.1.1.1.1\"): IPv4 address too long" },
	{ "1..1.1/8", NULL, 0, "netip.ParsePrefix(\"1..1.1/8\"): ParseAddr(\"1..1.1\"): IPv4 field must have at least one digit (at \".1.1\")" },
	{ ".1.1.1/8", NULL, 0, "netip.ParsePrefix(\".1.1.1/8\"): ParseAddr(\".1.1.1\"): IPv4 field must have at least one digit (at \".1.1.1\")" },
	{ "1.1.1./8", NULL, 0, "netip.ParsePrefix(\"1.1.1./8\"): ParseAddr(\"1.1.1.\"): IPv4 field must have at least one digit (at \".\")" },
	{ "256.1.1.1/8", NULL, 0, "netip.ParsePrefix(\"256.1.1.1/8\"): ParseAddr(\"256.1.1.1\"): IPv4 field has value >255" },
	{ "01.1.1.1/8", NULL, 0, "netip.ParsePrefix(\"01.1.1.1/8\"): ParseAddr(\"01.1.1.1\"): IPv4 field has octet with leading zero" },
	{ "1.1.1.a/8", NULL, 0, "netip.ParsePrefix(\"1.1.1.a/8\"): ParseAddr(\"1.1.1.a\"): unexpected character (at \"a\")" },
	{ "1.1.1.1/8/8", NULL, 0, "netip.ParsePrefix(\"1.1.1.1/8/8\"): ParseAddr(\"1.1.1.1/8\"): unexpected character (at \"/8\")" },
	{ " 10.0.0.0/8", NULL, 0, "netip.ParsePrefix(\" 10.0.0.0/8\"): ParseAddr(\" 10.0.0.0\"): unexpected character (at \" 10.0.0.0\")" },
	{ "10.0.0.0 /8", NULL, 0, "netip.ParsePrefix(\"10.0.0.0 /8\"): ParseAddr(\"10.0.0.0 \"): unexpected character (at \" \")" },
	{ "10/8", NULL, 0, "netip.ParsePrefix(\"10/8\"): ParseAddr(\"10\"): unable to parse IP" },
	{ "localhost/8", NULL, 0, "netip.ParsePrefix(\"localhost/8\"): ParseAddr(\"localhost\"): unable to parse IP" },
	{ "1:2/64", NULL, 0, "netip.ParsePrefix(\"1:2/64\"): ParseAddr(\"1:2\"): address string too short" },
	{ "12345::/16", NULL, 0, "netip.ParsePrefix(\"12345::/16\"): ParseAddr(\"12345::\"): each group must have 4 or less digits (at \"12345::\")" },
	{ ":1::/16", NULL, 0, "netip.ParsePrefix(\":1::/16\"): ParseAddr(\":1::\"): each colon-separated field must have at least one digit (at \":1::\")" },
	{ "1:/16", NULL, 0, "netip.ParsePrefix(\"1:/16\"): ParseAddr(\"1:\"): colon must be followed by more characters (at \":\")" },
	{ "1::2::3/64", NULL, 0, "netip.ParsePrefix(\"1::2::3/64\"): ParseAddr(\"1::2::3\"): multiple :: in address (at \":3\")" },
	{ "1:2:3:4:5:6:7:8:9/128", NULL, 0, "netip.ParsePrefix(\"1:2:3:4:5:6:7:8:9/128\"): ParseAddr(\"1:2:3:4:5:6:7:8:9\"): trailing garbage after address (at \"9\")" },
	{ "1:2:3:4:5:6:7:8::/16", NULL, 0, "netip.ParsePrefix(\"1:2:3:4:5:6:7:8::/16\"): ParseAddr(\"1:2:3:4:5:6:7:8::\"): the :: must expand to at least one field of zeros" },
	{ "1:2:3:4:5:6:7::8/128", NULL, 0, "netip.ParsePrefix(\"1:2:3:4:5:6:7::8/128\"): ParseAddr(\"1:2:3:4:5:6:7::8\"): the :: must expand to at least one field of zeros" },
	{ "1:2:3:1.2.3.4/128", NULL, 0, "netip.ParsePrefix(\"1:2:3:1.2.3.4/128\"): ParseAddr(\"1:2:3:1.2.3.4\"): embedded IPv4 address must replace the final 2 fields of the address (at \"1.2.3.4\")" },
	{ "1:2:3:4:5:6:7:1.2.3.4/128", NULL, 0, "netip.ParsePrefix(\"1:2:3:4:5:6:7:1.2.3.4/128\"): ParseAddr(\"1:2:3:4:5:6:7:1.2.3.4\"): embedded IPv4 address must replace the final 2 fields of the address (at \"1.2.3.4\")" },
	{ "::1.2.3/128", NULL, 0, "netip.ParsePrefix(\"::1.2.3/128\"): ParseAddr(\"::1.2.3\"): IPv4 address too short" },
	{ "::1.2.3.256/128", NULL, 0, "netip.ParsePrefix(\"::1.2.3.256/128\"): ParseAddr(\"::1.2.3.256\"): IPv4 field has value >255" },
	{ "fe80::1%eth0/64", NULL, 0, "netip.ParsePrefix(\"fe80::1%eth0/64\"): IPv6 zones cannot be present in a prefix" },
	{ "fe80::1%/64", NULL, 0, "netip.ParsePrefix(\"fe80::1%/64\"): ParseAddr(\"fe80::1%\"): zone must be a non-empty string" },
	{ "%eth0/64", NULL, 0, "netip.ParsePrefix(\"%eth0/64\"): ParseAddr(\"%eth0\"): missing IPv6 address" },
	{ "g::/16", NULL, 0, "netip.ParsePrefix(\"g::/16\"): ParseAddr(\"g::\"): each colon-separated field must have at least one digit (at \"g::\")" },
	{ "1:g::/16", NULL, 0, "netip.ParsePrefix(\"1:g::/16\"): ParseAddr(\"1:g::\"): each colon-separated field must have at least one digit (at \"g::\")" },
	{ "::/", NULL, 0, "netip.ParsePrefix(\"::/\"): bad bits after slash: \"\"" },
	{ "10.0.0.0/8\x0a", NULL, 0, "netip.ParsePrefix(\"10.0.0.0/8\\n\"): bad bits after slash: \"8\\n\"" },
	{ "\xc3\xa4/8", NULL, 0, "netip.ParsePrefix(\"\xc3\xa4/8\"): ParseAddr(\"\xc3\xa4\"): unable to parse IP" },
	{ "\xff/8", NULL, 0, "netip.ParsePrefix(\"\\xff/8\"): ParseAddr(\"\\xff\"): unable to parse IP" },
	{ "1.2.3.4%eth0/8", NULL, 0, "netip.ParsePrefix(\"1.2.3.4%eth0/8\"): ParseAddr(\"1.2.3.4%eth0\"): unexpected character (at \"%eth0\")" },
	/* clang-format on */
};

static void test_prefixes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(go_prefixes); i++) {
		_cleanup_free_ char *error = NULL;
		struct weir_addr addr, expected;
		unsigned int bits = 999;
		bool v4;

		if (go_parse_prefix(go_prefixes[i].in, &addr, &bits, &v4, &error) < 0) {
			assert_non_null(go_prefixes[i].error);
			assert_string_equal(error, go_prefixes[i].error);
			assert_int_equal(bits, 999);
			continue;
		}
		assert_null(go_prefixes[i].error);
		assert_int_equal(inet_parse(go_prefixes[i].addr, expected.ip), 0);
		assert_memory_equal(&addr, &expected, sizeof(addr));
		assert_int_equal(bits, go_prefixes[i].bits);
		assert_int_equal(v4, !strchr(go_prefixes[i].in, ':'));
	}
}

static const struct {
	const char *in;
	uint64_t number;
	const char *error;
} go_uint16s[] = {
	/* clang-format off */
	{ "0", 0, NULL },
	{ "80", 80, NULL },
	{ "65535", 65535, NULL },
	{ "00080", 80, NULL },
	{ "65536", 0, "strconv.ParseUint: parsing \"65536\": value out of range" },
	{ "655350", 0, "strconv.ParseUint: parsing \"655350\": value out of range" },
	{ "99999999999999999999999", 0, "strconv.ParseUint: parsing \"99999999999999999999999\": value out of range" },
	{ "", 0, "strconv.ParseUint: parsing \"\": invalid syntax" },
	{ "x", 0, "strconv.ParseUint: parsing \"x\": invalid syntax" },
	{ "80x", 0, "strconv.ParseUint: parsing \"80x\": invalid syntax" },
	{ "65536x", 0, "strconv.ParseUint: parsing \"65536x\": value out of range" },
	{ "-1", 0, "strconv.ParseUint: parsing \"-1\": invalid syntax" },
	{ "+1", 0, "strconv.ParseUint: parsing \"+1\": invalid syntax" },
	{ "0x10", 0, "strconv.ParseUint: parsing \"0x10\": invalid syntax" },
	{ "1_0", 0, "strconv.ParseUint: parsing \"1_0\": invalid syntax" },
	{ "8 0", 0, "strconv.ParseUint: parsing \"8 0\": invalid syntax" },
	{ " 80", 0, "strconv.ParseUint: parsing \" 80\": invalid syntax" },
	{ "80\x09", 0, "strconv.ParseUint: parsing \"80\\t\": invalid syntax" },
	{ "\xd9\xa3", 0, "strconv.ParseUint: parsing \"\xd9\xa3\": invalid syntax" },
	{ "http", 0, "strconv.ParseUint: parsing \"http\": invalid syntax" },
	/* clang-format on */
};

static void test_uint(void **state)
{
	uint64_t n;
	char *none = NULL;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(go_uint16s); i++) {
		_cleanup_free_ char *error = NULL;

		if (go_parse_uint(go_uint16s[i].in, 16, &n, &error) < 0)
			assert_string_equal(error, go_uint16s[i].error);
		else
			assert_int_equal(n, go_uint16s[i].number);
	}
	assert_int_equal(go_parse_uint("18446744073709551615", 64, &n, &none), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(go_parse_uint("18446744073709551616", 64, &n, &none), -EINVAL);
	assert_string_equal(
		none, "strconv.ParseUint: parsing \"18446744073709551616\": value out of range");
	free(none);
}

static const struct {
	const char *in, *out;
} go_quoted[] = {
	/* clang-format off */
	{ "", "\"\"" },
	{ "a", "\"a\"" },
	{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
	{ "\x07\x08\x0c\x0a\x0d\x09\x0b", "\"\\a\\b\\f\\n\\r\\t\\v\"" },
	{ "x", "\"x\"" },
	{ "\x01\x1f\x7f", "\"\\x01\\x1f\\x7f\"" },
	{ "\xc3\xa4\xe6\x97\xa5", "\"\xc3\xa4\xe6\x97\xa5\"" },
	{ "\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\"" },
	{ "\xc2\xa0", "\"\\u00a0\"" },
	{ "\xc2\xad", "\"\\u00ad\"" },
	{ "\xe2\x80\xa8", "\"\\u2028\"" },
	{ "\xef\xbb\xbf", "\"\\ufeff\"" },
	{ "\xff", "\"\\xff\"" },
	{ "a\xc3", "\"a\\xc3\"" },
	{ "\xed\xa0\x80", "\"\\xed\\xa0\\x80\"" },
	{ "\xef\xbf\xbd", "\"\xef\xbf\xbd\"" },
	{ "\xee\x80\x80", "\"\\ue000\"" },
	{ "\xf3\xa0\x80\x81", "\"\\U000e0001\"" },
	{ "\xc0\x80", "\"\\xc0\\x80\"" },
	/* clang-format on */
}, go_trimmed[] = {
	/* clang-format off */
	{ "", "" },
	{ " ", "" },
	{ "a", "a" },
	{ " a b\x09", "a b" },
	{ "\xc2\xa0\xe3\x80\x80x\xe2\x80\xa8", "x" },
	{ "\x85x", "\x85x" },
	{ "\xc2\x85x", "x" },
	{ "\xffx ", "\xffx" },
	{ "\xef\xbb\xbfx", "\xef\xbb\xbfx" },
	/* clang-format on */
};

static void test_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(go_quoted); i++) {
		_cleanup_free_ char *quoted = go_quote(go_quoted[i].in);

		assert_string_equal(quoted, go_quoted[i].out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(go_trimmed); i++) {
		_cleanup_free_ char *trimmed = go_trim_space(go_trimmed[i].in);

		assert_string_equal(trimmed, go_trimmed[i].out);
	}
}

static void test_bool(void **state)
{
	static const char *const yes[] = { "1", "t", "T", "TRUE", "true", "True" };
	static const char *const no[] = { "0", "f", "F", "FALSE", "false", "False" };
	static const char *const bad[] = { "", "yes", "on", "tRUE", " true", "2", "enabled" };
	char *error;
	bool on;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		assert_int_equal(go_parse_bool(yes[i], &on, NULL), 0);
		assert_true(on);
		assert_int_equal(go_parse_bool(no[i], &on, NULL), 0);
		assert_false(on);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(go_parse_bool(bad[i], &on, NULL), -EINVAL);
	assert_int_equal(go_parse_bool("yes", &on, &error), -EINVAL);
	assert_string_equal(error, "strconv.ParseBool: parsing \"yes\": invalid syntax");
	free(error);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_prefixes),
		cmocka_unit_test(test_uint),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_bool),
	};

	return cmocka_run_group_tests_name("go_text", tests, NULL, NULL);
}
