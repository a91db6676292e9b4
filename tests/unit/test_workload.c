/* SPDX-License-Identifier: Apache-2.0 */
/* Workload names as Istio derives them: its own cases, and the edges of its heuristics. */
#include "agent/workload.h"
#include "base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

struct workload_case {
	const char *generate_name, *labels, *owner_kind, *owner_name;
	const char *name, *kind;
};

#define HASH "\"pod-template-hash\":\"84f5c9\""

static const struct workload_case cases[] = {
	/* no template: the pod is its own workload, whoever owns it */
	{ NULL, "", NULL, NULL, "p-1", "Pod" },
	{ NULL, HASH, "ReplicaSet", "cart-84f5c9", "p-1", "Pod" },
	{ "", HASH, "ReplicaSet", "cart-84f5c9", "p-1", "Pod" },
	{ "cart-", "", NULL, NULL, "p-1", "Pod" },
	/* Deployment */
	{ "cart-84f5c9-", HASH, "ReplicaSet", "cart-84f5c9", "cart", "Deployment" },
	{ "x-", HASH, "ReplicaSet", "cart84f5c9", "cart84f5c9", "Deployment" },
	{ "x-", HASH, "ReplicaSet", "84f5c9", "84f5c9", "Deployment" },
	{ "x-", HASH, "ReplicaSet", "-84f5c9", "p-1", "Deployment" }, /* nothing is left of it */
	{ "x-", HASH, "ReplicaSet", "cart-other", "cart-other", "ReplicaSet" },
	{ "x-", HASH, "ReplicaSet", "c9", "c9", "ReplicaSet" },
	{ "x-", "\"pod-template-hash\":\"\"", "ReplicaSet", "cart", "cart", "ReplicaSet" },
	{ "x-", "", "ReplicaSet", "cart-84f5c9", "cart-84f5c9", "ReplicaSet" },
	/* Argo's Rollout */
	{ "x-", "\"rollouts-pod-template-hash\":\"abc\"", "ReplicaSet", "pay-abc", "pay",
	  "Rollout" },
	{ "x-", HASH ",\"rollouts-pod-template-hash\":\"abc\"", "ReplicaSet", "pay-abc", "pay",
	  "Rollout" },
	/* OpenShift */
	{ "x-", "\"deploymentconfig\":\"web\"", "ReplicationController", "web-3", "web",
	  "DeploymentConfig" },
	{ "x-", "\"deploymentconfig\":\"\"", "ReplicationController", "web-3", "web-3",
	  "ReplicationController" },
	{ "x-", "\"deploymentconfig\":\"web\"", "ReplicaSet", "web-3", "web-3", "ReplicaSet" },
	/* Job and CronJob: 8 to 10 digits behind a dash */
	{ "x-", "", "Job", "nightly-28123456", "nightly", "CronJob" },
	{ "x-", "", "Job", "nightly-1234567890", "nightly", "CronJob" },
	{ "x-", "", "Job", "nightly-1234567", "nightly-1234567", "Job" },
	{ "x-", "", "Job", "nightly-12345678901", "nightly-12345678901", "Job" },
	{ "x-", "", "Job", "nightly28123456", "nightly28123456", "Job" },
	{ "x-", "", "Job", "-28123456", "-28123456", "Job" },
	{ "x-", "", "Job", "a-b-28123456", "a-b", "CronJob" },
	{ "x-", "", "Job", "once", "once", "Job" },
	/* the others go by their own name */
	{ "x-", "", "StatefulSet", "db", "db", "StatefulSet" },
	{ "x-", "", "DaemonSet", "log-28123456", "log-28123456", "DaemonSet" },
	/* the label overrides the name, not the kind */
	{ "x-", HASH ",\"service.istio.io/workload-name\":\"mine\"", "ReplicaSet", "cart-84f5c9",
	  "mine", "Deployment" },
	{ NULL, "\"service.istio.io/workload-name\":\"mine\"", NULL, NULL, "mine", "Pod" },
	{ NULL, "\"service.istio.io/workload-name\":\"\"", NULL, NULL, "p-1", "Pod" },
};

static struct pod *make_pod(const struct workload_case *c)
{
	_cleanup_buf_ struct buf b = { 0 };
	struct pod *pod;
	char *error;
	json_t *root;

	buf_str(&b, "{\"metadata\":{\"namespace\":\"shop\",\"name\":\"p-1\"");
	if (c->generate_name)
		buf_printf(&b, ",\"generateName\":\"%s\"", c->generate_name);
	buf_printf(&b, ",\"labels\":{%s}", c->labels);
	if (c->owner_kind)
		buf_printf(&b,
			   ",\"ownerReferences\":[{\"kind\":\"Node\",\"name\":\"n\"},"
			   "{\"kind\":\"%s\",\"name\":\"%s\",\"controller\":true}]",
			   c->owner_kind, c->owner_name);
	buf_str(&b, "}}");
	root = json_loads(b.data, 0, NULL);
	assert_non_null(root);
	assert_int_equal(pod_parse(root, &pod, &error), 0);
	json_decref(root);
	return pod;
}

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_pod_ struct pod *pod = make_pod(&cases[i]);
		_cleanup_free_ char *name = NULL, *kind = NULL;

		pod_workload(pod, &name, &kind);
		if (strcmp(name, cases[i].name) || strcmp(kind, cases[i].kind))
			fail_msg("case %zu: %s %s, not %s %s", i, kind, name, cases[i].kind,
				 cases[i].name);
	}
}

#define LONG62 "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgg"

static void test_canonical(void **state)
{
	static const struct {
		const char *labels, *service, *revision;
	} canonical[] = {
		{ "", "w", "latest" },
		{ "\"app\":\"\",\"version\":\"\"", "w", "latest" },
		{ "\"app\":\"a\",\"version\":\"1\"", "a", "1" },
		{ "\"app\":\"a\",\"app.kubernetes.io/name\":\"n\",\"version\":\"1\","
		  "\"app.kubernetes.io/version\":\"2\"",
		  "n", "2" },
		{ "\"app\":\"a\",\"app.kubernetes.io/name\":\"n\","
		  "\"service.istio.io/canonical-name\":\"c\","
		  "\"app.kubernetes.io/version\":\"2\",\"service.istio.io/canonical-revision\":"
		  "\"r\"",
		  "c", "r" },
		{ "\"app\":\"" LONG62 ".x\"", LONG62, "latest" }, /* cut, and no dot at its end */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(canonical); i++) {
		struct workload_case c = { .labels = canonical[i].labels };
		_cleanup_pod_ struct pod *pod = make_pod(&c);
		struct weir_traits traits;

		pod_traits(pod, "w", &traits);
		assert_string_equal(traits.pod, "p-1");
		assert_string_equal(traits.canonical_service, canonical[i].service);
		assert_string_equal(traits.canonical_revision, canonical[i].revision);
		assert_int_equal(traits.reported, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_cases),
					    cmocka_unit_test(test_canonical) };

	return cmocka_run_group_tests_name("workload", tests, NULL, NULL);
}
