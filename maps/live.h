/* SPDX-License-Identifier: Apache-2.0 OR BSD-2-Clause OR GPL-2.0-only */
/*
 * A row of `weir conns`: what is to be told of one TCP connection, or of one UDP socket, right now.
 * Written by weir_list or weir_list_udp (bpf/conns.bpf.c) into an array that the command which
 * reads it has made for itself.
 *
 *   - whose is it, and who is the other end?
 *   - what was dialled, and where did it really go?
 *   - how much went over it, and how well does it do?
 */
#ifndef WEIR_MAPS_LIVE_H
#define WEIR_MAPS_LIVE_H

#include "conn.h"

struct weir_live {
	__u64 socket_cookie; /* never reused while the kernel runs; `ss -e` shows it as sk: */
	__u64 netns_cookie; /* of the pod: key of weir_pods, weir_pod_names */
	__u64 age_ns; /* since the handshake, or since connect() while that runs */
	__u64 sent; /* payload bytes, as in struct weir_flow */
	__u64 received;
	__u32 retransmitted; /* segments */
	__u32 srtt_us; /* smoothed round-trip time; 0: no sample yet */
	struct weir_flow_key flow; /* valid with WEIR_CONN_COUNTED */
	struct weir_endpoint local; /* the socket's own view of its two ends */
	struct weir_endpoint remote;
	struct weir_endpoint dialled; /* what the application asked for; :: unless known */
	__u32 flags; /* enum weir_conn_flag */
	enum weir_reason reason; /* of the verdict */
	__u16 proxy_port; /* where a redirected one was sent to, host order; 0: nowhere */
	__u8 state; /* TCP_ESTABLISHED, ... as <netinet/tcp.h> numbers them */
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP. Of the latter: remote is the last peer, flow
			  and bytes are as weir_udp_socks has them, and the state is
			  TCP_ESTABLISHED if it is connected, TCP_CLOSE if not */
};

_Static_assert(sizeof(struct weir_live) == 144, "ABI");

#endif
