/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/managed.h"

#include <stdlib.h>
#include <string.h>

#include "agent/workload.h"
#include "base/brief.h"
#include "base/buf.h"
#include "base/inet.h"
#include "base/log.h"

static void managed_clear(struct managed *m)
{
	char **strings[] = { &m->namespace, &m->name,	       &m->uid,	  &m->told_uid, &m->node,
			     &m->workload,  &m->workload_kind, &m->netns, &m->cgroup,	&m->file,
			     &m->ips };

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		free(*strings[i]);
		*strings[i] = NULL;
	}
	free(m->addrs);
	m->addrs = NULL;
	policy_free(m->policy);
	m->policy = NULL;
}

void managed_free(struct managed *m)
{
	managed_clear(m);
	links_unfollow(&m->watch);
	free(m->reason);
	free(m->listener);
	free(m);
}

char *managed_key(const struct managed *m)
{
	return xasprintf("%s/%s", m->namespace, m->name);
}

static char *list_ips(const struct pod *pod)
{
	_cleanup_buf_ struct buf b = { 0 };
	char text[INET_TEXT];

	for (size_t i = 0; i < pod->n_ips; i++)
		buf_printf(&b, "%s%s", i ? "," : "", inet_format(pod->ips[i].ip, text));
	return xstrdup(buf_text(&b));
}

void managed_take(struct managed *m, const struct pod *pod, const struct source_file *file,
		  struct place *place)
{
	managed_clear(m);
	m->guard = false;
	if (m->recalled) { /* what was said of it is not so any more */
		free(m->reason);
		m->reason = NULL;
	}
	m->recalled = false;
	m->namespace = xstrdup(pod->namespace);
	m->name = xstrdup(pod->name);
	m->uid = xstrdup(pod->uid);
	/* of a static pod the kubelet tells under its manifest's hash, and kubectl looks there */
	m->told_uid = xstrdup(pod_annotation(pod, POD_CONFIG_MIRROR) ?: pod->uid);
	m->mirrored = pod_annotation(pod, POD_CONFIG_MIRROR);
	m->node = xstrdup(pod->node_name ?: "");
	pod_workload(pod, &m->workload, &m->workload_kind);
	pod_traits(pod, m->workload, &m->traits);
	m->netns = TAKE_PTR(place->netns);
	m->cgroup = TAKE_PTR(place->cgroup);
	m->how = place->how;
	m->file = xstrdup(file->name);
	m->api = file->api;
	m->ips = list_ips(pod);
	m->n_addrs = pod->n_ips;
	m->addrs = xcalloc(pod->n_ips, sizeof(*m->addrs));
	if (pod->n_ips)
		memcpy(m->addrs, pod->ips, pod->n_ips * sizeof(*m->addrs));
}

void managed_set_state(struct managed *m, enum policy_state state, char *reason)
{
	bool same = m->reason && m->state == state && !strcmp(m->reason, reason);
	_cleanup_free_ char *key = managed_key(m), *text = brief(reason, BRIEF_REASON);

	free(m->reason);
	m->reason = reason;
	m->state = state;
	if (same)
		return;
	log_event(state == POLICY_FAILED ? LOG_ERROR : LOG_INFO, "pod", "pod", key, "state",
		  policy_state_name(state), "mesh", policy_mesh_name(m->policy->mesh), "reason",
		  text, "netns", m->netns, NULL);
	for (size_t i = 0; i < m->policy->n_warnings; i++) {
		_cleanup_free_ char *warning = brief(m->policy->warnings[i], BRIEF_REASON);

		log_warn("pod", "pod", key, "warning", warning, NULL);
	}
}

void managed_set_listener(struct managed *m, char *text)
{
	_cleanup_free_ char *key = managed_key(m);

	if (text && !m->listener)
		log_warn("pod", "pod", key, "warning", text, NULL);
	free(m->listener);
	m->listener = text;
}

const char *managed_warning(const struct managed *m, size_t i)
{
	return i < m->policy->n_warnings ? m->policy->warnings[i] : m->listener;
}

size_t managed_n_warnings(const struct managed *m)
{
	return m->policy->n_warnings + !!m->listener;
}
