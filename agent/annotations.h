/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammars of the annotations that meshes and weir define, with the error texts that a user of
 * the mesh knows: Istio's injector says "invalid value '<v>' for annotation '<k>': <e>". Istio is
 * written in Go and quotes its library, so the library's parsers are here with their texts.
 */
#ifndef WEIR_AGENT_ANNOTATIONS_H
#define WEIR_AGENT_ANNOTATIONS_H

#include "base/cleanup.h"
#include "maps/addr.h"
#include "maps/policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ISTIO_MODE		  "sidecar.istio.io/interceptionMode"
#define ISTIO_IN_INCLUDE_PORTS	  "traffic.sidecar.istio.io/includeInboundPorts"
#define ISTIO_IN_EXCLUDE_PORTS	  "traffic.sidecar.istio.io/excludeInboundPorts"
#define ISTIO_OUT_INCLUDE_PORTS	  "traffic.sidecar.istio.io/includeOutboundPorts"
#define ISTIO_OUT_EXCLUDE_PORTS	  "traffic.sidecar.istio.io/excludeOutboundPorts"
#define ISTIO_OUT_INCLUDE_RANGES  "traffic.sidecar.istio.io/includeOutboundIPRanges"
#define ISTIO_OUT_EXCLUDE_RANGES  "traffic.sidecar.istio.io/excludeOutboundIPRanges"
#define ISTIO_EXCLUDE_INTERFACES  "traffic.sidecar.istio.io/excludeInterfaces"
#define ISTIO_KUBEVIRT_INTERFACES "traffic.sidecar.istio.io/kubevirtInterfaces"
#define ISTIO_REROUTE_INTERFACES  "istio.io/reroute-virtual-interfaces"
#define ISTIO_STATUS_PORT	  "status.sidecar.istio.io/port"
#define LINKERD_SKIP_IN		  "config.linkerd.io/skip-inbound-ports"
#define LINKERD_SKIP_OUT	  "config.linkerd.io/skip-outbound-ports"
#define LINKERD_SKIP_SUBNETS	  "config.linkerd.io/skip-subnets"
#define LINKERD_UID		  "config.linkerd.io/proxy-uid"
#define LINKERD_GID		  "config.linkerd.io/proxy-gid"

/* A range of ports in one list. */
struct port_range {
	enum weir_list list;
	uint16_t lo;
	uint16_t hi; /* inclusive */
};

struct cidr {
	enum weir_list list;
	struct weir_addr addr; /* masked */
	uint8_t bits; /* 0..128; an IPv4 /n is 96 + n */
};

/* Growing lists of both; owns its arrays. */
struct lists {
	struct port_range *ports;
	size_t n_ports;
	struct cidr *cidrs;
	size_t n_cidrs;
};

void lists_free(struct lists *lists);
void lists_add_port(struct lists *lists, enum weir_list list, uint16_t lo, uint16_t hi);
/*
 * bits as in struct cidr; the address is masked. v4 tells 1.2.3.0/24 from ::ffff:1.2.3.0/120: an
 * IPv6 prefix matches no IPv4 address, though both are written alike here, as in ip6tables.
 */
void lists_add_cidr(struct lists *lists, enum weir_list list, const struct weir_addr *addr,
		    unsigned int bits, bool v4);
/* Sorts; joins ports that overlap or touch, removes ranges that are there twice. */
void lists_normalize(struct lists *lists);

/*
 * The parsers below return 0, or -EINVAL with the whole text for the user in *ret_error. What they
 * add to lists before an error stays there.
 */

/* One of Istio's lists: what distinguishes it from the others in grammar and errors. */
struct istio_key {
	const char *key;
	const char *name; /* in the injector's errors; NULL: only the CNI plugin looks at it */
	bool wildcard; /* "*" is allowed */
	bool single; /* one port, not a list */
};

/* *ret_all: the value is "*". */
int istio_ports_parse(const struct istio_key *key, const char *value, enum weir_list list,
		      struct lists *lists, bool *ret_all, char **ret_error);
/*
 * *ret_loopback: an item names a loopback address, which to Istio is one whose address as written
 * is (127.0.0.0/8, but not 0.0.0.0/0).
 */
int istio_cidrs_parse(const struct istio_key *key, const char *value, enum weir_list list,
		      struct lists *lists, bool *ret_all, bool *ret_loopback, char **ret_error);
int istio_interfaces_parse(const char *key, const char *value, size_t *ret_n, char **ret_error);

enum istio_mode { ISTIO_REDIRECT, ISTIO_TPROXY, ISTIO_NONE };
int istio_mode_parse(const char *value, enum istio_mode *ret, char **ret_error);

/*
 * Ports and ranges; items are trimmed. As in Linkerd, an item that is wrong is left out with a
 * warning (*ret_warning, else NULL); it is an error when none is right.
 */
int linkerd_ports_parse(const char *key, const char *value, enum weir_list list,
			struct lists *lists, char **ret_warning, char **ret_error);
int linkerd_cidrs_parse(const char *key, const char *value, enum weir_list list,
			struct lists *lists, char **ret_error);
/* A user or group id; -1 for any negative one, which stands for "none". */
int linkerd_id_parse(const char *key, const char *value, int64_t *ret, char **ret_error);

/* One of two words; *ret_first: it is the first. */
int annotation_choice(const char *key, const char *value, const char *first, const char *second,
		      bool *ret_first, char **ret_error);

/* Go's strconv.Quote, strings.TrimSpace: the results are owned by the caller. */
char *go_quote(const char *text);
char *go_trim_space(const char *text);
/* strconv.ParseBool; *ret_error may be NULL when the text is not wanted. */
int go_parse_bool(const char *text, bool *ret, char **ret_error);
/* strconv.ParseUint(text, 10, bits) */
int go_parse_uint(const char *text, unsigned int bits, uint64_t *ret, char **ret_error);
/* netip.ParsePrefix. The address is not masked; bits counts in its own family. */
int go_parse_prefix(const char *text, struct weir_addr *ret_addr, unsigned int *ret_bits,
		    bool *ret_v4, char **ret_error);

#define _cleanup_lists_ _cleanup_(lists_free)

#endif
