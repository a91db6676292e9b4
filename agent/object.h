/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Kubernetes objects that weir reads besides pods, and the reader of a JSON text that holds
 * any of them or a List. An object that is wrong is reported and left out; the others count.
 */
#ifndef WEIR_AGENT_OBJECT_H
#define WEIR_AGENT_OBJECT_H

#include "agent/pod.h"

struct service_port {
	char *name; /* NULL when it has none */
	uint16_t port;
	uint16_t target_port; /* as `port` when absent; 0: it is a name */
	uint16_t node_port; /* 0: none */
	uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP or IPPROTO_SCTP; TCP when absent */
};

struct service {
	char *namespace;
	char *name;
	char *type; /* "ClusterIP" when absent */
	struct weir_addr *cluster_ips; /* none when headless */
	size_t n_cluster_ips;
	struct weir_addr *external_ips; /* externalIPs and those of status.loadBalancer.ingress */
	size_t n_external_ips;
	struct service_port *ports;
	size_t n_ports;
	struct pod_pairs selector; /* empty: its endpoints are made by somebody else */
};

struct endpoint {
	struct weir_addr addr;
	char *pod; /* that targetRef names, in the slice's namespace; NULL: it is no pod */
};

struct slice_port {
	uint16_t port;
	uint8_t protocol; /* as in struct service_port */
};

struct endpoint_slice {
	char *namespace;
	char *name;
	char *service; /* label kubernetes.io/service-name; NULL when absent */
	struct endpoint *endpoints;
	size_t n_endpoints;
	struct slice_port *ports; /* where all of them listen; none: any port */
	size_t n_ports;
};

struct node {
	char *name;
	struct weir_addr *addresses; /* without host names */
	size_t n_addresses;
};

struct namespace
{
	char *name;
	struct pod_pairs labels;
	struct pod_pairs annotations;
};

struct objects {
	struct pod **pods;
	size_t n_pods;
	struct service **services;
	size_t n_services;
	struct endpoint_slice **slices;
	size_t n_slices;
	struct namespace **namespaces;
	size_t n_namespaces;
	struct node **nodes;
	size_t n_nodes;
	char **errors; /* of single objects: "items[3] (Pod shop/cart): spec.containers is a string,
			  ..." */
	char **failed; /* as many: "shop/cart" for a broken pod whose name is known, else NULL */
	size_t n_errors;
	char *resource_version; /* of the List, for a watch; NULL when absent */
};

/*
 * Fails when nothing of the text is of use: not JSON (with line and column), of a kind that is
 * neither known nor a List, or without any object that is right. If some are, those that are not
 * are in ret->errors.
 */
int objects_parse(const char *text, size_t len, struct objects *ret, char **ret_error);
/* The same for JSON that is already parsed; adds to what objects holds. */
int objects_add(const json_t *object, struct objects *objects, char **ret_error);
void objects_free(struct objects *objects);

/* One object each; errors as those of pod_parse(). */
int service_parse(const json_t *object, struct service **ret, char **ret_error);
int endpoint_slice_parse(const json_t *object, struct endpoint_slice **ret, char **ret_error);
int namespace_parse(const json_t *object, struct namespace **ret, char **ret_error);
int node_parse(const json_t *object, struct node **ret, char **ret_error);
void service_free(struct service *service);
void endpoint_slice_free(struct endpoint_slice *slice);
void namespace_free(struct namespace *namespace);
void node_free(struct node *node);

/* Of a port: IPPROTO_TCP, also for NULL, IPPROTO_UDP or IPPROTO_SCTP. */
uint8_t protocol_parse(const char *name);

/*
 * Readers of JSON fields, for every kind of object; pods too. path names o in errors
 * ("spec.containers[2]"); a missing key and null both mean absent. Absent yields NULL, or the value
 * given for it.
 */
int field_string(const json_t *o, const char *path, const char *key, char **ret, char **ret_error);
int field_bool(const json_t *o, const char *path, const char *key, bool absent, bool *ret,
	       char **ret_error);
int field_int(const json_t *o, const char *path, const char *key, int64_t min, int64_t max,
	      int64_t absent, int64_t *ret, char **ret_error);
int field_object(const json_t *o, const char *path, const char *key, const json_t **ret,
		 char **ret_error);
int field_array(const json_t *o, const char *path, const char *key, const json_t **ret,
		char **ret_error);
/* Calls fn for each object of a list, with its path; a result other than 0 ends it and is returned.
 */
int field_each(const json_t *o, const char *path, const char *key,
	       int (*fn)(void *ctx, const json_t *item, const char *path, char **ret_error),
	       void *ctx, char **ret_error);
int field_pairs(const json_t *o, const char *path, const char *key, struct pod_pairs *ret,
		char **ret_error);
/* A list of addresses, each a string, or an object that holds it under `within` unless NULL. */
int field_addrs(const json_t *o, const char *path, const char *key, const char *within,
		struct weir_addr **ret, size_t *ret_n, char **ret_error);
/* Checks kind (absent is fine: the items of an API list have none), reads name and namespace. */
int field_meta(const json_t *object, const char *kind, const json_t **ret_metadata,
	       char **ret_namespace, char **ret_name, char **ret_error);
/* "a string", "a list", ... */
const char *field_type(const json_t *value);

/* NULL when absent. */
const char *pairs_get(const struct pod_pairs *pairs, const char *key);
void pairs_free(struct pod_pairs *pairs);

#define _cleanup_objects_ _cleanup_(objects_free)

#endif
