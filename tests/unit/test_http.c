/* SPDX-License-Identifier: Apache-2.0 */
/* The web server, in this process and driven by the test's own loop, asked through sockets. */
#include "tests/unit/web.h"

#include <zlib.h>

#include "base/clock.h"
#include "exporter/negotiate.h"

#define PROMETHEUS                                                               \
	"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," \
	"application/openmetrics-text;version=0.0.1;q=0.5,"                      \
	"text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"                   \
	"text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
#define TEXT	    "text/plain; version=0.0.4; charset=utf-8"
#define OPENMETRICS "application/openmetrics-text; version=1.0.0; charset=utf-8"

static void test_answers(void **state)
{
	static const struct {
		const char *method, *path, *headers;
		const char *says[4];
	} cases[] = {
		{ "GET", "/metrics", "", { " 200 ", "Content-Type: " TEXT "\r\n", "format 0\n" } },
		{ "GET", "/metrics?name[]=x", "", { " 200 ", TEXT, "format 0\n" } },
		{ "GET",
		  "/metrics",
		  "Accept: " PROMETHEUS "\r\n",
		  { " 200 ", "Content-Type: " OPENMETRICS "\r\n", "format 1\n", "Vary: Accept" } },
		{ "GET", "/metrics", "Accept: */*\r\n", { " 200 ", TEXT, "format 0\n" } },
		{ "GET", "/healthz", "", { " 200 ", "Content-Type: text/plain", "ok\n" } },
		{ "GET", "/readyz", "", { " 200 ", "Content-Type: text/plain", "all there\n" } },
		{ "GET",
		  "/",
		  "",
		  { " 200 ", "text/html; charset=UTF-8", "href=\"/metrics\"", "&#60;1&#62;" } },
		{ "GET", "/other", "", { " 404 ", "not found" } },
		{ "GET", "/metrics/", "", { " 404 ", "not found" } },
		{ "POST",
		  "/metrics",
		  "Content-Length: 3\r\n",
		  { " 405 ", "Allow: GET, HEAD\r\n" } },
		{ "DELETE", "/metrics", "", { " 405 ", "Allow: GET, HEAD\r\n" } },
		{ "OPTIONS", "*", "", { " 405 ", "Allow: GET, HEAD\r\n" } },
	};
	struct server s = { 0 };

	(void)state;
	start(&s);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_buf_ struct buf got =
			ask(&s, cases[i].method, cases[i].path, cases[i].headers);

		for (size_t j = 0; j < ARRAY_SIZE(cases[i].says) && cases[i].says[j]; j++)
			assert_says(&got, cases[i].says[j]);
	}
	stop(&s);
}

static void test_head_has_no_body(void **state)
{
	_cleanup_buf_ struct buf got = { 0 };
	struct server s = { 0 };

	(void)state;
	start(&s);
	got = ask(&s, "HEAD", "/metrics", "Connection: close\r\n");
	assert_says(&got, " 200 ");
	assert_says(&got, "Content-Length: 9\r\n");
	assert_string_equal(body_of(&got), "");
	stop(&s);
}

static void test_failures_are_told(void **state)
{
	_cleanup_buf_ struct buf metrics = { 0 }, ready = { 0 };
	struct server s = { 0 };

	(void)state;
	start(&s);
	s.fake.error = -EPERM;
	s.fake.ready = false;
	metrics = ask(&s, "GET", "/metrics", "Accept-Encoding: gzip\r\n");
	assert_says(&metrics, " 500 ");
	assert_says(&metrics, "Operation not permitted");
	ready = ask(&s, "GET", "/readyz", "");
	assert_says(&ready, " 503 ");
	assert_says(&ready, "hooks are missing");
	stop(&s);
}

static void unpack(const struct buf *got, char *out, size_t size)
{
	const char *body = body_of(got);
	z_stream z = { .next_in = (Bytef *)body,
		       .avail_in = (uInt)(got->len - (size_t)(body - got->data)),
		       .next_out = (Bytef *)out,
		       .avail_out = (uInt)size - 1 };

	assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	out[z.total_out] = '\0';
	inflateEnd(&z);
}

static void test_gzip(void **state)
{
	static char text[1 << 20];
	_cleanup_buf_ struct buf got = { 0 }, plain = { 0 };
	struct server s = { .fake.lines = 10000 };

	(void)state;
	start(&s);
	got = ask(&s, "GET", "/metrics", "Accept-Encoding: gzip\r\n");
	assert_says(&got, "Content-Encoding: gzip\r\n");
	unpack(&got, text, sizeof(text));
	plain = ask(&s, "GET", "/metrics", "Accept-Encoding: gzip;q=0\r\n");
	assert_null(strstr(buf_text(&plain), "Content-Encoding"));
	assert_string_equal(text, body_of(&plain));
	assert_true(got.len < plain.len / 2);
	stop(&s);
}

static void test_keep_alive(void **state)
{
	struct server s = { 0 };
	_cleanup_close_ int fd = -1;

	(void)state;
	start(&s);
	fd = dial(&s);
	for (int i = 0; i < 3; i++) {
		_cleanup_buf_ struct buf got = { 0 };

		say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nxx");
		got = answer(&s, fd, false);
		assert_says(&got, "format 0\n");
	}
	assert_int_equal(s.fake.scrapes, 3);
	stop(&s);
}

/* Both get the whole of an answer that fits in no socket buffer, though nobody reads at first. */
static void test_concurrent_scrapers(void **state)
{
	struct server s = { .fake.lines = 1000000 };
	struct http_options options = options_for(&s);
	_cleanup_close_ int one = -1, two = -1;
	_cleanup_buf_ struct buf first = { 0 }, second = { 0 };

	(void)state;
	options.timeout_s = 10;
	start_with(&s, &options);
	one = dial(&s);
	two = dial(&s);
	say(one, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	say(two, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	turn(&s, -1);
	turn(&s, -1);
	second = answer(&s, two, false);
	first = answer(&s, one, false);
	assert_int_equal(first.len, second.len);
	assert_says(&first, "line 999999\n");
	assert_int_equal(s.fake.scrapes, 2);
	stop(&s);
}

/* A client that drips keeps being active, and is cut all the same. */
static void test_slow_client_is_cut(void **state)
{
	double begin = clock_seconds();
	struct buf got = { 0 };
	struct server s = { 0 };
	_cleanup_close_ int fd = -1;

	(void)state;
	start(&s);
	fd = dial(&s);
	say(fd, "GET /metrics HTTP/1.1\r\nX: ");
	while (hear(fd, &got)) {
		assert_true(clock_seconds() < begin + 5);
		send(fd, "x", 1, MSG_NOSIGNAL);
		turn(&s, fd);
	}
	assert_true(clock_seconds() >
		    begin + 0.4); /* newer libmicrohttpd counts whole ticks of its own clock */
	assert_int_equal(s.fake.scrapes, 0);
	buf_free(&got);
	stop(&s);
}

/* A client that takes its answer drop by drop is cut as well, and its memory is freed. */
static void test_slow_reader_is_cut(void **state)
{
	struct server s = { .fake.lines = 1000000 };
	double begin = clock_seconds();
	_cleanup_close_ int fd = -1;
	char drop[16];
	ssize_t n;

	(void)state;
	start(&s);
	fd = dial(&s);
	say(fd, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
	do {
		assert_true(clock_seconds() < begin + 5);
		turn(&s, -1);
		n = recv(fd, drop, sizeof(drop), MSG_DONTWAIT);
	} while (http_timeout_ms(s.http) != -1);
	assert_true(n == sizeof(drop));
	assert_true(clock_seconds() >
		    begin + 0.4); /* newer libmicrohttpd counts whole ticks of its own clock */
	stop(&s);
}

/* Idle connections beyond the limit give way, the oldest first, and a scrape still goes through. */
static void test_crowd(void **state)
{
	struct server s = { 0 };
	struct http_options options = options_for(&s);
	int idle[100];

	(void)state;
	options.connections = 8;
	options.timeout_s = 60;
	start_with(&s, &options);
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++)
		idle[i] = dial(&s);
	for (int i = 0; i < 3; i++) {
		_cleanup_buf_ struct buf got = ask(&s, "GET", "/metrics", "");

		assert_says(&got, "format 0\n");
	}
	for (size_t i = 0; i < ARRAY_SIZE(idle); i++) {
		struct buf got = { 0 };
		bool open = hear(idle[i], &got);

		assert_true(i < 90 ? !open : true);
		buf_free(&got);
		close(idle[i]);
	}
	stop(&s);
}

/* With everyone gone there is nothing to wake up for. */
static void test_rests(void **state)
{
	_cleanup_buf_ struct buf got = { 0 };
	struct server s = { 0 };

	(void)state;
	start(&s);
	assert_int_equal(http_timeout_ms(s.http), -1);
	got = ask(&s, "GET", "/healthz", "");
	for (int i = 0; i < 5; i++)
		turn(&s, -1);
	assert_int_equal(http_timeout_ms(s.http), -1);
	stop(&s);
}

static void test_telemetry_path(void **state)
{
	_cleanup_buf_ struct buf own = { 0 }, usual = { 0 };
	struct server s = { 0 };
	struct http_options options = options_for(&s);

	(void)state;
	options.telemetry_path = "/";
	start_with(&s, &options);
	own = ask(&s, "GET", "/", "");
	usual = ask(&s, "GET", "/metrics", "");
	assert_says(&own, "format 0\n");
	assert_says(&usual, " 404 ");
	stop(&s);
}

static void test_every_address_of_both_families(void **state)
{
	struct sockaddr_in6 to = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	_cleanup_close_ int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1;
	_cleanup_buf_ struct buf v4 = { 0 }, v6 = { 0 };
	struct server s = { 0 };
	struct http_options options = options_for(&s);

	(void)state;
	options.listen_address = ":0";
	start_with(&s, &options);
	v4 = ask(&s, "GET", "/healthz", "");
	assert_says(&v4, " 200 ");
	if (probe < 0 || bind(probe, (struct sockaddr *)&to, sizeof(to)) < 0) {
		print_message("no IPv6 here\n");
		stop(&s);
		skip();
	}
	to.sin6_port = htons(http_port(s.http));
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	say(fd, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	v6 = answer(&s, fd, false);
	assert_says(&v6, " 200 ");
	stop(&s);
}

static void test_addresses_that_are_none(void **state)
{
	static const char *const addresses[] = {
		"",	    "9000",   "127.0.0.1",    "127.0.0.1:",	 "127.0.0.1:http",
		"::1:9000", "[::1]",  "[::1:9000",    "127.0.0.1:65536", "127.0.0.1:-1",
		"[]:1x",    "[::1]9", "127.0.0.1:+1", "1:2:3",
	};
	struct server s = { 0 };
	struct http_options options = options_for(&s);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		_cleanup_free_ char *error = NULL;

		options.listen_address = addresses[i];
		assert_int_equal(http_start(&options, &s.http, &error), -EINVAL);
		assert_non_null(strstr(error, "ADDR:PORT"));
		assert_null(s.http);
	}
}

static void test_address_in_use(void **state)
{
	struct server s = { 0 }, second = { 0 };
	struct http_options options = options_for(&second);
	_cleanup_free_ char *address = NULL, *error = NULL, *expected = NULL;

	(void)state;
	start(&s);
	address = xasprintf("127.0.0.1:%u", http_port(s.http));
	expected = xasprintf("cannot listen on %s: Address already in use", address);
	options.listen_address = address;
	assert_int_equal(http_start(&options, &second.http, &error), -EADDRINUSE);
	assert_string_equal(error, expected);
	stop(&s);
}

static void test_bad_options(void **state)
{
	static const char *const paths[] = { "", "metrics", "/healthz", "/readyz", "/a?b", "/a b" };
	struct server s = { 0 };
	struct http_options options = options_for(&s);
	_cleanup_free_ char *tls = NULL;

	(void)state;
	options.config_file = "/etc/weir/no-such-web.yml";
	assert_int_equal(http_start(&options, &s.http, &tls), -ENOENT);
	assert_string_equal(tls, "/etc/weir/no-such-web.yml: No such file or directory");
	options.config_file = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		_cleanup_free_ char *error = NULL;

		options.telemetry_path = paths[i];
		assert_int_equal(http_start(&options, &s.http, &error), -EINVAL);
		assert_non_null(strstr(error, "telemetry path"));
	}
}

static void test_negotiation(void **state)
{
	static const struct {
		const char *accept;
		enum render_format format;
	} formats[] = {
		{ NULL, RENDER_TEXT },
		{ "", RENDER_TEXT },
		{ "*/*", RENDER_TEXT },
		{ PROMETHEUS, RENDER_OPENMETRICS },
		{ "application/openmetrics-text", RENDER_OPENMETRICS },
		{ "Application/OpenMetrics-Text ; Version=\t1.0.0", RENDER_OPENMETRICS },
		{ "application/openmetrics-text;version=0.0.1", RENDER_TEXT },
		{ "application/openmetrics-text;version=2.0.0,*/*;q=0.1", RENDER_TEXT },
		{ "application/openmetrics-text;q=0", RENDER_TEXT },
		{ "application/openmetrics-text;q=0.3,text/plain;q=0.7", RENDER_TEXT },
		{ "text/plain;q=0.2,application/openmetrics-text;q=0.25,*/*", RENDER_OPENMETRICS },
		{ "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily", 0 },
		{ ",;,;;q=,q=;=", RENDER_TEXT },
	};
	static const struct {
		const char *accept;
		bool gzip;
	} encodings[] = {
		{ NULL, false },
		{ "", false },
		{ "gzip", true },
		{ "identity", false },
		{ "deflate, GZip", true },
		{ "gzip;q=0", false },
		{ "gzip; q=0.000", false },
		{ "gzip;q=0.001", true },
		{ "br, *;q=0.1", true },
		{ "*, gzip;q=0", false },
		{ "identity, gzip;q=0.5", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		assert_int_equal(negotiate_format(formats[i].accept), formats[i].format);
	for (size_t i = 0; i < ARRAY_SIZE(encodings); i++)
		assert_int_equal(negotiate_gzip(encodings[i].accept), encodings[i].gzip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_head_has_no_body),
		cmocka_unit_test(test_failures_are_told),
		cmocka_unit_test(test_gzip),
		cmocka_unit_test(test_keep_alive),
		cmocka_unit_test(test_concurrent_scrapers),
		cmocka_unit_test(test_slow_client_is_cut),
		cmocka_unit_test(test_slow_reader_is_cut),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_rests),
		cmocka_unit_test(test_telemetry_path),
		cmocka_unit_test(test_every_address_of_both_families),
		cmocka_unit_test(test_addresses_that_are_none),
		cmocka_unit_test(test_address_in_use),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_negotiation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
