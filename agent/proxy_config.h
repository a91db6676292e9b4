/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The annotation proxy.istio.io/config: a ProxyConfig in YAML. Of its fields only those that
 * concern redirection are read; Istio ignores the ones that it does not know, and so does weir.
 */
#ifndef WEIR_AGENT_PROXY_CONFIG_H
#define WEIR_AGENT_PROXY_CONFIG_H

#include "agent/pod.h"

#define ISTIO_PROXY_CONFIG "proxy.istio.io/config"

struct proxy_config {
	char *interception_mode; /* NULL when absent */
	struct pod_pairs metadata; /* proxyMetadata: environment of the containers that are injected
				    */
};

/* -EINVAL with the injector's text in *ret_error: it refuses such a pod. */
int proxy_config_parse(const char *text, struct proxy_config *ret, char **ret_error);
void proxy_config_free(struct proxy_config *config);

#endif
