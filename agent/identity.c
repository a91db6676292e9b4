/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/identity.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "agent/addresses.h"
#include "agent/map.h"
#include "agent/peers.h"
#include "base/buf.h"
#include "base/log.h"

struct identity {
	int peers_fd; /* weir_peers */
	int ports_fd; /* weir_named_ports */
	struct names *names;
	struct peers last; /* what the maps hold */
	bool synced; /* last is true; an earlier agent may have left anything */
	size_t left_out;
	uint64_t left_out_ever;
	bool serves; /* keep served */
	struct peer_served *served; /* by workload and port; owned */
	size_t n_served;
};

struct identity *identity_new(const struct loader *loader, struct names *names, bool served)
{
	struct identity *id = xcalloc(1, sizeof(*id));

	id->peers_fd = loader_map(loader, "weir_peers");
	id->ports_fd = loader_map(loader, "weir_named_ports");
	id->names = names;
	id->serves = served;
	return id;
}

void identity_free(struct identity *id)
{
	if (id) {
		peers_free(&id->last);
		free(id->served);
	}
	free(id);
}

size_t identity_left_out(const struct identity *id)
{
	return id->left_out;
}

uint64_t identity_left_out_ever(const struct identity *id)
{
	return id->left_out_ever;
}

static uint32_t give_id(void *ctx, const char *kind, const char *namespace, const char *name)
{
	return names_id(ctx, kind, namespace, name);
}

/* The addresses of this node that others can see: 0 or -errno. */
static int own_addresses(struct weir_addr **ret, size_t *ret_n)
{
	struct weir_addr *list;
	size_t n, kept = 0;
	int err = addresses_read_own(&list, &n);

	if (err < 0)
		return err;
	for (size_t i = 0; i < n; i++)
		if (!weir_addr_is_loopback(&list[i]) &&
		    !IN6_IS_ADDR_LINKLOCAL((const struct in6_addr *)list[i].ip))
			list[kept++] = list[i];
	*ret = list;
	*ret_n = kept;
	return 0;
}

static const struct peer_row *find_row(const struct peers *p, const struct weir_peer_key *key)
{
	size_t lo = 0, hi = p->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		int order = peers_compare_key(key, &p->rows[mid].key);

		if (!order)
			return &p->rows[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

static bool not_wanted(const void *key, const void *value, void *ctx)
{
	(void)value;
	return !find_row(ctx, key);
}

/* Removes first: a full table has room then. */
static int remove_former(const struct identity *id, const struct peers *now)
{
	int changes = 0;

	if (!id->synced)
		return map_prune(id->peers_fd, sizeof(struct weir_peer_key),
				 sizeof(struct weir_peer), not_wanted, (void *)now);
	for (size_t i = 0; i < id->last.n; i++) {
		int err = find_row(now, &id->last.rows[i].key)
				  ? 0
				  : map_remove(id->peers_fd, &id->last.rows[i].key);

		if (err < 0)
			return err;
		changes += err;
	}
	return changes;
}

static bool is_there(const struct identity *id, const struct peer_row *row)
{
	const struct peer_row *last = id->synced ? find_row(&id->last, &row->key) : NULL;

	return last && !memcmp(&last->value, &row->value, sizeof(row->value));
}

/* Writes what is new; rows that do not fit leave `now`, so that they are tried again. */
static int write_rows(struct identity *id, struct peers *now)
{
	size_t kept = 0;
	int changes = 0;

	id->left_out = 0;
	for (size_t i = 0; i < now->n; i++) {
		const struct peer_row *row = &now->rows[i];
		int err = is_there(id, row) ? 0
					    : map_put(id->peers_fd, &row->key, &row->value,
						      sizeof(row->value));

		if (err < 0) {
			id->left_out++;
			continue;
		}
		changes += err;
		now->rows[kept++] = *row;
	}
	now->n = kept;
	return changes;
}

static int write_ports(const struct identity *id, const struct peers *now)
{
	int changes = 0;

	for (uint32_t i = 0; i < WEIR_NAMED_PORT_WORDS; i++) {
		int err =
			id->synced && id->last.ports[i] == now->ports[i]
				? 0
				: map_put(id->ports_fd, &i, &now->ports[i], sizeof(now->ports[i]));

		if (err < 0)
			return err;
		changes += err;
	}
	return changes;
}

static int compare_served(const void *a, const void *b)
{
	return peers_compare_served(a, b);
}

static int compare_ids(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool is_there_still(const struct peers *now, const struct peer_served *row)
{
	return now->n_services && bsearch(&row->service, now->services, now->n_services,
					  sizeof(row->service), compare_ids);
}

/* What is served now, and before it what was, as long as the Service lives. */
static void merge_served(struct identity *id, struct peers *now)
{
	struct peer_served *list = NULL;
	size_t n = 0;

	for (size_t i = 0, j = 0; i < id->n_served || j < now->n_served;) {
		int order = i == id->n_served ? 1
			    : j == now->n_served
				    ? -1
				    : peers_compare_served(&id->served[i], &now->served[j]);

		if (order >= 0)
			list_append(list, n, now->served[j]);
		else if (is_there_still(now, &id->served[i]))
			list_append(list, n, id->served[i]);
		i += order <= 0;
		j += order >= 0;
	}
	free(id->served);
	id->served = list;
	id->n_served = n;
}

uint32_t identity_served(const struct identity *id, uint32_t workload, uint32_t port)
{
	const struct peer_served key = { .workload = workload, .port = port }, *found = NULL;

	if (id->n_served)
		found = bsearch(&key, id->served, id->n_served, sizeof(key), compare_served);
	return found ? found->service : WEIR_ID_NONE;
}

void identity_forget(struct identity *id, uint32_t workload)
{
	size_t kept = 0;

	for (size_t i = 0; i < id->n_served; i++)
		if (id->served[i].workload != workload)
			id->served[kept++] = id->served[i];
	id->n_served = kept;
}

static void report(const struct identity *id, size_t before)
{
	_cleanup_free_ char *text = xasprintf("%zu", id->left_out);

	if (id->left_out > before)
		log_error("weir_peers is full", "addresses_left_out", text, "effect",
			  "they are counted as unknown or external", NULL);
	else if (before && !id->left_out)
		log_info("weir_peers has room for all addresses again", NULL);
}

int identity_sync(struct identity *id, const struct source *source)
{
	const struct peers_naming naming = { give_id, id->names, id->serves };
	_cleanup_free_ struct weir_addr *own = NULL;
	int removed, written, ports;
	size_t n_own = 0, before = id->left_out;
	struct peers now;

	own_addresses(&own, &n_own); /* without them: what the objects say */
	peers_build(source, &naming, own, n_own, &now);
	merge_served(id, &now);
	removed = remove_former(id, &now);
	written = write_rows(id, &now);
	ports = write_ports(id, &now);
	peers_free(&id->last);
	id->last = now;
	id->synced = removed >= 0 && ports >= 0;
	id->left_out_ever += id->left_out;
	report(id, before);
	if (!id->synced)
		return removed < 0 ? removed : ports;
	return removed + written + ports;
}
