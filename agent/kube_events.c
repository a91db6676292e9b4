/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_events.h"

#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/brief.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"

#define BURST	     25 /* Events at once, */
#define REFILL_MS    2000 /* and one more after each of these */
#define MAX_QUEUE    256
#define REQUEST_MS   10000
#define RENEW_MS     (30LL * 60 * 1000) /* API servers keep Events for an hour */
#define AGAIN_MS     (5LL * 60 * 1000) /* what comes and goes is told no more often */
#define FORGET_MS    (2 * RENEW_MS)
#define REFUSED_MS   (10LL * 60 * 1000)
#define RETRY_MS     5000 /* doubled while nobody answers, */
#define RETRY_MAX_MS 30000 /* up to this */
#define MAX_RETRIES  3 /* of one Event that the server fails at */
#define COMPLAIN_MS  60000
#define MAX_NOTE     1024 /* bytes; these two are the API's */
#define MAX_NAME     253

/* Something that was told, so that it is not told again. */
struct told {
	struct told *next;
	uint64_t id; /* of pod, reason and note: the same after a restart */
	unsigned int count; /* how often it began to be so */
	unsigned int told_count; /* of the newest Event */
	uint64_t round; /* the last in which it was so */
	int64_t told_ms, seen_ms;
};

struct queued {
	struct queued *next;
	uint64_t id; /* what of */
	char *path;
	char *body;
	unsigned int retries;
};

struct kube_events {
	struct loop *loop;
	struct kube_client *client;
	const char *node_name;
	struct told *told;
	struct queued *queue; /* the first is being sent, or waits */
	size_t queued;
	struct kube_request *request;
	int timer; /* for the next */
	int64_t tokens_ms; /* time that may be spent, REFILL_MS an Event */
	int64_t refilled_ms;
	int64_t refused_until_ms;
	int64_t complained_ms; /* 0: never */
	unsigned int unanswered; /* in a row */
	uint64_t round;
	bool said_refused, said_full;
};

static uint64_t id_of(const struct kube_fact *fact)
{
	const char *const parts[] = { fact->namespace, fact->name, fact->uid, fact->reason,
				      fact->note };
	uint64_t h = HASH_BEGIN;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		h = hash_bytes(h, parts[i], strlen(parts[i]) + 1);
	return h;
}

static char *micro_time(void)
{
	struct timespec now;
	struct tm tm;
	char text[32];

	clock_gettime(CLOCK_REALTIME, &now);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
	return xasprintf("%s.%06ldZ", text, now.tv_nsec / 1000);
}

/* The pod's name and what tells this Event from others of the pod; names end in a letter or digit.
 */
static char *event_name(const struct kube_fact *fact, const struct told *told)
{
	_cleanup_free_ char *suffix =
		told->count > 1 ? xasprintf("%016llx.%u", (unsigned long long)told->id, told->count)
				: xasprintf("%016llx", (unsigned long long)told->id);
	int len = (int)strlen(fact->name), room = MAX_NAME - 1 - (int)strlen(suffix);

	if (len > room)
		len = room;
	while (len && !isalnum((unsigned char)fact->name[len - 1]))
		len--;
	return xasprintf("%.*s.%s", len, fact->name, suffix);
}

static char *event_body(const struct kube_events *e, const struct kube_fact *fact,
			const struct told *told)
{
	_cleanup_free_ char *time = micro_time(), *name = event_name(fact, told);
	_cleanup_free_ char *note = brief(fact->note, MAX_NOTE);
	json_t *event = json_pack(
		"{s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:s#, s:s, s:s, s:s, s:s, s:{s:s, s:s, s:s, "
		"s:s, s:s}}",
		"apiVersion", "events.k8s.io/v1", "kind", "Event", "metadata", "name", name,
		"namespace", fact->namespace, "eventTime", time, "reportingController",
		"weir.io/agent", "reportingInstance", e->node_name, (int)strnlen(e->node_name, 128),
		"type", fact->warning ? "Warning" : "Normal", "action", fact->action, "reason",
		fact->reason, "note", note, "regarding", "apiVersion", "v1", "kind", "Pod",
		"namespace", fact->namespace, "name", fact->name, "uid", fact->uid);
	char *text;

	if (event && told->count > 1)
		json_object_set_new(event, "series",
				    json_pack("{s:i, s:s}", "count", (int)told->count,
					      "lastObservedTime", time));
	text = event ? json_dumps(event, JSON_COMPACT) : NULL; /* NULL: not UTF-8 */
	json_decref(event);
	return text;
}

static void queued_free(struct queued *q)
{
	free(q->path);
	free(q->body);
	free(q);
}

static void drop_first(struct kube_events *e)
{
	struct queued *first = e->queue;

	e->queue = first->next;
	if (!--e->queued)
		e->said_full = false;
	queued_free(first);
}

static void forget_told(struct kube_events *e)
{
	while (e->told) {
		struct told *t = e->told;

		e->told = t->next;
		free(t);
	}
}

/* When the right has been granted all is told anew; what is there already stays as it is (409). */
static void refused(struct kube_events *e, const struct kube_result *result)
{
	if (!e->said_refused)
		log_error("kubernetes: no Events", "error", result->error, "effect",
			  "the ClusterRole lacks {apiGroups: [\"events.k8s.io\"], resources: "
			  "[\"events\"], verbs: [\"create\"]}; weir pods and metrics say the same",
			  NULL);
	e->said_refused = true;
	e->refused_until_ms = loop_now_ms() + REFUSED_MS;
	while (e->queue)
		drop_first(e);
	forget_told(e);
}

/* A namespace that is going, a quota and a webhook say 403 as well, of that one Event. */
static bool lacks_right(const struct kube_result *result)
{
	static const char *const others[] = { "being terminated", "exceeded quota",
					      "denied the request" };

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strstr(result->message, others[i]))
			return false;
	return result->status == 403;
}

/* Nobody was there to take it, for a moment or for hours: it is not the Event's fault. */
static bool is_away(const struct kube_result *result)
{
	return !result->status || result->status == 401 || result->status == 429 ||
	       result->status == 503;
}

static void retry(struct kube_events *e, const struct kube_result *result)
{
	unsigned int doublings = e->unanswered < 3 ? e->unanswered : 3;
	int64_t ms = (int64_t)RETRY_MS << doublings;

	e->unanswered++;
	if (ms > RETRY_MAX_MS)
		ms = RETRY_MAX_MS;
	loop_arm(e->timer, result->retry_after_ms > ms ? result->retry_after_ms : ms);
}

static void complain(struct kube_events *e, const struct kube_result *result)
{
	int64_t now = loop_now_ms();

	if (e->complained_ms && now - e->complained_ms < COMPLAIN_MS)
		return;
	e->complained_ms = now;
	log_warn("kubernetes: an Event was refused", "error", result->error, NULL);
}

static void on_done(void *ctx, const struct kube_result *result)
{
	struct kube_events *e = ctx;

	e->request = NULL;
	if (lacks_right(result)) {
		refused(e, result);
		return;
	}
	if (is_away(result) || (result->status / 100 == 5 && e->queue->retries++ < MAX_RETRIES)) {
		retry(e, result);
		return;
	}
	e->unanswered = 0;
	if (result->good)
		e->said_refused = false;
	if (!result->good && result->status != 409) /* 409: it is there, from before a restart */
		complain(e, result);
	drop_first(e);
	loop_arm(e->timer, 0);
}

/* 0: one may be sent now; else how long to wait. */
static int64_t wait_ms(struct kube_events *e)
{
	int64_t now = loop_now_ms();

	e->tokens_ms += now - e->refilled_ms;
	e->refilled_ms = now;
	if (e->tokens_ms > BURST * REFILL_MS)
		e->tokens_ms = BURST * REFILL_MS;
	if (e->tokens_ms < REFILL_MS)
		return REFILL_MS - e->tokens_ms;
	e->tokens_ms -= REFILL_MS;
	return 0;
}

static void on_timer(void *ctx, uint32_t events)
{
	struct kube_events *e = ctx;
	struct kube_call call = {
		.method = "POST", .timeout_ms = REQUEST_MS, .done = on_done, .ctx = e
	};
	int64_t ms;

	(void)events;
	if (e->request || !e->queue)
		return;
	ms = wait_ms(e);
	if (ms) {
		loop_arm(e->timer, ms);
		return;
	}
	call.path = e->queue->path;
	call.body = e->queue->body;
	e->request = kube_client_call(e->client, &call);
}

/* What finds no room is told in a later round, if it is so then. */
static bool is_full(struct kube_events *e)
{
	if (e->queued < MAX_QUEUE)
		return false;
	if (!e->said_full)
		log_warn("kubernetes: many Events wait; others are told when there is room", NULL);
	e->said_full = true;
	return true;
}

/* What nobody has heard yet is not told a second time. */
static bool is_queued(const struct kube_events *e, uint64_t id)
{
	const struct queued *q = e->queue;

	while (q && q->id != id)
		q = q->next;
	return q;
}

static void enqueue(struct kube_events *e, const struct kube_fact *fact, const struct told *told)
{
	_cleanup_free_ char *namespace = kube_escape(fact->namespace);
	struct queued **end = &e->queue, *q;
	char *body;

	body = event_body(e, fact, told);
	if (!body)
		return;
	q = xcalloc(1, sizeof(*q));
	q->id = told->id;
	q->body = body;
	q->path = xasprintf("/apis/events.k8s.io/v1/namespaces/%s/events", namespace);
	while (*end)
		end = &(*end)->next;
	*end = q;
	if (!e->queued++)
		loop_arm(e->timer, 0);
}

void kube_events_round(struct kube_events *e)
{
	int64_t now = loop_now_ms();

	e->round++;
	for (struct told **p = &e->told; *p;) {
		struct told *t = *p;

		if (now - t->seen_ms < FORGET_MS) {
			p = &t->next;
			continue;
		}
		*p = t->next;
		free(t);
	}
}

static struct told *find(struct kube_events *e, uint64_t id)
{
	struct told *t = e->told;

	while (t && t->id != id)
		t = t->next;
	if (t)
		return t;
	t = xcalloc(1, sizeof(*t));
	t->id = id;
	t->next = e->told;
	e->told = t;
	return t;
}

void kube_events_tell(struct kube_events *e, const struct kube_fact *fact)
{
	struct told *t = find(e, id_of(fact));
	int64_t now = loop_now_ms();
	bool due, renew;

	if (!t->count || t->round + 1 < e->round)
		t->count++;
	t->round = e->round;
	t->seen_ms = now;
	due = !t->told_count || (t->count > t->told_count && now - t->told_ms > AGAIN_MS);
	renew = !due && now - t->told_ms > RENEW_MS;
	if (now < e->refused_until_ms || (!due && !renew) || is_queued(e, t->id) || is_full(e))
		return;
	t->count += renew;
	t->told_count = t->count;
	t->told_ms = now;
	enqueue(e, fact, t);
}

int kube_events_new(struct loop *loop, struct kube_client *client, const char *node_name,
		    struct kube_events **ret)
{
	struct kube_events *e = xcalloc(1, sizeof(*e));

	*e = (struct kube_events){ .loop = loop,
				   .client = client,
				   .node_name = node_name,
				   .tokens_ms = BURST * REFILL_MS,
				   .refilled_ms = loop_now_ms() };
	e->timer = loop_timer(loop, on_timer, e);
	if (e->timer < 0) {
		int err = e->timer;

		free(e);
		return err;
	}
	*ret = e;
	return 0;
}

void kube_events_free(struct kube_events *e)
{
	if (!e)
		return;
	if (e->request)
		kube_client_cancel(e->request);
	while (e->queue)
		drop_first(e);
	forget_told(e);
	loop_remove(e->loop, e->timer);
	close_fd(&e->timer);
	free(e);
}
