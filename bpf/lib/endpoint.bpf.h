/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * An endpoint from the fields of a context, whatever its type. All words are loaded before the
 * family is looked at, and barrier_var() keeps it so: left alone, the compiler loads through one
 * pointer that it computes per family, and the verifier allows no arithmetic on contexts and
 * sockets.
 */
#ifndef WEIR_BPF_ENDPOINT_H
#define WEIR_BPF_ENDPOINT_H

#include <bpf/bpf_helpers.h>

#include "bpf/kernel_types.h"
#include "maps/addr.h"

#ifndef barrier_var
#define barrier_var(var) asm volatile("" : "+r"(var))
#endif

#define endpoint_set(e, family, ip4, ip6, number)                                                  \
	do {                                                                                       \
		__u32 v4_ = (ip4), w0_ = (ip6)[0], w1_ = (ip6)[1], w2_ = (ip6)[2], w3_ = (ip6)[3]; \
		barrier_var(v4_);                                                                  \
		barrier_var(w0_);                                                                  \
		barrier_var(w1_);                                                                  \
		barrier_var(w2_);                                                                  \
		barrier_var(w3_);                                                                  \
		if ((family) == AF_INET)                                                           \
			weir_addr_from_v4(&(e)->addr, v4_);                                        \
		else                                                                               \
			weir_addr_from_words(&(e)->addr, w0_, w1_, w2_, w3_);                      \
		(e)->port = (number);                                                              \
	} while (0)

#endif
