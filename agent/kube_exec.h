/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Credentials from a program (kubeconfig's users[].user.exec): run beside the loop, for a bounded
 * time, with its own process group.
 */
#ifndef WEIR_AGENT_KUBE_EXEC_H
#define WEIR_AGENT_KUBE_EXEC_H

#include <time.h>

#include "agent/kube_config.h"
#include "agent/loop.h"

struct kube_credential {
	char *token;
	char *cert; /* PEM */
	char *key;
	time_t expires; /* 0: never */
};

struct kube_exec;

/*
 * Exactly one of credential (its members are the callee's to take) and error is not NULL; both are
 * gone after the call. Called from the loop, never from kube_exec_start().
 */
typedef void (*kube_exec_fn)(void *ctx, struct kube_credential *credential, const char *error);

/* 0, or -errno with *ret_error (the caller's). spec must outlive it. */
int kube_exec_start(struct loop *loop, const struct kube_exec_spec *spec, kube_exec_fn done,
		    void *ctx, struct kube_exec **ret, char **ret_error);
/* Ends the program if it still runs. */
void kube_exec_free(struct kube_exec *e);

void kube_credential_free(struct kube_credential *c);
/* What a plugin prints; -EINVAL with *ret_error. */
int kube_credential_parse(const char *text, size_t len, const char *api_version,
			  struct kube_credential *ret, char **ret_error);

#endif
