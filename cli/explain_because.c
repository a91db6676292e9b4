/* SPDX-License-Identifier: Apache-2.0 */
/* A reason in words, and what is behind it: the annotation, the default, the container. Pure. */
#include <string.h>

#include "base/cleanup.h"
#include "cli/explain.h"

static const char *const verdict_names[] = {
	[WEIR_DIRECT] = "direct",
	[WEIR_REDIRECT] = "redirect",
	[WEIR_REFUSE] = "refuse",
};

static const struct {
	const char *name;
	const char *text;
} reasons[] = {
#define X(number, NAME, name, text) [number] = { #name, text },
	WEIR_REASONS(X)
#undef X
};
_Static_assert(ARRAY_SIZE(reasons) == WEIR_REASON_MAX, "a reason is missing");

static const char *const sources[] = {
#define X(number, NAME, text) [number] = text,
	WEIR_SOURCES(X)
#undef X
};
_Static_assert(ARRAY_SIZE(sources) == WEIR_SOURCE_MAX, "a source is missing");

/* What is behind a reason: a slot of weir_pod_names.sources, or something that nobody sets. */
#define NOBODY	  0 /* a fact of the kernel's */
#define MESH_RULE 100 /* one of the mesh's rules, not to be configured */

static const struct {
	uint8_t outbound;
	uint8_t inbound;
} origins[WEIR_REASON_MAX] = {
	[WEIR_REASON_NOT_CAPTURED] = { WEIR_SETTING_CAPTURE, WEIR_SETTING_CAPTURE },
	[WEIR_REASON_PORT_EXCLUDED] = { WEIR_LIST_OUT_PORT_EXCLUDE, WEIR_LIST_IN_PORT_EXCLUDE },
	[WEIR_REASON_PASSTHROUGH_SOURCE] = { MESH_RULE, NOBODY },
	[WEIR_REASON_SELF_CALL] = { WEIR_SETTING_PROXY_UID, NOBODY },
	[WEIR_REASON_LOOPBACK] = { MESH_RULE, MESH_RULE },
	[WEIR_REASON_PROXY_UID] = { WEIR_SETTING_PROXY_UID, NOBODY },
	[WEIR_REASON_PROXY_GID] = { WEIR_SETTING_PROXY_GID, NOBODY },
	[WEIR_REASON_CIDR_EXCLUDED] = { WEIR_LIST_OUT_CIDR_EXCLUDE, NOBODY },
	[WEIR_REASON_PORT_INCLUDED] = { WEIR_LIST_OUT_PORT_INCLUDE, WEIR_LIST_IN_PORT_INCLUDE },
	[WEIR_REASON_CIDR_INCLUDED] = { WEIR_LIST_OUT_CIDR_INCLUDE, NOBODY },
	[WEIR_REASON_ALL_INCLUDED] = { WEIR_LIST_OUT_CIDR_INCLUDE, WEIR_LIST_IN_PORT_INCLUDE },
	[WEIR_REASON_NOT_INCLUDED] = { WEIR_LIST_OUT_CIDR_INCLUDE, WEIR_LIST_IN_PORT_INCLUDE },
	[WEIR_REASON_TUNNEL_PORT] = { MESH_RULE, MESH_RULE },
	[WEIR_REASON_FAMILY_OFF] = { MESH_RULE, MESH_RULE },
	[WEIR_REASON_OWNER_GROUP] = { WEIR_LIST_GROUP_INCLUDE, NOBODY },
	[WEIR_REASON_DNS] = { WEIR_SETTING_DNS, NOBODY },
	[WEIR_REASON_BEFORE_PROXY] = { WEIR_SETTING_BEFORE_PROXY, WEIR_SETTING_BEFORE_PROXY },
	[WEIR_REASON_PROXY_DOWN] = { WEIR_SETTING_PROXY_DOWN, WEIR_SETTING_PROXY_DOWN },
	[WEIR_REASON_INTERFACE_EXCLUDED] = { WEIR_LIST_IF_EXCLUDE, WEIR_LIST_IF_EXCLUDE },
	[WEIR_REASON_INTERFACE_VIRTUAL] = { WEIR_LIST_IF_VIRTUAL, WEIR_LIST_IF_VIRTUAL },
	[WEIR_REASON_SOURCE_EXCLUDED] = { NOBODY, WEIR_LIST_IN_SOURCE_EXCLUDE },
};

/* Istio excludes these whatever the annotation says: metrics, health, telemetry. */
static const uint16_t istio_own_ports[] = { 15020, 15021, 15090 };

const char *explain_verdict_name(enum weir_verdict verdict)
{
	return verdict < ARRAY_SIZE(verdict_names) ? verdict_names[verdict] : "unknown";
}

const char *explain_reason_name(enum weir_reason reason)
{
	return reason < ARRAY_SIZE(reasons) ? reasons[reason].name : "unknown";
}

static const char *source_text(const struct explain_facts *f, unsigned int slot)
{
	uint32_t source = f->sources[slot];

	return source < ARRAY_SIZE(sources) ? sources[source] : "a setting of a newer weir";
}

static bool is_istio_own_port(const struct explain_query *q, const struct explain_facts *f)
{
	if (f->pod.rules != WEIR_RULES_ISTIO || q->direction != WEIR_INBOUND)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(istio_own_ports); i++)
		if (q->port == istio_own_ports[i])
			return true;
	return false;
}

/* A self-call may be one by the group alone, and there are two kinds of lists of groups. */
static unsigned int origin_slot(const struct explain_query *q, const struct explain_facts *f,
				enum weir_reason reason)
{
	bool uid = ((f->pod.flags & WEIR_POD_PROXY_UID) && q->uid == f->pod.proxy_uid) ||
		   f->listed[WEIR_LIST_PROXY_UID];

	if (reason >= WEIR_REASON_MAX)
		return NOBODY;
	if (reason == WEIR_REASON_SELF_CALL && !uid)
		return WEIR_SETTING_PROXY_GID;
	if (reason == WEIR_REASON_OWNER_GROUP && !(f->pod.flags & WEIR_POD_GROUPS_INCLUDE))
		return WEIR_LIST_GROUP_EXCLUDE;
	if (reason == WEIR_REASON_FAMILY_OFF && f->sources[WEIR_SETTING_FAMILIES])
		return WEIR_SETTING_FAMILIES;
	if (reason == WEIR_REASON_LOOPBACK && f->sources[WEIR_SETTING_LOOPBACK] &&
	    q->direction == WEIR_OUTBOUND && weir_addr_is_loopback(&q->to))
		return WEIR_SETTING_LOOPBACK;
	return q->direction == WEIR_OUTBOUND ? origins[reason].outbound : origins[reason].inbound;
}

char *explain_because(const struct explain_query *q, const struct explain_facts *f,
		      const struct weir_answer *answer)
{
	unsigned int slot = origin_slot(q, f, answer->reason);
	const char *text = answer->reason < ARRAY_SIZE(reasons) ? reasons[answer->reason].text
								: "a reason of a newer weir";

	if (answer->reason == WEIR_REASON_PORT_EXCLUDED && is_istio_own_port(q, f))
		return xasprintf("%s (mesh default: istio always excludes 15020, 15021 and 15090)",
				 text);
	if (slot == MESH_RULE)
		return xasprintf("%s (rule of %s)", text, maps_mesh_name(f->mesh));
	if (slot == NOBODY)
		return xstrdup(text);
	if (answer->reason == WEIR_REASON_NOT_CAPTURED && !f->sources[slot])
		return xstrdup(text); /* why is told by the agent */
	return xasprintf("%s (%s)", text, source_text(f, slot));
}
