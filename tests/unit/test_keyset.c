/* SPDX-License-Identifier: Apache-2.0 */
/* A set of keys, against a list that is walked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/keyset.h"

struct key {
	uint8_t bytes[5]; /* no multiple of any alignment */
};

static struct key key_of(unsigned int number)
{
	struct key key = { { 0 } };

	memcpy(key.bytes + 1, &number, sizeof(number));
	return key;
}

static void test_empty(void **state)
{
	_cleanup_keyset_ struct keyset s;
	struct key key = key_of(1);

	(void)state;
	keyset_init(&s, sizeof(key));
	assert_false(keyset_has(&s, &key));
}

/* Asked and added to by turns, in an order that is not that of the bytes. */
static void test_has_what_was_added(void **state)
{
	_cleanup_keyset_ struct keyset s;

	(void)state;
	keyset_init(&s, sizeof(struct key));
	for (unsigned int i = 0; i < 1000; i++) {
		struct key odd = key_of(2 * (i * 7919 % 1000) + 1), even = key_of(2 * i);

		keyset_add(&s, &odd);
		assert_true(keyset_has(&s, &odd));
		assert_false(keyset_has(&s, &even));
	}
	for (unsigned int i = 0; i < 2000; i++) {
		struct key key = key_of(i);

		assert_int_equal(keyset_has(&s, &key), i % 2);
	}
	assert_int_equal(s.n, 1000);
}

/* Who sorts it can walk it and see equal keys next to each other, in the order of their bytes. */
static void test_sorted(void **state)
{
	_cleanup_keyset_ struct keyset s;

	(void)state;
	keyset_init(&s, sizeof(struct key));
	for (unsigned int i = 0; i < 100; i++) {
		struct key key = key_of(i * 37 % 50);

		keyset_add(&s, &key);
	}
	keyset_sort(&s);
	for (size_t i = 1; i < s.n; i++)
		assert_true(memcmp(s.keys + (i - 1) * s.key_size, s.keys + i * s.key_size,
				   s.key_size) <= 0);
	for (size_t i = 0; i < s.n; i += 2)
		assert_memory_equal(s.keys + i * s.key_size, s.keys + (i + 1) * s.key_size,
				    s.key_size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_has_what_was_added),
		cmocka_unit_test(test_sorted),
	};

	return cmocka_run_group_tests_name("keyset", tests, NULL, NULL);
}
