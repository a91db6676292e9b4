/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kube_exec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define TIMEOUT_MS 30000
#define MAX_OUTPUT (1 << 20)

#define fail(ret_error, ...) (*(ret_error) = xasprintf(__VA_ARGS__), -EINVAL)

struct kube_exec {
	struct loop *loop;
	const struct kube_exec_spec *spec;
	kube_exec_fn done;
	void *ctx;
	pid_t pid; /* 0: reaped */
	int pidfd;
	int out_fd;
	int timer;
	struct buf output;
	bool timed_out;
};

void kube_credential_free(struct kube_credential *c)
{
	free(c->token);
	free(c->cert);
	free(c->key);
	*c = (struct kube_credential){ 0 };
}

static char *text_of(const json_t *o, const char *key)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text && *text ? xstrdup(text) : NULL;
}

/* RFC 3339, as Go writes it: with a fraction or not, in UTC or not. */
static bool parse_time(const char *text, time_t *ret)
{
	struct tm tm = { 0 };
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	long east;

	if (!rest)
		return false;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	rest = strptime(rest, "%z", &tm);
	if (!rest || *rest)
		return false;
	east = tm.tm_gmtoff;
	*ret = timegm(&tm) - east;
	return true;
}

static int read_status(const json_t *root, const char *api_version, struct kube_credential *c,
		       char **ret_error)
{
	const json_t *status = json_object_get(root, "status");
	const char *version = json_string_value(json_object_get(root, "apiVersion"));
	const char *kind = json_string_value(json_object_get(root, "kind"));
	const char *expires = json_string_value(json_object_get(status, "expirationTimestamp"));

	if (!kind || strcmp(kind, "ExecCredential"))
		return fail(ret_error, "it printed no ExecCredential");
	if (!version || strcmp(version, api_version))
		return fail(ret_error, "it answered in %s, not %s", version ?: "no apiVersion",
			    api_version);
	c->token = text_of(status, "token");
	c->cert = text_of(status, "clientCertificateData");
	c->key = text_of(status, "clientKeyData");
	if (!c->token && !(c->cert && c->key))
		return fail(ret_error, "its status has neither a token nor a client certificate "
				       "with its key");
	if (expires && !parse_time(expires, &c->expires))
		return fail(ret_error, "status.expirationTimestamp: '%s' is no time", expires);
	return 0;
}

int kube_credential_parse(const char *text, size_t len, const char *api_version,
			  struct kube_credential *ret, char **ret_error)
{
	struct kube_credential c = { 0 };
	json_error_t error;
	json_t *root = json_loadb(text, len, 0, &error);
	int err;

	if (!root)
		return fail(ret_error, "it printed no JSON: %s", error.text);
	err = read_status(root, api_version, &c, ret_error);
	json_decref(root);
	if (err < 0)
		kube_credential_free(&c);
	else
		*ret = c;
	return err;
}

static void read_output(struct kube_exec *e)
{
	char chunk[4096];
	ssize_t n;

	while ((n = read(e->out_fd, chunk, sizeof(chunk))) > 0)
		if (e->output.len < MAX_OUTPUT)
			buf_add(&e->output, chunk, (size_t)n);
	if (n < 0 && errno == EAGAIN)
		return;
	loop_remove(e->loop, e->out_fd);
	close_fd(&e->out_fd);
}

static void on_output(void *ctx, uint32_t events)
{
	(void)events;
	read_output(ctx);
}

/* What became of the program: its credential, or why there is none. */
static int result(struct kube_exec *e, const siginfo_t *info, struct kube_credential *ret,
		  char **ret_error)
{
	if (e->timed_out)
		return fail(ret_error, "it ran for more than %d s", TIMEOUT_MS / 1000);
	if (info->si_code != CLD_EXITED)
		return fail(ret_error, "signal %d ended it", info->si_status);
	if (info->si_status == 127 && !e->output.len)
		return fail(ret_error, "it could not be run%s%s", e->spec->install_hint ? ": " : "",
			    e->spec->install_hint ?: "");
	if (info->si_status)
		return fail(ret_error, "its exit status is %d", info->si_status);
	return kube_credential_parse(buf_text(&e->output), e->output.len, e->spec->api_version, ret,
				     ret_error);
}

static void on_exit_of(void *ctx, uint32_t events)
{
	struct kube_exec *e = ctx;
	struct kube_credential credential = { 0 };
	_cleanup_free_ char *error = NULL;
	siginfo_t info = { 0 };
	int err;

	(void)events;
	if (waitid(P_PIDFD, (id_t)e->pidfd, &info, WEXITED | WNOHANG) < 0 || !info.si_pid)
		return;
	e->pid = 0;
	loop_remove(e->loop, e->pidfd);
	if (e->out_fd >= 0)
		read_output(e);
	err = result(e, &info, &credential, &error);
	if (err < 0) {
		_cleanup_free_ char *text = xasprintf("%s: %s", e->spec->command, error);

		e->done(e->ctx, NULL, text); /* may free e */
	} else {
		e->done(e->ctx, &credential, NULL);
		kube_credential_free(&credential);
	}
}

static void on_timeout(void *ctx, uint32_t events)
{
	struct kube_exec *e = ctx;

	(void)events;
	e->timed_out = true;
	if (e->pid)
		kill(-e->pid, SIGKILL);
}

/* Our environment, the plugin's own over it, and what the protocol adds. */
static char **environment(const struct kube_exec_spec *spec)
{
	json_t *info = json_pack("{s:s, s:s, s:{s:b}}", "apiVersion", spec->api_version, "kind",
				 "ExecCredential", "spec", "interactive", 0);
	_cleanup_free_ char *text = NULL;
	size_t n = 0, own = 0;
	char **env;

	if (spec->cluster)
		json_object_set(json_object_get(info, "spec"), "cluster", spec->cluster);
	text = json_dumps(info, JSON_COMPACT);
	json_decref(info);
	while (environ[n])
		n++;
	while (spec->env[own])
		own++;
	env = xcalloc(n + own + 2, sizeof(*env));
	n = 0;
	for (size_t i = 0; i < own; i++)
		env[n++] = xstrdup(spec->env[i]);
	env[n++] = xasprintf("KUBERNETES_EXEC_INFO=%s", text);
	for (size_t i = 0; environ[i]; i++) {
		size_t name = strcspn(environ[i], "=") + 1, j = 0;

		while (j <= own && strncmp(env[j], environ[i], name))
			j++;
		if (j > own)
			env[n++] = xstrdup(environ[i]);
	}
	return env;
}

static void environment_free(char **env)
{
	for (size_t i = 0; env[i]; i++)
		free(env[i]);
	free(env);
}

static int spawn(struct kube_exec *e, int out_fd)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	char **env = environment(e->spec);
	char **argv;
	size_t n = 0;
	sigset_t none, pipe;
	int err;

	while (e->spec->args[n])
		n++;
	argv = xcalloc(n + 2, sizeof(*argv));
	argv[0] = e->spec->command;
	memcpy(argv + 1, e->spec->args, n * sizeof(*argv));
	sigemptyset(&none);
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out_fd, 1);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setsigmask(&attr, &none); /* the agent blocks those that it reads */
	posix_spawnattr_setsigdefault(&attr, &pipe);
	err = posix_spawnp(&e->pid, e->spec->command, &files, &attr, argv, env);
	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	environment_free(env);
	free(argv);
	return -err;
}

static int start(struct kube_exec *e)
{
	int pipe_fds[2], err;

	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return -errno;
	e->out_fd = pipe_fds[0];
	fcntl(e->out_fd, F_SETFL, O_NONBLOCK);
	err = spawn(e, pipe_fds[1]);
	close(pipe_fds[1]);
	if (err < 0) {
		e->pid = 0;
		return err;
	}
	e->pidfd = (int)syscall(SYS_pidfd_open, e->pid, 0);
	if (e->pidfd < 0)
		return -errno;
	e->timer = loop_timer(e->loop, on_timeout, e);
	if (e->timer < 0)
		return e->timer;
	loop_arm(e->timer, TIMEOUT_MS);
	err = loop_add(e->loop, e->out_fd, EPOLLIN, on_output, e);
	return err < 0 ? err : loop_add(e->loop, e->pidfd, EPOLLIN, on_exit_of, e);
}

int kube_exec_start(struct loop *loop, const struct kube_exec_spec *spec, kube_exec_fn done,
		    void *ctx, struct kube_exec **ret, char **ret_error)
{
	struct kube_exec *e = xcalloc(1, sizeof(*e));
	int err;

	*e = (struct kube_exec){ .loop = loop,
				 .spec = spec,
				 .done = done,
				 .ctx = ctx,
				 .pidfd = -1,
				 .out_fd = -1,
				 .timer = -1 };
	err = start(e);
	if (err < 0) {
		*ret_error = xasprintf("cannot run %s: %s%s%s", spec->command, strerror(-err),
				       spec->install_hint ? ": " : "", spec->install_hint ?: "");
		kube_exec_free(e);
	} else {
		*ret = e;
	}
	return err;
}

static void give_back(struct loop *loop, int *fd)
{
	if (*fd >= 0)
		loop_remove(loop, *fd);
	close_fd(fd);
}

void kube_exec_free(struct kube_exec *e)
{
	if (!e)
		return;
	if (e->pid) {
		kill(-e->pid, SIGKILL);
		waitpid(e->pid, NULL, 0);
	}
	give_back(e->loop, &e->out_fd);
	give_back(e->loop, &e->pidfd);
	give_back(e->loop, &e->timer);
	buf_free(&e->output);
	free(e);
}
