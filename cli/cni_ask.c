/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cni_ask.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/shared_files.h"
#include "base/unix.h"
#include "cli/cni_away.h"
#include "cli/cni_marker.h"

#define ANSWER_MAX (1u << 20)
/* An agent that is busy speaks within that time, and one that hung a moment ago most likely does.
 */
#define SIGN_MS	       2000
#define SIGN_AGAIN_MS  200
#define SILENT_SECONDS 30

static json_t *string_or_empty(const char *text)
{
	return json_string(text ?: "") ?: json_string("");
}

static char *request_text(const struct cni_request *r, int timeout_ms)
{
	const json_t *valid = json_object_get(r->config, "cni.dev/valid-attachments");
	json_t *json =
		json_pack("{s:o, s:o, s:o, s:o, s:o, s:i}", "command", string_or_empty(r->command),
			  "containerID", string_or_empty(r->container_id), "netns",
			  string_or_empty(r->netns), "ifName", string_or_empty(r->ifname),
			  "network", string_or_empty(r->network), "timeoutMs", timeout_ms);
	char *text;

	if (cni_request_has_pod(r)) {
		json_object_set_new(
			json, "pod",
			json_pack("{s:o, s:o, s:o}", "namespace", string_or_empty(r->namespace),
				  "name", string_or_empty(r->pod), "uid", string_or_empty(r->uid)));
		json_object_set_new(json, "exempt", json_boolean(cni_away_never_refused(r)));
	}
	if (valid)
		json_object_set(json, "attachments", (json_t *)valid);
	text = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return text;
}

/* Until the socket takes or has something; -ETIMEDOUT. */
static int wait_for(int fd, short events, long long deadline)
{
	long long left = deadline - clock_ms();
	struct pollfd p = { .fd = fd, .events = events };
	int n = poll(&p, 1, left > 0 ? (int)left : 0);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n ? 0 : -ETIMEDOUT;
}

static int send_all(int fd, const char *text, size_t len, long long deadline)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);
		int err = 0;

		if (n < 0)
			err = errno == EAGAIN ? wait_for(fd, POLLOUT, deadline) : -errno;
		if (err)
			return err;
		if (n > 0) {
			text += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* The answer ends when the agent closes; sign_deadline is that of its first byte. */
static int read_all(int fd, struct buf *answer, long long sign_deadline, long long deadline)
{
	char chunk[16384];

	for (;;) {
		int err = wait_for(fd, POLLIN, answer->len ? deadline : sign_deadline);
		ssize_t n;

		if (err)
			return err;
		n = read(fd, chunk, sizeof(chunk));
		if (n == 0)
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return -errno;
		if (n > 0)
			buf_add(answer, chunk, (size_t)n);
		if (answer->len > ANSWER_MAX)
			return -EBADMSG;
	}
}

/* -EBADMSG: it ended before it had answered. */
static int parse(const struct buf *answer, json_t **ret)
{
	json_t *json = json_loadb(buf_text(answer), answer->len, 0, NULL);

	if (!json_is_object(json)) {
		json_decref(json);
		return -EBADMSG;
	}
	*ret = json;
	return 0;
}

static int sign_ms(const struct cni_request *r)
{
	long age = cni_marker_age(r, CNI_MARKER_SILENT);

	return age >= 0 && age < SILENT_SECONDS ? SIGN_AGAIN_MS : SIGN_MS;
}

/* What one call learns of the agent the next one knows. */
static void note(const struct cni_request *r, int err, const struct buf *answer)
{
	if (!err)
		cni_marker_clear(r);
	else if (err == -ETIMEDOUT && !answer->len && sign_ms(r) == SIGN_MS)
		cni_marker_set(r, CNI_MARKER_SILENT);
}

int cni_ask(const struct cni_request *r, int timeout_ms, enum cni_patience patience, json_t **ret)
{
	long long now = clock_ms(), deadline = now + timeout_ms;
	long long sign = patience == CNI_WAITS_FOR_ALL ? deadline : now + sign_ms(r);
	_cleanup_free_ char *text = request_text(r, timeout_ms);
	_cleanup_free_ char *line = xasprintf("%s\n", text);
	_cleanup_close_ int fd = unix_connect(r->run_dir, RUN_CNI_SOCKET);
	_cleanup_buf_ struct buf answer = { 0 };
	int err = fd < 0 ? fd : send_all(fd, line, strlen(line), deadline);

	if (!err)
		err = read_all(fd, &answer, sign < deadline ? sign : deadline, deadline);
	if (!err)
		err = parse(&answer, ret);
	note(r, err, &answer);
	return err;
}
