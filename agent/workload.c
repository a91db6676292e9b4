/* SPDX-License-Identifier: Apache-2.0 */
/* The heuristics are Istio's; Kubernetes itself does not say which Deployment a pod is of. */
#include "agent/workload.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <ctype.h>
#include <string.h>

/* A replica set is named after its workload, "-" and the hash that its pods have as a label. */
static char *before_hash(const struct pod *pod, const char *label)
{
	const char *hash = pod_label(pod, label);
	size_t name_len = strlen(pod->owner_name), hash_len = hash ? strlen(hash) : 0;
	size_t cut = name_len - hash_len;

	if (!hash_len || hash_len > name_len || strcmp(pod->owner_name + cut, hash))
		return NULL;
	if (cut && pod->owner_name[cut - 1] == '-')
		return strndup(pod->owner_name, cut - 1);
	return xstrdup(pod->owner_name);
}

/* A Job that a CronJob made has "-" and 8 to 10 digits (minutes since 1970) at its end. */
static char *before_time(const char *job)
{
	size_t len = strlen(job), digits = 0;

	while (digits < len && isdigit((unsigned char)job[len - 1 - digits]))
		digits++;
	if (digits < 8 || digits > 10 || len < digits + 2 || job[len - digits - 1] != '-')
		return NULL;
	return strndup(job, len - digits - 1);
}

struct guess {
	char *name; /* owned */
	const char *kind;
};

static struct guess guess_owner(const struct pod *pod)
{
	const char *kind = pod->owner_kind ?: "";
	const char *config = pod_label(pod, "deploymentconfig");
	char *name;

	if (!strcmp(kind, "ReplicaSet")) {
		name = before_hash(pod, "pod-template-hash");
		if (name)
			return (struct guess){ name, "Deployment" };
		name = before_hash(pod, "rollouts-pod-template-hash");
		if (name)
			return (struct guess){ name, "Rollout" };
	}
	if (!strcmp(kind, "ReplicationController") && config && *config)
		return (struct guess){ xstrdup(config), "DeploymentConfig" };
	if (!strcmp(kind, "Job")) {
		name = before_time(pod->owner_name);
		if (name)
			return (struct guess){ name, "CronJob" };
	}
	return (struct guess){ xstrdup(pod->owner_name), kind };
}

void pod_workload(const struct pod *pod, char **ret_name, char **ret_kind)
{
	const char *label = pod_label(pod, "service.istio.io/workload-name");
	struct guess guess = { NULL, "Pod" };

	/* A pod whose name is its own was not made from a template, whoever owns it. */
	if (pod->generate_name && *pod->generate_name && pod->owner_name)
		guess = guess_owner(pod);
	if (label && *label) {
		free(guess.name);
		guess.name = xstrdup(label);
	}
	if (!guess.name || !*guess.name) {
		free(guess.name);
		guess.name = xstrdup(pod->name);
	}
	*ret_name = guess.name;
	*ret_kind = xstrdup(*guess.kind ? guess.kind : "Pod");
}

/* The value of the first of these labels that is set; NULL: of none. */
static const char *first_label(const struct pod *pod, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const char *value = pod_label(pod, keys[i]);

		if (value && *value)
			return value;
	}
	return NULL;
}

/* The injector makes a label of it: no longer than one may be, and ending in a letter or digit. */
static void make_label(const char *text, char ret[64])
{
	size_t n = strnlen(text, 63);

	while (n && strchr("-_.", text[n - 1]))
		n--;
	memcpy(ret, text, n);
}

/* A sidecar, a gateway or ztunnel itself; or ztunnel for it, whose agent says so. */
static bool is_reported(const struct pod *pod)
{
	return pod_container(pod, "istio-proxy") || pod_has_ztunnel(pod);
}

void pod_traits(const struct pod *pod, const char *workload, struct weir_traits *ret)
{
	static const char *const names[] = { "service.istio.io/canonical-name",
					     "app.kubernetes.io/name", "app" };
	static const char *const revisions[] = { "service.istio.io/canonical-revision",
						 "app.kubernetes.io/version", "version" };
	const char *name = first_label(pod, names, ARRAY_SIZE(names));
	const char *revision = first_label(pod, revisions, ARRAY_SIZE(revisions));

	*ret = (struct weir_traits){ .reported = is_reported(pod) };
	strncpy(ret->pod, pod->name, sizeof(ret->pod) - 1);
	make_label(name ?: workload, ret->canonical_service);
	make_label(revision ?: "latest", ret->canonical_revision);
}
