/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/report.h"

#include <string.h>

struct kind {
	const char *reason;
	const char *action;
	bool warning;
};

/* What is told of each state; a state without a reason is not worth an Event. */
static const struct kind states[POLICY_STATE_MAX] = {
	[POLICY_FAILED] = { "CaptureFailed", "Capture", true },
	[POLICY_MISSING_SIDECAR] = { "MissingSidecar", "Capture", true },
};
static const struct kind took_over = { "TakenOver", "TakeOver", false };
static const struct kind not_reached = { "ProxyNotReached", "Capture", true };
static const struct kind annotation = { "AnnotationWarning", "ReadAnnotations", true };

static void tell(struct kube *kube, const struct managed *m, const struct kind *kind,
		 const char *note)
{
	struct kube_fact fact = { .namespace = m->namespace,
				  .name = m->name,
				  .uid = m->told_uid,
				  .warning = kind->warning,
				  .action = kind->action,
				  .reason = kind->reason,
				  .note = note };

	kube_events_tell(kube->events, &fact);
}

static void report_pod(struct kube *kube, const struct managed *m)
{
	const struct policy *p = m->policy;

	if (states[m->state].reason && m->reason)
		tell(kube, m, &states[m->state], m->reason);
	for (size_t i = 0; p && i < p->n_warnings; i++)
		tell(kube, m, p->warnings[i] == p->took_over ? &took_over : &annotation,
		     p->warnings[i]);
	if (m->listener)
		tell(kube, m, &not_reached, m->listener);
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
