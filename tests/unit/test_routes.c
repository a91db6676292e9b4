/* SPDX-License-Identifier: Apache-2.0 */
/* Routing tables flattened: the first table with a match wins, in it the longest prefix. */
#include "agent/routes.h"
#include "base/buf.h"
#include "base/inet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

enum { LOCAL = 255, MAIN = 254, OTHER = 77 };
enum { ETH0 = 2, NET1 = 3 };

static void add(struct routes *r, const char *dst, unsigned int bits, uint32_t table,
		uint32_t ifindex, uint32_t metric)
{
	struct route route = { .table = table, .ifindex = ifindex, .metric = metric };

	assert_int_equal(inet_parse(dst, route.dst.ip), 0);
	route.v6 = !weir_addr_is_v4(&route.dst);
	route.bits = (uint8_t)(bits + (route.v6 ? 0 : 96));
	r->items = xrealloc(r->items, (r->n + 1) * sizeof(route));
	r->items[r->n++] = route;
}

static void rule(struct routes *r, uint32_t priority, uint32_t table)
{
	for (int v6 = 0; v6 <= 1; v6++) {
		struct route_rule one = { .priority = priority, .table = table, .v6 = v6 };

		r->rules = xrealloc(r->rules, (r->n_rules + 1) * sizeof(one));
		r->rules[r->n_rules++] = one;
	}
}

/* As the trie in the kernel would: the longest prefix that holds the address. */
static uint32_t find(const struct routes *r, const char *to)
{
	struct weir_addr addr;
	const struct route *best = NULL;

	assert_int_equal(inet_parse(to, addr.ip), 0);
	for (size_t i = 0; i < r->n; i++) {
		const struct route *route = &r->items[i];
		bool holds = route->v6 == !weir_addr_is_v4(&addr);

		for (unsigned int bit = 0; holds && bit < route->bits; bit++)
			holds = !((route->dst.ip[bit / 8] ^ addr.ip[bit / 8]) & (0x80 >> bit % 8));
		if (holds && (!best || route->bits > best->bits))
			best = route;
	}
	return best ? best->ifindex : 0;
}

static void test_the_longest_prefix_of_a_table_wins(void **state)
{
	_cleanup_routes_ struct routes r = { 0 };

	(void)state;
	rule(&r, 32766, MAIN);
	add(&r, "0.0.0.0", 0, MAIN, ETH0, 0);
	add(&r, "10.1.0.0", 16, MAIN, NET1, 0);
	add(&r, "::", 0, MAIN, NET1, 1024);
	routes_flatten(&r);
	assert_int_equal(find(&r, "10.1.2.3"), NET1);
	assert_int_equal(find(&r, "10.2.2.3"), ETH0);
	assert_int_equal(find(&r, "fd00::1"), NET1);
}

static void test_an_earlier_table_hides_longer_prefixes_of_a_later_one(void **state)
{
	_cleanup_routes_ struct routes r = { 0 };

	(void)state;
	rule(&r, 32766, MAIN);
	rule(&r, 1000, OTHER);
	add(&r, "10.1.2.0", 24, MAIN, ETH0, 0);
	add(&r, "0.0.0.0", 0, MAIN, ETH0, 0);
	add(&r, "10.1.0.0", 16, OTHER, NET1, 0);
	routes_flatten(&r);
	assert_int_equal(find(&r, "10.1.2.3"), NET1);
	assert_int_equal(find(&r, "10.2.2.3"), ETH0);
}

static void test_of_two_alike_the_lower_metric_wins(void **state)
{
	_cleanup_routes_ struct routes r = { 0 };

	(void)state;
	rule(&r, 32766, MAIN);
	add(&r, "10.1.0.0", 16, MAIN, NET1, 200);
	add(&r, "10.1.0.0", 16, MAIN, ETH0, 100);
	routes_flatten(&r);
	assert_int_equal(r.n, 1);
	assert_int_equal(find(&r, "10.1.2.3"), ETH0);
}

static void test_a_table_that_no_rule_names_is_not_asked(void **state)
{
	_cleanup_routes_ struct routes r = { 0 };

	(void)state;
	rule(&r, 32766, MAIN);
	add(&r, "10.1.0.0", 16, OTHER, NET1, 0);
	routes_flatten(&r);
	assert_int_equal(find(&r, "10.1.2.3"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_longest_prefix_of_a_table_wins),
		cmocka_unit_test(test_an_earlier_table_hides_longer_prefixes_of_a_later_one),
		cmocka_unit_test(test_of_two_alike_the_lower_metric_wins),
		cmocka_unit_test(test_a_table_that_no_rule_names_is_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
