/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Exact accounting from the counters that TCP keeps anyway. A connection's flow is decided once,
 * when it starts; what its socket has counted since the last fold is added to that flow at each
 * scrape (iter.bpf.c) and at its end (sockops.bpf.c), exactly once whichever comes first.
 */
#ifndef WEIR_BPF_ACCOUNT_H
#define WEIR_BPF_ACCOUNT_H

#include <bpf/bpf_core_read.h>

#include "bpf/kernel_types.h"
#include "bpf/lib/stats.bpf.h"
#include "bpf/maps.bpf.h"
#include "maps/leg.h"

/* Payload bytes of a socket, SYN and FIN taken out. */
struct payload {
	__u64 sent;
	__u64 received;
};

static __always_inline int account_named(__u16 port)
{
	__u32 word = port / 64;
	__u64 *named = bpf_map_lookup_elem(&weir_named_ports, &word);

	return named && (*named & (1ULL << (port % 64)));
}

static __always_inline __u32 account_port(__u16 port)
{
	if (port < 32768 || port > 60999) /* ip_local_port_range's default */
		return port;
	return account_named(port) ? port : WEIR_PORT_DYNAMIC;
}

/* See struct weir_peer_key. */
static __always_inline const struct weir_peer *account_find_peer(const struct weir_addr *addr,
								 __u16 port, __u16 protocol)
{
	struct weir_peer_key key = { .addr = *addr };
	const struct weir_peer *peer = bpf_map_lookup_elem(&weir_peers, &key), *by_port = 0;
	int node = peer && peer->workload == WEIR_ID_HOST && !peer->service;

	if (!port)
		return peer;
	key.port = port;
	key.protocol = protocol;
	if (!peer || !peer->alone)
		by_port = bpf_map_lookup_elem(&weir_peers, &key);
	if (!by_port && node) {
		__builtin_memset(&key.addr, 0, sizeof(key.addr));
		by_port = bpf_map_lookup_elem(&weir_peers, &key);
	}
	return by_port ?: peer;
}

/* port: as dialled, in host order; 0 for an inbound connection. protocol: 0 is TCP. */
static __always_inline void account_peer(struct weir_flow_key *flow, const struct weir_addr *addr,
					 __u16 port, __u16 protocol)
{
	const struct weir_peer *peer = account_find_peer(addr, port, protocol);

	if (peer) {
		flow->peer = peer->workload;
		flow->service = peer->service;
		return;
	}
	flow->service = WEIR_ID_NONE;
	flow->peer = weir_addr_is_private(addr) ? WEIR_ID_UNKNOWN : WEIR_ID_EXTERNAL;
}

/*
 * Whether a flow may be made that has this port: named, or one of the few of its workload that are
 * not. Asked only for a flow that is not there yet.
 */
static __noinline int account_has_port(const struct weir_flow_key *flow)
{
	struct weir_flow_port key = { .workload = flow->workload, .direction = flow->direction };
	__u64 zero = 0, one = 1, *number;

	if (flow->port > 65535 || account_named(flow->port))
		return 1;
	number = bpf_map_lookup_elem(&weir_flow_ports, &key);
	if (!number) {
		bpf_map_update_elem(&weir_flow_ports, &key, &zero, BPF_NOEXIST);
		number = bpf_map_lookup_elem(&weir_flow_ports, &key);
	}
	key.port = flow->port;
	if (bpf_map_lookup_elem(&weir_flow_ports, &key))
		return 1;
	if (!number || *(volatile __u64 *)number >= WEIR_UNNAMED_PORTS)
		return 0;
	if (!bpf_map_update_elem(&weir_flow_ports, &key, &one, BPF_NOEXIST))
		__sync_fetch_and_add(number, 1);
	return !!bpf_map_lookup_elem(&weir_flow_ports, &key);
}

static __always_inline int account_port_fits(const struct weir_flow_key *flow)
{
	int fits = account_has_port(flow);

	if (!fits)
		stats_count(WEIR_COUNTER_PORTS_FULL);
	return fits;
}

/* Whether so many flows leave room for one more; what did not fit is counted. */
static __always_inline int account_flow_fits(enum weir_counter number, enum weir_counter full)
{
	if (stats_read(number) < stats_read(WEIR_COUNTER_FLOWS_LIMIT))
		return 1;
	stats_count(full);
	return 0;
}

/* A new flow; too big for the stack. */
static const struct weir_flow account_nothing;

/* Of a key that stands still: the kernel reads it more than once. */
static __noinline struct weir_flow *account_make_flow(const struct weir_flow_key *of)
{
	struct weir_flow_key key = *of;

	if (!account_flow_fits(WEIR_COUNTER_FLOWS, WEIR_COUNTER_FLOWS_FULL))
		return 0;
	if (!bpf_map_update_elem(&weir_flows, &key, &account_nothing, BPF_NOEXIST))
		stats_count(WEIR_COUNTER_FLOWS);
	return bpf_map_lookup_elem(&weir_flows, &key);
}

/* The flow's slot, made when new; 0 when the table is full. */
static __always_inline struct weir_flow *account_flow(const struct weir_flow_key *key)
{
	return bpf_map_lookup_elem(&weir_flows, key) ?: account_make_flow(key);
}

static __noinline struct weir_flow *account_start_first(struct weir_conn *conn)
{
	struct weir_flow *flow =
		account_port_fits(&conn->flow) ? account_make_flow(&conn->flow) : 0;

	if (flow)
		return flow;
	stats_count(WEIR_COUNTER_FLOW_OVERFLOW);
	conn->flow.peer = WEIR_ID_OTHER;
	conn->flow.service = WEIR_ID_NONE;
	conn->flow.port = WEIR_PORT_OTHER;
	return account_flow(&conn->flow);
}

/* Makes sure that the connection's flow exists, now, so that no later fold can fail. */
static __always_inline struct weir_flow *account_start(struct weir_conn *conn)
{
	return bpf_map_lookup_elem(&weir_flows, &conn->flow) ?: account_start_first(conn);
}

/* Is another processor at work on this socket right now? */
static __always_inline int account_busy(struct sock *sk)
{
	struct spinlock *lock = &sk->sk_lock.slock;
	struct spinlock___rt *rt = (void *)lock;

	if (*(volatile int *)&sk->sk_lock.owned)
		return 1;
	if (bpf_core_field_exists(lock->rlock.raw_lock.val.counter))
		return *(volatile int *)&lock->rlock.raw_lock.val.counter;
	if (bpf_core_field_exists(rt->lock.owner))
		return BPF_CORE_READ(rt, lock.owner) != 0;
	return 1; /* cannot tell */
}

/* Where its payload begins, of a socket that nobody is at work on meanwhile. */
static __always_inline __u32 account_origin(const struct tcp_sock *tp, __u32 flags)
{
	return tp->snd_una - (__u32)tp->bytes_acked + !!(flags & WEIR_CONN_SYN_ACKED);
}

static __always_inline void account_place(struct weir_conn *conn, __u32 origin)
{
	conn->origin = origin;
	conn->flags |= WEIR_CONN_PLACED;
}

static __always_inline __u32 account_origin_of(const struct weir_conn *conn,
					       const struct tcp_sock *tp)
{
	return conn->flags & WEIR_CONN_PLACED ? conn->origin : account_origin(tp, conn->flags);
}

/*
 * What was sent is where snd_nxt stands, which is one load; bytes_acked, loaded before, tells how
 * often it has come round. (bytes_acked and snd_una do not move in one step: who reads both in
 * between and adds what lies from snd_una to snd_nxt counts what was just acknowledged twice.)
 * bytes_acked counts the own FIN and, unless the socket was repaired into being, the own SYN of an
 * active open; bytes_received the peer's FIN (tcp_snd_una_update(), tcp_rcv_nxt_update(); same in
 * 5.10 .. 7.2). The order of the loads matters when another processor moves the counters
 * meanwhile: what is read can then only be less than the truth, and the next fold brings the rest.
 * flags are those of the socket's struct weir_conn; oldstate is 0 unless the state is changing.
 */
static __always_inline struct payload account_read(struct tcp_sock *tp, __u32 flags, __u32 origin,
						   __u32 oldstate)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;
	__u64 acked = *(volatile __u64 *)&tp->bytes_acked;
	__u32 nxt = *(volatile __u32 *)&tp->snd_nxt;
	__u32 state = oldstate ? oldstate : sk->__sk_common.skc_state;
	__u32 write_seq = *(volatile __u32 *)&tp->write_seq;
	__u64 received = *(volatile __u64 *)&tp->bytes_received;
	int busy = !oldstate && account_busy(sk);
	int done = (*(volatile unsigned long *)&sk->__sk_common.skc_flags >> SOCK_DONE_BIT) & 1;
	int fin_queued = state == BPF_TCP_FIN_WAIT1 || state == BPF_TCP_FIN_WAIT2 ||
			 state == BPF_TCP_CLOSING || state == BPF_TCP_LAST_ACK;
	struct payload p;
	__u64 sent;

	if ((flags & WEIR_CONN_SYN_ACKED) && acked)
		acked--;
	sent = acked + (__u32)(nxt - origin - (__u32)acked);
	if (fin_queued && nxt == write_seq && sent)
		sent--;
	/* A FIN is counted before it is marked: in between one byte is held back, until the next
	 * fold. */
	if ((done || busy) && received)
		received--;
	p.sent = flags & WEIR_CONN_MACHINE ? received : sent;
	p.received = flags & WEIR_CONN_MACHINE ? sent : received;
	return p;
}

/* Which of its socket's connections this is: to be asked before anything else of it is read. */
static __always_inline __u64 account_life(const struct weir_conn *conn)
{
	return *(volatile __u64 *)&conn->sent & WEIR_MARK_LIFE;
}

/* The next one begins: nothing that is folded from now on is the former one's. */
static __always_inline void account_begin_life(struct weir_conn *conn)
{
	__u64 life = (account_life(conn) + WEIR_MARK_LIFE_ONE) & WEIR_MARK_LIFE;

	*(volatile __u64 *)&conn->sent = life;
	*(volatile __u64 *)&conn->received = life;
	*(volatile __u64 *)&conn->retransmitted = life;
}

/* Moves a mark forward and returns by how much; 0 when another fold was first, or a new life is. */
static __always_inline __u64 account_advance(__u64 *mark, __u64 life, __u64 now, __u64 done)
{
	now |= life;
	for (int i = 0; i < 4; i++) {
		__u64 was = *(volatile __u64 *)mark;
		__u64 next = now > was ? now : was;

		if ((was & ~WEIR_MARK_NUMBER) != life)
			return 0;
		if (next == was && !done)
			return 0; /* nothing new: the cache line stays as it is */
		if (__sync_val_compare_and_swap(mark, was, next | done) == was)
			return next - was;
	}
	return 0;
}

static __always_inline __u64 account_add(__u64 *total, __u64 *mark, __u64 life, __u64 now,
					 __u64 done)
{
	__u64 delta = account_advance(mark, life, now, done);

	if (delta)
		__sync_fetch_and_add(total, delta);
	return delta;
}

static __always_inline void account_time(struct weir_times *times, __u64 us)
{
	__u32 bucket = 0;

#define X(bound) bucket += us > (bound);
	WEIR_TIME_BOUNDS(X)
#undef X
	if (bucket >= WEIR_TIME_BUCKETS)
		return;
	__sync_fetch_and_add(&times->sum_us, us);
	__sync_fetch_and_add(&times->count[bucket], 1);
}

/*
 * A connection's round trip is observed once by whoever folds it first, the scrape or its end, and
 * again as long as it moves data, not more often than every 15 s: so a short connection weighs as
 * much as it should, a long one is seen before it ends, and several scrapers change nothing. Time
 * is that of its last segment, which TCP has noted.
 */
#define ACCOUNT_OBSERVE_EVERY 14 /* in 2^20 us */

static __always_inline void account_round_trip(struct weir_flow *flow, struct weir_conn *conn,
					       const struct tcp_sock *tp, int moved)
{
	__u32 was = *(volatile __u32 *)&conn->observed, now;

	if (!tp->srtt_us || (was && !moved))
		return;
	now = tp->tcp_mstamp >> 20;
	if (was && now - was < ACCOUNT_OBSERVE_EVERY)
		return;
	if (__sync_val_compare_and_swap(&conn->observed, was, now ?: 1) == was)
		account_time(&flow->rtt, tp->srtt_us >> 3);
}

/* 1 when all that was read is in the flow now, by this fold or another one. */
static __always_inline int account_fold(struct weir_conn *conn, __u64 life, struct tcp_sock *tp,
					struct weir_flow *flow, __u32 oldstate, int last)
{
	struct payload now = account_read(tp, conn->flags, account_origin_of(conn, tp), oldstate);
	__u64 done = last ? WEIR_MARK_DONE : 0, moved, retransmitted = tp->total_retrans;

	moved = account_add(&flow->sent, &conn->sent, life, now.sent, done);
	moved += account_add(&flow->received, &conn->received, life, now.received, done);
	account_add(&flow->retransmitted, &conn->retransmitted, life, retransmitted, done);
	account_round_trip(flow, conn, tp, moved != 0);
	return conn->sent == (now.sent | life) && conn->received == (now.received | life) &&
	       conn->retransmitted == (retransmitted | life);
}

/*
 * Where a connection stands: what it has sent follows from snd_nxt, what it has received from
 * rcv_nxt. The stamp of its last segment tells positions apart that are 4 GiB from each other.
 * Newer kernels keep all of these next to each other.
 */
struct standing {
	__u64 stamp_us;
	__u32 position;
	int acknowledged; /* nothing is under way, so nothing can be sent again */
};

static __always_inline struct standing account_standing(const struct tcp_sock *tp)
{
	struct standing s = { .stamp_us = *(volatile __u64 *)&tp->tcp_mstamp };
	__u32 nxt = *(volatile __u32 *)&tp->snd_nxt;

	s.position = nxt + *(volatile __u32 *)&tp->rcv_nxt;
	s.acknowledged = nxt == *(volatile __u32 *)&tp->snd_una;
	return s;
}

static __always_inline int account_is_settled(const struct weir_conn *conn,
					      const struct standing *s)
{
	return conn->settled_us == s->stamp_us && conn->settled_position == s->position;
}

/* How long a connection must have been at rest. Anything above the clocks' resolution would do. */
#define ACCOUNT_REST_US 1000

/*
 * Folds a live connection; time_us is a time that has passed. One that is folded while it is at
 * rest is settled then: as long as it stands where it stood nothing is new, and the rest of it is
 * not looked at, which of 100,000 sockets is in no cache. It is at rest if nobody is at work on it
 * now and its last stamp is older than that time: whoever comes to work on it meanwhile leaves a
 * newer one.
 */
static __always_inline void account_visit(struct weir_conn *conn, struct tcp_sock *tp,
					  __u64 time_us)
{
	struct standing s = account_standing(tp);
	__u64 life = account_life(conn);
	struct weir_flow_key key;
	struct weir_flow *flow;
	int busy;

	if (account_is_settled(conn, &s) || !(*(volatile __u32 *)&conn->flags & WEIR_CONN_OPENED))
		return;
	key = conn->flow; /* in an iterator's buffer, which helpers take for a key only since 6.2 */
	if (account_life(conn) != life)
		return; /* half of it may be the next one's */
	flow = account_flow(&key);
	if (!flow)
		return;
	busy = account_busy(&tp->inet_conn.icsk_inet.sk);
	s = account_standing(tp);
	if (!account_fold(conn, life, tp, flow, 0, 0) || busy || !s.acknowledged ||
	    s.stamp_us + ACCOUNT_REST_US >= time_us)
		return;
	conn->settled_position = s.position;
	conn->settled_us = s.stamp_us;
}

/* connect_ns: how long connect() took, 0 when that is not known. */
static __always_inline void account_opened(struct weir_conn *conn, __u64 connect_ns)
{
	struct weir_flow *flow = account_start(conn);

	if (!flow)
		return;
	__sync_fetch_and_add(&flow->opened, 1);
	conn->flags |= WEIR_CONN_OPENED;
	if (weir_tls_asked && weir_leg_on_network(conn->flow.direction, conn->flow.via))
		conn->flags |= WEIR_CONN_TLS_ASKED;
	if (connect_ns)
		account_time(&flow->connect, connect_ns / 1000);
}

/* The socket leaves `oldstate` for CLOSE, and is still as it was in it. */
static __always_inline void account_closed(struct weir_conn *conn, struct tcp_sock *tp,
					   __u32 oldstate)
{
	struct weir_flow *flow = account_flow(&conn->flow);
	__u32 ends = WEIR_CONN_OPENED | WEIR_CONN_TLS_ASKED, flags = conn->flags;

	/* A packet may tell it right now, on another processor (bpf/tls.bpf.c). */
	if (flags & WEIR_CONN_TLS_ASKED)
		flags = __sync_fetch_and_and(&conn->flags, ~ends);
	else
		conn->flags = flags & ~ends;
	if (!flow)
		return;
	account_fold(conn, account_life(conn), tp, flow, oldstate, 1);
	if (flags & WEIR_CONN_TLS_ASKED)
		__sync_fetch_and_add(&flow->tls[WEIR_TLS_UNKNOWN], 1);
	__sync_fetch_and_add(&flow->closed, 1);
}

/*
 * Why a handshake came to nothing. ICMP that arrives while the socket is in use is noted as a soft
 * error; an application may have taken that already (bpf/sockopt.bpf.c sees it do so).
 */
static __always_inline int account_error(const struct weir_conn *conn, struct tcp_sock *tp)
{
	struct sock *sk = &tp->inet_conn.icsk_inet.sk;

	return sk->sk_err ?: sk->sk_err_soft ?: conn->soft_error;
}

/* All that ICMP says of a destination but that its port is closed (icmp_err_convert, tab_unreach).
 */
static __always_inline int account_is_unreachable(int err)
{
	return err == EHOSTUNREACH || err == ENETUNREACH || err == EHOSTDOWN || err == EACCES ||
	       err == ENONET || err == EPROTO || err == ENOPROTOOPT || err == EOPNOTSUPP;
}

static __always_inline enum weir_failure account_failure(int err)
{
	if (err == ECONNREFUSED)
		return WEIR_FAILED_REFUSED;
	if (err == ETIMEDOUT)
		return WEIR_FAILED_TIMEOUT;
	if (err == ECONNRESET)
		return WEIR_FAILED_RESET;
	if (account_is_unreachable(err))
		return WEIR_FAILED_UNREACHABLE;
	return err ? WEIR_FAILED_OTHER : WEIR_FAILED_ABORTED;
}

static __always_inline void account_failed(struct weir_conn *conn, enum weir_failure why)
{
	struct weir_flow *flow = account_start(conn);

	if (flow && why < WEIR_FAILED_MAX)
		__sync_fetch_and_add(&flow->failed[why], 1);
}

/* connect() was let through, and nothing was sent: there is no route, or no port is free. */
static __always_inline void account_never_left(struct weir_conn *conn)
{
	conn->flags &= ~WEIR_CONN_TRYING;
	account_failed(conn, WEIR_FAILED_UNREACHABLE);
}

#endif
