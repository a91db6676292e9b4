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

#define OURS "{\"type\": \"weir-cni\", \"runDir\": \"/r\"}"

static struct conflist parsed(const char *text)
{
	struct conflist c = { 0 };
	char *error = NULL;

	assert_int_equal(conflist_parse(strdup(text), strlen(text), &c, &error), 0);
	return c;
}

/* NULL for expected: nothing is to change. */
static void assert_chained(const char *text, const char *expected)
{
	_cleanup_conflist_ struct conflist c = parsed(text);
	_cleanup_free_ char *chain = NULL, *error = NULL;
	json_t *entry = json_loads(OURS, 0, NULL);

	assert_int_equal(conflist_chain(&c, entry, &chain, &error), 0);
	if (expected)
		assert_string_equal(chain, expected);
	else
		assert_null(chain);
	json_decref(entry);
}

static void assert_unchained(const char *text, int err, const char *expected)
{
	_cleanup_conflist_ struct conflist c = parsed(text);
	_cleanup_free_ char *rest = NULL;

	assert_int_equal(conflist_unchain(&c, &rest), err);
	if (expected)
		assert_string_equal(rest, expected);
	else
		assert_null(rest);
}

#define HEAD "{ \"name\":\"n\",\"cniVersion\":\"1.0.0\", \"plugins\" :[ "

static void test_chain(void **state)
{
	(void)state;
	assert_chained(HEAD "{\"b\":null,\"type\":\"a\"} ],\"aa\":[1.10]}\n\n",
		       HEAD "{\"b\":null,\"type\":\"a\"}, " OURS " ],\"aa\":[1.10]}\n\n");
	assert_chained(HEAD "{\"type\":\"a\"},\n\t{\"type\":\"b\"}\n]}",
		       HEAD "{\"type\":\"a\"},\n\t{\"type\":\"b\"},\n\t" OURS "\n]}");
	assert_chained(HEAD "{\"type\":\"a\"}," OURS "]}", NULL);
	assert_chained(HEAD "{\"type\":\"a\"},{\"type\":\"weir-cni\"},{\"type\":\"b\"}, " OURS "]}",
		       HEAD "{\"type\":\"a\"}," OURS ",{\"type\":\"b\"}]}");
}

static void test_chain_of_a_single_plugin(void **state)
{
	static const char single[] =
		"\n{\"name\":\"n\", \"cniVersion\":\"0.4.0\",\"type\":\"a\"}\n";
	static const char chain[] = "{\n  \"cniVersion\": \"0.4.0\",\n  \"name\": \"n\",\n"
				    "  \"plugins\": [\n{\"name\":\"n\", \"cniVersion\":\"0.4.0\","
				    "\"type\":\"a\"},\n" OURS "\n  ]\n}\n";
	_cleanup_conflist_ struct conflist one = parsed(single), all = parsed(chain);

	(void)state;
	assert_chained(single, chain);
	assert_true(conflist_is_chain_of(&all, &one));
	conflist_free(&one);
	one = parsed("{\"name\":\"n\",\"cniVersion\":\"0.4.0\",\"type\":\"a\",\"mtu\":1}");
	assert_false(conflist_is_chain_of(&all, &one));
}

/* What goes out of the chain leaves the very bytes that were there before. */
static void test_unchain(void **state)
{
	(void)state;
	assert_unchained(HEAD OURS ",\n {\"type\":\"a\"} ,\t" OURS " ]}", 0,
			 HEAD "{\"type\":\"a\"} ]}");
	assert_unchained(HEAD "{\"type\":\"a\"}]}", 0, NULL);
	assert_unchained(HEAD OURS "]}", -ENOENT, NULL);
	assert_unchained("{\"name\":\"n\",\"type\":\"a\"}", 0, NULL);
}

static void test_versions(void **state)
{
	static const struct {
		const char *members;
		int err;
	} cases[] = {
		{ "\"cniVersion\":\"0.3.1\",", 0 },
		{ "\"cniVersion\":\"0.2.0\",", -ENOTSUP },
		{ "", -ENOTSUP },
		{ "\"cniVersion\":\"9.0.0\",\"cniVersions\":[\"1.0.0\",\"9.0.0\"],", 0 },
		{ "\"cniVersions\":[\"0.2.0\",1],", -ENOTSUP },
	};
	json_t *entry = json_loads(OURS, 0, NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *text = NULL, *chain = NULL, *error = NULL;
		_cleanup_conflist_ struct conflist c = { 0 };

		assert_true(asprintf(&text, "{%s\"name\":\"n\",\"plugins\":[{\"type\":\"a\"}]}",
				     cases[i].members) > 0);
		c = parsed(text);
		assert_int_equal(conflist_chain(&c, entry, &chain, &error), cases[i].err);
		assert_int_equal(!chain, !!cases[i].err);
	}
	json_decref(entry);
}

/* A parser reads such keys; the text is not edited by guesses. */
static void test_escaped_keys(void **state)
{
	_cleanup_conflist_ struct conflist c = parsed(
		"{\"name\":\"n\",\"cniVersion\":\"1.0.0\",\"plug\\u0069ns\":[{\"type\":\"a\"}]}");
	_cleanup_free_ char *chain = NULL, *error = NULL;
	json_t *entry = json_loads(OURS, 0, NULL);

	(void)state;
	assert_int_equal(conflist_chain(&c, entry, &chain, &error), -EBADMSG);
	assert_null(chain);
	json_decref(entry);
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
		_cleanup_conflist_ struct conflist c = parsed(cases[i].text);

		assert_int_equal(c.kind, cases[i].kind);
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
		cmocka_unit_test(test_chain),
		cmocka_unit_test(test_chain_of_a_single_plugin),
		cmocka_unit_test(test_unchain),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_escaped_keys),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_half_a_request),
		cmocka_unit_test(test_args),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
