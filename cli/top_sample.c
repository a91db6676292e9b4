/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/top.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/inet.h"
#include "cli/flows.h"

_Static_assert(sizeof(struct top_key) == sizeof(struct weir_flow_key) + sizeof(uint64_t),
	       "one is the other's place");

/* A connection of the sample before, and what its pod has had of it. */
struct past_conn {
	uint64_t socket_cookie, netns_cookie;
	struct top_totals totals;
};

struct past_pod {
	uint64_t netns_cookie;
	struct top_totals totals;
};

/* What has been counted for a workload, and how many pods it has on this node. */
struct past_workload {
	uint32_t id;
	size_t pods;
	struct top_totals totals, news; /* news: since the sample before */
};

struct top_past {
	struct past_conn *conns; /* by socket cookie */
	size_t n_conns;
	struct past_workload *workloads; /* by id */
	size_t n_workloads;
	struct past_pod *pods;
	size_t n_pods;
	bool primed; /* there was a sample: what is new since has begun since */
};

void top_sample_free(struct top_sample *s)
{
	for (size_t i = 0; i < s->n; i++) {
		free(s->rows[i].name);
		free(s->rows[i].peer);
	}
	free(s->rows);
	*s = (struct top_sample){ 0 };
}

static void add(struct top_totals *to, const struct top_totals *t)
{
	to->sent += t->sent;
	to->received += t->received;
	to->opened += t->opened;
	to->failed += t->failed;
	to->retransmitted += t->retransmitted;
	to->open += t->open;
	to->rtt_us += t->rtt_us;
	to->rtts += t->rtts;
}

static int compare_rows(const void *a, const void *b)
{
	return memcmp(&((const struct top_row *)a)->key, &((const struct top_row *)b)->key,
		      sizeof(struct top_key));
}

/* Rows of one key become one. */
static void merge_rows(struct top_sample *s)
{
	size_t kept = 0;

	if (s->n)
		qsort(s->rows, s->n, sizeof(*s->rows), compare_rows);
	for (size_t i = 0; i < s->n; i++) {
		struct top_row *row = &s->rows[i];

		if (!kept || compare_rows(&s->rows[kept - 1], row)) {
			s->rows[kept++] = *row;
			continue;
		}
		add(&s->rows[kept - 1].totals, &row->totals);
		free(row->name);
		free(row->peer);
	}
	s->n = kept;
}

static char *path_of(const char *namespace, const char *name)
{
	return xasprintf("%s%s%s", namespace, *namespace ? "/" : "", name);
}

/* -- from flows: workloads and edges ----------------------------------------------------------- */

static struct top_totals flow_totals(const struct weir_flow *f)
{
	struct top_totals t = { .sent = f->sent,
				.received = f->received,
				.opened = f->opened,
				.retransmitted = f->retransmitted,
				.open = f->opened - f->closed };

	for (size_t i = 0; i < WEIR_FAILED_MAX; i++)
		t.failed += f->failed[i];
	return t;
}

static struct top_totals udp_flow_totals(const struct weir_udp_flow *f)
{
	return (struct top_totals){ .sent = f->sent, .received = f->received };
}

/* As Kubernetes writes ports: "53/udp"; TCP goes without saying. */
static const char *suffix(bool udp)
{
	return udp ? "/udp" : "";
}

static char *flow_peer(struct directory *d, const struct weir_flow_key *key, bool udp)
{
	const struct weir_name *name =
		directory_name(d, key->service != WEIR_ID_NONE ? key->service : key->peer);
	_cleanup_free_ char *path = path_of(name->namespace, name->name);

	if (key->port > UINT16_MAX)
		return xasprintf("%s:%s%s", path,
				 key->port == WEIR_PORT_DYNAMIC ? "dynamic" : "other", suffix(udp));
	return xasprintf("%s:%u%s", path, key->port, suffix(udp));
}

static bool is_own(const struct weir_flow_key *key)
{
	return key->via == WEIR_VIA_DIRECT || key->via == WEIR_VIA_PROXY;
}

static struct top_key flow_row_key(struct top *t, const struct weir_flow_key *flow, bool udp)
{
	struct directory *d = &t->conns.directory;
	struct weir_flow_key edge = *flow;
	struct top_key key = { { directory_same(d, flow->workload) } };

	if (t->view != TOP_EDGES)
		return key;
	edge.workload = directory_same(d, flow->workload);
	edge.peer = directory_same(d, flow->peer);
	memcpy(&key, &edge, sizeof(edge));
	key.word[3] = udp;
	return key;
}

static void add_flow(struct top *t, struct top_sample *s, const struct weir_flow_key *key,
		     struct top_totals totals, bool udp)
{
	const struct weir_name *name = directory_name(&t->conns.directory, key->workload);
	struct top_row row = { .key = flow_row_key(t, key, udp), .totals = totals };

	row.name = path_of(name->namespace, name->name);
	if (t->view == TOP_EDGES) {
		row.peer = flow_peer(&t->conns.directory, key, udp);
		row.udp = udp;
		row.direction = key->direction == WEIR_OUTBOUND ? "out" : "in";
		row.via = key->via == WEIR_VIA_PROXY ? "proxy" : "direct";
	}
	list_append(s->rows, s->n, row);
}

/* Round-trip times are of live connections. */
static void add_rtt(struct top_totals *to, const struct weir_live *row)
{
	to->rtt_us += row->srtt_us;
	to->rtts += row->srtt_us != 0;
}

static int sample_flows(struct top *t, struct top_sample *s)
{
	_cleanup_free_ struct flow_entry *flows = NULL;
	_cleanup_free_ struct udp_flow_entry *udp = NULL;
	size_t n, n_udp;
	int r = flows_read(t->bpf_dir, &flows, &n);

	if (r == 0)
		r = flows_read_udp(t->bpf_dir, &udp, &n_udp);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (is_own(&flows[i].key))
			add_flow(t, s, &flows[i].key, flow_totals(&flows[i].value), false);
	for (size_t i = 0; i < n_udp; i++)
		if (is_own(&udp[i].key))
			add_flow(t, s, &udp[i].key, udp_flow_totals(&udp[i].value), true);
	for (size_t i = 0; i < t->conns.n; i++) {
		const struct weir_live *row = &t->conns.conns[i].row;
		struct top_totals rtt = { 0 };

		add_rtt(&rtt, row);
		if (is_own(&row->flow) && !conn_is_udp(&t->conns.conns[i]))
			add_flow(t, s, &row->flow, rtt, false);
	}
	return 0;
}

/* -- from both: pods --------------------------------------------------------------------------- */

static struct top_totals conn_totals(const struct weir_live *row)
{
	struct top_totals t = { .sent = row->sent,
				.received = row->received,
				.opened = row->protocol != IPPROTO_UDP,
				.open = row->protocol != IPPROTO_UDP,
				.retransmitted = row->retransmitted };

	add_rtt(&t, row);
	return t;
}

static int compare_workloads(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* Entries of one workload become one. */
static size_t merge_workloads(struct past_workload *list, size_t n)
{
	size_t kept = 0;

	if (n)
		qsort(list, n, sizeof(*list), compare_workloads);
	for (size_t i = 0; i < n; i++) {
		if (!kept || list[kept - 1].id != list[i].id) {
			list[kept++] = list[i];
			continue;
		}
		add(&list[kept - 1].totals, &list[i].totals);
		list[kept - 1].pods += list[i].pods;
	}
	return kept;
}

static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before ? now - before : 0;
}

/* What has been counted since the sample before. */
static struct top_totals news_of(const struct top_past *past, const struct past_workload *w)
{
	static const struct top_totals zero;
	const struct past_workload *old =
		past->n_workloads ? bsearch(&w->id, past->workloads, past->n_workloads,
					    sizeof(*old), compare_workloads)
				  : NULL;
	const struct top_totals *is = &w->totals, *was = old ? &old->totals : &zero;

	if (!past->primed)
		return zero;
	return (struct top_totals){ .sent = since(is->sent, was->sent),
				    .received = since(is->received, was->received),
				    .opened = since(is->opened, was->opened),
				    .failed = since(is->failed, was->failed),
				    .retransmitted = since(is->retransmitted, was->retransmitted) };
}

/* The sums of all workloads' own flows, and how many pods each has here. */
static int know_workloads(struct top *t)
{
	const struct pod_list *pods = &t->conns.directory.pods;
	_cleanup_free_ struct udp_flow_entry *udp = NULL;
	_cleanup_free_ struct flow_entry *flows = NULL;
	struct past_workload *list = NULL;
	size_t n_flows, n_udp = 0, n = 0;
	int r = flows_read(t->bpf_dir, &flows, &n_flows);

	if (r == 0)
		r = flows_read_udp(t->bpf_dir, &udp, &n_udp);
	if (r < 0)
		return r;
	list = xcalloc(n_flows + n_udp + pods->n + 1, sizeof(*list));
	for (size_t i = 0; i < n_flows; i++)
		if (is_own(&flows[i].key))
			list[n++] =
				(struct past_workload){ .id = flows[i].key.workload,
							.totals = flow_totals(&flows[i].value) };
	for (size_t i = 0; i < n_udp; i++)
		if (is_own(&udp[i].key))
			list[n++] =
				(struct past_workload){ .id = udp[i].key.workload,
							.totals = udp_flow_totals(&udp[i].value) };
	for (size_t i = 0; i < pods->n; i++)
		if (pods->items[i].has_policy)
			list[n++] = (struct past_workload){ .id = pods->items[i].policy.workload,
							    .pods = 1 };
	n = merge_workloads(list, n);
	for (size_t i = 0; i < n; i++)
		list[i].news = news_of(t->past, &list[i]);
	free(t->past->workloads);
	t->past->workloads = list;
	t->past->n_workloads = n;
	return 0;
}

static struct past_pod *past_pod(struct top_past *past, uint64_t cookie)
{
	for (size_t i = 0; i < past->n_pods; i++)
		if (past->pods[i].netns_cookie == cookie)
			return &past->pods[i];
	list_append(past->pods, past->n_pods, (struct past_pod){ .netns_cookie = cookie });
	return &past->pods[past->n_pods - 1];
}

static int compare_past(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = ((const struct past_conn *)b)->socket_cookie;

	return x < y ? -1 : x > y;
}

/* The workload of a pod, if it has no other pod here; else NULL. */
static const struct past_workload *alone(const struct top *t, uint64_t cookie)
{
	const struct pod_entry *pod = directory_pod(&t->conns.directory, cookie);
	const struct past_workload *w =
		pod && t->past->n_workloads
			? bsearch(&pod->policy.workload, t->past->workloads, t->past->n_workloads,
				  sizeof(*w), compare_workloads)
			: NULL;

	return w && w->pods == 1 ? w : NULL;
}

/* Adds what a connection has done since it was last seen to what its pod has done. */
static void advance(struct top *t, const struct weir_live *row)
{
	struct top_past *past = t->past;
	struct top_totals now = conn_totals(row), *pod = &past_pod(past, row->netns_cookie)->totals;
	const struct past_conn *was = past->n_conns
					      ? bsearch(&row->socket_cookie, past->conns,
							past->n_conns, sizeof(*was), compare_past)
					      : NULL;

	pod->open += now.open;
	pod->rtt_us += now.rtt_us;
	pod->rtts += now.rtts;
	if ((!was && !past->primed) || alone(t, row->netns_cookie))
		return;
	pod->sent += now.sent - (was && was->totals.sent < now.sent ? was->totals.sent
				 : was				    ? now.sent
								    : 0);
	pod->received +=
		now.received - (was && was->totals.received < now.received ? was->totals.received
				: was					   ? now.received
									   : 0);
	pod->retransmitted += now.retransmitted - (was ? was->totals.retransmitted : 0);
	pod->opened += was ? 0 : now.opened;
}

static void remember(struct top_past *past, const struct conn_list *conns)
{
	free(past->conns);
	past->conns = xcalloc(conns->n + 1, sizeof(*past->conns));
	past->n_conns = conns->n;
	past->primed = true;
	for (size_t i = 0; i < conns->n; i++)
		past->conns[i] = (struct past_conn){ conns->conns[i].row.socket_cookie,
						     conns->conns[i].row.netns_cookie,
						     conn_totals(&conns->conns[i].row) };
}

static bool has_counted(const struct top_totals *t)
{
	return t->opened || t->failed || t->sent || t->received;
}

/* The flows of a workload's only pod are that pod's, whatever lived between two samples included.
 */
static void advance_alone(struct top *t)
{
	struct directory *d = &t->conns.directory;

	for (size_t i = 0; i < d->pods.n; i++) {
		const struct past_workload *w = alone(t, d->pods.items[i].cookie);

		if (w && has_counted(&w->totals))
			add(&past_pod(t->past, d->pods.items[i].cookie)->totals, &w->news);
	}
}

static int sample_pods(struct top *t, struct top_sample *s)
{
	struct top_past *past = t->past;
	int r = know_workloads(t);

	if (r < 0)
		return r;
	for (size_t i = 0; i < past->n_pods; i++)
		past->pods[i].totals.open = past->pods[i].totals.rtts =
			past->pods[i].totals.rtt_us = 0;
	for (size_t i = 0; i < t->conns.n; i++)
		if (is_own(&t->conns.conns[i].row.flow))
			advance(t, &t->conns.conns[i].row);
	advance_alone(t);
	remember(past, &t->conns);
	for (size_t i = 0; i < past->n_pods; i++) {
		const struct pod_entry *pod =
			directory_pod(&t->conns.directory, past->pods[i].netns_cookie);
		struct top_row row = { .key = { { past->pods[i].netns_cookie } },
				       .totals = past->pods[i].totals };

		if (!pod)
			continue;
		row.name = path_of(pod->names.namespace, pod->names.name);
		row.live = !alone(t, past->pods[i].netns_cookie);
		list_append(s->rows, s->n, row);
	}
	return 0;
}

/* -- from connections -------------------------------------------------------------------------- */

static void sample_conns(struct top *t, struct top_sample *s)
{
	for (size_t i = 0; i < t->conns.n; i++) {
		const struct conn *c = &t->conns.conns[i];
		_cleanup_free_ char *name = conn_peer_name(c);
		char text[INET_TEXT];
		struct top_row row = { .key = { { c->row.socket_cookie } },
				       .totals = conn_totals(&c->row),
				       .direction = *c->direction == 'i' ? "in" : "out",
				       .via = c->via,
				       .udp = conn_is_udp(c) };

		row.name = path_of(c->namespace, c->pod);
		if (*c->service || *c->peer_namespace)
			row.peer = xasprintf("%s:%u%s", name, c->peer.port, suffix(row.udp));
		else
			row.peer = xasprintf(
				"%s%s", inet_format_endpoint(c->peer.addr.ip, c->peer.port, text),
				suffix(row.udp));
		list_append(s->rows, s->n, row);
	}
}

/* -- rates ------------------------------------------------------------------------------------- */

static double rate(uint64_t now, uint64_t before, double seconds)
{
	return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

void top_rates(struct top_sample *now, const struct top_sample *before)
{
	static const struct top_totals zero;
	double seconds = before->time ? now->time - before->time : 0;

	for (size_t i = 0; i < now->n; i++) {
		struct top_row *row = &now->rows[i];
		const struct top_row *old = before->n ? bsearch(row, before->rows, before->n,
								sizeof(*row), compare_rows)
						      : NULL;
		const struct top_totals *is = &row->totals, *was = old ? &old->totals : &zero;

		row->sent = rate(is->sent, was->sent, seconds);
		row->received = rate(is->received, was->received, seconds);
		row->opened = rate(is->opened, was->opened, seconds);
		row->failed = rate(is->failed, was->failed, seconds);
		row->retransmitted = rate(is->retransmitted, was->retransmitted, seconds);
		row->rtt = is->rtts ? (uint32_t)(is->rtt_us / is->rtts) : 0;
		row->busy = is->open || row->sent || row->received || row->opened || row->failed ||
			    row->retransmitted;
	}
}

int top_open(struct top *t, const char *bpf_dir, char **ret_error)
{
	int r = conn_list_open(bpf_dir, &t->conns, ret_error);

	t->bpf_dir = bpf_dir;
	t->past = xcalloc(1, sizeof(*t->past));
	return r;
}

void top_close(struct top *t)
{
	conn_list_close(&t->conns);
	top_sample_free(&t->sample);
	if (t->past) {
		free(t->past->conns);
		free(t->past->pods);
		free(t->past->workloads);
	}
	free(t->past);
	t->past = NULL;
}

int top_read(struct top *t, char **ret_error)
{
	struct top_sample now = { .time = clock_seconds() };
	int r = conn_list_read(&t->conns, &(struct conn_filter){ .tcp = true, .udp = true },
			       ret_error);

	if (r < 0)
		return r;
	switch (t->view) {
	case TOP_PODS:
		r = sample_pods(t, &now);
		break;
	case TOP_CONNS:
		sample_conns(t, &now);
		break;
	default:
		r = sample_flows(t, &now);
	}
	if (r < 0) {
		*ret_error = maps_error(t->bpf_dir, "weir_flows", r);
		return r;
	}
	merge_rows(&now);
	top_rates(&now, &t->sample);
	t->interval = t->sample.time ? now.time - t->sample.time : 0;
	top_sample_free(&t->sample);
	t->sample = now;
	t->taken = time(NULL);
	return 0;
}
