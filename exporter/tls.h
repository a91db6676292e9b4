/* SPDX-License-Identifier: Apache-2.0 */
/* What a TLS session of the web server needs, made of one reading of its configuration. */
#ifndef WEIR_EXPORTER_TLS_H
#define WEIR_EXPORTER_TLS_H

#include <gnutls/gnutls.h>

#include "exporter/web_config.h"

struct tls;

/* 0, or -errno with a sentence in *ret_error, the caller's. It is held once. */
int tls_new(const struct web_config *config, struct tls **ret, char **ret_error);
/* For the session before its handshake; holds it until tls_unref(), when the session has ended. */
struct tls *tls_dress(struct tls *t, gnutls_session_t session);
/* NULL is fine. */
void tls_unref(struct tls *t);

#endif
