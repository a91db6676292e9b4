/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/labels.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"

static const char *const directions[] = {
	[WEIR_OUTBOUND] = "outbound",
	[WEIR_INBOUND] = "inbound",
};

static const char *const vias[] = {
	[WEIR_VIA_DIRECT] = "direct",
	[WEIR_VIA_PROXY] = "proxy",
};

static const char *const legs[] = {
	[WEIR_VIA_LEG_NETWORK] = "network",
	[WEIR_VIA_LEG_APPLICATION] = "application",
};

static const char *const verdicts[] = {
	[WEIR_DIRECT] = "direct",
	[WEIR_REDIRECT] = "redirect",
	[WEIR_REFUSE] = "refuse",
};

static const char *const reasons[] = {
#define X(number, NAME, name, text) [number] = #name,
	WEIR_REASONS(X)
#undef X
};

static const char *const tls_names[] = {
#define X(number, NAME, name) [number] = #name,
	WEIR_TLS(X)
#undef X
};

static const char *const failures[] = {
#define X(number, NAME, name) [number] = #name,
	WEIR_FAILURES(X)
#undef X
};

_Static_assert(ARRAY_SIZE(reasons) == WEIR_REASON_MAX, "a name for each");
_Static_assert(ARRAY_SIZE(failures) == WEIR_FAILED_MAX, "a name for each");

static const struct weir_name reserved[WEIR_ID_FIRST] = {
	[WEIR_ID_UNKNOWN] = { .name = "unknown" }, [WEIR_ID_EXTERNAL] = { .name = "external" },
	[WEIR_ID_HOST] = { .name = "host" },	   [WEIR_ID_SEVERAL] = { .name = "several" },
	[WEIR_ID_OTHER] = { .name = "other" },
};

static const char *lookup(const char *const *names, size_t n, unsigned int number)
{
	return number < n && names[number] ? names[number] : "unknown";
}

#define LOOKUP(names, number) lookup(names, ARRAY_SIZE(names), (unsigned int)(number))

const char *name_direction(enum weir_direction direction)
{
	return LOOKUP(directions, direction);
}

const char *name_via(enum weir_via via)
{
	return LOOKUP(vias, via);
}

const char *name_leg(enum weir_via via)
{
	return LOOKUP(legs, via);
}

const char *name_verdict(enum weir_verdict verdict)
{
	return LOOKUP(verdicts, verdict);
}

const char *name_reason(enum weir_reason reason)
{
	return LOOKUP(reasons, reason);
}

const char *name_failure(enum weir_failure failure)
{
	return LOOKUP(failures, failure);
}

const char *name_tls(enum weir_tls tls)
{
	return LOOKUP(tls_names, tls);
}

const char *name_port(uint32_t port, char text[16])
{
	if (port == WEIR_PORT_DYNAMIC)
		return "dynamic";
	if (port > UINT16_MAX) /* WEIR_PORT_OTHER, and what may come after it */
		return "other";
	snprintf(text, 16, "%u", port);
	return text;
}

static int compare_id(const void *key, const void *element)
{
	uint32_t id = *(const uint32_t *)key;
	const struct snapshot_name *name = element;

	return id < name->id ? -1 : id > name->id;
}

static const struct snapshot_name *find(const struct snapshot *s, uint32_t id)
{
	if (!s->n_names)
		return NULL;
	return bsearch(&id, s->names, s->n_names, sizeof(*s->names), compare_id);
}

const struct weir_name *name_of(const struct snapshot *s, uint32_t id)
{
	const struct snapshot_name *found;

	if (id < WEIR_ID_FIRST)
		return &reserved[reserved[id].name[0] ? id : WEIR_ID_UNKNOWN];
	found = find(s, id);
	return found ? &found->name : &reserved[WEIR_ID_UNKNOWN];
}

const struct weir_traits *traits_of(const struct snapshot *s, uint32_t id)
{
	const struct snapshot_name *found = find(s, id);

	return found ? found->traits : NULL;
}

void label_workload(struct buf *labels, const struct snapshot *s, uint32_t id)
{
	const struct weir_name *name = name_of(s, id);
	const struct weir_traits *traits = traits_of(s, id);

	LABEL_ARRAY(labels, "namespace", name->namespace);
	LABEL_ARRAY(labels, "workload", name->name);
	if (traits && traits->pod[0])
		LABEL_ARRAY(labels, "pod", traits->pod);
}

const struct weir_name *name_of_service(const struct snapshot *s, uint32_t id)
{
	return id == WEIR_ID_NONE ? &reserved[WEIR_ID_NONE] : name_of(s, id);
}
