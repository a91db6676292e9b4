/* SPDX-License-Identifier: Apache-2.0 */
/* Editing network configurations; what weir-cni reads of its request. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "cli/cni_request.h"
#include "cli/conflist.h"

static json_t *chained(const char *text, const char *entry_text)
{
	json_t *entry = json_loads(entry_text, 0, NULL), *conf = NULL, *chain = NULL;
	enum conflist_kind kind;
	char *error = NULL;

	assert_int_equal(conflist_parse(text, strlen(text), &conf, &kind, &error), 0);
	assert_int_equal(conflist_chain(conf, kind, entry, &chain, &error), 0);
	json_decref(entry);
	json_decref(conf);
	return chain;
}

static void assert_text(json_t *json, const char *expected)
{
	_cleanup_free_ char *text = json_dumps(json, JSON_COMPACT);

	assert_string_equal(text, expected);
	json_decref(json);
}

#define OURS "{\"type\":\"weir-cni\",\"runDir\":\"/r\"}"

static void test_chain(void **state)
{
	(void)state;
	assert_text(chained("{\"zz\":1,\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"b\":"
			    "null,\"type\":\"a\"}],\"aa\":[]}",
			    OURS),
		    "{\"zz\":1,\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"b\":null,"
		    "\"type\":\"a\"}," OURS "],\"aa\":[]}");
	assert_text(chained("{\"name\":\"n\",\"cniVersion\":\"0.4.0\",\"type\":\"a\"}", OURS),
		    "{\"cniVersion\":\"0.4.0\",\"name\":\"n\",\"plugins\":[{\"name\":\"n\","
		    "\"cniVersion\":\"0.4.0\",\"type\":\"a\"}," OURS "]}");
	assert_null(chained("{\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"plugins\":[{\"type\":\"a\"}"
			    "," OURS "]}",
			    OURS));
	assert_text(chained("{\"name\":\"n\",\"cniVersion\":\"1.1.0\",\"plugins\":[{\"type\":\"a\"}"
			    ",{\"type\":\"weir-cni\"},{\"type\":\"b\"}," OURS "]}",
			    OURS),
		    "{\"name\":\"n\",\"cniVersion\":\"1.1.0\",\"plugins\":[{\"type\":\"a\"}," OURS
		    ",{\"type\":\"b\"}]}");
}

static void test_unchain(void **state)
{
	json_t *conf = json_loads("{\"plugins\":[" OURS ",{\"type\":\"a\"}," OURS "]}", 0, NULL);
	json_t *chain = NULL;

	(void)state;
	assert_int_equal(conflist_unchain(conf, &chain), 0);
	assert_text(json_incref(chain), "{\"plugins\":[{\"type\":\"a\"}]}");
	json_decref(conf);
	assert_int_equal(conflist_unchain(chain, &conf), 0);
	assert_null(conf);
	json_decref(chain);
	conf = json_loads("{\"plugins\":[" OURS "]}", 0, NULL);
	assert_int_equal(conflist_unchain(conf, &chain), -ENOENT);
	json_decref(conf);
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text;
		enum conflist_kind kind;
	} cases[] = {
		{ "{\"name\":\"n\",\"type\":\"multus\"}", CONFLIST_META },
		{ "{\"name\":\"n\",\"plugins\":[{\"type\":\"multus-shim\"}]}", CONFLIST_META },
		{ "{\"name\":\"n\",\"type\":\"bridge\"}", CONFLIST_SINGLE },
		{ "{\"name\":\"n\",\"plugins\":[{\"type\":\"a\"},{\"type\":\"multus\"}]}",
		  CONFLIST_LIST },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		enum conflist_kind kind;
		char *error = NULL;
		json_t *conf;

		assert_int_equal(
			conflist_parse(cases[i].text, strlen(cases[i].text), &conf, &kind, &error),
			0);
		assert_int_equal(kind, cases[i].kind);
		json_decref(conf);
	}
}

/* Every beginning of a right request is one that is wrong; none is read beyond its end. */
static void test_half_a_request(void **state)
{
	static const char whole[] =
		"{\"cniVersion\":\"1.0.0\",\"a\\\"\":[1,{\"b\":\"]\\\\\"}],\"prevResult\": "
		"{\"x\":[{}]} ,\"name\":\"n\"}";
	struct cni_error error = { 0 };

	(void)state;
	for (size_t len = 0; len < sizeof(whole); len++) {
		_cleanup_free_ char *text = strndup(whole, len);
		struct cni_request r = { 0 };
		int err = cni_request_parse(&r, text, len, &error);

		assert_int_equal(err, len == sizeof(whole) - 1 ? 0 : -EINVAL);
		if (!err)
			assert_string_equal(r.prev_result, "{\"x\":[{}]}");
		cni_request_free(&r);
		cni_error_free(&error);
	}
}

static void test_args(void **state)
{
	struct cni_request r = { 0 };

	(void)state;
	cni_request_args(&r, ";;K8S_POD_NAME=a=b;K8S_POD_NAMESPACE=;IgnoreUnknown=1;K8S_POD_NAME=c;"
			     "K8S_POD_UID");
	assert_string_equal(r.pod, "c");
	assert_string_equal(r.namespace, "");
	assert_null(r.uid);
	assert_false(cni_request_has_pod(&r));
	cni_request_args(&r, "K8S_POD_NAMESPACE=n");
	assert_true(cni_request_has_pod(&r));
	cni_request_free(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chain), cmocka_unit_test(test_unchain),
		cmocka_unit_test(test_kinds), cmocka_unit_test(test_half_a_request),
		cmocka_unit_test(test_args),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
