/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cni_request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json_text.h"

#define INPUT_MAX	(4u << 20)
#define TIMEOUT_SECONDS 10
#define AWAY_SECONDS	600
#define RUN_DIR		"/run/weir"

int cni_fail(struct cni_error *error, enum cni_code code, char *msg, const char *details)
{
	*error = (struct cni_error){ .code = code, .msg = msg, .details = xstrdup(details) };
	return -EINVAL;
}

void cni_error_free(struct cni_error *error)
{
	free(error->msg);
	free(error->details);
	*error = (struct cni_error){ 0 };
}

int cni_version_number(const char *version)
{
	static const char *const names[] = { CNI_VERSIONS };

	_Static_assert(ARRAY_SIZE(names) == CNI_VERSION_MAX, "a name for each version");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(names[i], version))
			return (int)i;
	return -1;
}

/* -- CNI_ARGS ------------------------------------------------------------------------------- */

static void set_arg(struct cni_request *r, const char *arg, size_t len)
{
	const struct {
		const char *name;
		char **member;
	} known[] = {
		{ "K8S_POD_NAMESPACE=", &r->namespace },
		{ "K8S_POD_NAME=", &r->pod },
		{ "K8S_POD_UID=", &r->uid },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		size_t n = strlen(known[i].name);

		if (len < n || strncmp(arg, known[i].name, n))
			continue;
		free(*known[i].member);
		*known[i].member = strndup(arg + n, len - n);
	}
}

void cni_request_args(struct cni_request *r, const char *args)
{
	while (args && *args) {
		size_t len = strcspn(args, ";");

		set_arg(r, args, len);
		args += len + (args[len] == ';');
	}
}

bool cni_request_has_pod(const struct cni_request *r)
{
	return r->namespace && *r->namespace && r->pod && *r->pod;
}

/* -- prevResult, as it was written ---------------------------------------------------------- */

static char *raw_member(const char *object, const char *key)
{
	struct json_span value;

	if (!json_text_member(object, key, &value))
		return NULL;
	return strndup(value.begin, (size_t)(value.end - value.begin));
}

/* -- the configuration ---------------------------------------------------------------------- */

static int setting_string(const struct cni_request *r, const char *key, const char *absent,
			  const char **ret, struct cni_error *ret_error)
{
	const json_t *value = json_object_get(r->config, key);

	if (value && !json_is_string(value))
		return cni_fail(ret_error, CNI_INVALID_CONFIG,
				xasprintf("weir-cni: %s is not a string", key),
				"see weir-cni(8) for the settings in the network configuration");
	*ret = value ? json_string_value(value) : absent;
	return 0;
}

/* A whole number. */
static int setting_seconds(const struct cni_request *r, const char *key, int min, int absent,
			   int *ret, struct cni_error *ret_error)
{
	const json_t *value = json_object_get(r->config, key);
	double n = value ? json_number_value(value) : absent;

	if ((value && !json_is_number(value)) || n < min || n > 1000000 || n != (int)n)
		return cni_fail(ret_error, CNI_INVALID_CONFIG,
				xasprintf("weir-cni: %s is no number from %d to 1000000", key, min),
				"see weir-cni(8) for the settings in the network configuration");
	*ret = (int)n;
	return 0;
}

static int read_away(struct cni_request *r, struct cni_error *ret_error)
{
	static const char *const names[] = { [CNI_AWAY_REFUSE_CAPTURED] = "refuse-captured",
					     [CNI_AWAY_REFUSE] = "refuse",
					     [CNI_AWAY_ALLOW] = "allow" };
	const char *text;
	int err = setting_string(r, "agentAway", names[0], &text, ret_error);

	for (size_t i = 0; !err && i < ARRAY_SIZE(names); i++) {
		if (strcmp(names[i], text))
			continue;
		r->away = (enum cni_away)i;
		return 0;
	}
	return err
		       ?: cni_fail(ret_error, CNI_INVALID_CONFIG,
				   xasprintf("weir-cni: agentAway is \"%s\"", text),
				   "it can be refuse-captured, refuse or allow");
}

/* What is there must be able to go, whatever somebody has written into the configuration since. */
static bool forgives(const struct cni_request *r)
{
	return r->command && (!strcmp(r->command, "DEL") || !strcmp(r->command, "GC"));
}

static int read_settings(struct cni_request *r, struct cni_error *ret_error)
{
	int err = setting_string(r, "runDir", RUN_DIR, &r->run_dir, ret_error), seconds = 0;

	if (!err)
		err = setting_string(r, "stateDir", "/var/lib/weir", &r->state_dir, ret_error);
	if (!err)
		err = setting_string(r, "name", "", &r->network, ret_error);
	if (!err)
		err = setting_seconds(r, "timeoutSeconds", 1, TIMEOUT_SECONDS, &seconds, ret_error);
	if (!err)
		err = setting_seconds(r, "agentAwaySeconds", 0, AWAY_SECONDS, &r->away_seconds,
				      ret_error);
	if (!err)
		err = read_away(r, ret_error);
	r->timeout_ms = seconds * 1000;
	r->exempt = json_object_get(r->config, "exemptNamespaces");
	if (!err || !forgives(r))
		return err;
	cni_error_free(ret_error);
	r->run_dir = json_string_value(json_object_get(r->config, "runDir")) ?: RUN_DIR;
	r->network = json_string_value(json_object_get(r->config, "name")) ?: "";
	return 0;
}

int cni_request_parse(struct cni_request *r, const char *text, size_t len,
		      struct cni_error *ret_error)
{
	json_error_t where;
	const json_t *prev;

	r->version = "";
	/* numbers of any size; whatever else other plugins may write */
	r->config = json_loadb(text, len, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &where);
	if (!json_is_object(r->config))
		return cni_fail(ret_error, CNI_DECODING_FAILURE,
				xasprintf("weir-cni: the network configuration on standard input "
					  "is no JSON object (line %d: %s)",
					  where.line, r->config ? "another value" : where.text),
				"the runtime's configuration directory may hold a broken file");
	r->version = json_string_value(json_object_get(r->config, "cniVersion")) ?: "";
	prev = json_object_get(r->config, "prevResult");
	if (prev && !json_is_null(prev))
		r->prev_result = raw_member(text, "prevResult") ?: json_dumps(prev, JSON_COMPACT);
	return read_settings(r, ret_error);
}

static int read_input(struct buf *input)
{
	char chunk[65536];
	ssize_t n = 0;

	if (isatty(STDIN_FILENO))
		return 0;
	while ((n = read(STDIN_FILENO, chunk, sizeof(chunk))) > 0 && input->len < INPUT_MAX)
		buf_add(input, chunk, (size_t)n);
	return n < 0 ? -errno : 0;
}

int cni_request_read(struct cni_request *ret, struct cni_error *ret_error)
{
	_cleanup_buf_ struct buf input = { 0 };
	int err = read_input(&input);

	*ret = (struct cni_request){ .command = getenv("CNI_COMMAND"),
				     .container_id = getenv("CNI_CONTAINERID"),
				     .netns = getenv("CNI_NETNS"),
				     .ifname = getenv("CNI_IFNAME"),
				     .version = "" };
	cni_request_args(ret, getenv("CNI_ARGS"));
	if (err)
		return cni_fail(
			ret_error, CNI_IO_FAILURE,
			xasprintf("weir-cni: cannot read standard input: %s", strerror(-err)),
			"the runtime writes the network configuration there");
	if (!input.len && !strcmp(ret->command, "VERSION"))
		return 0; /* of old, VERSION came without a configuration */
	return cni_request_parse(ret, buf_text(&input), input.len, ret_error);
}

void cni_request_free(struct cni_request *r)
{
	json_decref(r->config);
	free(r->prev_result);
	free(r->namespace);
	free(r->pod);
	free(r->uid);
	*r = (struct cni_request){ 0 };
}
