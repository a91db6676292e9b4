/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/report.h"

#include <string.h>

/* What is told of each state; a state without a reason is not worth an Event. */
static const struct {
	const char *reason;
	const char *action;
} facts[POLICY_STATE_MAX] = {
	[POLICY_FAILED] = { "CaptureFailed", "Capture" },
	[POLICY_MISSING_SIDECAR] = { "MissingSidecar", "Capture" },
};

static void tell(struct kube *kube, const struct managed *m, const char *action, const char *reason,
		 const char *note)
{
	struct kube_fact fact = { .namespace = m->namespace,
				  .name = m->name,
				  .uid = m->uid,
				  .warning = true,
				  .action = action,
				  .reason = reason,
				  .note = note };

	kube_events_tell(kube->events, &fact);
}

static void report_pod(struct kube *kube, const struct managed *m)
{
	if (facts[m->state].reason && m->reason)
		tell(kube, m, facts[m->state].action, facts[m->state].reason, m->reason);
	for (size_t i = 0; m->policy && i < m->policy->n_warnings; i++)
		tell(kube, m, "ReadAnnotations", "AnnotationWarning", m->policy->warnings[i]);
	if (m->listener)
		tell(kube, m, "Capture", "ProxyNotReached", m->listener);
}

void report_pods(struct kube *kube, const struct reconciler *r)
{
	if (!kube->client)
		return;
	kube_events_round(kube->events);
	for (const struct managed *m = r->pods; m; m = m->next)
		if (m->present && m->api)
			report_pod(kube, m);
}

void report_broken(struct kube *kube, const json_t *pod, const char *error)
{
	const json_t *metadata = json_object_get(pod, "metadata");
	struct kube_fact fact = {
		.namespace = json_string_value(json_object_get(metadata, "namespace")),
		.name = json_string_value(json_object_get(metadata, "name")),
		.uid = json_string_value(json_object_get(metadata, "uid")),
		.warning = true,
		.action = "ReadPod",
		.reason = "PodNotUnderstood",
		.note = error,
	};

	if (fact.namespace && fact.name && fact.uid)
		kube_events_tell(kube->events, &fact);
}
