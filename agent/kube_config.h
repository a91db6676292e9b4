/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How to reach the API server and who we are there: a kubeconfig, or what the kubelet puts into
 * every pod. What may be rotated (certificates, keys, tokens in files) is kept as a path and read
 * for each use.
 */
#ifndef WEIR_AGENT_KUBE_CONFIG_H
#define WEIR_AGENT_KUBE_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* PEM, in the configuration itself or in a file; neither: there is none. */
struct kube_pem {
	char *data;
	char *file;
};

/* A program that makes credentials (client.authentication.k8s.io). */
struct kube_exec_spec {
	char *command; /* NULL: none; a path if it holds a slash, else looked up in PATH */
	char **args; /* NULL ends them */
	char **env; /* NAME=value, NULL ends them */
	char *api_version;
	char *install_hint;
	json_t *cluster; /* what it is told of the cluster; NULL: nothing */
};

struct kube_config {
	char *files; /* kubeconfig, or several ("a:b"); NULL: in cluster */
	uint64_t stamp; /* of the version that was read */
	char *server; /* https://10.96.0.1:443, without a slash at the end */
	struct kube_pem ca;
	struct kube_pem cert;
	struct kube_pem key;
	char *server_name; /* for SNI and the certificate; NULL: that of the URL */
	char *proxy_url; /* NULL: as the environment says */
	char *token;
	char *token_file; /* beats token */
	char *username;
	char *password;
	struct kube_exec_spec exec;
	char **headers; /* Impersonate-User: ... and the like; NULL ends them */
	bool insecure;
};

/* kubeconfig NULL: in cluster. 0, or -errno with *ret_error (the caller's) that names the file. */
int kube_config_load(const char *kubeconfig, struct kube_config *ret, char **ret_error);
void kube_config_free(struct kube_config *c);

/* Has the kubeconfig been replaced since it was read? */
bool kube_config_changed(const struct kube_config *c);
/* From now on "since" is now. */
void kube_config_seen(struct kube_config *c);
/* Are we in a pod of a cluster? */
bool kube_config_in_cluster(void);

/* *ret is NULL when there is none; the caller's. -errno with *ret_error (the caller's). */
int kube_pem_read(const struct kube_pem *pem, char **ret, char **ret_error);
/* The token that is in force now, NULL when there is none; the caller's. */
int kube_config_token(const struct kube_config *c, char **ret, char **ret_error);

#endif
