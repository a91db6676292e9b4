/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir explain: where a connection would go, and why. Works from the pinned maps; the agent is
 * asked only for pods that are not in them, and for the reason why a pod is not captured.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/brief.h"
#include "base/inet.h"
#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/explain.h"
#include "cli/explain_line.h"
#include "cli/near.h"

static void result_free(struct explain_result *r)
{
	free(r->because);
	free(r->pod);
	json_decref(r->texts.assumed);
	json_decref(r->texts.notes);
}

static void add_text(json_t *texts, const char *text)
{
	json_array_append_new(texts, json_string(text));
}

static bool is_named(const char *namespace, const char *name, const char *wanted)
{
	size_t len = strlen(namespace);

	return strncmp(wanted, namespace, len) == 0 && wanted[len] == '/' &&
	       strcmp(wanted + len + 1, name) == 0;
}

/* The newest comes first. */
static const struct pod_entry *find_pod(const struct pod_list *pods, const char *wanted,
					const struct explain_notes *texts)
{
	const struct pod_entry *found = NULL;

	for (size_t i = 0; i < pods->n; i++) {
		const struct pod_entry *pod = &pods->items[i];

		if (!is_named(pod->names.namespace, pod->names.name, wanted))
			continue;
		if (found) {
			add_text(texts->notes, "several network namespaces bear this pod's name: "
					       "this is the newest");
			break;
		}
		found = pod;
	}
	return found;
}

/* The agent's view of a pod, NULL when it has none or does not answer. Lives as long as `answer`.
 */
static const json_t *ask_agent(const struct options *o, const char *wanted, json_t **answer)
{
	json_t *pod;
	size_t i;

	if (!*answer && ctl_ask(o->run_dir, "pods", answer) < 0)
		return NULL;
	json_array_foreach (json_object_get(*answer, "pods"), i, pod)
		if (is_named(json_text(pod, "namespace"), json_text(pod, "name"), wanted))
			return pod;
	return NULL;
}

/* Why a pod is not captured, or its policy failed, only the agent can tell. */
static void add_agent_reason(const struct options *o, const char *wanted, struct explain_result *r)
{
	_cleanup_json_ json_t *answer = NULL;
	const json_t *pod = ask_agent(o, wanted, &answer);
	_cleanup_free_ char *reason = NULL;
	char *because;

	if (!pod || !*json_text(pod, "reason"))
		return;
	reason = brief(json_text(pod, "reason"), BRIEF_REASON);
	because = xasprintf("%s: %s", r->because, reason);
	free(r->because);
	r->because = because;
}

static bool agent_knows_more(const struct explain_facts *f, const struct weir_answer *answer)
{
	return answer->reason == WEIR_REASON_POLICY_FAILED ||
	       (answer->reason == WEIR_REASON_NOT_CAPTURED && !f->sources[WEIR_SETTING_CAPTURE]);
}

static void set_to_inbound(struct explain_query *q, const struct weir_addr *ip4,
			   const struct weir_addr *ip6, const struct explain_notes *texts)
{
	if (q->direction != WEIR_INBOUND)
		return;
	explain_set_inbound_to(q, ip4, ip6);
	if (weir_addr_is_any(&q->to))
		add_text(texts->assumed, "the pod has an address of this family; none is known");
}

/* What comes in by an interface and is for one of the pod's addresses goes no further. */
static void turn_inbound(const char *bpf_dir, struct explain_query *q, const struct pod_entry *pod)
{
	if (q->direction == WEIR_OUTBOUND && q->interface && explain_is_own(bpf_dir, pod, &q->to))
		q->direction = WEIR_INBOUND;
}

static int answer_from_maps(const struct explain_line *c, struct explain_query *q,
			    const struct pod_entry *pod, struct explain_result *r)
{
	const struct options *o = &c->options;
	_cleanup_free_ char *error = NULL;
	struct explain_facts f;

	set_to_inbound(q, &pod->policy.ip4, &pod->policy.ip6, &r->texts);
	turn_inbound(o->bpf_dir, q, pod);
	if (explain_read_facts(o->bpf_dir, q, pod, &f, &error) < 0)
		return options_fail(o, "%s", error);
	explain_assume_links(q, &f, &r->texts);
	r->answer = explain_decide(q, &f);
	explain_landing(q, &r->answer, &r->to);
	if (r->answer.verdict == WEIR_REDIRECT) {
		enum weir_presence presence =
			explain_presence(o->bpf_dir, q, pod, r->answer.port, &r->texts);

		r->answer = weir_decide_presence(&f.pod, r->answer, presence);
		if (r->answer.verdict == WEIR_DIRECT)
			explain_landing(q, &r->answer, &r->to);
	}
	r->because = explain_because(q, &f, &r->answer);
	explain_assume(q, &f, r);
	if (agent_knows_more(&f, &r->answer))
		add_agent_reason(o, c->pod, r);
	explain_print(q, r, o->output, c->batch);
	return EXIT_SUCCESS;
}

/* A pod that is not in the maps has no programs on its path. */
static int answer_from_agent(const struct explain_line *c, struct explain_query *q,
			     const json_t *pod, struct explain_result *r)
{
	struct weir_addr ip4 = { 0 }, ip6 = { 0 }, ip;
	_cleanup_free_ char *reason = brief(json_text(pod, "reason"), BRIEF_REASON);
	struct explain_facts none = { 0 };
	json_t *text;
	size_t i;

	json_array_foreach (json_object_get(pod, "ips"), i, text) {
		if (inet_parse(json_string_value(text) ?: "", ip.ip) < 0)
			continue;
		if (weir_addr_is_v4(&ip))
			ip4 = ip;
		else
			ip6 = ip;
	}
	set_to_inbound(q, &ip4, &ip6, &r->texts);
	r->answer = explain_decide(q, &none);
	explain_landing(q, &r->answer, &r->to);
	r->because = q->udp || !*reason ? explain_because(q, &none, &r->answer)
					: xasprintf("the pod is not captured: %s", reason);
	explain_assume(q, &none, r);
	explain_print(q, r, c->options.output, c->batch);
	return EXIT_SUCCESS;
}

static void add_near(struct buf *b, size_t *n, const char *wanted, const char *namespace,
		     const char *name)
{
	_cleanup_free_ char *full = xasprintf("%s/%s", namespace, name);
	const char *wanted_name = strchr(wanted, '/') + 1;

	if (*n >= 5 || (!near_enough(wanted_name, name) && !near_enough(wanted, full)) ||
	    strstr(buf_text(b), full))
		return;
	buf_printf(b, "%s%s", *n ? ", " : "", full);
	++*n;
}

static int unknown_pod(const struct explain_line *c, const struct pod_list *pods,
		       const json_t *answer)
{
	_cleanup_buf_ struct buf near = { 0 };
	size_t n = 0, i;
	json_t *pod;

	for (i = 0; i < pods->n; i++)
		add_near(&near, &n, c->pod, pods->items[i].names.namespace,
			 pods->items[i].names.name);
	json_array_foreach (json_object_get(answer, "pods"), i, pod)
		add_near(&near, &n, c->pod, json_text(pod, "namespace"), json_text(pod, "name"));
	if (n)
		return options_fail(&c->options, "no pod %s on this node; did you mean %s?", c->pod,
				    near.data);
	return options_fail(&c->options, "no pod %s on this node: weir pods lists them", c->pod);
}

static int explain(const struct explain_line *c, struct explain_result *result)
{
	_cleanup_pods_ struct pod_list pods = { 0 };
	_cleanup_json_ json_t *answer = NULL;
	struct explain_query q = c->query;
	const struct pod_entry *pod;
	const json_t *from_agent;
	int r = maps_pods(c->options.bpf_dir, &pods);

	explain_resolve_any(&q);
	pod = find_pod(&pods, c->pod, &result->texts);
	if (pod)
		return answer_from_maps(c, &q, pod, result);
	from_agent = ask_agent(&c->options, c->pod, &answer);
	if (from_agent)
		return answer_from_agent(c, &q, from_agent, result);
	if (r < 0 && !answer) {
		_cleanup_free_ char *text = maps_error(c->options.bpf_dir, "weir_pod_names", r);

		return options_fail(&c->options, "%s", text);
	}
	return unknown_pod(c, &pods, answer);
}

static int answer(const struct explain_line *c)
{
	_cleanup_(result_free) struct explain_result result = {
		.pod = xstrdup(c->pod),
		.texts = { .assumed = json_array(), .notes = json_array() },
	};

	return explain(c, &result);
}

/* Each answer goes out before the next question is waited for; the first that cannot be answered
 * is the last, so that the n-th answer is always the n-th question's. */
static int answer_all(const struct explain_line *batch)
{
	_cleanup_free_ char *text = NULL;
	size_t size = 0, number = 0;
	int status = EXIT_SUCCESS;

	while (status == EXIT_SUCCESS && getline(&text, &size, stdin) > 0) {
		_cleanup_free_ char *name =
			xasprintf("%s: line %zu", batch->options.command, ++number);
		struct explain_line line;

		if (!explain_line_of_batch(batch, name, text, &line))
			continue;
		status = answer(&line);
		fflush(stdout);
	}
	return status;
}

int weir_explain_main(int argc, char **argv)
{
	struct explain_line line;

	explain_line_parse(argc, argv, &line);
	return line.batch ? answer_all(&line) : answer(&line);
}
