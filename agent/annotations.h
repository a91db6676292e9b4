/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammars of the annotations that meshes and weir define, with the error texts that a user of
 * the mesh knows: Istio's injector says "invalid value '<v>' for annotation '<k>': <e>".
 */
#ifndef WEIR_AGENT_ANNOTATIONS_H
#define WEIR_AGENT_ANNOTATIONS_H

#include "agent/lists.h"

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
#define LINKERD_SKIP_IN_SUBNETS	  "config.linkerd.io/skip-inbound-subnets"
#define LINKERD_SKIP_OUT_SUBNETS  "config.linkerd.io/skip-outbound-subnets"
#define LINKERD_IN_PORT		  "config.linkerd.io/inbound-port"
#define LINKERD_OUT_PORT	  "config.linkerd.io/outbound-port"
#define LINKERD_CONTROL_PORT	  "config.linkerd.io/control-port"
#define LINKERD_ADMIN_PORT	  "config.linkerd.io/admin-port"
#define LINKERD_UID		  "config.linkerd.io/proxy-uid"
#define LINKERD_GID		  "config.linkerd.io/proxy-gid"

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
	/*
	 * Not an annotation but this argument or variable, "argument -o of container istio-init".
	 * istio-iptables reads these itself: empty items count for nothing.
	 */
	const char *where;
};

/* *ret_all: the value is "*". */
int istio_ports_parse(const struct istio_key *key, const char *value, enum weir_list list,
		      struct lists *lists, bool *ret_all, char **ret_error);
/*
 * *ret_loopback: an item of either family names a loopback address, which to Istio is
 * one whose address as written is (127.0.0.0/8, but not 0.0.0.0/0).
 */
int istio_cidrs_parse(const struct istio_key *key, const char *value, enum weir_list list,
		      struct lists *lists, bool *ret_all, bool *ret_loopback, char **ret_error);
int istio_interfaces_parse(const struct istio_key *key, const char *value, enum weir_list list,
			   struct lists *lists, char **ret_error);
/* A truth value from an argument, which istio-iptables insists on. */
int istio_switch_parse(const struct istio_key *key, const char *value, bool *ret, char **ret_error);
/* One port from 1 on. */
int istio_port_parse(const struct istio_key *key, const char *value, uint16_t *ret,
		     char **ret_error);
/*
 * Ids of the proxy. The first is told apart, for the rules give it a part of its own; the others go
 * to the list. Empty: *ret_first is -1.
 */
int istio_ids_parse(const struct istio_key *key, const char *value, enum weir_list list,
		    struct lists *lists, int64_t *ret_first, char **ret_error);
/* Groups, and ranges of them as iptables takes them (1000-1010). *ret_n: how many items. */
int istio_groups_parse(const struct istio_key *key, const char *value, enum weir_list list,
		       struct lists *lists, size_t *ret_n, char **ret_error);
/* What counts as loopback in the rules: an IPv4 prefix within 127.0.0.0/8. */
int istio_loopback_parse(const struct istio_key *key, const char *value, uint8_t ret_net[4],
			 uint8_t *ret_bits, char **ret_error);

enum istio_mode { ISTIO_REDIRECT, ISTIO_TPROXY, ISTIO_NONE };
/* From an argument, anything but TPROXY means REDIRECT. */
int istio_mode_parse(const struct istio_key *key, const char *value, enum istio_mode *ret,
		     char **ret_error);

/*
 * Ports and ranges. As in Linkerd, an item that is wrong is left out with a warning (*ret_warning,
 * else NULL); it is an error when none is right. Items are trimmed, as the destination controller
 * does; linkerd-init does not, so those that have spaces are warned of.
 */
int linkerd_ports_parse(const struct istio_key *key, const char *value, enum weir_list list,
			struct lists *lists, char **ret_warning, char **ret_error);
int linkerd_cidrs_parse(const struct istio_key *key, const char *value, enum weir_list list,
			struct lists *lists, char **ret_error);
/* A user or group id; -1 for any negative one, which stands for "none". */
int linkerd_id_parse(const struct istio_key *key, const char *value, int64_t *ret,
		     char **ret_error);

/* An annotation of weir's own that holds a port from 1 on. */
int own_port_parse(const char *key, const char *value, uint16_t *ret, char **ret_error);
/* A list of addresses, one at least, each becoming a prefix of its own. */
int own_addrs_parse(const char *key, const char *value, enum weir_list list, struct lists *lists,
		    char **ret_error);
/* One of two words; *ret_first: it is the first. */
int annotation_choice(const char *key, const char *value, const char *first, const char *second,
		      bool *ret_first, char **ret_error);

#endif
