/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/policies.h"

#include "base/brief.h"

static void check(const char *text, const char *expected)
{
	_cleanup_free_ char *got = brief(text, BRIEF_REASON);

	assert_string_equal(got, expected);
}

static void test_short_texts_stay(void **state)
{
	(void)state;
	check("", "");
	check("its sidecar: 80,81, and \xe2\x82\xac", "its sidecar: 80,81, and \xe2\x82\xac");
	check("a\nb\x1b[2J\x7f", "a\\nb\\x1b[2J\\x7f");
}

/* `item` ten thousand times, as one text. */
static char *many(const char *item)
{
	struct buf b = { 0 };

	for (int i = 0; i < 10000; i++)
		buf_str(&b, item);
	return b.data;
}

/* What was wrong, of what, and why are still there. */
static void test_lists_keep_their_ends(void **state)
{
	static const char *const items[] = { "8080,", "8080, " };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
		_cleanup_free_ char *list = many(items[i]);
		_cleanup_free_ char *text = xasprintf(
			"invalid value '%sx' for annotation 'key': failed parsing 'x'", list);
		_cleanup_free_ char *got = brief(text, BRIEF_REASON);

		assert_true(strlen(got) < 200);
		assert_non_null(strstr(got, "invalid value '8080,"));
		assert_non_null(strstr(got, " bytes]"));
		assert_non_null(strstr(got, "8080,"));
		assert_non_null(strstr(got, "x' for annotation 'key': failed parsing 'x'"));
	}
}

static void test_whole_text_keeps_its_ends(void **state)
{
	_cleanup_free_ char *words = many("error "), *euros = many("\xe2\x82\xac");
	_cleanup_free_ char *text = xasprintf("first %s%s %slast", words, euros, words);

	(void)state;
	for (size_t room = 64; room < 1100; room++) {
		_cleanup_free_ char *got = brief(text, room), *only = brief(euros, room);
		json_t *json = json_string(got), *json_only = json_string(only);

		assert_true(strlen(got) <= room);
		assert_int_equal(strncmp(got, "first ", 6), 0);
		assert_non_null(strstr(got, "last"));
		assert_non_null(json); /* UTF-8 */
		assert_non_null(json_only);
		json_decref(json);
		json_decref(json_only);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_texts_stay),
		cmocka_unit_test(test_lists_keep_their_ends),
		cmocka_unit_test(test_whole_text_keeps_its_ends),
	};

	return cmocka_run_group_tests_name("brief", tests, NULL, NULL);
}
