/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container runtime asks of weir-cni: the environment, the network configuration on standard
 * input, and weir's own settings in it.
 */
#ifndef WEIR_CLI_CNI_REQUEST_H
#define WEIR_CLI_CNI_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define CNI_LATEST "1.1.0"

/* In this order: a version of the specification knows what those before it know. */
#define CNI_VERSIONS "0.3.1", "0.4.0", "1.0.0", CNI_LATEST
enum cni_version { CNI_0_3_1, CNI_0_4_0, CNI_1_0_0, CNI_1_1_0, CNI_VERSION_MAX };

/* Error codes; those below 100 are the specification's. */
enum cni_code {
	CNI_OK = 0,
	CNI_INCOMPATIBLE_VERSION = 1,
	CNI_INVALID_ENVIRONMENT = 4,
	CNI_IO_FAILURE = 5,
	CNI_DECODING_FAILURE = 6,
	CNI_INVALID_CONFIG = 7,
	CNI_TRY_AGAIN_LATER = 11,
	CNI_NOT_AVAILABLE = 50, /* STATUS */
	CNI_POLICY = 100, /* the agent's: the pod is to be captured and cannot be */
	CNI_NOT_IN_FORCE = 101, /* the agent's: CHECK finds that the capture is gone */
};

struct cni_error {
	enum cni_code code;
	char *msg; /* owned; one line that kubelet shows in the pod's events */
	char *details; /* owned; what to do */
};

/* What becomes of pods when the agent does not answer. */
enum cni_away { CNI_AWAY_REFUSE_CAPTURED, CNI_AWAY_REFUSE, CNI_AWAY_ALLOW };

struct cni_request {
	const char *command, *container_id, *netns, *ifname; /* environment; NULL: not set */
	char *namespace, *pod, *uid; /* from CNI_ARGS; NULL: not given */
	json_t *config; /* NULL when nothing was read */
	const char *version; /* in config, "" when it has none */
	const char *network;
	char *prev_result; /* as it was written, byte by byte; NULL: none */

	/* weir's own settings */
	const char *run_dir, *state_dir;
	int timeout_ms;
	enum cni_away away;
	int away_seconds; /* a pod is held up no longer than that; 0: for ever */
	const json_t *exempt; /* namespaces that are never refused; NULL: kube-system */
};

/* All strings of the environment are borrowed. 0, or -EINVAL with *ret_error. */
int cni_request_read(struct cni_request *ret, struct cni_error *ret_error);
/* The same without the environment: text as from standard input. */
int cni_request_parse(struct cni_request *r, const char *text, size_t len,
		      struct cni_error *ret_error);
void cni_request_free(struct cni_request *r);

/* -1: none that weir-cni knows. */
int cni_version_number(const char *version);
/* Takes K8S_POD_NAMESPACE, K8S_POD_NAME and K8S_POD_UID out of "A=B;C=D". */
void cni_request_args(struct cni_request *r, const char *args);
/* Was it a kubelet's runtime that called? */
bool cni_request_has_pod(const struct cni_request *r);

/* Takes no ownership; the texts are made. Returns -EINVAL. */
int cni_fail(struct cni_error *error, enum cni_code code, char *msg, const char *details);
void cni_error_free(struct cni_error *error);

#endif
