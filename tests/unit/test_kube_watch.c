/* SPDX-License-Identifier: Apache-2.0 */
/* A resource, listed and watched, over hours in which nothing goes right. */
#include "api.h"

#include "agent/kube_watch.h"

#define LIST "{'kind':'ServiceList','metadata':{'resourceVersion':'7'},'items':[%s]}"
#define CART "{'metadata':{'namespace':'shop','name':'cart','resourceVersion':'7'}}"

struct fixture {
	struct source_file part;
	struct kube_watch watch;
};

static void on_changed(void *ctx, const struct kube_watch *w)
{
	(void)ctx;
	(void)w;
}

static struct fixture *new_fixture(void)
{
	static const struct kube_watch_options options = { .node_name = "node-a",
							   .watch_ms = 300000,
							   .changed = on_changed };
	struct fixture *f = xcalloc(1, sizeof(*f));

	memset(&api, 0, sizeof(api));
	api.now_ms = 1000;
	kube_watch_start(&f->watch, KUBE_SERVICES, NULL, NULL, &f->part, &options);
	return f;
}

static void free_fixture(struct fixture *f)
{
	kube_watch_stop(&f->watch);
	free(f->part.error);
	free(f);
}

static bool is_watch(void)
{
	return strstr(api.request->path, "watch=1");
}

static void give_list(const char *items)
{
	_cleanup_free_ char *text = xasprintf(LIST, items);

	assert_false(is_watch());
	open_answer();
	assert_true(send_part(text));
	succeed();
	pass(0);
}

/* A watch that is open and has been for a while. */
static struct fixture *new_watching(void)
{
	struct fixture *f = new_fixture();

	give_list(CART);
	assert_true(is_watch());
	open_answer();
	api.now_ms += 6000;
	return f;
}

static void lose(int number)
{
	_cleanup_free_ char *error =
		xasprintf("Failed to connect to 10.96.0.1 port 443 after %d ms: no", number);

	refuse(0, error);
}

/* Said once; asked at least twice a minute, so that its return is noticed; goes on where it was. */
static void test_away_for_hours(void **state)
{
	struct fixture *f = new_watching();
	int64_t end = api.now_ms + 10 * HOUR_MS, last = api.now_ms;

	(void)state;
	api.requests = 0;
	while (api.now_ms < end) {
		lose(api.requests);
		pass(HOUR_MS);
		assert_in_range(api.now_ms - last, 250, 30000);
		assert_true(is_watch());
		last = api.now_ms;
	}
	assert_in_range(api.requests, 1200, 2500);
	assert_int_equal(api.logged, 1);
	assert_int_equal(kube_store_count(&f->watch.store), 1);
	assert_non_null(f->watch.error);
	assert_false(f->watch.connected);
	open_answer();
	assert_true(f->watch.connected);
	assert_non_null(strstr(api.request->path, "resourceVersion=7"));
	send_part("{'type':'ADDED','object':{'metadata':{'namespace':'shop','name':'new'}}}\n");
	assert_int_equal(kube_store_count(&f->watch.store), 2);
	free_fixture(f);
}

/* A balancer whose servers fail in different ways. */
static void test_errors_in_turn(void **state)
{
	static const char *const errors[] = { "no route", "HTTP status 502: bad", "reset", "TLS" };
	struct fixture *f = new_watching();
	int64_t end = api.now_ms + 10 * HOUR_MS;

	(void)state;
	for (unsigned int i = 0; api.now_ms < end; i++) {
		refuse(0, errors[i % ARRAY_SIZE(errors)]);
		pass(HOUR_MS);
	}
	assert_in_range(api.logged, 4, 610);
	free_fixture(f);
}

/* How many watches fail before all is listed anew; at most that many. */
static int watches_until_list(void (*fail_watch)(void), int most)
{
	int n = 0;

	while (is_watch() && n < most) {
		fail_watch();
		pass(HOUR_MS);
		n++;
	}
	return n;
}

static void invalid_version(void)
{
	refuse(400, "HTTP status 400: invalid resource version");
}

static void error_event(void)
{
	open_answer();
	assert_false(send_part("{'type':'ERROR','object':{'kind':'Status','code':500,"
			       "'message':'mvcc: required revision has been compacted'}}\n"));
}

static void malformed_event(void)
{
	open_answer();
	assert_false(send_part("{'type':'ADDED','object':{]\n"));
}

static void forbidden(void)
{
	refuse(403, "HTTP status 403: no");
}

static void busy(void)
{
	refuse(503, "HTTP status 503: wait");
}

static void short_but_good(void)
{
	open_answer();
	send_part("{'type':'BOOKMARK','object':{'metadata':{'resourceVersion':'9'}}}\n");
	refuse(200, "transfer closed");
}

/* A watch that can never be is no prison. */
static void test_hopeless_watches(void **state)
{
	static void (*const hopeless[])(void) = { invalid_version, error_event, malformed_event };
	static void (*const patient[])(void) = { forbidden, busy, short_but_good };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hopeless); i++) {
		struct fixture *f = new_watching();

		succeed();
		pass(0);
		give_list(CART);
		assert_in_range(watches_until_list(hopeless[i], 50), 3, 8);
		give_list("");
		assert_int_equal(kube_store_count(&f->watch.store), 0);
		free_fixture(f);
	}
	for (size_t i = 0; i < ARRAY_SIZE(patient); i++) {
		struct fixture *f = new_watching();

		succeed();
		pass(0);
		give_list(CART);
		assert_int_equal(watches_until_list(patient[i], 50), 50);
		free_fixture(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_away_for_hours),
		cmocka_unit_test(test_errors_in_turn),
		cmocka_unit_test(test_hopeless_watches),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
