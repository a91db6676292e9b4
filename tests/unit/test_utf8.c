/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"

static void test_columns(void **state)
{
	(void)state;
	assert_int_equal(utf8_columns(""), 0);
	assert_int_equal(utf8_columns("shop/cart"), 9);
	assert_int_equal(utf8_columns("\u00e9t\u00e9"), 3);
	assert_int_equal(utf8_columns("e\u0301"), 1);
	assert_int_equal(utf8_columns("\u540d\u524d"), 4);
	assert_int_equal(utf8_columns("\U0001f600"), 2);
	assert_int_equal(utf8_columns("a\xff\xe5\x90"), 4); /* what is none, and what is cut off */
}

static void test_what_fits(void **state)
{
	(void)state;
	assert_int_equal(utf8_fit("abc", 2), 2);
	assert_int_equal(utf8_fit("abc", 9), 3);
	assert_int_equal(utf8_fit("\u540d\u524d", 3), 3);
	assert_int_equal(utf8_fit("e\u0301t", 1), 3);
	assert_int_equal(utf8_fit("", 5), 0);
}

static void test_what_is_obeyed(void **state)
{
	static const char *const cases[][2] = {
		{ "shop/\u540d\u524d", "shop/\u540d\u524d" },
		{ "evil\x1b[31m\a", "evil?[31m?" },
		{ "two\nlines\ttab\x7f", "two?lines?tab?" },
		{ "c1\xc2\x9b"
		  "31m",
		  "c1?31m" },
		{ "bidi\u202etxt.exe", "bidi?txt.exe" },
		{ "bad\xff\xc3", "bad??" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = xstrdup(cases[i][0]);

		utf8_disarm(text);
		assert_string_equal(text, cases[i][1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_what_fits),
		cmocka_unit_test(test_what_is_obeyed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
