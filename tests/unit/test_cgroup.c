/* SPDX-License-Identifier: Apache-2.0 */
/* Where the pods' cgroup is found, on trees made of plain directories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cgroup.h"
#include "base/cleanup.h"
#include "base/file.h"

static char top[64];

static int setup(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/weir-test-cgroup-XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(top, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void add(const char *dir)
{
	_cleanup_free_ char *path = xasprintf("%s/%s", top, dir);

	assert_int_equal(make_dirs(path, 0755), 0);
}

/* expected: below the top, NULL for -ENOENT. */
static void expect(const char *expected)
{
	_cleanup_free_ char *found = NULL;
	int r = cgroup_find_kubepods(top, &found);

	assert_int_equal(r, expected ? 0 : -ENOENT);
	if (expected)
		assert_string_equal(found + strlen(top) + 1, expected);
}

static void write_file(const char *path, const char *text)
{
	_cleanup_fclose_ FILE *f = fopen(path, "we");

	assert_non_null(f);
	fputs(text, f);
}

static void test_nothing(void **state)
{
	(void)state;
	expect(NULL);
	add("system.slice/ssh.service");
	add("user.slice/kubepodsy");
	expect(NULL);
}

static void test_systemd_driver(void **state)
{
	(void)state;
	add("system.slice");
	add("kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice");
	expect("kubepods.slice");
}

static void test_cgroupfs_driver(void **state)
{
	(void)state;
	add("kubepods/burstable/pod1");
	expect("kubepods");
}

static void test_kind(void **state)
{
	(void)state;
	add("kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice");
	expect("kubelet.slice/kubelet-kubepods.slice");
}

static void test_kind_old(void **state)
{
	(void)state;
	add("kubelet/kubepods/besteffort");
	expect("kubelet/kubepods");
}

/* What the kubelet's former driver has left is empty. */
static void test_two_drivers(void **state)
{
	_cleanup_free_ char *events = xasprintf("%s/kubepods/cgroup.events", top);

	(void)state;
	add("kubepods.slice");
	add("kubepods/burstable/pod1");
	expect("kubepods.slice");
	write_file(events, "populated 0\nfrozen 0\n");
	expect("kubepods.slice");
	write_file(events, "populated 1\nfrozen 0\n");
	expect("kubepods");
}

/* kubelet --cgroup-root=/a/b */
static void test_cgroup_root(void **state)
{
	(void)state;
	add("a.slice/a-b.slice/a-b-kubepods.slice/a-b-kubepods-burstable.slice");
	expect("a.slice/a-b.slice/a-b-kubepods.slice");
}

/* The node is a container of this host. */
static void test_node_in_container(void **state)
{
	(void)state;
	add("system.slice/docker-0123.scope/kubelet.slice/kubelet-kubepods.slice");
	expect("system.slice/docker-0123.scope/kubelet.slice/kubelet-kubepods.slice");
}

static void test_two_nodes(void **state)
{
	char *found = (char *)1;

	(void)state;
	add("docker/one/kubelet/kubepods");
	add("docker/two/kubelet/kubepods");
	assert_int_equal(cgroup_find_kubepods(top, &found), -ENOTUNIQ);
	assert_ptr_equal(found, (char *)1); /* untouched */
}

static void test_mount(void **state)
{
	_cleanup_free_ char *mounts = xasprintf("%s/mounts", top);
	_cleanup_free_ char *path = NULL, *spaced = NULL;

	(void)state;
	write_file(mounts, "tmpfs /nowhere/cgroup tmpfs rw 0 0\n"
			   "cgroup /nowhere/cgroup/cpu cgroup rw,cpu 0 0\n"
			   "cgroup2 /nowhere/cgroup/unified cgroup2 rw 0 0\n"
			   "cgroup2 /nowhere/other cgroup2 rw 0 0\n");
	assert_int_equal(cgroup2_mount_from(mounts, &path), 0);
	assert_string_equal(path, "/nowhere/cgroup/unified");
	write_file(mounts, "cgroup2 /no\\040where cgroup2 rw 0 0\n");
	assert_int_equal(cgroup2_mount_from(mounts, &spaced), 0);
	assert_string_equal(spaced, "/no where");
}

static void test_no_mount(void **state)
{
	_cleanup_free_ char *mounts = xasprintf("%s/mounts", top);
	_cleanup_free_ char *path = NULL;

	(void)state;
	assert_int_equal(cgroup2_mount_from(mounts, &path), -ENOENT);
	write_file(mounts, "cgroup /nowhere/cgroup/cpu cgroup rw,cpu 0 0\n");
	assert_int_equal(cgroup2_mount_from(mounts, &path), -ENOENT);
}

static void test_is_root(void **state)
{
	_cleanup_free_ char *gone = xasprintf("%s/gone", top);
	_cleanup_free_ char *mount = NULL;

	(void)state;
	assert_int_equal(cgroup_is_root(top), -ENOTSUP);
	assert_int_equal(cgroup_is_root(gone), -ENOENT);
	if (cgroup2_mount(&mount) < 0)
		skip(); /* no v2 hierarchy here to ask about */
	assert_int_equal(cgroup_is_root(mount), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_nothing),	TEST(test_systemd_driver),    TEST(test_cgroupfs_driver),
		TEST(test_kind),	TEST(test_kind_old),	      TEST(test_two_drivers),
		TEST(test_cgroup_root), TEST(test_node_in_container), TEST(test_two_nodes),
		TEST(test_mount),	TEST(test_no_mount),	      TEST(test_is_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
