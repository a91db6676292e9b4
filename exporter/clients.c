/* SPDX-License-Identifier: Apache-2.0 */
#include "exporter/clients.h"

#include <stdlib.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/clock.h"

#define SPARE 16 /* connections beyond the limit, until those that were cut are gone */

void clients_init(struct clients *c, unsigned int limit, unsigned int timeout_s)
{
	*c = (struct clients){ .limit = limit, .timeout = (int64_t)timeout_s * 1000 };
}

unsigned int clients_room(const struct clients *c)
{
	return c->limit + SPARE;
}

static void append(struct clients *c, struct client *client)
{
	client->since = clock_ms();
	client->next = NULL;
	client->prev = c->last;
	*(c->last ? &c->last->next : &c->first) = client;
	c->last = client;
}

static void unlink_client(struct clients *c, struct client *client)
{
	*(client->prev ? &client->prev->next : &c->first) = client->next;
	*(client->next ? &client->next->prev : &c->last) = client->prev;
}

/* The server sees the end of the connection and closes it: the descriptor is its own. */
static void cut(struct client *client)
{
	client->cut = true;
	shutdown(client->fd, SHUT_RDWR);
}

static void cut_oldest(const struct clients *c)
{
	struct client *client = c->first;

	while (client && client->cut)
		client = client->next;
	if (client)
		cut(client);
}

struct client *clients_add(struct clients *c, int fd)
{
	struct client *client = xcalloc(1, sizeof(*client));

	if (c->n >= c->limit)
		cut_oldest(c);
	client->fd = fd;
	append(c, client);
	c->n++;
	return client;
}

void clients_renew(struct clients *c, struct client *client)
{
	if (client->cut)
		return;
	unlink_client(c, client);
	append(c, client);
}

void clients_remove(struct clients *c, struct client *client)
{
	unlink_client(c, client);
	c->n--;
	free(client);
}

void clients_cut_late(struct clients *c)
{
	int64_t late = clock_ms() - c->timeout;

	for (struct client *client = c->first; client && client->since < late;
	     client = client->next)
		if (!client->cut)
			cut(client);
}
