/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * How every table of weir writes an address: 16 bytes in network order, IPv4 as ::ffff:a.b.c.d,
 * so that one table serves both families and an AF_INET6 socket which dials a mapped address
 * (the JVM's default) finds the same entry as an AF_INET one. Ports are in host order, in a
 * field of their own. `bpftool map dump` shows both as plain decimal numbers.
 */
#ifndef WEIR_MAPS_ADDR_H
#define WEIR_MAPS_ADDR_H

#include <linux/types.h>

/* BPF has no call that returns a struct: these must be inlined, whatever the compiler prefers. */
#define WEIR_INLINE static inline __attribute__((always_inline))

struct weir_addr {
	/* network order; IPv4 as ::ffff:a.b.c.d */
	__u8 ip[16] __attribute__((aligned(4)));
};

struct weir_endpoint {
	struct weir_addr addr;
	__u16 port; /* host order */
	__u16 pad;
};

_Static_assert(sizeof(struct weir_addr) == 16, "ABI");
_Static_assert(sizeof(struct weir_endpoint) == 20, "ABI");

/* The number that the bytes a, b, c, d in this order make on this machine: for comparing words. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define WEIR_WORD(a, b, c, d) ((__u32)(d) << 24 | (__u32)(c) << 16 | (__u32)(b) << 8 | (__u32)(a))
#else
#define WEIR_WORD(a, b, c, d) ((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))
#endif

#define WEIR_WORD_MAPPED WEIR_WORD(0, 0, 0xff, 0xff)

/*
 * One of the four words of an address, in network order, as the kernel keeps it. Compilers forget
 * the alignment of what lies behind a pointer, and load such a word byte by byte. (The pointer has
 * a variable of its own because clang 14 dies of the member itself when it sanitizes.)
 */
WEIR_INLINE __u32 weir_addr_word(const struct weir_addr *addr, int word)
{
	const __u8 *bytes = addr->ip, *ip = (const __u8 *)__builtin_assume_aligned(bytes, 4);
	__u32 value;

	__builtin_memcpy(&value, ip + word * 4, sizeof(value));
	return value;
}

WEIR_INLINE void weir_addr_from_words(struct weir_addr *addr, __u32 w0, __u32 w1, __u32 w2,
				      __u32 w3)
{
	__u8 *bytes = addr->ip, *ip = (__u8 *)__builtin_assume_aligned(bytes, 4);

	__builtin_memcpy(ip, &w0, sizeof(w0));
	__builtin_memcpy(ip + 4, &w1, sizeof(w1));
	__builtin_memcpy(ip + 8, &w2, sizeof(w2));
	__builtin_memcpy(ip + 12, &w3, sizeof(w3));
}

/* ip in network order. */
WEIR_INLINE void weir_addr_from_v4(struct weir_addr *addr, __u32 ip)
{
	weir_addr_from_words(addr, 0, 0, WEIR_WORD_MAPPED, ip);
}

WEIR_INLINE int weir_addr_is_v4(const struct weir_addr *addr)
{
	return !weir_addr_word(addr, 0) && !weir_addr_word(addr, 1) &&
	       weir_addr_word(addr, 2) == WEIR_WORD_MAPPED;
}

WEIR_INLINE int weir_addr_equal(const struct weir_addr *a, const struct weir_addr *b)
{
	for (int i = 0; i < 4; i++)
		if (weir_addr_word(a, i) != weir_addr_word(b, i))
			return 0;
	return 1;
}

/* 0.0.0.0 or ::, in either spelling of 0.0.0.0. */
WEIR_INLINE int weir_addr_is_any(const struct weir_addr *addr)
{
	__u32 third = weir_addr_word(addr, 2);

	return !weir_addr_word(addr, 0) && !weir_addr_word(addr, 1) && !weir_addr_word(addr, 3) &&
	       (!third || third == WEIR_WORD_MAPPED);
}

/* ::N, for the two addresses that Istio names: ::1 and ::6. */
WEIR_INLINE int weir_addr_is_v6_low(const struct weir_addr *addr, __u8 low)
{
	return !weir_addr_word(addr, 0) && !weir_addr_word(addr, 1) && !weir_addr_word(addr, 2) &&
	       weir_addr_word(addr, 3) == WEIR_WORD(0, 0, 0, low);
}

/* 127.0.0.N */
WEIR_INLINE int weir_addr_is_v4_loop(const struct weir_addr *addr, __u8 low)
{
	return weir_addr_is_v4(addr) && weir_addr_word(addr, 3) == WEIR_WORD(127, 0, 0, low);
}

/* Any of 127.0.0.0/8, or ::1: addresses that never leave by another device than lo. */
WEIR_INLINE int weir_addr_is_loopback(const struct weir_addr *addr)
{
	return (weir_addr_is_v4(addr) && addr->ip[12] == 127) || weir_addr_is_v6_low(addr, 1);
}

/* Is this IPv4 address within net/bits? bits 0 holds everything. */
WEIR_INLINE int weir_addr_in_v4(const struct weir_addr *addr, const __u8 net[4], __u8 bits)
{
	__u32 a = (__u32)addr->ip[12] << 24 | addr->ip[13] << 16 | addr->ip[14] << 8 | addr->ip[15];
	__u32 n = (__u32)net[0] << 24 | net[1] << 16 | net[2] << 8 | net[3];

	return weir_addr_is_v4(addr) && !((__u64)(a ^ n) >> (32 - (bits & 63)));
}

/*
 * Private (RFC 1918), shared (RFC 6598), link-local, loopback and unique local addresses: what has
 * one may be of the cluster even when nothing says so. Others are of the world outside.
 */
WEIR_INLINE int weir_addr_is_private(const struct weir_addr *addr)
{
	__u8 a = addr->ip[12], b = addr->ip[13];

	if (!weir_addr_is_v4(addr))
		return (addr->ip[0] & 0xfe) == 0xfc ||
		       (addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80) ||
		       weir_addr_is_v6_low(addr, 1);
	return a == 10 || (a == 172 && (b & 0xf0) == 16) || (a == 192 && b == 168) ||
	       (a == 100 && (b & 0xc0) == 64) || (a == 169 && b == 254) || a == 127;
}

/*
 * Neither loopback nor link-local, nor ::6, which a pod of Istio's has on lo: such an address says
 * which host it means.
 */
WEIR_INLINE int weir_addr_is_global(const struct weir_addr *addr)
{
	int link_local = weir_addr_is_v4(addr)
				 ? addr->ip[12] == 169 && addr->ip[13] == 254
				 : addr->ip[0] == 0xfe && (addr->ip[1] & 0xc0) == 0x80;

	return !weir_addr_is_loopback(addr) && !link_local && !weir_addr_is_any(addr) &&
	       !weir_addr_is_v6_low(addr, 6);
}

/*
 * Not a group's address, nor one that means all: 255.255.255.255, and 127.255.255.255, the
 * broadcast address that each network namespace's lo has. A TCP connect() to one of these is
 * refused by the kernel with ENETUNREACH before any rule is asked (tcp_v4_connect, tcp_v6_connect).
 */
WEIR_INLINE int weir_addr_is_unicast(const struct weir_addr *addr)
{
	__u32 last = weir_addr_word(addr, 3);

	if (!weir_addr_is_v4(addr))
		return addr->ip[0] != 0xff;
	return (addr->ip[12] & 0xf0) != 0xe0 && last != WEIR_WORD(255, 255, 255, 255) &&
	       last != WEIR_WORD(127, 255, 255, 255);
}

#endif
