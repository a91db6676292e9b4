/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "agent/kube_config.h"
#include "agent/kube_exec.h"
#include "agent/kube_transfer.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

/* A credential is renewed when it has less than this left. */
#define EXPIRY_MARGIN_S 30

struct kube_request {
	struct kube_request *next;
	struct kube_client *client;
	struct kube_call call; /* its strings are ours */
	struct kube_transfer *transfer; /* NULL: it waits for credentials, or has failed */
	char *failure; /* why it never began; told from the loop */
	bool renewed; /* newer credentials were tried after a 401 */
};

struct kube_client {
	struct loop *loop;
	char *kubeconfig; /* NULL: in cluster */
	struct kube_config config;
	struct kube_credential credential; /* of the plugin */
	struct kube_exec *exec; /* NULL: no plugin runs */
	CURLM *multi;
	int timer; /* curl's */
	int failures; /* timer that tells requests which never began */
	struct kube_request *requests;
};

/* What curl is told about a descriptor that it wants watched. */
struct watched {
	struct kube_client *client;
	curl_socket_t fd;
};

const char *kube_client_server(const struct kube_client *c)
{
	return c->config.server;
}

char *kube_escape(const char *text)
{
	char *escaped = curl_easy_escape(NULL, text, 0);
	char *copy = xstrdup(escaped);

	curl_free(escaped);
	return copy;
}

static void request_free(struct kube_request *r)
{
	struct kube_request **p = &r->client->requests;

	while (*p != r)
		p = &(*p)->next;
	*p = r->next;
	kube_transfer_free(r->transfer);
	free((char *)r->call.path);
	free((char *)r->call.body);
	free(r->failure);
	free(r);
}

static void finish(struct kube_request *r, const struct kube_result *result)
{
	struct kube_call call = r->call;

	call.done(call.ctx, result);
	request_free(r);
}

/* Takes error. */
static void fail_soon(struct kube_request *r, char *error)
{
	r->failure = error;
	loop_arm(r->client->failures, 0);
}

static void on_failures(void *ctx, uint32_t events)
{
	struct kube_client *c = ctx;
	struct kube_request *r, *next;

	(void)events;
	for (r = c->requests; r; r = next) {
		struct kube_result result = { .error = r->failure,
					      .message = "",
					      .retry_after_ms = -1 };

		next = r->next; /* new ones come first: none is behind us */
		if (r->failure)
			finish(r, &result);
	}
}

static void begin(struct kube_request *r)
{
	struct kube_client *c = r->client;
	char *error = NULL;
	int err = kube_transfer_new(&c->config, &c->credential, &r->call, r, &r->transfer, &error);

	if (err < 0)
		fail_soon(r, error);
	else
		curl_multi_add_handle(c->multi, kube_transfer_easy(r->transfer));
}

/* Those that have waited for credentials. */
static void begin_waiting(struct kube_client *c, const char *error)
{
	for (struct kube_request *r = c->requests; r; r = r->next) {
		if (r->transfer || r->failure)
			continue;
		if (error)
			fail_soon(r, xstrdup(error));
		else
			begin(r);
	}
}

static void on_credential(void *ctx, struct kube_credential *credential, const char *error)
{
	struct kube_client *c = ctx;

	kube_exec_free(c->exec);
	c->exec = NULL;
	if (credential) {
		kube_credential_free(&c->credential);
		c->credential = *credential;
		*credential = (struct kube_credential){ 0 };
	}
	begin_waiting(c, error);
}

/* The kubeconfig may have been written anew, with other credentials or another server. */
static void reload(struct kube_client *c)
{
	_cleanup_free_ char *error = NULL;
	struct kube_config config;

	if (c->exec || !kube_config_changed(&c->config))
		return;
	kube_config_seen(&c->config); /* a wrong one is tried again when it is another */
	if (kube_config_load(c->kubeconfig, &config, &error) < 0) {
		log_error("kubeconfig", "error", error, "effect", "what it said before is used",
			  NULL);
		return;
	}
	kube_config_free(&c->config);
	kube_credential_free(&c->credential);
	c->config = config;
	log_info("kubeconfig read again", "server", c->config.server, NULL);
}

static bool has_credential(const struct kube_client *c)
{
	const struct kube_credential *have = &c->credential;

	return (have->token || have->cert) &&
	       (!have->expires || time(NULL) + EXPIRY_MARGIN_S < have->expires);
}

/* Begins the request, or has the plugin run first. */
static void prepare(struct kube_request *r)
{
	struct kube_client *c = r->client;
	char *error = NULL;

	reload(c);
	if (!c->config.exec.command || has_credential(c)) {
		begin(r);
		return;
	}
	if (!c->exec &&
	    kube_exec_start(c->loop, &c->config.exec, on_credential, c, &c->exec, &error) < 0)
		fail_soon(r, error);
}

/* After a 401: are there credentials that this request did not have? */
static bool renew(struct kube_request *r)
{
	struct kube_client *c = r->client;
	bool again = false;

	if (r->renewed)
		return false;
	r->renewed = true;
	if (c->config.exec.command) {
		/* another request may have renewed them meanwhile */
		if (kube_transfer_used(r->transfer, c->credential.token, c->credential.cert))
			kube_credential_free(&c->credential);
		again = true;
	} else if (kube_config_changed(&c->config)) {
		again = true;
	} else {
		_cleanup_free_ char *token = NULL, *error = NULL;

		again = kube_config_token(&c->config, &token, &error) == 0 && token &&
			!kube_transfer_used(r->transfer, token, NULL);
	}
	if (!again)
		return false;
	kube_transfer_free(r->transfer);
	r->transfer = NULL;
	prepare(r);
	return true;
}

static void reap(struct kube_client *c)
{
	CURLMsg *message;
	int left;

	while ((message = curl_multi_info_read(c->multi, &left))) {
		struct kube_request *r;
		struct kube_result result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &r);
		kube_transfer_result(r->transfer, message->data.result, &result);
		curl_multi_remove_handle(c->multi, kube_transfer_easy(r->transfer));
		if (result.status == 401 && renew(r))
			continue;
		finish(r, &result);
	}
}

static void on_ready(void *ctx, uint32_t events)
{
	struct watched *w = ctx;
	struct kube_client *c = w->client;
	int running, mask = 0;

	if (events & EPOLLIN)
		mask |= CURL_CSELECT_IN;
	if (events & EPOLLOUT)
		mask |= CURL_CSELECT_OUT;
	if (events & (EPOLLERR | EPOLLHUP))
		mask |= CURL_CSELECT_ERR;
	curl_multi_socket_action(c->multi, w->fd, mask, &running); /* may free w */
	reap(c);
}

static void on_timer(void *ctx, uint32_t events)
{
	struct kube_client *c = ctx;
	int running;

	(void)events;
	curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	reap(c);
}

static int set_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known)
{
	struct kube_client *c = ctx;
	struct watched *w = known;
	uint32_t events = 0;

	(void)easy;
	if (w)
		loop_remove(c->loop, fd);
	if (what == CURL_POLL_REMOVE) {
		curl_multi_assign(c->multi, fd, NULL);
		free(w);
		return 0;
	}
	if (!w) {
		w = xcalloc(1, sizeof(*w));
		*w = (struct watched){ .client = c, .fd = fd };
		curl_multi_assign(c->multi, fd, w);
	}
	if (what != CURL_POLL_OUT)
		events |= EPOLLIN;
	if (what != CURL_POLL_IN)
		events |= EPOLLOUT;
	return loop_add(c->loop, fd, events, on_ready, w) < 0 ? -1 : 0;
}

static int set_timer(CURLM *multi, long ms, void *ctx)
{
	struct kube_client *c = ctx;

	(void)multi;
	loop_arm(c->timer, ms);
	return 0;
}

static int start(struct kube_client *c)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		return -ENOMEM;
	c->multi = curl_multi_init();
	if (!c->multi)
		return -ENOMEM;
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, set_socket);
	curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, set_timer);
	curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
	c->timer = loop_timer(c->loop, on_timer, c);
	if (c->timer < 0)
		return c->timer;
	c->failures = loop_timer(c->loop, on_failures, c);
	return c->failures < 0 ? c->failures : 0;
}

int kube_client_new(struct loop *loop, const char *kubeconfig, struct kube_client **ret,
		    char **ret_error)
{
	struct kube_client *c = xcalloc(1, sizeof(*c));
	int err;

	c->loop = loop;
	c->kubeconfig = kubeconfig ? xstrdup(kubeconfig) : NULL;
	c->timer = c->failures = -1;
	err = kube_config_load(kubeconfig, &c->config, ret_error);
	if (!err)
		err = start(c);
	if (err < 0)
		kube_client_free(c);
	else
		*ret = c;
	return err;
}

void kube_client_free(struct kube_client *c)
{
	if (!c)
		return;
	kube_exec_free(c->exec);
	while (c->requests)
		kube_client_cancel(c->requests);
	curl_multi_cleanup(c->multi);
	if (c->timer >= 0)
		loop_remove(c->loop, c->timer);
	if (c->failures >= 0)
		loop_remove(c->loop, c->failures);
	close_fd(&c->timer);
	close_fd(&c->failures);
	kube_credential_free(&c->credential);
	kube_config_free(&c->config);
	free(c->kubeconfig);
	free(c);
}

struct kube_request *kube_client_call(struct kube_client *c, const struct kube_call *call)
{
	struct kube_request *r = xcalloc(1, sizeof(*r));

	r->client = c;
	r->call = *call;
	r->call.path = xstrdup(call->path);
	r->call.body = call->body ? xstrdup(call->body) : NULL;
	r->next = c->requests;
	c->requests = r;
	prepare(r);
	return r;
}

void kube_client_cancel(struct kube_request *r)
{
	if (r->transfer)
		curl_multi_remove_handle(r->client->multi, kube_transfer_easy(r->transfer));
	request_free(r);
}
