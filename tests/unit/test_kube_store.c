/* SPDX-License-Identifier: Apache-2.0 */
/* What the API said: by name, with broken objects that keep what they were. ' stands for ". */
#include "agent/kube_store.h"
#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

struct fixture {
	struct objects objects;
	struct kube_store store;
};

static struct fixture *new_fixture(enum kube_resource_id id)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	kube_store_init(&f->store, &kube_resources[id], &f->objects);
	return f;
}

static void free_fixture(struct fixture *f)
{
	kube_store_free(&f->store);
	free(f);
}

static json_t *json(const char *text)
{
	_cleanup_free_ char *copy = xstrdup(text);

	for (char *c = copy; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return json_loads(copy, JSON_DECODE_ANY, NULL);
}

static int take(struct fixture *f, const char *text,
		int (*fn)(struct kube_store *s, const json_t *object, const char **ret_error))
{
	const char *error = NULL;
	json_t *object = json(text);
	int err = fn(&f->store, object, &error);

	assert_true((err < 0) == (error != NULL));
	json_decref(object);
	return err;
}

static int put(struct fixture *f, const char *text)
{
	return take(f, text, kube_store_put);
}

static int offer(struct fixture *f, const char *text)
{
	return take(f, text, kube_store_offer);
}

#define POD(name, more) "{'metadata':{'namespace':'shop','name':'" name "'" more "}}"
#define BROKEN(name)	"{'metadata':{'namespace':'shop','name':'" name "'},'spec':7}"

static void take_away(struct fixture *f, const char *text)
{
	json_t *object = json(text);

	kube_store_remove(&f->store, object);
	json_decref(object);
}

static void test_put_and_remove(void **state)
{
	struct fixture *f = new_fixture(KUBE_PODS_HERE);

	(void)state;
	assert_int_equal(put(f, POD("a", "")), 1);
	assert_int_equal(put(f, POD("b", "")), 1);
	assert_int_equal(put(f, POD("c", "")), 1);
	assert_int_equal(put(f, POD("b", ",'uid':'2','resourceVersion':'1'")), 1);
	assert_int_equal(put(f, POD("b", ",'uid':'2','resourceVersion':'2'")), 0);
	assert_int_equal(kube_store_count(&f->store), 3);
	take_away(f, POD("a", ""));
	take_away(f, POD("unknown", ""));
	assert_int_equal(kube_store_count(&f->store), 2);
	for (size_t i = 0; i < 2; i++)
		if (!strcmp(f->objects.pods[i]->name, "b"))
			assert_string_equal(f->objects.pods[i]->uid, "2");
	take_away(f, POD("b", ""));
	take_away(f, POD("c", ""));
	assert_int_equal(kube_store_count(&f->store), 0);
	assert_int_equal(put(f, POD("a", "")), 1);
	free_fixture(f);
}

static void test_broken(void **state)
{
	struct fixture *f = new_fixture(KUBE_PODS_HERE);

	(void)state;
	assert_int_equal(put(f, POD("a", ",'uid':'1'")), 1);
	assert_int_equal(put(f, BROKEN("a")), -EINVAL);
	assert_int_equal(kube_store_count(&f->store), 1);
	assert_int_equal(f->objects.n_errors, 1);
	assert_string_equal(f->objects.errors[0], "shop/a: spec is a number, not an object");
	assert_false(kube_store_incomplete(&f->store));
	assert_int_equal(put(f, BROKEN("b")), -EINVAL);
	assert_true(kube_store_incomplete(&f->store));
	take_away(f, POD("b", ""));
	assert_int_equal(f->objects.n_errors, 1);
	assert_int_equal(put(f, POD("a", "")), 1);
	assert_int_equal(f->objects.n_errors, 0);
	/* what has no name can never be mended, so it is not remembered */
	assert_int_equal(put(f, "{'metadata':{'namespace':'shop'}}"), -EINVAL);
	assert_int_equal(put(f, "7"), -EINVAL);
	assert_int_equal(f->objects.n_errors, 0);
	free_fixture(f);
}

static void test_replace(void **state)
{
	struct fixture *f = new_fixture(KUBE_PODS_HERE), *next = new_fixture(KUBE_PODS_HERE);

	(void)state;
	put(f, POD("a", ",'uid':'old'"));
	put(f, POD("gone", ""));
	put(next, POD("new", ""));
	put(next, BROKEN("a"));
	put(next, BROKEN("never"));
	kube_store_replace(&f->store, &next->store);
	assert_int_equal(kube_store_count(&next->store), 0);
	assert_int_equal(kube_store_count(&f->store), 2);
	assert_int_equal(f->objects.n_errors, 2);
	assert_true(kube_store_incomplete(&f->store));
	put(f, POD("a", ",'uid':'mended'"));
	put(f, POD("never", ""));
	assert_int_equal(kube_store_count(&f->store), 3);
	assert_int_equal(f->objects.n_errors, 0);
	free_fixture(f);
	free_fixture(next);
}

#define UID(text) ",'uid':'" text "'"

/* A pod of a StatefulSet comes again under its name. */
static void test_another_of_the_name(void **state)
{
	struct fixture *f = new_fixture(KUBE_PODS_HERE);

	(void)state;
	put(f, POD("a", UID("1")));
	put(f, POD("a", UID("2")));
	take_away(f, POD("a", UID("1"))); /* nobody says that in this order but a liar */
	assert_int_equal(kube_store_count(&f->store), 1);
	/* what cannot be read is no later state of the former one */
	assert_int_equal(put(f, "{'metadata':{'namespace':'shop','name':'a','uid':'3'},'spec':7}"),
			 -EINVAL);
	assert_int_equal(kube_store_count(&f->store), 0);
	assert_true(kube_store_incomplete(&f->store));
	take_away(f, POD("a", UID("3")));
	assert_false(kube_store_incomplete(&f->store));
	free_fixture(f);
}

static void test_offer(void **state)
{
	struct fixture *f = new_fixture(KUBE_PODS_HERE);

	(void)state;
	put(f, POD("a", UID("1")));
	assert_int_equal(offer(f, POD("a", UID("1") ",'labels':{'x':'y'}")), 0);
	assert_int_equal(offer(f, POD("a", UID("2"))), 1);
	/* the watch is behind: what it tells of the former pod is old news */
	assert_int_equal(put(f, POD("a", UID("1") ",'labels':{'x':'z'}")), 0);
	take_away(f, POD("a", UID("1")));
	assert_string_equal(f->objects.pods[0]->uid, "2");
	assert_int_equal(put(f, POD("a", UID("2") ",'labels':{'x':'y'}")), 1);
	/* now it has told of the new one: it is believed again */
	assert_int_equal(put(f, POD("a", UID("3"))), 1);
	take_away(f, POD("a", UID("3")));
	/* an answer that was on its way when the pod went does not bring it back */
	assert_int_equal(offer(f, POD("a", UID("3"))), 0);
	assert_int_equal(offer(f, POD("a", UID("4"))), 1);
	take_away(f, POD("a", UID("4")));
	assert_int_equal(kube_store_count(&f->store), 0);
	free_fixture(f);
}

static void test_no_netns_from_the_api(void **state)
{
	struct fixture *f = new_fixture(KUBE_PODS_HERE);

	(void)state;
	put(f, POD("a", ",'annotations':{'weir.io/netns':'/proc/1/ns/net','weir.io/cgroup':'/',"
			"'weir.io/capture':'on'}"));
	assert_null(pod_annotation(f->objects.pods[0], "weir.io/netns"));
	assert_null(pod_annotation(f->objects.pods[0], "weir.io/cgroup"));
	assert_string_equal(pod_annotation(f->objects.pods[0], "weir.io/capture"), "on");
	free_fixture(f);
}

static void test_kinds(void **state)
{
	static const enum kube_resource_id ids[] = { KUBE_NAMESPACES, KUBE_NODES, KUBE_SERVICES,
						     KUBE_ENDPOINT_SLICES, KUBE_PODS_ELSEWHERE };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct fixture *f = new_fixture(ids[i]);

		for (int n = 0; n < 300; n++) {
			_cleanup_free_ char *text =
				xasprintf("{'metadata':{'namespace':'shop','name':'n%d'}}", n);

			assert_int_equal(put(f, text), 1);
		}
		for (int n = 0; n < 300; n += 2) {
			_cleanup_free_ char *text =
				xasprintf("{'metadata':{'namespace':'shop','name':'n%d'}}", n);

			take_away(f, text);
		}
		assert_int_equal(kube_store_count(&f->store), 150);
		free_fixture(f);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_put_and_remove), cmocka_unit_test(test_broken),
		cmocka_unit_test(test_replace),	       cmocka_unit_test(test_no_netns_from_the_api),
		cmocka_unit_test(test_kinds),	       cmocka_unit_test(test_another_of_the_name),
		cmocka_unit_test(test_offer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
