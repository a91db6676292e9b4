/* SPDX-License-Identifier: Apache-2.0 */
/* One request as curl sees it: options, TLS, headers, and what is made of the answer. */
#ifndef WEIR_AGENT_KUBE_TRANSFER_H
#define WEIR_AGENT_KUBE_TRANSFER_H

#include <curl/curl.h>

#include "agent/kube_client.h"
#include "agent/kube_config.h"
#include "agent/kube_exec.h"

struct kube_transfer;

/* call must outlive it; owner is what CURLINFO_PRIVATE yields. -errno with *ret_error. */
int kube_transfer_new(const struct kube_config *config, const struct kube_credential *credential,
		      const struct kube_call *call, void *owner, struct kube_transfer **ret,
		      char **ret_error);
void kube_transfer_free(struct kube_transfer *t);

CURL *kube_transfer_easy(const struct kube_transfer *t);
/* Its texts live as long as t. */
void kube_transfer_result(struct kube_transfer *t, CURLcode code, struct kube_result *ret);
/* Was it made with this token (or, if that is NULL, with this certificate)? */
bool kube_transfer_used(const struct kube_transfer *t, const char *token, const char *cert);

#endif
