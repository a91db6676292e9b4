/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir explain: a question about one connection, what the maps know about it, and the answer of the
 * decision that the hooks run (maps/decide.h).
 *
 *     query --------+
 *                   +--> explain_decide() --> struct weir_answer --> explain_because()
 *     facts (maps) -+
 */
#ifndef WEIR_CLI_EXPLAIN_H
#define WEIR_CLI_EXPLAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "cli/maps.h"
#include "cli/options.h"
#include "maps/decide.h"
#include "maps/policy.h"

/* What the user asks. */
struct explain_query {
	enum weir_direction direction;
	bool udp;
	bool has_from;
	bool has_to; /* inbound: which of the pod's addresses is dialled was given */
	bool has_uid, has_gid; /* given, not the default */
	uint16_t port; /* dialled */
	uint32_t uid;
	uint32_t gid;
	struct weir_addr from; /* :: unless has_from */
	const char *interface; /* that it comes in by; NULL: one that no policy names */
	struct weir_addr to; /* dialled; inbound: the pod's address */
};

/* What the maps say about it. */
struct explain_facts {
	struct weir_pod pod;
	uint32_t sources[WEIR_SETTING_MAX]; /* enum weir_source, by enum weir_list and enum
					       weir_setting */
	enum weir_mesh mesh;
	bool local; /* outbound: the destination, inbound: the source is an address of the pod */
	uint32_t link_flags; /* enum weir_link_flag of the interface that it leaves or comes by */
	bool listed[WEIR_LIST_MAX]; /* answers of the lists that are in use */
};

/* Which list is asked about what, when this flag is set. */
struct explain_list {
	enum weir_list list;
	enum weir_pod_flag flag;
	enum weir_direction direction;
	enum { EXPLAIN_PORT, EXPLAIN_TO, EXPLAIN_FROM, EXPLAIN_UID, EXPLAIN_GID } subject;
};
extern const struct explain_list explain_lists[];
extern const size_t explain_lists_n;

/* 0.0.0.0 and :: as a destination: the bound source if it is IPv4, else loopback, as the kernel
 * does. */
void explain_resolve_any(struct explain_query *q);
/* The pod's address that an inbound connection is for: of the source's family, else the first. */
void explain_set_inbound_to(struct explain_query *q, const struct weir_addr *ip4,
			    const struct weir_addr *ip6);

/* The decision, before it is known whether the proxy listens. */
struct weir_answer explain_decide(const struct explain_query *q, const struct explain_facts *f);
/* Where that decision leads: the proxy's listener, or where it was going. */
void explain_landing(const struct explain_query *q, const struct weir_answer *answer,
		     struct weir_endpoint *ret);

const char *explain_verdict_name(enum weir_verdict verdict);
const char *explain_reason_name(enum weir_reason reason);
/* The reason in words, and the annotation, default or container behind it; the caller's. */
char *explain_because(const struct explain_query *q, const struct explain_facts *f,
		      const struct weir_answer *answer);

/* Texts that go with the answer. */
struct explain_notes {
	json_t *assumed; /* what could not, or cannot, be looked up */
	json_t *notes; /* what else the reader should know */
};

/* The answer, ready to be printed. */
struct explain_result {
	struct weir_answer answer;
	struct weir_endpoint to; /* where the connection would land */
	char *because; /* owned */
	char *pod; /* NAMESPACE/POD, owned */
	struct explain_notes texts;
};

/* Adds what the answer takes for granted: nobody can look it up before the connection is made. */
void explain_assume(const struct explain_query *q, const struct explain_facts *f,
		    const struct explain_result *result);

/* One of several stands on a line of its own as JSON, and is followed by an empty line as text. */
void explain_print(const struct explain_query *q, const struct explain_result *result,
		   enum output output, bool one_of_several);

/* Whether the maps say that this is an address of the pod. */
bool explain_is_own(const char *bpf_dir, const struct pod_entry *pod, const struct weir_addr *addr);
/* Asks the maps. 0 or -errno, and one line in *ret_error, the caller's. */
int explain_read_facts(const char *bpf_dir, const struct explain_query *q,
		       const struct pod_entry *pod, struct explain_facts *ret, char **ret_error);
/* The part of it that concerns interfaces: sets f->link_flags. 0 or -errno. */
int explain_ask_links(const char *bpf_dir, const struct explain_query *q,
		      const struct pod_entry *pod, struct explain_facts *f);
/* What was assumed about them goes into *notes. */
void explain_assume_links(const struct explain_query *q, const struct explain_facts *f,
			  const struct explain_notes *notes);
/* What the proxy's listener on that port is doing; what had to be assumed goes into *notes. */
enum weir_presence explain_presence(const char *bpf_dir, const struct explain_query *q,
				    const struct pod_entry *pod, uint16_t port,
				    const struct explain_notes *notes);

#endif
