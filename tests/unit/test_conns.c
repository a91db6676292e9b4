/* SPDX-License-Identifier: Apache-2.0 */
/* weir conns without a kernel: which connections are wanted, in which order, and how they read. */
#include "cli/columns.h"
#include "cli/conn_field.h"
#include "cli/conn_filter.h"
#include "cli/units.h"
#include "base/inet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <netinet/in.h>
#include <string.h>
#include <cmocka.h>

static struct weir_endpoint endpoint(const char *text)
{
	struct weir_endpoint e = { .port = 0 };

	assert_int_equal(inet_parse_endpoint(text, e.addr.ip, &e.port), 0);
	return e;
}

/* shop/cart-1 of cart, which dialled the Service shop/db. */
static struct conn sample(void)
{
	struct conn c = {
		.namespace = "shop",
		.pod = "cart-1",
		.workload_namespace = "shop",
		.workload = "cart",
		.workload_kind = "Deployment",
		.peer_namespace = "data",
		.peer_workload = "postgres",
		.peer_kind = "StatefulSet",
		.service_namespace = "data",
		.service = "db",
		.direction = "outbound",
		.via = "proxy",
		.state = "established",
		.reason = "all_included",
		.row = { .flags = WEIR_CONN_COUNTED, .state = 1, .sent = 1234567, .received = 20 },
	};

	c.dialled = c.peer = endpoint("10.96.0.7:5432");
	c.real = endpoint("127.0.0.1:15001");
	return c;
}

static const struct {
	struct conn_filter filter;
	bool matches;
} filters[] = {
	{ { 0 }, true },
	{ { .namespace = "shop" }, true },
	{ { .namespace = "sh*" }, true },
	{ { .namespace = "data" }, false },
	{ { .pod = "cart-1" }, true },
	{ { .pod = "cart" }, false },
	{ { .pod = "cart-?" }, true },
	{ { .pod = "shop/cart-1" }, true },
	{ { .pod = "other/cart-1" }, false },
	{ { .pod = "*/cart-1" }, true },
	{ { .workload = "cart" }, true },
	{ { .workload = "data/cart" }, false },
	{ { .peer = "db" }, true },
	{ { .peer = "data/db" }, true },
	{ { .peer = "postgres" }, true },
	{ { .peer = "data/postgres" }, true },
	{ { .peer = "shop/db" }, false },
	{ { .peer = "10.96.0.7" }, true },
	{ { .peer = "10.96.0.8" }, false },
	{ { .peer = "10.96.0.0/16" }, true },
	{ { .peer = "10.96.0.8/29" }, false },
	{ { .peer = "10.96.0.0/29" }, true },
	{ { .peer = "0.0.0.0/0" }, true },
	{ { .peer = "::/0" }, true },
	{ { .peer = "fd00::/8" }, false },
	{ { .peer = "10.96.0.7/33" }, false },
	{ { .port = 5432 }, true },
	{ { .port = 15001 }, false },
	{ { .states = { "established" }, .n_states = 1 }, true },
	{ { .states = { "syn_sent" }, .n_states = 1 }, false },
	{ { .states = { "syn_sent", "established" }, .n_states = 2 }, true },
	{ { .tcp = true }, true },
	{ { .tcp = true, .udp = true }, true },
	{ { .udp = true }, false },
	{ { .direction = "outbound" }, true },
	{ { .direction = "inbound" }, false },
	{ { .via = "proxy" }, true },
	{ { .via = "local" }, false },
	{ { .namespace = "shop", .port = 5432, .peer = "db", .direction = "outbound" }, true },
	{ { .namespace = "shop", .port = 5432, .peer = "web", .direction = "outbound" }, false },
};

static void test_filters(void **state)
{
	struct conn c = sample();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(filters); i++)
		if (conn_matches(&filters[i].filter, &c) != filters[i].matches)
			fail_msg("filter %zu", i);
}

static void test_datagrams_are_asked_for(void **state)
{
	struct conn c = sample();

	(void)state;
	c.row.protocol = IPPROTO_UDP;
	assert_false(conn_matches(&(struct conn_filter){ 0 }, &c));
	assert_false(conn_matches(&(struct conn_filter){ .tcp = true }, &c));
	assert_true(conn_matches(&(struct conn_filter){ .udp = true }, &c));
	assert_true(conn_matches(&(struct conn_filter){ .tcp = true, .udp = true }, &c));
}

static void test_what_stays_within_the_pod_is_asked_for(void **state)
{
	struct conn c = sample();

	(void)state;
	c.row.flags = 0;
	c.via = "local";
	assert_false(conn_matches(&(struct conn_filter){ 0 }, &c));
	assert_true(conn_matches(&(struct conn_filter){ .all = true }, &c));
	assert_true(conn_matches(&(struct conn_filter){ .via = "local" }, &c));
}

static void test_spellings(void **state)
{
	(void)state;
	assert_string_equal(conn_filter_state("ESTAB"), "established");
	assert_string_equal(conn_filter_state("SYN-SENT"), "syn_sent");
	assert_string_equal(conn_filter_state("fin-wait-1"), "fin_wait1");
	assert_null(conn_filter_state("listen"));
	assert_null(conn_filter_state(""));
	assert_null(conn_filter_state("a-very-long-name-that-is-no-state-at-all"));
	assert_string_equal(conn_filter_direction("in"), "inbound");
	assert_string_equal(conn_filter_direction("Out"), "outbound");
	assert_null(conn_filter_direction("both"));
	assert_string_equal(conn_filter_state("unconn"), "unconnected");
	assert_true(conn_filter_peer("10.0.0.0/32") && conn_filter_peer("::/0"));
	assert_true(conn_filter_peer("shop/cart") && conn_filter_peer("10.0.0.1"));
	assert_false(conn_filter_peer("10.0.0.0/33"));
	assert_false(conn_filter_peer("fd00::/129"));
	assert_false(conn_filter_peer("10.0.0.0/x"));
	assert_string_equal(conn_filter_via("network-leg"), "network_leg");
}

static void test_sorting(void **state)
{
	struct conn conns[3] = { sample(), sample(), sample() };

	(void)state;
	conns[0].row.sent = 5;
	conns[1].row.sent = 5000000000;
	conns[2].row.sent = 70;
	conns[0].pod = "b";
	conns[1].pod = "a";
	conns[2].pod = "c";
	conn_sort(conns, 3, conn_field_find("sent"), false);
	assert_true(conns[0].row.sent == 5000000000 && conns[2].row.sent == 5);
	conn_sort(conns, 3, conn_field_find("sent"), true);
	assert_true(conns[0].row.sent == 5 && conns[2].row.sent == 5000000000);
	conn_sort(conns, 3, conn_field_find("port"), false); /* all equal: by pod */
	assert_string_equal(conns[0].pod, "a");
	assert_string_equal(conns[2].pod, "c");
	conn_sort(NULL, 0, conn_field_find("pod"), false);
	assert_null(conn_field_find("nonsense"));
}

static const struct {
	const char *field, *brief, *exact;
} formats[] = {
	{ "pod", "shop/cart-1", "shop/cart-1" },
	{ "workload", "shop/cart", "shop/cart" },
	{ "direction", "out", "outbound" },
	{ "peer", "data/db:5432", "data/db:5432" },
	{ "name", "data/db", "data/db" },
	{ "address", "10.96.0.7:5432", "10.96.0.7:5432" },
	{ "real", "127.0.0.1:15001", "127.0.0.1:15001" },
	{ "state", "ESTAB", "ESTAB" },
	{ "sent", "1.2M", "1234567" },
	{ "received", "20", "20" },
	{ "rtt", "-", "-" },
	{ "age", "0s", "0s" },
	{ "via", "proxy", "proxy" },
	{ "reason", "all_included", "all_included" },
};

static void test_formats(void **state)
{
	struct conn c = sample();

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const struct conn_field *field = conn_field_find(formats[i].field);
		_cleanup_buf_ struct buf brief = { 0 }, exact = { 0 };

		field->format(&brief, &c, false);
		field->format(&exact, &c, true);
		assert_string_equal(buf_text(&brief), formats[i].brief);
		assert_string_equal(buf_text(&exact), formats[i].exact);
	}
}

static void test_json_has_exact_numbers(void **state)
{
	struct conn c = sample();
	json_t *json = conn_json(&c);

	(void)state;
	assert_int_equal(json_integer_value(json_object_get(json, "sent_bytes")), 1234567);
	assert_string_equal(json_string_value(json_object_get(json, "dialled")), "10.96.0.7:5432");
	assert_true(json_is_null(json_object_get(json, "rtt_seconds")));
	json_decref(json);
}

static void test_units(void **state)
{
	char text[UNITS_TEXT];

	(void)state;
	assert_string_equal(units_bytes(0, text), "0");
	assert_string_equal(units_bytes(1023, text), "1023");
	assert_string_equal(units_bytes(1024, text), "1.0K");
	assert_string_equal(units_bytes(10240, text), "10K");
	assert_string_equal(units_bytes(1048575, text), "1.0M");
	assert_string_equal(units_bytes(5.5 * 1073741824, text), "5.5G");
	assert_string_equal(units_bytes(18446744073709551615.0, text), "16E");
	assert_string_equal(units_rate(0.4, text), "0.4");
	assert_string_equal(units_rate(12, text), "12");
	assert_string_equal(units_rate(3100, text), "3.1k");
	assert_string_equal(units_rtt(0, text), "-");
	assert_string_equal(units_rtt(85, text), "85us");
	assert_string_equal(units_rtt(1234, text), "1.2ms");
	assert_string_equal(units_rtt(3100000, text), "3.1s");
	assert_string_equal(units_age(59999999999, text), "59s");
	assert_string_equal(units_age(3600000000000, text), "1h");
	assert_string_equal(units_age(200000000000000, text), "2d");
}

static void test_long_text_loses_its_middle(void **state)
{
	static const struct {
		const char *text;
		size_t width;
		const char *shown;
	} cases[] = {
		{ "shop/cart-7d9f-x2k9p", 9, "shop~2k9p" },
		{ "123456789", 9, "123456789" },
		{ "", 9, "" },
		{ "123", 2, "~3" },
		{ "123", 1, "~" },
		{ "123", 0, "" },
		{ "\u540d\u524d\u540d\u524d", 8, "\u540d\u524d\u540d\u524d" },
		{ "\u540d\u524d\u540d\u524d", 7, "\u540d~\u524d" },
		{ "\u540d\u524d\u540d\u524d", 5, "\u540d~\u524d" },
		{ "e\u0301te\u0301-long", 5, "e\u0301t~ng" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *shown = table_shorten(cases[i].text, cases[i].width);

		assert_string_equal(shown, cases[i].shown);
	}
}

static void test_a_table_fits(void **state)
{
	static const struct table_column layout[] = { { .shrinks = true }, { .right = true } };
	_cleanup_table_ struct table t = { .columns = 2, .layout = layout, .width = 16 };
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	table_add(&t, "NAME");
	table_add(&t, "N");
	table_add(&t, "a-long-name-of-a-pod");
	table_add(&t, "7");
	table_add(&t, NULL);
	table_add(&t, "1234");
	table_print(&t, out);
	fclose(out);
	assert_string_equal(text, "NAME           N\n"
				  "a-lon~a-pod    7\n"
				  "-           1234\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_datagrams_are_asked_for),
		cmocka_unit_test(test_what_stays_within_the_pod_is_asked_for),
		cmocka_unit_test(test_spellings),
		cmocka_unit_test(test_sorting),
		cmocka_unit_test(test_formats),
		cmocka_unit_test(test_json_has_exact_numbers),
		cmocka_unit_test(test_units),
		cmocka_unit_test(test_long_text_loses_its_middle),
		cmocka_unit_test(test_a_table_fits),
	};

	return cmocka_run_group_tests_name("conns", tests, NULL, NULL);
}
