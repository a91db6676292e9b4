/* SPDX-License-Identifier: Apache-2.0 */
/* Events over hours: what is told once, what is told again, and what nobody is there to hear. */
#include "api.h"

#include "agent/kube_events.h"

#include <jansson.h>

static struct kube_events *events;
static int told; /* Events that were taken */

static void begin(void)
{
	memset(&api, 0, sizeof(api));
	api.now_ms = 1000;
	told = 0;
	assert_int_equal(kube_events_new(NULL, NULL, "node-a", &events), 0);
}

static void end(void)
{
	kube_events_free(events);
}

static void tell(int pod)
{
	_cleanup_free_ char *name = xasprintf("pod-%d", pod);
	struct kube_fact fact = { .namespace = "shop",
				  .name = name,
				  .uid = name,
				  .warning = true,
				  .action = "Capture",
				  .reason = "CaptureFailed",
				  .note = "it cannot be" };

	kube_events_tell(events, &fact);
}

/* One look at so many pods. */
static void look(int pods)
{
	kube_events_round(events);
	for (int i = 0; i < pods; i++)
		tell(i);
}

/* The server takes what comes, for so long. */
static void take_all(int64_t ms)
{
	int64_t until = api.now_ms + ms;

	while (api.now_ms < until) {
		pass(until - api.now_ms);
		if (!api.request)
			return;
		told++;
		succeed();
	}
}

static json_int_t series_count(void)
{
	json_t *event = json_loads(api.request->body, 0, NULL);
	json_int_t n =
		json_integer_value(json_object_get(json_object_get(event, "series"), "count"));

	json_decref(event);
	return n;
}

static void test_once_and_again(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < 29; i++, api.now_ms += 60000) {
		look(1);
		take_all(0);
	}
	take_all(1000);
	assert_int_equal(told, 1);
	api.now_ms += 2 * 60000;
	look(1);
	pass(1000);
	assert_int_equal(series_count(), 2); /* before the API forgets the first */
	succeed();
	end();
}

static void test_away_for_hours(void **state)
{
	(void)state;
	begin();
	for (int64_t hour = 0; hour < 10 * 12; hour++) {
		int64_t until = api.now_ms + HOUR_MS / 12;

		look(100);
		while (api.now_ms < until) {
			pass(until - api.now_ms);
			if (api.request)
				refuse(0, "Failed to connect");
		}
	}
	assert_in_range(api.requests, 1000, 2000);
	assert_int_equal(api.logged, 0); /* the watches say it */
	look(100);
	take_all(10 * 60000);
	assert_int_equal(told, 100);
	end();
}

static void test_more_than_wait(void **state)
{
	(void)state;
	begin();
	look(400);
	look(400);
	assert_int_equal(api.logged, 1);
	take_all(20 * 60000);
	assert_int_equal(told, 256);
	look(400); /* those that found no room */
	take_all(20 * 60000);
	assert_int_equal(told, 400);
	end();
}

static void test_refusals(void **state)
{
	static const struct {
		long status;
		const char *text;
		bool others; /* are the others told all the same? */
	} cases[] = {
		{ 403,
		  "events.events.k8s.io \"pod-0.1\" is forbidden: unable to create new content in "
		  "namespace shop because it is being terminated",
		  true },
		{ 403, "admission webhook \"x\" denied the request: no Events", true },
		{ 403, "exceeded quota: events", true },
		{ 404, "namespaces \"shop\" not found", true },
		{ 409, "already exists", true },
		{ 422, "is invalid", true },
		{ 403, "User \"weir\" cannot create resource \"events\"", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		begin();
		look(5);
		pass(0);
		refuse(cases[i].status, cases[i].text);
		take_all(60000);
		assert_int_equal(told, cases[i].others ? 4 : 0);
		assert_int_equal(api.logged, cases[i].status != 409);
		api.now_ms += 11 * 60000; /* the right was granted meanwhile */
		look(5);
		take_all(60000);
		assert_int_equal(told, cases[i].others ? 4 : 5);
		end();
	}
}

/* One that breaks the server is given up; credentials that are rotated just now are waited for. */
static void test_errors(void **state)
{
	(void)state;
	begin();
	look(2);
	for (int i = 0; i < 4; i++) {
		pass(60000);
		assert_non_null(strstr(api.request->body, "pod-0"));
		refuse(500, "failed calling webhook");
	}
	for (int i = 0; i < 10; i++) {
		pass(60000);
		assert_non_null(strstr(api.request->body, "pod-1"));
		refuse(i % 2 ? 503 : 401, "not now");
	}
	take_all(60000);
	assert_int_equal(told, 1);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once_and_again), cmocka_unit_test(test_away_for_hours),
		cmocka_unit_test(test_more_than_wait), cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
