/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/conn_filter.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/inet.h"

/* What people type, and the name of it. */
struct spelling {
	const char *text;
	const char *name;
};

static const struct spelling states[] = {
	{ "established", "established" }, { "estab", "established" },
	{ "syn_sent", "syn_sent" },	  { "syn_recv", "syn_recv" },
	{ "fin_wait1", "fin_wait1" },	  { "fin_wait_1", "fin_wait1" },
	{ "fin_wait2", "fin_wait2" },	  { "fin_wait_2", "fin_wait2" },
	{ "time_wait", "time_wait" },	  { "close_wait", "close_wait" },
	{ "last_ack", "last_ack" },	  { "closing", "closing" },
	{ "unconnected", "unconnected" }, { "unconn", "unconnected" },
};

static const struct spelling directions[] = {
	{ "in", "inbound" },
	{ "inbound", "inbound" },
	{ "out", "outbound" },
	{ "outbound", "outbound" },
};

static const struct spelling vias[] = {
	{ "proxy", "proxy" },
	{ "direct", "direct" },
	{ "network_leg", "network_leg" },
	{ "application_leg", "application_leg" },
	{ "local", "local" },
};

static const char *spell(const struct spelling *table, size_t n, const char *text)
{
	char plain[32];
	size_t len = strlen(text);

	if (len >= sizeof(plain))
		return NULL;
	for (size_t i = 0; i <= len; i++)
		plain[i] = text[i] == '-' ? '_' : text[i];
	for (size_t i = 0; i < n; i++)
		if (!strcasecmp(table[i].text, plain))
			return table[i].name;
	return NULL;
}

const char *conn_filter_state(const char *text)
{
	return spell(states, ARRAY_SIZE(states), text);
}

const char *conn_filter_direction(const char *text)
{
	return spell(directions, ARRAY_SIZE(directions), text);
}

const char *conn_filter_via(const char *text)
{
	return spell(vias, ARRAY_SIZE(vias), text);
}

/* A pattern with a slash is for namespace/name. */
static bool name_matches(const char *pattern, const char *namespace, const char *name)
{
	char full[512];

	if (!strchr(pattern, '/'))
		return !fnmatch(pattern, name, 0);
	snprintf(full, sizeof(full), "%s/%s", namespace, name);
	return !fnmatch(pattern, full, 0);
}

static bool prefix_holds(const struct weir_addr *prefix, int bits, const struct weir_addr *addr)
{
	int bytes = bits / 8, rest = bits % 8;

	if (memcmp(prefix->ip, addr->ip, (size_t)bytes))
		return false;
	return !rest || !((prefix->ip[bytes] ^ addr->ip[bytes]) >> (8 - rest));
}

/* 0 and the prefix; -EINVAL when the text is none, -ERANGE when it would be too long. */
static int parse_prefix(const char *text, struct weir_addr *ret, int *ret_bits)
{
	char copy[INET_TEXT + 4], *slash, *end = NULL;
	long bits = 128;

	snprintf(copy, sizeof(copy), "%s", text);
	slash = strchr(copy, '/');
	if (slash)
		*slash++ = '\0';
	if (inet_parse(copy, ret->ip) < 0)
		return -EINVAL;
	if (slash) {
		bits = strtol(slash, &end, 10);
		if (end == slash || *end || bits < 0 || bits > (inet_is_v4(ret->ip) ? 32 : 128))
			return -ERANGE;
		bits += inet_is_v4(ret->ip) ? 96 : 0;
	}
	*ret_bits = (int)bits;
	return 0;
}

bool conn_filter_peer(const char *text)
{
	struct weir_addr prefix;
	int bits;

	return parse_prefix(text, &prefix, &bits) != -ERANGE;
}

/* -1 when the text is no address or prefix, else whether it holds addr. */
static int address_matches(const char *text, const struct weir_addr *addr)
{
	struct weir_addr prefix;
	int bits;

	return parse_prefix(text, &prefix, &bits) < 0 ? -1 : prefix_holds(&prefix, bits, addr);
}

static bool peer_matches(const char *peer, const struct conn *c)
{
	int address = address_matches(peer, &c->peer.addr);

	if (address >= 0)
		return address;
	return name_matches(peer, c->peer_namespace, c->peer_workload) ||
	       (*c->service && name_matches(peer, c->service_namespace, c->service));
}

static bool has_state(const struct conn_filter *f, const struct conn *c)
{
	for (size_t i = 0; i < f->n_states; i++)
		if (!strcmp(f->states[i], c->state))
			return true;
	return false;
}

bool conn_matches(const struct conn_filter *f, const struct conn *c)
{
	if (conn_is_udp(c) ? !f->udp : f->udp && !f->tcp)
		return false;
	if (!f->all && !conn_counted(c) && !(f->via && !strcmp(f->via, "local")))
		return false;
	if (f->namespace && fnmatch(f->namespace, c->namespace, 0))
		return false;
	if (f->pod && !name_matches(f->pod, c->namespace, c->pod))
		return false;
	if (f->workload && !name_matches(f->workload, c->workload_namespace, c->workload))
		return false;
	if (f->peer && !peer_matches(f->peer, c))
		return false;
	if (f->n_states && !has_state(f, c))
		return false;
	if (f->direction && strcmp(f->direction, c->direction))
		return false;
	if (f->via && strcmp(f->via, c->via))
		return false;
	return !f->port || f->port == c->dialled.port;
}
