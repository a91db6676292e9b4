/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which answers arrived at those who had asked? That one was handed to the kernel says little: it
 * takes a small answer as a whole at once, whether its reader lives or not. So the connection is
 * looked at again later. An answer has arrived when its reader has asked for more, or ended the
 * connection in an orderly way after it had acknowledged every byte, or stayed DELIVERIES_WAIT_MS
 * without complaint; it has not when the connection was reset.
 */
#ifndef WEIR_EXPORTER_DELIVERIES_H
#define WEIR_EXPORTER_DELIVERIES_H

#include <stddef.h>
#include <stdint.h>

#define DELIVERIES_MAX	   32 /* under way at a time; beyond, the oldest is taken for lost */
#define DELIVERIES_WAIT_MS 10000

struct delivery {
	int fd; /* of the connection, a duplicate: the server closes its own */
	uint64_t number; /* of the answer, as its maker counts them */
	uint8_t client[16]; /* address, as base/inet.h has them */
	int64_t since; /* ms, CLOCK_MONOTONIC */
	uint64_t received; /* bytes until then; the kernel counts the peer's FIN as one more */
};

struct deliveries {
	struct delivery items[DELIVERIES_MAX]; /* the oldest first */
	size_t n;
};

typedef void (*deliveries_fn)(void *ctx, uint64_t number, const uint8_t client[16]);

/* An answer has been handed to the kernel, for this connection. */
void deliveries_add(struct deliveries *d, int fd, uint64_t number);
/* The connection behind fd asks again: what it was given before has arrived. */
void deliveries_asked(struct deliveries *d, int fd, deliveries_fn arrived, void *ctx);
/* Tells of each answer that has arrived meanwhile, once, and forgets those that have not. */
void deliveries_settle(struct deliveries *d, deliveries_fn arrived, void *ctx);
void deliveries_clear(struct deliveries *d);

#endif
