/* SPDX-License-Identifier: Apache-2.0 */
/* A file written beside the loop: what comes to the disk and in which order, however slow it is. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/writer.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"

#define PATIENCE_MS 20000 /* a test that waits longer has failed */

/*
 * The disk: what was written to it. While it is held, a write has begun and does not end. Touched
 * by the writer's thread between the two semaphores, by the test otherwise.
 */
static struct disk {
	sem_t begun, ended;
	bool held;
	bool by_loop; /* a write in the loop's own thread */
	int err; /* what a write comes to */
	pthread_t loop;
	struct buf writes; /* texts, each with a space behind it */
} disk;

static bool no_threads;

int __real_file_write(const char *path, const void *data, size_t len, unsigned int mode);
int __wrap_file_write(const char *path, const void *data, size_t len, unsigned int mode);
int __real_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);
int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg);

int __wrap_file_write(const char *path, const void *data, size_t len, unsigned int mode)
{
	if (disk.held) {
		sem_post(&disk.begun);
		sem_wait(&disk.ended);
	}
	disk.by_loop |= pthread_equal(pthread_self(), disk.loop);
	buf_printf(&disk.writes, "%s ", (const char *)data);
	return disk.err ?: __real_file_write(path, data, len, mode);
}

int __wrap_pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *),
			  void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(ret, attr, run, arg);
}

struct fixture {
	char dir[32];
	char *path;
	struct loop *loop;
	int timer_fd;
	struct writer *writer;
	int done; /* how often it was called */
	int err; /* the last time */
};

static void on_done(void *ctx, int err)
{
	struct fixture *f = ctx;

	f->done++;
	f->err = err;
	loop_stop(f->loop);
}

static void on_timeout(void *ctx, uint32_t events)
{
	(void)ctx;
	(void)events;
	fail_msg("done was not called");
}

static int set_up(void **state)
{
	struct fixture *f = xcalloc(1, sizeof(*f));

	strcpy(f->dir, "/tmp/weir-writer-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	f->path = xasprintf("%s/state/captured.json", f->dir);
	assert_int_equal(loop_new(&f->loop), 0);
	f->timer_fd = loop_timer(f->loop, on_timeout, NULL);
	assert_int_equal(writer_open(&f->writer, f->path, f->loop, on_done, f), 0);
	disk = (struct disk){ .loop = pthread_self() };
	sem_init(&disk.begun, 0, 0);
	sem_init(&disk.ended, 0, 0);
	no_threads = false;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *dir = xasprintf("%s/state", f->dir);

	writer_close(f->writer);
	close_fd(&f->timer_fd);
	loop_free(f->loop);
	unlink(f->path);
	rmdir(dir);
	unlink(dir);
	rmdir(f->dir);
	free(f->path);
	buf_free(&disk.writes);
	sem_destroy(&disk.begun);
	sem_destroy(&disk.ended);
	free(f);
	return 0;
}

static void put(struct fixture *f, const char *text)
{
	writer_put(f->writer, xstrdup(text));
}

static void wait_done(struct fixture *f)
{
	loop_arm(f->timer_fd, PATIENCE_MS);
	assert_int_equal(loop_run(f->loop), 0);
	loop_arm(f->timer_fd, -1);
}

static void close_writer(struct fixture *f)
{
	writer_close(f->writer);
	f->writer = NULL;
}

static void assert_holds(const struct fixture *f, const char *text)
{
	_cleanup_free_ char *data = NULL;
	size_t len;

	assert_int_equal(file_read(f->path, 100, &data, &len), 0);
	assert_string_equal(data, text);
}

static void test_one_after_the_other(void **state)
{
	struct fixture *f = *state;

	put(f, "one");
	wait_done(f);
	assert_holds(f, "one");
	put(f, "two");
	wait_done(f);
	assert_holds(f, "two");
	assert_int_equal(f->done, 2);
	assert_int_equal(f->err, 0);
	assert_false(disk.by_loop);
}

/* "two" and "three" come while "one" is being written. */
static void put_while_it_writes(struct fixture *f)
{
	disk.held = true;
	put(f, "one");
	sem_wait(&disk.begun);
	put(f, "two");
	put(f, "three");
	disk.held = false;
	sem_post(&disk.ended);
}

/* Nobody waits for the disk; of what comes meanwhile the last counts, and done is told of it alone.
 */
static void test_slow_disk(void **state)
{
	struct fixture *f = *state;

	put_while_it_writes(f);
	wait_done(f);
	assert_string_equal(buf_text(&disk.writes), "one three ");
	assert_holds(f, "three");
	assert_int_equal(f->done, 1);
}

static void test_errors(void **state)
{
	struct fixture *f = *state;

	put(f, "one");
	wait_done(f);
	disk.err = -ENOSPC;
	put(f, "two");
	wait_done(f);
	assert_int_equal(f->err, -ENOSPC);
	assert_holds(f, "one"); /* as it was */
	disk.err = 0;
	put(f, "three");
	wait_done(f);
	assert_int_equal(f->err, 0);
	assert_holds(f, "three");
}

/* A file stands where its directory has to be. */
static void test_no_directory(void **state)
{
	struct fixture *f = *state;
	_cleanup_free_ char *dir = xasprintf("%s/state", f->dir);

	assert_int_equal(__real_file_write(dir, "", 0, 0600), 0);
	put(f, "one");
	wait_done(f);
	assert_int_equal(f->err, -ENOTDIR);
}

/* What was put is on the disk when the agent ends. */
static void test_closed_while_it_writes(void **state)
{
	struct fixture *f = *state;

	put_while_it_writes(f);
	close_writer(f);
	assert_string_equal(buf_text(&disk.writes), "one three ");
	assert_holds(f, "three");
	assert_int_equal(f->done, 0);
}

/* The loop has not come to hear of the end of the last one. */
static void test_closed_with_one_behind(void **state)
{
	struct fixture *f = *state;

	put(f, "one");
	close_writer(f);
	assert_holds(f, "one");
	assert_int_equal(f->done, 0);
}

static void test_closed_unused(void **state)
{
	struct fixture *f = *state;

	close_writer(f);
	assert_int_not_equal(access(f->path, F_OK), 0);
}

/* A node out of threads: the loop writes itself, and hears of it as ever. */
static void test_no_threads(void **state)
{
	struct fixture *f = *state;

	no_threads = true;
	put(f, "one");
	assert_true(disk.by_loop);
	put(f, "two"); /* before the loop has heard of the first one's end */
	wait_done(f);
	assert_holds(f, "two");
	assert_int_equal(f->done, 1);
	put(f, "three");
	close_writer(f);
	assert_holds(f, "three");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_after_the_other),
		TEST(test_slow_disk),
		TEST(test_errors),
		TEST(test_no_directory),
		TEST(test_closed_while_it_writes),
		TEST(test_closed_with_one_behind),
		TEST(test_closed_unused),
		TEST(test_no_threads),
	};

	return cmocka_run_group_tests_name("writer", tests, NULL, NULL);
}
