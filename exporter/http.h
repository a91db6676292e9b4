/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The web server, without a thread of its own: add http_fd() to an event loop (level-triggered,
 * EPOLLIN), wait no longer than http_timeout_ms(), and call http_run() after either.
 *
 *     /metrics (or the telemetry path)   what http_options.metrics writes
 *     /healthz                           200 as long as the loop runs
 *     /readyz                            200 or 503, with the text of http_options.ready
 *     /                                  a page with links to these
 *
 * A password, where there is one, is asked for all but /healthz and /readyz.
 */
#ifndef WEIR_EXPORTER_HTTP_H
#define WEIR_EXPORTER_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "exporter/render.h"

struct http;

/* Strings and ctx outlive the server. */
struct http_options {
	const char *listen_address; /* ADDR:PORT, [v6]:PORT, or :PORT for all of both families */
	const char *telemetry_path; /* NULL: /metrics */
	const char *config_file; /* --web.config.file (web_config.h); NULL or "": none */
	const char *name; /* of the landing page; NULL: weir */
	const char *description;
	const char *version;
	unsigned int connections; /* at a time, 0: 64; the one that waits longest gives way */
	unsigned int timeout_s; /* to send a request, and again to take the answer; 0: 30 */

	/*
	 * Appends the exposition to out, and says which scrape this is (from 1); -errno becomes
	 * 500. NULL: 404.
	 */
	int (*metrics)(void *ctx, enum render_format format, struct buf *out, uint64_t *ret_number);
	/* A scrape is in the hands of this client (deliveries.h). May be NULL; told before the next
	 * call of metrics(). */
	void (*delivered)(void *ctx, uint64_t number, const uint8_t client[16]);
	/* Appends why (one line or more) to text; NULL: always ready. */
	bool (*ready)(void *ctx, struct buf *text);
	void *ctx;
};

/* On failure *ret_error is a sentence for the user, owned by the caller. */
int http_start(const struct http_options *options, struct http **ret_http, char **ret_error);
/* Ends every connection; NULL is fine. */
void http_stop(struct http *h);
void http_stopp(struct http **h);

uint16_t http_port(const struct http *h); /* that it is bound to */
int http_fd(const struct http *h);
int http_timeout_ms(const struct http *h); /* -1: none */
void http_run(struct http *h);

#endif
