/* SPDX-License-Identifier: Apache-2.0 */
/* Every byte of a connection is folded once, by whomever, and none by who began with another one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <bpf/bpf.h>
#include <cmocka.h>

#include "maps/conn.h" /* what the skeleton has members of */

#include "mark.skel.h"

static struct mark_bpf *skel;

static int load(void **state)
{
	(void)state;
	skel = mark_bpf__open_and_load();
	return skel ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	mark_bpf__destroy(skel);
	return 0;
}

static void run(const struct bpf_program *program)
{
	DECLARE_LIBBPF_OPTS(bpf_test_run_opts, opts);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(program), &opts), 0);
}

static void begin(void)
{
	run(skel->progs.begin);
}

static uint64_t look(void)
{
	run(skel->progs.look);
	return skel->bss->life;
}

static uint64_t fold(uint64_t life, uint64_t now, bool last)
{
	skel->bss->life = life;
	skel->bss->now = now;
	skel->bss->last = last;
	run(skel->progs.fold);
	return skel->bss->moved;
}

static void test_once(void **state)
{
	uint64_t life;

	(void)state;
	begin();
	life = look();
	assert_int_equal(fold(life, 100, false), 100);
	assert_int_equal(fold(life, 100, false), 0);
	assert_int_equal(fold(life, 90, false), 0); /* was read before */
	assert_int_equal(fold(life, 1ULL << 40, false), (1ULL << 40) - 100);
	assert_int_equal(fold(life, (1ULL << 40) + 5, true), 5);
	assert_int_equal(fold(life, (1ULL << 40) + 9, false), 0); /* it has ended */
	assert_int_equal(fold(life, (1ULL << 40) + 9, true), 0);
}

/* Whoever looked at a connection, and comes to fold it when its socket has dialled again. */
static void test_too_late(void **state)
{
	uint64_t former, life;

	(void)state;
	begin();
	former = look();
	assert_int_equal(fold(former, 100, true), 100);
	begin();
	life = look();
	assert_int_not_equal(life, former);
	assert_int_equal(fold(former, 5000, false), 0);
	assert_int_equal(fold(former, 5000, true), 0);
	assert_int_equal(fold(life, 30, false), 30);
	assert_int_equal(fold(former, 5000, false), 0);
	assert_int_equal(fold(life, 40, true), 10);
}

static void test_many_lives(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		begin();
		assert_int_equal(fold(look(), 7, i % 2), 7);
		assert_int_equal(skel->bss->conn.sent & WEIR_MARK_NUMBER, 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_too_late),
		cmocka_unit_test(test_many_lives),
	};

	return cmocka_run_group_tests_name("mark", tests, load, unload);
}
