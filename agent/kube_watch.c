/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#define PAGE		 500 /* objects of a list at once, as kubectl asks */
#define MAX_PAGES	 10000
#define LIST_MS		 120000 /* for one page, as long as bytes come */
#define LIST_IDLE_MS	 30000
#define WATCH_EXTRA_MS	 15000 /* a server ends a watch in time; this one does not answer */
#define BACKOFF_MS	 500
#define BACKOFF_MAX_MS	 30000
#define PATIENT_FAILURES 4
#define REFUSED_MS	 30000 /* nobody changes a ClusterRole faster than that */
#define MAX_WAIT_MS	 300000
#define SHORT_WATCH_MS	 5000 /* one that ends sooner is as good as one that fails */
#define MAX_SAID	 5 /* errors in turn, then no more than one in */
#define SAID_MS		 60000

static void begin(struct kube_watch *w);

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void set_connected(struct kube_watch *w, bool connected)
{
	if (w->connected != connected)
		w->since = now();
	w->connected = connected;
}

/* Between half of ms and all of it: not all agents of a cluster at the same moment. */
static int64_t jitter(int64_t ms)
{
	uint32_t random = 0;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = (uint32_t)loop_now_ms();
	return ms / 2 + (int64_t)(random % (uint64_t)(ms / 2 + 1));
}

/* Waits, then goes on: lists if there is no version to watch from. */
static void again(struct kube_watch *w, int64_t ms)
{
	loop_arm(w->timer, ms < MAX_WAIT_MS ? ms : MAX_WAIT_MS);
}

static int64_t backoff(const struct kube_watch *w)
{
	unsigned int doublings = w->failures < 7 ? w->failures : 7;
	int64_t ms = BACKOFF_MS << doublings;

	return jitter(ms < BACKOFF_MAX_MS ? ms : BACKOFF_MAX_MS);
}

static void set_string(char **to, const char *value)
{
	free(*to);
	*to = value ? xstrdup(value) : NULL;
}

static void forget_list(struct kube_watch *w)
{
	kube_store_free(&w->next);
	set_string(&w->token, NULL);
	w->pages = 0;
}

/* The version is too old, or the token of the next page: everything is listed anew. */
static void start_over(struct kube_watch *w)
{
	w->whole = w->token != NULL;
	w->consistent = true;
	set_string(&w->version, NULL);
	forget_list(w);
}

/* What an administrator has to add to the ClusterRole, in the form in which it is written. */
static char *missing_rule(const struct kube_watch *w)
{
	return xasprintf("the ClusterRole lacks {apiGroups: [\"%s\"], resources: [\"%s\"], verbs: "
			 "[\"list\", \"watch\"]}",
			 w->resource->group, w->resource->plural);
}

static char *explain(const struct kube_watch *w, const struct kube_result *result)
{
	/* an API server that has just started refuses what it allows a moment later */
	bool starting = w->synced && w->failures < PATIENT_FAILURES;
	/* who may not be somebody else is told so in the answer */
	bool lacks = result->status == 403 && !strstr(result->error, "cannot impersonate");
	_cleanup_free_ char *rule = lacks && !starting ? missing_rule(w) : NULL;

	if (rule)
		return xasprintf("%s: %s", result->error, rule);
	if (result->status == 401)
		return xasprintf("%s: the API server does not accept these credentials",
				 result->error);
	return xstrdup(result->error);
}

/* But for numbers: milliseconds, ports and streams differ each time. */
static bool is_same(const char *a, const char *b)
{
	static const char digits[] = "0123456789";

	while (*a && *b) {
		size_t n = strspn(a, digits), m = strspn(b, digits);

		if (!n != !m || (!n && *a != *b))
			return false;
		a += n ?: 1;
		b += m ?: 1;
	}
	return !*a && !*b;
}

/* Says it once, until it changes, and no more often than is of use to anybody. Takes error. */
static void set_error(struct kube_watch *w, long status, char *error)
{
	bool same = w->said && status == w->said_status && is_same(w->said, error);
	int64_t ms = loop_now_ms();

	free(w->error);
	w->error = error;
	w->errors++;
	set_connected(w, false);
	if (same || (w->n_said >= MAX_SAID && ms - w->said_ms < SAID_MS))
		return;
	log_error("kubernetes", "resource", w->resource->name, "error", error, "effect",
		  w->synced ? "what is known stays in force" : NULL, NULL);
	set_string(&w->said, error);
	w->said_status = status;
	w->said_ms = ms;
	w->n_said++;
}

static void clear_error(struct kube_watch *w)
{
	if (w->error)
		log_info("kubernetes: in step again", "resource", w->resource->name, NULL);
	set_string(&w->error, NULL);
	set_string(&w->said, NULL);
	w->n_said = 0;
	w->failures = 0;
	w->reconnect = false;
}

/* How long to wait after an answer that was no good. */
static int64_t wait_after(struct kube_watch *w, const struct kube_result *result)
{
	int64_t ms = backoff(w);

	w->failures++;
	if (result->retry_after_ms > 0) /* all agents were told the same moment */
		return result->retry_after_ms + jitter(1000);
	if ((result->status == 403 || result->status == 404) && ms < REFUSED_MS && w->failures > 3)
		return jitter(REFUSED_MS);
	return ms;
}

static void failed(struct kube_watch *w, const struct kube_result *result)
{
	set_error(w, result->status, explain(w, result));
	w->reconnect = !result->status || result->status / 100 == 2;
	again(w, wait_after(w, result));
}

static void failed_with(struct kube_watch *w, const char *error)
{
	struct kube_result result = { .error = error, .retry_after_ms = -1 };

	failed(w, &result);
}

/* -- lists --------------------------------------------------------------------------------------
 */

/* Did it change anything? error is the store's where changed is negative. */
static bool taken(struct kube_watch *w, int changed, const json_t *object, const char *error)
{
	if (changed < 0 && w->options.broken)
		w->options.broken(w->options.ctx, w, object, error);
	return changed != 0;
}

static bool put(struct kube_watch *w, struct kube_store *store, const json_t *object)
{
	const char *error = NULL;
	int changed = kube_store_put(store, object, &error);

	return taken(w, changed, object, error);
}

static void on_list_item(void *ctx, const json_t *item)
{
	struct kube_watch *w = ctx;

	put(w, &w->next, item);
}

static void on_list_root(void *ctx, const json_t *root)
{
	struct kube_watch *w = ctx;
	const json_t *metadata = json_object_get(root, "metadata");
	const char *token = json_string_value(json_object_get(metadata, "continue"));
	const char *kind = json_string_value(json_object_get(root, "kind")) ?: "";
	size_t len = strlen(w->resource->kind);

	w->is_list = !strncmp(kind, w->resource->kind, len) && !strcmp(kind + len, "List");
	w->pages++;
	set_string(&w->version, json_string_value(json_object_get(metadata, "resourceVersion")));
	set_string(&w->token, token && *token ? token : NULL);
}

/* What is known is said where everybody reads it. */
static void publish(struct kube_watch *w)
{
	const struct objects *o = &w->part->objects;

	w->part->listed = w->synced;
	w->part->good = w->synced && !kube_store_incomplete(&w->store);
	set_string(&w->part->error, o->n_errors ? o->errors[0] : NULL);
	w->options.changed(w->options.ctx, w);
}

/* A list replaces all that is known, so one that is no list must not pass for an empty one. */
static const char *list_error(const struct kube_watch *w)
{
	if (!w->is_list || !w->version || !*w->version)
		return "the answer is no list of the kind that was asked for, with its "
		       "resourceVersion";
	if (w->token && w->pages > MAX_PAGES)
		return "the list has no end";
	return NULL;
}

static void listed(struct kube_watch *w)
{
	const char *error = list_error(w);

	if (error) {
		set_string(&w->version, NULL);
		forget_list(w);
		failed_with(w, error);
		return;
	}
	if (w->token) {
		set_string(&w->version, NULL); /* until the last page has come */
		begin(w);
		return;
	}
	kube_store_replace(&w->store, &w->next);
	w->pages = 0;
	w->whole = w->consistent = false;
	w->synced = true;
	w->lists++;
	w->heard = now();
	publish(w);
	begin(w);
}

static void list_failed(struct kube_watch *w, const struct kube_result *result)
{
	set_string(&w->version, NULL);
	if (result->status == 410) {
		bool first = !w->token && !w->consistent;

		start_over(w);
		if (first || w->whole) {
			w->failures++;
			again(w, backoff(w));
			return;
		}
	}
	forget_list(w);
	failed(w, result);
}

static int on_list_data(void *ctx, const char *data, size_t len, char **ret_error)
{
	struct kube_watch *w = ctx;

	return kube_json_feed(w->json, data, len, ret_error);
}

static void on_list_done(void *ctx, const struct kube_result *result)
{
	struct kube_watch *w = ctx;
	_cleanup_free_ char *error = NULL;
	struct kube_result cut = { .status = 200, .message = "", .retry_after_ms = -1 };

	w->request = NULL;
	if (result->good && kube_json_end(w->json, &error) < 0) {
		cut.error = error;
		result = &cut;
	}
	if (result->error)
		list_failed(w, result);
	else
		listed(w);
}

/* The first list may come from the server's cache; one after a 410 must be newer than that. */
static char *list_path(const struct kube_watch *w, const char *selector)
{
	if (w->token) {
		_cleanup_free_ char *token = kube_escape(w->token);

		return xasprintf("%s?%slimit=%d&continue=%s", w->resource->path, selector, PAGE,
				 token);
	}
	if (w->whole)
		return xasprintf("%s?%sresourceVersion=", w->resource->path, selector);
	return xasprintf("%s?%slimit=%d%s", w->resource->path, selector, PAGE,
			 w->consistent ? "" : "&resourceVersion=0");
}

/* -- watches ------------------------------------------------------------------------------------
 */

static void take_version(struct kube_watch *w, const json_t *object)
{
	const json_t *metadata = json_object_get(object, "metadata");
	const char *version = json_string_value(json_object_get(metadata, "resourceVersion"));

	if (version && *version)
		set_string(&w->version, version);
}

static void on_error_event(struct kube_watch *w, const json_t *status)
{
	json_int_t code = json_integer_value(json_object_get(status, "code"));
	const char *message = json_string_value(json_object_get(status, "message"));
	const char *reason = json_string_value(json_object_get(status, "reason"));

	w->ended = true;
	if (code == 410 || (reason && (!strcmp(reason, "Expired") || !strcmp(reason, "Gone"))))
		w->expired = true;
	else
		set_error(w, code, xasprintf("the watch ended: %s", message ?: "without a reason"));
}

/* Types that are not known are let pass: there may be more one day. */
static void on_event(void *ctx, const json_t *event)
{
	struct kube_watch *w = ctx;
	const char *type = json_string_value(json_object_get(event, "type")) ?: "";
	const json_t *object = json_object_get(event, "object");
	bool changed = false;

	if (w->ended)
		return;
	w->heard = now();
	w->events++;
	if (!strcmp(type, "ERROR")) {
		on_error_event(w, object);
		return;
	}
	take_version(w, object);
	if (!strcmp(type, "ADDED") || !strcmp(type, "MODIFIED"))
		changed = put(w, &w->store, object);
	else if (!strcmp(type, "DELETED"))
		changed = kube_store_remove(&w->store, object);
	if (changed)
		publish(w);
}

static void on_watch_opened(void *ctx)
{
	struct kube_watch *w = ctx;

	set_connected(w, true);
	w->opened_ms = loop_now_ms();
	w->watches++;
	loop_arm(w->timer, SHORT_WATCH_MS); /* then all is well, events or not */
}

static int on_watch_data(void *ctx, const char *data, size_t len, char **ret_error)
{
	struct kube_watch *w = ctx;
	int err = kube_json_feed(w->json, data, len, ret_error);

	if (!err && w->ended) {
		*ret_error = xstrdup("the server ended the watch");
		return -ESTALE;
	}
	return err;
}

/*
 * Servers send a bookmark before they end a watch. One that said nothing at all may know versions
 * only that are older than ours (its storage was restored from a backup): it is asked for all.
 */
static void continue_from(struct kube_watch *w)
{
	if (w->events == w->begun_events)
		start_over(w);
	else
		w->heard = now();
}

/*
 * A server that answers and still yields no watch, again and again, may not be able to make one of
 * this version, or breaks at what comes after it: a list needs neither. Who is refused or asked to
 * wait is not helped by one.
 */
static bool is_hopeless(const struct kube_watch *w, const struct kube_result *result)
{
	bool refused = result->status == 401 || result->status == 403 || result->status == 404 ||
		       result->status == 429 || result->status == 503;

	return !result->good && result->status && !refused && w->failures > PATIENT_FAILURES &&
	       w->events - w->begun_events <= w->ended; /* it told nothing but its end */
}

/* A watch that has lasted is simply continued; one that breaks at once waits. */
static void on_watch_done(void *ctx, const struct kube_result *result)
{
	struct kube_watch *w = ctx;
	bool lasted = w->connected && loop_now_ms() - w->opened_ms > SHORT_WATCH_MS;

	w->request = NULL;
	loop_arm(w->timer, -1);
	if (is_hopeless(w, result))
		start_over(w);
	if (result->status == 410 || w->expired) {
		start_over(w);
		set_connected(w, false);
		w->failures++;
		again(w, w->failures > 1 ? backoff(w) : 0);
	} else if (w->ended) { /* its error has been said */
		w->failures++;
		again(w, backoff(w));
	} else if (!result->good) {
		failed(w, result);
	} else if (lasted) {
		clear_error(w);
		continue_from(w);
		begin(w);
	} else {
		w->failures++;
		again(w, backoff(w));
	}
}

static char *watch_path(const struct kube_watch *w, const char *selector, int64_t seconds)
{
	_cleanup_free_ char *version = kube_escape(w->version);

	return xasprintf("%s?%swatch=1&allowWatchBookmarks=true&timeoutSeconds=%lld"
			 "&resourceVersion=%s",
			 w->resource->path, selector, (long long)seconds, version);
}

/* -- both ---------------------------------------------------------------------------------------
 */

static char *selector(const struct kube_watch *w)
{
	_cleanup_free_ char *node = kube_escape(w->options.node_name);
	const char *format = w->resource->selector;
	const char *at = format ? strstr(format, "%s") : NULL;

	if (!at)
		return xstrdup("");
	return xasprintf("fieldSelector=%.*s%s%s&", (int)(at - format), format, node, at + 2);
}

static void begin(struct kube_watch *w)
{
	bool watch = w->version != NULL;
	struct kube_json_handler handler = { .item = watch ? NULL : on_list_item,
					     .root = watch ? on_event : on_list_root,
					     .ctx = w };
	_cleanup_free_ char *which = selector(w), *path = NULL;
	int64_t watch_ms = jitter(w->options.watch_ms);
	struct kube_call call = { .method = "GET",
				  .fresh = w->reconnect,
				  .timeout_ms = watch ? watch_ms + WATCH_EXTRA_MS : LIST_MS,
				  .idle_ms = watch ? 0 : LIST_IDLE_MS,
				  .opened = watch ? on_watch_opened : NULL,
				  .data = watch ? on_watch_data : on_list_data,
				  .done = watch ? on_watch_done : on_list_done,
				  .ctx = w };

	path = watch ? watch_path(w, which, (watch_ms + 999) / 1000) : list_path(w, which);
	call.path = path;
	w->begun_events = w->events;
	w->expired = w->ended = false;
	kube_json_free(w->json);
	w->json = kube_json_new(watch ? w->resource->event : w->resource->list, watch, &handler);
	w->request = kube_client_call(w->client, &call);
}

static void on_timer(void *ctx, uint32_t events)
{
	struct kube_watch *w = ctx;

	(void)events;
	if (!w->request)
		begin(w);
	else if (w->connected)
		clear_error(w);
}

int kube_watch_start(struct kube_watch *w, enum kube_resource_id id, struct loop *loop,
		     struct kube_client *client, struct source_file *part,
		     const struct kube_watch_options *options)
{
	*w = (struct kube_watch){ .resource = &kube_resources[id],
				  .client = client,
				  .loop = loop,
				  .options = *options,
				  .part = part,
				  .since = now(),
				  .timer = loop_timer(loop, on_timer, w) };
	kube_store_init(&w->store, w->resource, &part->objects);
	kube_store_init(&w->next, w->resource, &w->next_objects);
	if (w->timer < 0)
		return w->timer;
	begin(w);
	return 0;
}

void kube_watch_offer(struct kube_watch *w, const json_t *object)
{
	const char *error = NULL;
	int changed = kube_store_offer(&w->store, object, &error);

	if (taken(w, changed, object, error))
		publish(w);
}

void kube_watch_stop(struct kube_watch *w)
{
	if (!w->resource)
		return;
	if (w->request)
		kube_client_cancel(w->request);
	if (w->timer >= 0)
		loop_remove(w->loop, w->timer);
	close_fd(&w->timer);
	kube_json_free(w->json);
	kube_store_free(&w->store);
	kube_store_free(&w->next);
	free(w->version);
	free(w->token);
	free(w->error);
	free(w->said);
	*w = (struct kube_watch){ 0 };
}
