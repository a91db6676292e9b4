/* SPDX-License-Identifier: Apache-2.0 */
/* The growing string, and what it makes of text that goes into JSON. */
#include "base/buf.h"
#include "base/cleanup.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_empty(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	assert_string_equal(buf_text(&b), "");
	buf_add(&b, "", 0);
	assert_string_equal(b.data, ""); /* terminated once something was added */
	assert_int_equal(b.len, 0);
}

static void test_growth(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%04d", i);
	assert_int_equal(b.len, 40000);
	assert_int_equal(strlen(b.data), 40000);
	assert_memory_equal(b.data + 39996, "9999", 5);
	buf_free(&b);
	assert_null(b.data);
	assert_string_equal(buf_text(&b), "");
}

static void test_bytes(void **state)
{
	_cleanup_buf_ struct buf b = { 0 };

	(void)state;
	buf_add(&b, "a\0b", 3);
	buf_str(&b, "c");
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "a\0bc", 5);
}

static void test_json(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{ "", "\"\"" },
		{ "a\"b\\c/", "\"a\\\"b\\\\c/\"" },
		{ "l1\nl2\t\r", "\"l1\\nl2\\u0009\\u000d\"" },
		{ "\x01\x1f\x7f", "\"\\u0001\\u001f\\u007f\"" },
		{ "\xc3\xa4\xe6\x97\xa5\xf0\x9f\x98\x80",
		  "\"\xc3\xa4\xe6\x97\xa5\xf0\x9f\x98\x80\"" },
		{ "\xff", "\"\\ufffd\"" },
		{ "a\xc3", "\"a\\ufffd\"" }, /* cut off */
		{ "\xc0\x80z", "\"\\ufffd\\ufffdz\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf b = { 0 };

		buf_json_str(&b, cases[i].in);
		assert_string_equal(b.data, cases[i].out);
	}
}

/* Whatever bytes go in, a strict parser takes what comes out. */
static void test_json_is_json(void **state)
{
	uint32_t seed = 1;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		_cleanup_buf_ struct buf b = { 0 };
		char text[8] = "";
		json_t *value;

		for (int j = 0; j < 7; j++) {
			seed = seed * 1664525 + 1013904223;
			text[j] = (char)(seed >> 24);
		}
		buf_json_str(&b, text);
		value = json_loadb(b.data, b.len, JSON_DECODE_ANY, NULL);
		if (!value)
			fail_msg("not JSON: %s", b.data);
		json_decref(value);
	}
}

static void test_strings(void **state)
{
	_cleanup_free_ char *a = xasprintf("%s-%d", "x", 7), *b = xstrdup(a),
			    *c = xasprintf("%s", "");
	_cleanup_free_ int *zeros = xcalloc(0, 0);

	(void)state;
	assert_string_equal(b, "x-7");
	assert_non_null(c);
	assert_string_equal(c, "");
	assert_non_null(zeros);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),	     cmocka_unit_test(test_growth),
		cmocka_unit_test(test_bytes),	     cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_is_json), cmocka_unit_test(test_strings),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
