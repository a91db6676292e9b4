/* SPDX-License-Identifier: Apache-2.0 */
/* kubeconfigs, what plugins print, and the YAML and base64 below them. ' stands for ". */
#include "agent/kube_config.h"
#include "agent/kube_exec.h"
#include "base/base64.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/yaml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define CONTEXT                                                                             \
	"current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"       \
	"clusters: [{name: c, cluster: {server: 'https://k:6443/', certificate-authority: " \
	"ca.crt}}]\n"

static int load(const char *text, struct kube_config *ret, char **ret_error)
{
	char path[] = "/tmp/weir-kubeconfig-XXXXXX";
	int fd = mkstemp(path), err;

	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	err = kube_config_load(path, ret, ret_error);
	unlink(path);
	return err;
}

static struct kube_config good(const char *text)
{
	struct kube_config c = { 0 };
	char *error;

	if (load(text, &c, &error) < 0)
		fail_msg("%s", error);
	return c;
}

static void bad(const char *text, const char *expected)
{
	struct kube_config c = { 0 };
	_cleanup_free_ char *error = NULL;

	assert_int_equal(load(text, &c, &error), -EINVAL);
	if (!strstr(error, expected))
		fail_msg("'%s' is not in '%s'", expected, error);
}

static void test_kubeconfig(void **state)
{
	struct kube_config c =
		good(CONTEXT "users: [{name: u, user: {token: t, client-key-data: a2V5,"
			     " client-certificate: /c.crt}}]");

	(void)state;
	assert_string_equal(c.server, "https://k:6443");
	assert_string_equal(c.ca.file, "/tmp/ca.crt");
	assert_string_equal(c.cert.file, "/c.crt");
	assert_string_equal(c.key.data, "key");
	assert_string_equal(c.token, "t");
	assert_null(c.exec.command);
	kube_config_free(&c);
}

static void test_exec(void **state)
{
	struct kube_config c =
		good(CONTEXT "users:\n- name: u\n  user:\n    exec:\n      command: aws\n"
			     "      apiVersion: client.authentication.k8s.io/v1beta1\n"
			     "      args: [eks, get-token]\n      env: [{name: A, value: b}]\n"
			     "      provideClusterInfo: true\n");

	(void)state;
	assert_string_equal(c.exec.command, "aws");
	assert_string_equal(c.exec.args[1], "get-token");
	assert_null(c.exec.args[2]);
	assert_string_equal(c.exec.env[0], "A=b");
	assert_string_equal(json_string_value(json_object_get(c.exec.cluster, "server")),
			    "https://k:6443/");
	kube_config_free(&c);
}

static void test_wrong(void **state)
{
	(void)state;
	bad("", "no kubeconfig");
	bad("a: *b", "");
	bad(CONTEXT, "there is no user named 'u'");
	bad(CONTEXT "users: [{name: u, user: {client-key-data: '***'}}]", "not base64");
	bad(CONTEXT "users: [{name: u, user: {token: t, as-groups: [g]}}]", "need as");
	bad(CONTEXT "users: [{name: u, user: {token: t, as: 'a\n\n b'}}]", "Impersonate-User");
	bad(CONTEXT "users: [{name: u, user: {token: t, as: a, as-user-extra: {k: [[]]}}}]",
	    "Impersonate-Extra-k");
	bad(CONTEXT "users: [{name: u, user: {auth-provider: {name: gcp}}}]", "use exec");
	bad(CONTEXT "users: [{name: u, user: {exec: {command: x}}}]", "exec.apiVersion");
	bad(CONTEXT "users: [{name: u, user: {exec: {command: x, interactiveMode: Always, "
		    "apiVersion: client.authentication.k8s.io/v1}}}]",
	    "no terminal");
}

static void test_impersonation(void **state)
{
	static const char *const expected[] = { "Impersonate-User: system:node:a",
						"Impersonate-Uid: 17", "Impersonate-Group: g",
						"Impersonate-Group: h",
						"Impersonate-Extra-acme.com%2Fscopes: view" };
	struct kube_config c =
		good(CONTEXT "users: [{name: u, user: {token: t, as: 'system:node:a', "
			     "as-uid: '17', as-groups: [g, h], as-user-extra: "
			     "{acme.com/scopes: [view]}}}]");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_string_equal(c.headers[i], expected[i]);
	assert_null(c.headers[ARRAY_SIZE(expected)]);
	kube_config_free(&c);
}

/* -- several files ---------------------------------------------------------------------------- */

struct folder {
	char path[64];
};

static void put(const struct folder *f, const char *name, const char *text)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", f->path, name);
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

/* "x:y" as the names of files in the folder. */
static char *several(const struct folder *f, const char *first, const char *second)
{
	return xasprintf("%s/%s::%s/%s", f->path, first, f->path, second);
}

static void test_several_files(void **state)
{
	struct folder f = { "/tmp/weir-kubeconfigs-XXXXXX" };
	_cleanup_free_ char *error = NULL, *names = NULL, *ca = NULL, *none = NULL;
	_cleanup_free_ char *half = NULL, *bad_one = NULL, *third = NULL, *below = NULL;
	struct kube_config c = { 0 };

	(void)state;
	assert_non_null(mkdtemp(f.path));
	below = xasprintf("%s/below", f.path);
	assert_int_equal(mkdir(below, 0700), 0);
	names = several(&f, "a", "below/b");
	none = several(&f, "c", "d");
	assert_int_equal(kube_config_load(none, &c, &error), -ENOENT);
	assert_non_null(strstr(error, "none of these files is there"));
	put(&f, "a",
	    "contexts: [{name: x, context: {cluster: c, user: u}}]\n"
	    "users: [{name: u, user: {token: first}}]\n");
	put(&f, "below/b", CONTEXT "users: [{name: u, user: {token: second, as: admin}}]\n");
	assert_int_equal(kube_config_load(names, &c, &error), 0);
	ca = xasprintf("%s/ca.crt", below);
	assert_string_equal(c.ca.file, ca); /* relative to its own file */
	assert_string_equal(c.token, "first");
	assert_null(c.headers); /* nothing of the second one of that name */
	assert_false(kube_config_changed(&c));
	put(&f, "below/b",
	    CONTEXT "users: []\n# longer than it was, and so another one by its size"
		    " even where clocks are coarse\n");
	assert_true(kube_config_changed(&c));
	kube_config_seen(&c);
	assert_false(kube_config_changed(&c));
	kube_config_free(&c);

	half = several(&f, "none", "below/b"); /* one that is missing does not count */
	free(error);
	assert_int_equal(kube_config_load(half, &c, &error), -EINVAL);
	assert_non_null(strstr(error, "there is no user named 'u'"));
	put(&f, "c", "[");
	bad_one = several(&f, "below/b", "c");
	free(error);
	assert_int_equal(kube_config_load(bad_one, &c, &error), -EINVAL);
	assert_non_null(strstr(error, "/c: "));

	put(&f, "e:g", CONTEXT "users: [{name: u, user: {token: colon}}]\n");
	third = xasprintf("%s/e:g", f.path);
	assert_int_equal(kube_config_load(third, &c, &error), 0);
	assert_string_equal(c.token, "colon");
	kube_config_free(&c);
	for (const char *const *name =
		     (const char *const[]){ "a", "below/b", "c", "e:g", "below", NULL };
	     *name; name++) {
		_cleanup_free_ char *path = xasprintf("%s/%s", f.path, *name);

		assert_int_equal(remove(path), 0);
	}
	assert_int_equal(remove(f.path), 0);
}

static int credential(const char *status, struct kube_credential *ret, char **ret_error)
{
	_cleanup_free_ char *text =
		xasprintf("{'apiVersion':'client.authentication.k8s.io/v1','kind':'ExecCredential',"
			  "'status':%s}",
			  status);

	for (char *c = text; *c; c++)
		*c = *c == '\'' ? '"' : *c;
	return kube_credential_parse(text, strlen(text), "client.authentication.k8s.io/v1", ret,
				     ret_error);
}

static void test_credential(void **state)
{
	static const char *const same_times[] = { "2026-01-02T03:04:05.123456789Z",
						  "2026-01-02T05:34:05+02:30",
						  "2026-01-01T22:04:05.5-05:00" };
	struct kube_credential c = { 0 };
	char *error = NULL;

	(void)state;
	assert_int_equal(credential("{'token':'t','expirationTimestamp':'2026-01-02T03:04:05Z'}",
				    &c, &error),
			 0);
	assert_string_equal(c.token, "t");
	assert_int_equal(c.expires, 1767323045);
	kube_credential_free(&c);
	for (size_t i = 0; i < ARRAY_SIZE(same_times); i++) {
		_cleanup_free_ char *text =
			xasprintf("{'token':'t','expirationTimestamp':'%s'}", same_times[i]);

		assert_int_equal(credential(text, &c, &error), 0);
		assert_int_equal(c.expires, 1767323045);
		kube_credential_free(&c);
	}
	assert_int_equal(credential("{'token':''}", &c, &error), -EINVAL);
	free(error);
	assert_int_equal(credential("{'clientCertificateData':'c'}", &c, &error), -EINVAL);
	free(error);
	assert_int_equal(credential("{'token':'t','expirationTimestamp':'soon'}", &c, &error),
			 -EINVAL);
	free(error);
}

static void test_base64(void **state)
{
	static const struct {
		const char *text, *expected; /* NULL: refused */
	} cases[] = { { "", "" },
		      { "Zg==", "f" },
		      { "Zm8=", "fo" },
		      { "Zm9v", "foo" },
		      { "Zm9v\nYg==\n", "foob" },
		      { "Zg=", NULL },
		      { "Zg", NULL },
		      { "Z===", NULL },
		      { "Zm9v!", NULL },
		      { "Zg==Zg==", NULL } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *data = NULL;
		size_t len = 0;
		int err = base64_decode(cases[i].text, &data, &len);

		assert_int_equal(err, cases[i].expected ? 0 : -EINVAL);
		if (!err) {
			assert_string_equal(data, cases[i].expected);
			assert_int_equal(len, strlen(cases[i].expected));
		}
		free(data);
	}
	for (size_t i = 0; i < 4; i++) {
		_cleanup_free_ char *text = base64_encode(cases[i].expected, i);

		assert_string_equal(text, cases[i].text);
	}
}

static void test_yaml(void **state)
{
	static const struct {
		const char *yaml, *json; /* NULL: refused */
	} cases[] = {
		{ "", "null" },
		{ "a: 1\nb: [true, ~, x, '1', 0x1f]\n",
		  "{\"a\":1,\"b\":[true,null,\"x\",\"1\",\"0x1f\"]}" },
		{ "{\"a\": {\"b\": \"c\"}}", "{\"a\":{\"b\":\"c\"}}" },
		{ "a: |\n  two\n  lines\n", "{\"a\":\"two\\nlines\\n\"}" },
		{ "a: 1\na: 2", NULL },
		{ "a: &x 1\nb: *x", NULL },
		{ "a\n---\nb", NULL },
		{ "[a", NULL },
		{ "? [a]\n: b", NULL },
		{ "\xff", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_free_ char *error = NULL, *text = NULL;
		json_t *value = NULL;
		int err = yaml_load(cases[i].yaml, strlen(cases[i].yaml), &value, &error);

		if (!err != !!cases[i].json)
			fail_msg("%s: %s", cases[i].yaml, error ?: "accepted");
		if (!err) {
			text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
			assert_string_equal(text, cases[i].json);
		}
		json_decref(value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kubeconfig),    cmocka_unit_test(test_exec),
		cmocka_unit_test(test_wrong),	      cmocka_unit_test(test_credential),
		cmocka_unit_test(test_base64),	      cmocka_unit_test(test_yaml),
		cmocka_unit_test(test_impersonation), cmocka_unit_test(test_several_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
