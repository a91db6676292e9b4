/* SPDX-License-Identifier: Apache-2.0 */
/* Which answers have arrived: asked by clients that read, that hang up and that read half. */
#include "base/clock.h"
#include "tests/unit/web.h"

#define GET "GET /metrics HTTP/1.1\r\nHost: x\r\n"

/* Another scrape, after which the one before has been judged. */
static void scrape(struct server *s)
{
	_cleanup_buf_ struct buf got = ask(s, "GET", "/metrics", "Connection: close\r\n");

	assert_says(&got, " 200 ");
}

static void turns(struct server *s, int n)
{
	while (n--)
		turn(s, -1);
}

static void assert_delivered(struct server *s, uint64_t number, bool wanted)
{
	bool found = false;

	scrape(s);
	for (size_t i = 0; i < s->fake.n_delivered; i++)
		found = found || s->fake.delivered[i] == number;
	assert_int_equal(found, wanted);
}

/* Hangs up as a process does that ends with data unread. */
static void reset(int *fd)
{
	struct linger at_once = { .l_onoff = 1 };

	setsockopt(*fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close_fd(fd);
}

static void test_an_answer_that_was_read(void **state)
{
	struct server s = { 0 };

	(void)state;
	start(&s);
	scrape(&s);
	assert_delivered(&s, 1, true);
	assert_delivered(&s, 2, true);
	stop(&s);
}

static void test_the_server_closes_first(void **state)
{
	_cleanup_buf_ struct buf got = { 0 };
	struct server s = { 0 };
	_cleanup_close_ int fd = -1;
	double limit = clock_seconds() + 10;

	(void)state;
	start(&s);
	fd = dial(&s);
	say(fd, GET "Connection: close\r\n\r\n");
	while (hear(fd, &got)) { /* to the end, which comes although the answer is waited for */
		assert_true(clock_seconds() < limit);
		turn(&s, fd);
	}
	close_fd(&fd);
	assert_delivered(&s, 1, true);
	stop(&s);
}

/* The kernel has taken all of this short answer, and nobody has read it. */
static void test_a_client_that_hangs_up(void **state)
{
	static const char *const requests[] = { GET "\r\n", GET "Connection: close\r\n\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		struct server s = { 0 };
		_cleanup_close_ int fd = -1;

		start(&s);
		fd = dial(&s);
		say(fd, requests[i]);
		turns(&s, 3);
		assert_int_equal(s.fake.scrapes, 1);
		reset(&fd);
		assert_delivered(&s, 1, false);
		assert_delivered(&s, 2, true);
		stop(&s);
	}
}

static void test_a_client_that_reads_half(void **state)
{
	struct server s = { .fake.lines = 2000000 };
	_cleanup_close_ int fd = -1;
	char some[100];

	(void)state;
	start(&s);
	fd = dial(&s);
	say(fd, GET "\r\n");
	turns(&s, 3);
	assert_int_equal(recv(fd, some, sizeof(some), 0), sizeof(some));
	close_fd(&fd);
	s.fake.lines = 0;
	assert_delivered(&s, 1, false);
	stop(&s);
}

static void test_a_client_that_asks_again(void **state)
{
	struct server s = { 0 };
	_cleanup_close_ int fd = -1;

	(void)state;
	start(&s);
	fd = dial(&s);
	for (int i = 0; i < 3; i++) {
		_cleanup_buf_ struct buf got = { 0 };

		say(fd, GET "\r\n");
		got = answer(&s, fd, false);
		assert_says(&got, " 200 ");
		assert_int_equal(s.fake.n_delivered, i);
	}
	stop(&s);
}

/* It has been told how much there is, and nothing of it. */
static void test_head_is_no_scrape(void **state)
{
	_cleanup_buf_ struct buf got = { 0 };
	struct server s = { 0 };

	(void)state;
	start(&s);
	got = ask(&s, "HEAD", "/metrics", "Connection: close\r\n");
	assert_delivered(&s, 1, false);
	stop(&s);
}

/* More that hang than are kept in mind; what comes after them is judged all the same. */
static void test_many_that_never_read(void **state)
{
	struct server s = { 0 };
	int fds[40];

	(void)state;
	start(&s);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = dial(&s);
		say(fds[i], GET "\r\n");
		turns(&s, 2);
	}
	assert_int_equal(s.fake.scrapes, ARRAY_SIZE(fds));
	scrape(&s);
	assert_delivered(&s, ARRAY_SIZE(fds) + 1, true);
	assert_int_equal(s.fake.n_delivered, 1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close_fd(&fds[i]);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_that_was_read),
		cmocka_unit_test(test_the_server_closes_first),
		cmocka_unit_test(test_a_client_that_hangs_up),
		cmocka_unit_test(test_a_client_that_reads_half),
		cmocka_unit_test(test_a_client_that_asks_again),
		cmocka_unit_test(test_head_is_no_scrape),
		cmocka_unit_test(test_many_that_never_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
