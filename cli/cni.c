/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-cni: the CNI plugin, chained behind the one that makes the pod's interface. It changes
 * nothing itself: it tells the agent of the pod's network namespace, waits until the agent has put
 * the pod's policy in force, and hands on the result of the plugin before it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "cli/cni_ask.h"
#include "cli/cni_away.h"

#define RETRY_US       100000
#define DEL_TIMEOUT_MS 2000
#define EXEMPT_TIMEOUT_MS \
	2000 /* of what the node may need: also of an agent that knows it not yet */

static void print_json(json_t *json)
{
	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
}

/* An error is told in the version that the network configuration is written in. */
static int print_error(const struct cni_request *r, const struct cni_error *e)
{
	_cleanup_buf_ struct buf b = { 0 }; /* what it quotes need not be UTF-8 */

	buf_str(&b, "{\"cniVersion\":");
	buf_json_str(&b, r->version && *r->version ? r->version : CNI_LATEST);
	buf_printf(&b, ",\"code\":%d,\"msg\":", (int)e->code);
	buf_json_str(&b, e->msg);
	buf_str(&b, ",\"details\":");
	buf_json_str(&b, e->details);
	buf_str(&b, "}");
	puts(buf_text(&b));
	return EXIT_FAILURE;
}

/* -- what each command needs ----------------------------------------------------------------- */

static int need_version(const struct cni_request *r, enum cni_version least, struct cni_error *e)
{
	int version = cni_version_number(*r->version ? r->version : "0.1.0");

	if (version < 0)
		return cni_fail(e, CNI_INCOMPATIBLE_VERSION,
				xasprintf("weir-cni does not know cniVersion \"%s\"", r->version),
				"it knows 0.3.1, 0.4.0, 1.0.0 and 1.1.0");
	if (version < (int)least)
		return cni_fail(e, CNI_INCOMPATIBLE_VERSION,
				xasprintf("cniVersion %s does not know %s", r->version, r->command),
				"CHECK came with 0.4.0, STATUS and GC with 1.1.0");
	return 0;
}

/* As the specification has both: what a file name and an interface may be. */
static bool is_name(const char *text, const char *forbidden)
{
	return text && *text && !strpbrk(text, forbidden) && strcmp(text, ".") &&
	       strcmp(text, "..");
}

static int need_attachment(const struct cni_request *r, struct cni_error *e)
{
	if (!is_name(r->container_id, "/ \t\n"))
		return cni_fail(e, CNI_INVALID_ENVIRONMENT,
				xstrdup("weir-cni: CNI_CONTAINERID is missing or no name"),
				"the runtime sets it");
	if (!is_name(r->ifname, "/: \t\n") || strlen(r->ifname) > 15)
		return cni_fail(e, CNI_INVALID_ENVIRONMENT,
				xstrdup("weir-cni: CNI_IFNAME is missing or no interface's name"),
				"the runtime sets it");
	return 0;
}

static int need_netns(const struct cni_request *r, struct cni_error *e)
{
	if (r->netns && *r->netns == '/')
		return 0;
	return cni_fail(e, CNI_INVALID_ENVIRONMENT,
			xstrdup("weir-cni: CNI_NETNS is missing or no absolute path"),
			"the runtime sets it");
}

static int need_prev_result(const struct cni_request *r, struct cni_error *e)
{
	if (r->prev_result)
		return 0;
	return cni_fail(e, CNI_INVALID_CONFIG,
			xstrdup("weir-cni: the network configuration has no prevResult: weir-cni "
				"makes no interface and must stand behind the plugin that does"),
			"weir install-cni puts it there; another file of the runtime's "
			"configuration directory may hold weir-cni alone");
}

/* -- the commands ----------------------------------------------------------------------------- */

static int from_agent(const json_t *answer, struct cni_error *e)
{
	const json_t *error = json_object_get(answer, "error");
	const char *msg = json_string_value(json_object_get(error, "msg"));
	const char *details = json_string_value(json_object_get(error, "details"));
	json_int_t code = json_integer_value(json_object_get(error, "code"));

	if (!error)
		return 0;
	return cni_fail(e, code > 0 ? (enum cni_code)code : CNI_POLICY,
			xstrdup(msg ?: "weir cannot capture the pod"), details ?: "");
}

/* The runtime's own log has it. */
static void say(const struct cni_request *r, const char *error, const char *why)
{
	_cleanup_free_ char *pod = xasprintf("%s/%s", r->namespace, r->pod);

	log_warn("weir-cni", "command", r->command, "pod", pod, "error", error, "effect",
		 "the pod starts all the same", "because", why, NULL);
}

/* What the node needs to recover starts whatever is wrong with it. */
static int judge(const struct cni_request *r, const json_t *answer, struct cni_error *e)
{
	const char *why;
	int err = from_agent(answer, e);

	if (!err || !cni_away_exempts(r, &why))
		return err;
	say(r, e->msg, why);
	cni_error_free(e);
	return 0;
}

/*
 * An agent that is being replaced comes back within moments: a pod that has to wait for it is
 * better off waiting here than being torn down and made anew.
 */
static int add_pod(const struct cni_request *r, struct cni_error *e)
{
	json_t *answer = NULL;
	const char *why;
	enum cni_patience patience =
		cni_away_needs_nobody(r, &why) ? CNI_WAITS_FOR_A_SIGN : CNI_WAITS_FOR_ALL;
	int err = -ETIMEDOUT, left = r->timeout_ms;

	if (cni_away_exempts(r, &why) && left > EXEMPT_TIMEOUT_MS)
		left = EXEMPT_TIMEOUT_MS;
	while (left > 0) {
		err = cni_ask(r, left, patience, &answer);
		if (!err) {
			err = judge(r, answer, e);
			json_decref(answer);
			return err;
		}
		if (cni_away_allows(r, &why)) {
			say(r, strerror(-err), why);
			return 0;
		}
		if (err == -ETIMEDOUT)
			break;
		usleep(RETRY_US);
		left -= RETRY_US / 1000;
	}
	return cni_fail(
		e, CNI_TRY_AGAIN_LATER,
		xasprintf("weir's agent on this node does not answer (%s/cni.sock: %s), and "
			  "pod %s/%s would start without its mesh: it is tried again",
			  r->run_dir, strerror(-err), r->namespace, r->pod),
		"see whether weir's pod runs on this node; the setting agentAway of "
		"weir-cni says what to do meanwhile");
}

static int do_add(const struct cni_request *r, struct cni_error *e)
{
	int err = need_version(r, CNI_0_3_1, e) ?: need_attachment(r, e) ?: need_netns(r, e);

	if (!err)
		err = need_prev_result(r, e);
	if (!err && cni_request_has_pod(r))
		err = add_pod(r, e);
	if (!err)
		puts(r->prev_result);
	return err;
}

/* Without an agent nothing can be told, and what the kernel holds goes on working. */
static int do_check(const struct cni_request *r, struct cni_error *e)
{
	json_t *answer = NULL;
	int err = need_version(r, CNI_0_4_0, e) ?: need_attachment(r, e) ?: need_netns(r, e);

	if (!err)
		err = need_prev_result(r, e);
	if (err || !cni_request_has_pod(r) ||
	    cni_ask(r, r->timeout_ms, CNI_WAITS_FOR_A_SIGN, &answer))
		return err;
	err = from_agent(answer, e);
	json_decref(answer);
	return err;
}

/* Whatever is gone already is as it should be; so is an agent that hears of it later. */
static int do_del(const struct cni_request *r, struct cni_error *e)
{
	json_t *answer = NULL;
	int err = need_attachment(r, e);

	if (!err && cni_ask(r, DEL_TIMEOUT_MS, CNI_WAITS_FOR_A_SIGN, &answer) == 0)
		json_decref(answer);
	return err;
}

static int do_gc(const struct cni_request *r, struct cni_error *e)
{
	json_t *answer = NULL;
	int err = need_version(r, CNI_1_1_0, e);

	if (!err && cni_ask(r, DEL_TIMEOUT_MS, CNI_WAITS_FOR_A_SIGN, &answer) == 0)
		json_decref(answer);
	return err;
}

/*
 * A runtime that hears of an error calls the whole node not ready, with all pods that weir has
 * nothing to do with, and those that would bring the agent back. So the answer is no only where
 * every ADD would fail.
 */
static int do_status(const struct cni_request *r, struct cni_error *e)
{
	json_t *answer = NULL;
	int err = need_version(r, CNI_1_1_0, e);

	if (err || r->away != CNI_AWAY_REFUSE)
		return err;
	err = cni_ask(r, DEL_TIMEOUT_MS, CNI_WAITS_FOR_A_SIGN, &answer);
	json_decref(answer);
	return err ? cni_fail(e, CNI_NOT_AVAILABLE, xstrdup("weir's agent does not answer"),
			      "see whether weir's pod runs on this node")
		   : 0;
}

static int do_version(const struct cni_request *r, struct cni_error *e)
{
	static const char *const names[] = { CNI_VERSIONS };
	json_t *list = json_array();

	(void)e;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		json_array_append_new(list, json_string(names[i]));
	print_json(json_pack("{s:s, s:o}", "cniVersion",
			     cni_version_number(r->version) < 0 ? CNI_LATEST : r->version,
			     "supportedVersions", list));
	return 0;
}

static int run(const struct cni_request *r, struct cni_error *e)
{
	static const struct {
		const char *name;
		int (*fn)(const struct cni_request *r, struct cni_error *e);
	} commands[] = {
		{ "ADD", do_add }, { "DEL", do_del },	    { "CHECK", do_check },
		{ "GC", do_gc },   { "STATUS", do_status }, { "VERSION", do_version },
	};

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(r->command, commands[i].name))
			return commands[i].fn(r, e);
	return cni_fail(e, CNI_INVALID_ENVIRONMENT,
			xasprintf("weir-cni: CNI_COMMAND is \"%s\"", r->command),
			"ADD, DEL, CHECK, STATUS, VERSION and GC are known");
}

int main(void)
{
	struct cni_request request = { 0 };
	struct cni_error error = { 0 };
	int status = EXIT_SUCCESS;

	if (!getenv("CNI_COMMAND")) {
		fputs("usage: weir-cni is run by a container runtime, with CNI_COMMAND set; see "
		      "weir-cni(8)\n",
		      stderr);
		return EXIT_FAILURE;
	}
	if (cni_request_read(&request, &error) || run(&request, &error))
		status = print_error(&request, &error);
	cni_request_free(&request);
	cni_error_free(&error);
	return fflush(stdout) ? EXIT_FAILURE : status;
}
