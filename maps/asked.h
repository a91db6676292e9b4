/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * weir_asked: socket storage of a UDP socket whose name lookups are captured, freed with it.
 *
 *   - which server is an answer from that comes from the proxy (recvfrom(), recvmsg())?
 *   - which one is the socket connected to (getpeername())?
 *
 * All queries of a socket go to one address and port of the proxy's, so their answers could not be
 * told apart. The first server asked, or connected to, is the *plain* one: queries to it bear the
 * pod's own address, and what the proxy answers is from it. Each further server gets a number, and
 * queries to it bear an address that holds this number as source; the proxy answers to that
 * address, which is turned back into the socket's own, and becomes the answer's source instead.
 */
#ifndef WEIR_MAPS_ASKED_H
#define WEIR_MAPS_ASKED_H

#include "addr.h"

#define WEIR_ASKED_SERVERS 32 /* beside the plain one; the one longest there gives way */

enum weir_asked_flag {
	WEIR_ASKED_PLAIN = 1 << 0, /* plain is set */
	WEIR_ASKED_CONNECTED = 1 << 1, /* to it */
};

struct weir_asked {
	__u32 flags; /* enum weir_asked_flag */
	__u32 next; /* number of the next server; its slot is the number modulo the slots */
	__u16 proxy_port; /* that answers come from, host order */
	__u16 pad;
	struct weir_addr plain;
	struct weir_addr servers[WEIR_ASKED_SERVERS]; /* all at port 53 */
};

_Static_assert(sizeof(struct weir_asked) == 28 + 16 * WEIR_ASKED_SERVERS, "ABI");

/*
 * Addresses that hold a number: 127.128.0.0/9, all of it the host's own, and 100::/64, which is
 * never routed (RFC 6666). Below 2^23.
 */
#define WEIR_ASKED_NUMBERS (1 << 23)

WEIR_INLINE void weir_asked_to_addr(struct weir_addr *addr, __u32 number, int v6)
{
	__u8 a = number >> 16 & 0x7f, b = number >> 8 & 0xff, c = number & 0xff;

	if (v6)
		weir_addr_from_words(addr, WEIR_WORD(1, 0, 0, 0), 0, 0, WEIR_WORD(0, a, b, c));
	else
		weir_addr_from_v4(addr, WEIR_WORD(127, 128 | a, b, c));
}

/* The number that an address holds, or -1. */
WEIR_INLINE int weir_asked_from_addr(const struct weir_addr *addr)
{
	int number = (addr->ip[13] & 0x7f) << 16 | addr->ip[14] << 8 | addr->ip[15];

	if (weir_addr_is_v4(addr))
		return addr->ip[12] == 127 && addr->ip[13] & 0x80 ? number : -1;
	if (weir_addr_word(addr, 0) != WEIR_WORD(1, 0, 0, 0) || weir_addr_word(addr, 1) ||
	    weir_addr_word(addr, 2) || addr->ip[12] || addr->ip[13] & 0x80)
		return -1;
	return number;
}

/* Is this the number of a server that the socket still remembers? */
WEIR_INLINE int weir_asked_knows(const struct weir_asked *asked, int number)
{
	return number >= 0 && (__u32)number < asked->next &&
	       (__u32)number + WEIR_ASKED_SERVERS >= asked->next;
}

/*
 * The server behind an address that a query bears as its source, or an answer from the proxy: the
 * one of its number, else the plain one. 0: none that the socket remembers.
 */
WEIR_INLINE const struct weir_addr *weir_asked_server(const struct weir_asked *asked,
						      const struct weir_addr *addr)
{
	int number = weir_asked_from_addr(addr);

	if (number >= 0)
		return weir_asked_knows(asked, number)
			       ? &asked->servers[number % WEIR_ASKED_SERVERS]
			       : 0;
	if (!(asked->flags & WEIR_ASKED_PLAIN) ||
	    weir_addr_is_v4(&asked->plain) != weir_addr_is_v4(addr))
		return 0;
	return &asked->plain;
}

#endif
