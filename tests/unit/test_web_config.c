/* SPDX-License-Identifier: Apache-2.0 */
/* --web.config.file: what it says, and what is said of one that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "exporter/access.h"
#include "exporter/web_config.h"

#define TLS  "tls_server_config:\n  cert: C\n  key: K\n"
#define HASH "$2b$04$YKIpdZpNETIuYLMCYv15CeYUSxk5iUAMKDPAycr316JEKYn5HYUFy" /* of "secret" */

static char folder[] = "/tmp/weir-web-XXXXXX";

static char *path_of(const char *name)
{
	return xasprintf("%s/%s", folder, name);
}

static void put(const char *name, const char *text)
{
	_cleanup_free_ char *path = path_of(name);

	assert_int_equal(file_write(path, text, strlen(text), 0600), 0);
}

static int load(const char *text, struct web_config *ret, char **ret_error)
{
	_cleanup_free_ char *path = path_of("web.yml");

	put("web.yml", text);
	return web_config_load(path, ret, ret_error);
}

static void test_right_ones(void **state)
{
	static const struct {
		const char *text;
		size_t users, headers, sans;
		const char *priority;
		enum web_client_auth auth;
	} cases[] = {
		{ "", 0, 0, 0, NULL, 0 },
		{ "{}", 0, 0, 0, NULL, 0 },
		{ "tls_server_config: {}\nhttp_server_config:\nbasic_auth_users:\n", 0, 0, 0, NULL,
		  0 },
		{ TLS, 0, 0, 0, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2", 0 },
		{ TLS "  max_version: TLS12\n  min_version: TLS10\n", 0, 0, 0,
		  "NORMAL:-VERS-ALL:+VERS-TLS1.2:+VERS-TLS1.1:+VERS-TLS1.0", 0 },
		{ TLS "  min_version: TLS13\n  curve_preferences: [X25519, CurveP256]\n", 0, 0, 0,
		  "NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1", 0 },
		{ TLS "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n"
		      "  client_allowed_sans: [a, b]\n  cipher_suites: []\n"
		      "  prefer_server_cipher_suites: true\n",
		  0, 0, 2, "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2",
		  WEB_REQUIRE_AND_VERIFY_CLIENT_CERT },
		{ "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: "
		  "sameorigin\n"
		  "    X-Content-Type-Options: nosniff\n    Strict-Transport-Security: max-age=1\n",
		  0, 2, 0, NULL, 0 },
		{ "basic_auth_users: {a: " HASH ", b: " HASH "}\n", 2, 0, 0, NULL, 0 },
	};

	(void)state;
	put("ca.pem", "CA");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_web_config_ struct web_config c = { 0 };
		_cleanup_free_ char *error = NULL;

		if (load(cases[i].text, &c, &error) < 0)
			fail_msg("%s", error);
		assert_int_equal(c.tls, cases[i].priority != NULL);
		assert_int_equal(c.n_users, cases[i].users);
		assert_int_equal(c.n_headers, cases[i].headers);
		assert_int_equal(c.n_sans, cases[i].sans);
		assert_int_equal(c.client_auth, cases[i].auth);
		if (c.tls)
			assert_string_equal(c.priority, cases[i].priority);
	}
}

static void test_wrong_ones(void **state)
{
	static const struct {
		const char *text, *says;
	} cases[] = {
		{ "tls_server_config: {cert: C}\n", "needs cert_file and key_file" },
		{ "tls_server_config: {cert_file: none.crt, key: K}\n", "none.crt: No such file" },
		{ "tls_server_config: {cert_file: a, cert: C, key: K}\n",
		  "both cert and cert_file" },
		{ "tls_server_config: [cert]\n", "no mapping" },
		{ "tls_server_config: {cert: [1], key: K}\n", "cert is no text" },
		{ TLS "  client_auth_type: Maybe\n", "client_auth_type: \"Maybe\"" },
		{ TLS "  client_ca: CA\n", "none is asked" },
		{ TLS "  client_allowed_sans: [a]\n", "none is asked" },
		{ TLS "  client_allowed_sans: a\n", "no list" },
		{ TLS "  client_auth_type: VerifyClientCertIfGiven\n", "needs client_ca_file" },
		{ TLS "  min_version: TLS13\n  max_version: TLS12\n", "above max_version" },
		{ TLS "  min_version: SSL30\n", "min_version: \"SSL30\"" },
		{ TLS "  curve_preferences: [CurveP224]\n", "curve_preferences: \"CurveP224\"" },
		{ TLS "  cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]\n", "none can be chosen" },
		{ TLS "  cerd: x\n", "unknown field cerd" },
		{ "basic_auth_users: {alice: secret}\n", "bcrypt" },
		{ "basic_auth_users: {alice: 1}\n", "bcrypt" },
		{ "basic_auth_users: [alice]\n", "mapping" },
		{ "http_server_config: {headers: {X-Frame-Options: perhaps}}\n", "\"perhaps\"" },
		{ "http_server_config: {headers: {Server: x}}\n", "cannot be set" },
		{ "http_server_config: {headers: {Content-Security-Policy: \"a\\r\\nb\"}}\n",
		  "line break" },
		{ "http_server_config: {http3: true}\n", "unknown field http3" },
		{ "unknown: 1\n", "unknown field unknown" },
		{ "[1]\n", "mapping" },
		{ "a: [\n", "line" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_web_config_ struct web_config c = { 0 };
		_cleanup_free_ char *error = NULL;

		if (load(cases[i].text, &c, &error) == 0)
			fail_msg("taken: %s", cases[i].text);
		if (!strstr(error, cases[i].says))
			fail_msg("no \"%s\" in: %s", cases[i].says, error);
		assert_int_equal(c.n_files, 0);
	}
}

static void test_changes_are_seen(void **state)
{
	_cleanup_web_config_ struct web_config c = { 0 };
	_cleanup_free_ char *error = NULL, *ca = path_of("ca.pem");

	(void)state;
	put("ca.pem", "CA");
	assert_int_equal(load(TLS
			      "  client_auth_type: RequestClientCert\n  client_ca_file: ca.pem\n",
			      &c, &error),
			 0);
	assert_false(web_config_changed(&c));
	unlink(ca);
	assert_false(web_config_changed(&c)); /* it is being replaced */
	put("ca.pem", "CB");
	assert_true(web_config_changed(&c));
}

static void test_passwords(void **state)
{
	_cleanup_free_ char *error = NULL, *path = path_of("web.yml");
	struct access *a = NULL;

	(void)state;
	put("web.yml", "basic_auth_users: {alice: " HASH "}\n");
	assert_int_equal(access_open(path, &a, &error), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(access_check(a, "alice", "secret"), ACCESS_GRANTED);
		assert_int_equal(access_check(a, "alice", "Secret"), ACCESS_DENIED);
		assert_int_equal(access_check(a, "alice", ""), ACCESS_DENIED);
		assert_int_equal(access_check(a, "bob", "secret"), ACCESS_DENIED);
		assert_int_equal(access_check(a, NULL, NULL), ACCESS_DENIED);
		assert_int_equal(access_check(a, "alice", NULL), ACCESS_DENIED);
	}
	put("web.yml", "basic_auth_users: {bob: " HASH "}\n");
	access_refresh(a);
	assert_int_equal(access_check(a, "alice", "secret"), ACCESS_DENIED);
	assert_int_equal(access_check(a, "bob", "secret"), ACCESS_GRANTED);
	access_close(a);
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
	static const char *const names[] = { "web.yml", "ca.pem" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		_cleanup_free_ char *path = path_of(names[i]);

		unlink(path);
	}
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_right_ones),
		cmocka_unit_test(test_wrong_ones),
		cmocka_unit_test(test_changes_are_seen),
		cmocka_unit_test(test_passwords),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
