/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests to the API server, many at once, in the agent's loop. Credentials are those that are in
 * force when a request begins; a 401 makes it look for newer ones once, at once.
 */
#ifndef WEIR_AGENT_KUBE_CLIENT_H
#define WEIR_AGENT_KUBE_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/loop.h"

struct kube_client;
struct kube_request;

/* How a request ended. Texts are gone after the call. */
struct kube_result {
	bool good; /* 2xx, to the end */
	long status; /* of HTTP; 0: there was no answer */
	const char *error; /* for people, one line; NULL when good */
	const char *message; /* of the Status that came with it; "" when there is none */
	int64_t retry_after_ms; /* -1: the server did not say */
};

struct kube_call {
	const char *method; /* GET or POST */
	const char *path; /* with its query; from the root of the API */
	const char *body; /* JSON; NULL: none */
	int64_t timeout_ms; /* for all of it */
	int64_t idle_ms; /* without a byte; 0: as long as timeout_ms */
	bool fresh; /* over a new connection: the former one is suspect */

	/* The answer is 2xx and JSON; data follows or not. May be NULL. */
	void (*opened)(void *ctx);
	/* A piece of such an answer's body. 0, or -errno with *ret_error (the callee's) to end it.
	 */
	int (*data)(void *ctx, const char *data, size_t len, char **ret_error);
	/* Once, from the loop; the request is gone afterwards. May make the next call. */
	void (*done)(void *ctx, const struct kube_result *result);
	void *ctx;
};

/* kubeconfig NULL: in cluster. It is read here once, so that a wrong one is an error at the start.
 */
int kube_client_new(struct loop *loop, const char *kubeconfig, struct kube_client **ret,
		    char **ret_error);
/* Ends all requests without calling done. */
void kube_client_free(struct kube_client *c);

/* The strings of call are copied. The request is the client's. */
struct kube_request *kube_client_call(struct kube_client *c, const struct kube_call *call);
/* Not to be called from within data or opened. done is not called. */
void kube_client_cancel(struct kube_request *r);

/* text for a query; the caller's. */
char *kube_escape(const char *text);
/* The server's URL, for people. */
const char *kube_client_server(const struct kube_client *c);

#endif
