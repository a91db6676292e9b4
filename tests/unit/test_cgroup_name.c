/* SPDX-License-Identifier: Apache-2.0 */
/* Names of cgroups, as the kubelet's drivers and the runtimes write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/cgroup_name.h"
#include "base/cleanup.h"

#define UID  "6f9d9c55-1b2c-4d3e-8f90-0123456789ab"
#define UID_ "6f9d9c55_1b2c_4d3e_8f90_0123456789ab"
#define HASH "0123456789abcdef0123456789abcdef"

static void test_pods(void **state)
{
	static const struct {
		const char *name, *uid; /* NULL: no pod's */
	} cases[] = {
		{ "kubepods-burstable-pod" UID_ ".slice", UID },
		{ "kubepods-besteffort-pod" UID_ ".slice", UID },
		{ "kubepods-pod" UID_ ".slice", UID }, /* Guaranteed */
		{ "pod" UID, UID },
		{ "kubelet-kubepods-burstable-pod" UID_ ".slice", UID }, /* kind */
		{ "a-podium-kubepods-burstable-pod" UID_ ".slice", UID }, /* --cgroup-root */
		{ "pod" HASH, HASH }, /* static */
		{ "kubepods-burstable-pod" HASH ".slice", HASH },
		{ "kubepods-burstable.slice", NULL },
		{ "burstable", NULL },
		{ "pod", NULL },
		{ "podium", NULL },
		{ "pod" UID ".slice", NULL },
		{ "pod" UID "0", NULL },
		{ "kubepods-burstable-pod.slice", NULL },
		{ "kubepods-burstable-pod" UID_, NULL },
		{ "cri-containerd-" HASH HASH ".scope", NULL },
		{ HASH HASH, NULL },
		{ ".slice", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char uid[POD_UID_MAX];
		bool found = cgroup_name_pod(cases[i].name, uid);

		if (found != (cases[i].uid != NULL))
			fail_msg("%s", cases[i].name);
		if (found)
			assert_string_equal(uid, cases[i].uid);
	}
}

static void test_monitors(void **state)
{
	(void)state;
	assert_true(cgroup_name_is_monitor("crio-conmon-" HASH ".scope"));
	assert_false(cgroup_name_is_monitor("crio-" HASH ".scope"));
	assert_false(cgroup_name_is_monitor(HASH));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pods),
		cmocka_unit_test(test_monitors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
