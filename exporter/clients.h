/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who is connected, and since when we wait for them. A client has a fixed time to send a request,
 * the pause before it included, and as much again to take the answer, however busily it drips
 * bytes; what we need ourselves does not count. When there are too many, the one that has been
 * waited for longest gives way to the newest.
 */
#ifndef WEIR_EXPORTER_CLIENTS_H
#define WEIR_EXPORTER_CLIENTS_H

#include <stdbool.h>
#include <stdint.h>

struct tls;

struct client {
	struct client *prev, *next;
	int fd; /* borrowed */
	int64_t since; /* ms: connected, answered, or done with its answer */
	bool cut; /* shut down; its connection will go */
	uint64_t scrape; /* that it is being given; 0: none */
	struct tls *tls; /* held while the connection lives; NULL: in plain */
};

struct clients {
	struct client *first, *last; /* by since */
	unsigned int n, limit;
	int64_t timeout; /* ms */
};

void clients_init(struct clients *c, unsigned int limit, unsigned int timeout_s);
/* How many connections there may be at a time, those counted that are being cut. */
unsigned int clients_room(const struct clients *c);
/* The client is the list's until clients_remove(). */
struct client *clients_add(struct clients *c, int fd);
/* It is its turn anew. */
void clients_renew(struct clients *c, struct client *client);
void clients_remove(struct clients *c, struct client *client);
/* Shuts down those whose time is over. */
void clients_cut_late(struct clients *c);

#endif
