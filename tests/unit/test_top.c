/* SPDX-License-Identifier: Apache-2.0 */
/* weir top without a kernel: rates between two samples, order, filter, and the table. */
#include "cli/top.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static struct top_row row(uint64_t key, const char *name, struct top_totals totals)
{
	return (struct top_row){ .key = { { key } }, .totals = totals, .name = xstrdup(name) };
}

static void add(struct top_sample *s, struct top_row r)
{
	list_append(s->rows, s->n, r);
}

static void test_rates(void **state)
{
	struct top_sample before = { .time = 10 }, now = { .time = 12 };

	(void)state;
	add(&before, row(1, "a", (struct top_totals){ .sent = 100, .opened = 5, .open = 1 }));
	add(&before, row(2, "b", (struct top_totals){ .sent = 100 }));
	add(&now, row(1, "a",
		      (struct top_totals){ .sent = 300,
					   .received = 10,
					   .opened = 5,
					   .open = 1,
					   .rtt_us = 300,
					   .rtts = 2 }));
	add(&now, row(2, "b", (struct top_totals){ .sent = 50 })); /* never less than nothing */
	add(&now, row(3, "c", (struct top_totals){ .opened = 4, .failed = 1 }));
	top_rates(&now, &before);
	assert_true(now.rows[0].sent == 100 && now.rows[0].received == 5);
	assert_true(now.rows[0].opened == 0 && now.rows[0].rtt == 150 && now.rows[0].busy);
	assert_true(now.rows[1].sent == 0 && !now.rows[1].busy);
	assert_true(now.rows[2].opened == 2 && now.rows[2].failed == 0.5 && now.rows[2].busy);
	top_sample_free(&before); /* without a sample before there is no rate */
	top_rates(&now, &before);
	assert_true(now.rows[0].sent == 0 && now.rows[0].busy && !now.rows[2].busy);
	top_sample_free(&now);
}

static size_t column(const char *name)
{
	for (size_t i = 0; i < top_columns_n; i++)
		if (!strcmp(top_columns[i].name, name))
			return i;
	fail_msg("no column %s", name);
	return 0;
}

static void expect(struct top *t, const char *sort, bool reverse, const char *filter,
		   const char *wanted)
{
	_cleanup_free_ const struct top_row **rows = NULL;
	_cleanup_buf_ struct buf got = { 0 };
	size_t n;

	t->sort = column(sort);
	t->reverse = reverse;
	t->filter = filter;
	rows = top_order(t, &n);
	for (size_t i = 0; i < n; i++)
		buf_str(&got, rows[i]->name);
	assert_string_equal(buf_text(&got), wanted);
}

static struct top three(void)
{
	struct top t = { .view = TOP_WORKLOADS };
	static const uint64_t sent[] = { 5, 5000, 300 };
	static const char *const names[] = { "b", "c", "a" };

	for (uint64_t i = 0; i < 3; i++) {
		add(&t.sample, row(i, names[i], (struct top_totals){ .open = 3 - i }));
		t.sample.rows[i].sent = (double)sent[i];
		t.sample.rows[i].busy = true;
	}
	add(&t.sample, row(9, "idle", (struct top_totals){ 0 }));
	return t;
}

static void test_order_and_filter(void **state)
{
	struct top t = three();

	(void)state;
	expect(&t, "sent", false, NULL, "cab");
	expect(&t, "sent", true, NULL, "bac");
	expect(&t, "bytes", false, "", "cab");
	expect(&t, "name", false, NULL, "abc");
	expect(&t, "open", false, NULL, "bca");
	expect(&t, "rtt", false, NULL, "abc"); /* all equal: by name */
	expect(&t, "sent", false, "c", "c");
	expect(&t, "sent", false, "nobody", "");
	top_sample_free(&t.sample);
}

static void test_every_view_fits(void **state)
{
	(void)state;
	for (int view = 0; view < TOP_VIEWS; view++)
		for (size_t width = 60; width < 160; width += 20) {
			_cleanup_buf_ struct buf text = { 0 };
			struct top t = three();

			t.view = (enum top_view)view;
			for (size_t i = 0; i < t.sample.n; i++) {
				free(t.sample.rows[i].name);
				t.sample.rows[i].name = xstrdup(
					"a-namespace/a-very-long-name-of-a-workload-7d9f8c6b5d");
				t.sample.rows[i].peer =
					xstrdup("another-namespace/another-long-name:8080");
				t.sample.rows[i].direction = "out";
				t.sample.rows[i].via = "application_leg";
			}
			top_write(&t, width, 0, &text);
			for (char *line = strtok(text.data, "\n"); line; line = strtok(NULL, "\n"))
				if (strlen(line) > (view >= TOP_EDGES && width < 80 ? 80 : width))
					fail_msg("%zu: %s", width, line);
			top_sample_free(&t.sample);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_order_and_filter),
		cmocka_unit_test(test_every_view_fits),
	};

	return cmocka_run_group_tests_name("top", tests, NULL, NULL);
}
