/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as system calls have them: both families, and both ends of a connection. */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/inet.h"
#include "base/sockaddr.h"

static void assert_is(const uint8_t ip[16], const char *text)
{
	char have[INET_TEXT];

	assert_string_equal(inet_format(ip, have), text);
}

static void test_families(void **state)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET,
				  .sin_port = htons(80),
				  .sin_addr.s_addr = htonl(0x0a010203) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6,
				   .sin6_port = htons(443),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_un other = { .sun_family = AF_UNIX };
	uint8_t ip[16] = { 7 };
	uint16_t port = 7;

	(void)state;
	assert_int_equal(sockaddr_read((void *)&other, ip, &port), -EAFNOSUPPORT);
	assert_int_equal(ip[0], 7);
	assert_int_equal(port, 7);
	assert_int_equal(sockaddr_read((void *)&v4, ip, &port), 0);
	assert_is(ip, "10.1.2.3");
	assert_int_equal(port, 80);
	assert_int_equal(sockaddr_read((void *)&v6, ip, &port), 0);
	assert_is(ip, "::1");
	assert_int_equal(port, 443);
}

/* One address has one spelling, whatever the socket's family. */
static void test_both_ends(void **state)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6 };
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	_cleanup_close_ int listener = socket(AF_INET6, SOCK_STREAM, 0);
	_cleanup_close_ int near = socket(AF_INET, SOCK_STREAM, 0), far = -1;
	uint16_t port, client_port, seen_port;
	uint8_t ip[16];

	(void)state;
	assert_int_equal(bind(listener, (void *)&any, sizeof(any)), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(sockaddr_local(listener, ip, &port), 0);
	assert_is(ip, "::");
	to.sin_port = htons(port);
	assert_int_equal(connect(near, (void *)&to, sizeof(to)), 0);
	far = accept(listener, NULL, NULL);
	assert_int_equal(sockaddr_local(near, ip, &client_port), 0);
	assert_is(ip, "127.0.0.1");
	assert_int_equal(sockaddr_peer(far, ip, &seen_port), 0);
	assert_is(ip, "127.0.0.1");
	assert_int_equal(seen_port, client_port);
	assert_int_equal(sockaddr_peer(listener, ip, &port), -ENOTCONN);
	assert_int_equal(sockaddr_local(-1, ip, &port), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_both_ends),
	};

	return cmocka_run_group_tests_name("sockaddr", tests, NULL, NULL);
}
