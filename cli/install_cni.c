/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir install-cni: puts weir-cni into the container runtime's network configuration and sees to it
 * that it stays there. SIGTERM leaves it in place, for an upgrade is the end of this process too.
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/opts.h"
#include "base/shared_files.h"
#include "cli/command.h"
#include "cli/conflist.h"
#include "cli/install_files.h"
#include "cli/options.h"

#define SETTLE_MS 100 /* whoever writes the file writes on for a moment */
#define LOOK_MS	  30000 /* also without an event: a watch may be lost */
#define EVENTS                                                                              \
	(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB | \
	 IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

enum {
	KEY_CONF_NAME = 0x200,
	KEY_AGENT_AWAY,
	KEY_AGENT_AWAY_SECONDS,
	KEY_TIMEOUT,
	KEY_EXEMPT,
	KEY_ONCE,
	KEY_CHECK,
	KEY_UNINSTALL,
};

enum mode { MODE_WATCH, MODE_ONCE, MODE_CHECK, MODE_UNINSTALL };

struct input {
	struct options options;
	struct install install;
	enum mode mode;
	json_t *exempt;
};

static const struct argp_option table[] = {
	{ "cni-bin-dir", OPT_TEXT(struct input, install.bin_dir), "DIR", 0,
	  "where the runtime finds plugins (/opt/cni/bin)", 0 },
	{ "cni-conf-dir", OPT_TEXT(struct input, install.conf_dir), "DIR", 0,
	  "its network configuration (/etc/cni/net.d)", 0 },
	{ "cni-conf-name", KEY_CONF_NAME, "FILE", 0,
	  "the file there to chain into (the one that the runtime takes)", 0 },
	{ "binary", OPT_TEXT(struct input, install.binary), "FILE", 0,
	  "weir-cni (the one beside this program)", 0 },
	{ "state-dir", OPT_TEXT(struct input, install.state_dir), "DIR", 0,
	  "the agent's --state-dir (/var/lib/weir)", 0 },
	{ "agent-away", KEY_AGENT_AWAY, "WHAT", 0,
	  "refuse-captured, refuse or allow: see weir-cni(8)", 0 },
	{ "agent-away-seconds", KEY_AGENT_AWAY_SECONDS, "N", 0,
	  "for how long pods are held up at most (600)", 0 },
	{ "timeout-seconds", KEY_TIMEOUT, "N", 0, "how long ADD waits for the agent (10)", 0 },
	{ "exempt-namespace", KEY_EXEMPT, "NAME", 0,
	  "pods there always start; may be repeated (kube-system)", 0 },
	{ "once", KEY_ONCE, NULL, 0, "install and end, instead of watching", 1 },
	{ "check", KEY_CHECK, NULL, 0, "change nothing; status 0 when all is in place", 1 },
	{ "uninstall", KEY_UNINSTALL, NULL, 0, "remove what was installed, and nothing else", 1 },
	{ 0 },
};

static void set_seconds(struct input *in, const struct argp_state *state, const char *option,
			const char *key, const char *arg)
{
	json_object_set_new(in->install.entry, key,
			    json_integer(options_number(state, option, arg, 1000000)));
}

static void set_away(struct input *in, const struct argp_state *state, const char *arg)
{
	if (strcmp(arg, "refuse-captured") && strcmp(arg, "refuse") && strcmp(arg, "allow"))
		options_usage(state, "--agent-away=%s: refuse-captured, refuse or allow", arg);
	json_object_set_new(in->install.entry, "agentAway", json_string(arg));
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct input *in = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &in->options;
		break;
	case KEY_CONF_NAME:
		if (strchr(arg, '/'))
			options_usage(state, "--cni-conf-name=%s: a name in --cni-conf-dir", arg);
		in->install.conf_name = arg;
		break;
	case KEY_AGENT_AWAY:
		set_away(in, state, arg);
		break;
	case KEY_AGENT_AWAY_SECONDS:
		set_seconds(in, state, "agent-away-seconds", "agentAwaySeconds", arg);
		break;
	case KEY_TIMEOUT:
		if (!options_number(state, "timeout-seconds", arg, 1000000))
			options_usage(state, "--timeout-seconds=0: give at least 1");
		set_seconds(in, state, "timeout-seconds", "timeoutSeconds", arg);
		break;
	case KEY_EXEMPT:
		json_array_append_new(in->exempt, json_string(arg));
		break;
	case KEY_ONCE:
		in->mode = MODE_ONCE;
		break;
	case KEY_CHECK:
		in->mode = MODE_CHECK;
		break;
	case KEY_UNINSTALL:
		in->mode = MODE_UNINSTALL;
		break;
	default:
		return opts_set(in, key, arg);
	}
	return 0;
}

/* Beside this program in a build, in ../lib/cni when installed. The caller's. */
static char *find_binary(void)
{
	static const char *const places[] = { CONFLIST_PLUGIN, "../lib/cni/" CONFLIST_PLUGIN };
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *path = NULL, *dir;

	self[n > 0 ? n : 0] = '\0';
	dir = dirname(self);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		free(path);
		path = xasprintf("%s/%s", dir, places[i]);
		if (access(path, R_OK) == 0)
			break;
	}
	return path;
}

static int watch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/*
 * The directories are watched, and may be made, removed and made again. A container sees the one
 * that it was started with even when the node has another in its place: `stale` says so.
 */
struct watched {
	int inotify_fd; /* < 0: none was left */
	int moved; /* the watch of a directory that has got another name, else -1 */
	bool stale;
};

static void watch_dir(struct watched *w, const char *path)
{
	struct stat st;
	int wd;

	make_dirs(path, 0755);
	wd = inotify_add_watch(w->inotify_fd, path, EVENTS);
	/* the same watch: by this path one still comes to the directory that was moved away */
	if (wd >= 0 && (wd == w->moved || (stat(path, &st) == 0 && !st.st_nlink)))
		w->stale = true;
}

static void watch_dirs(struct watched *w, const struct install *in)
{
	watch_dir(w, in->conf_dir);
	watch_dir(w, in->bin_dir);
	w->moved = -1;
}

static void read_events(struct watched *w)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n;

	while ((n = read(w->inotify_fd, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *event = (const void *)p;

			if (event->mask & IN_MOVE_SELF)
				w->moved = event->wd;
			p += sizeof(*event) + event->len;
		}
}

/* Until something happens and a moment has passed without more of it; false at the end. */
static bool wait_for_change(struct watched *w, int signal_fd)
{
	struct pollfd fds[] = { { .fd = w->inotify_fd, .events = POLLIN },
				{ .fd = signal_fd, .events = POLLIN } };
	int timeout = LOOK_MS;

	for (int busy = 0; busy < 10; busy++) {
		int n = poll(fds, ARRAY_SIZE(fds), timeout);

		if (fds[1].revents)
			return false;
		if (n <= 0)
			return true;
		read_events(w);
		timeout = SETTLE_MS;
	}
	return true;
}

/* An error is said once, until it is another one. */
static void look(const struct install *in, char **last)
{
	char *error = NULL;

	if (install_run(in, &error) >= 0 && *last)
		log_info("weir-cni is in place", "directory", in->conf_dir, NULL);
	if (error && (!*last || strcmp(*last, error)))
		log_warn("weir-cni is not in place", "error", error, "effect",
			 "pods start and are captured when the agent finds them", NULL);
	free(*last);
	*last = error;
}

/* An upgrade ends this process too; the agent knows when it is the end of weir (agent/uninstall.h).
 */
static int watch_ends(const struct input *in)
{
	_cleanup_free_ char *mark = xasprintf("%s/" RUN_UNINSTALLED, in->options.run_dir);
	_cleanup_free_ char *error = NULL;

	if (access(mark, F_OK) < 0) {
		log_info("stopping; weir-cni stays in place", NULL);
		return EXIT_SUCCESS;
	}
	log_info("weir is being uninstalled: weir-cni goes", NULL);
	if (install_undo(&in->install, &error) < 0)
		return options_fail(&in->options, "%s", error);
	unlink(mark);
	return EXIT_SUCCESS;
}

static int watch(const struct input *in)
{
	_cleanup_close_ int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_cleanup_close_ int signal_fd = watch_signals();
	_cleanup_free_ char *last = NULL;
	struct watched w = { .inotify_fd = inotify_fd, .moved = -1 };

	if (signal_fd < 0)
		return options_fail(&in->options, "cannot watch: %s", strerror(errno));
	if (inotify_fd < 0)
		log_warn("what changes in the directories is not told "
			 "(fs.inotify.max_user_instances); "
			 "they are looked at now and then",
			 NULL);
	do {
		watch_dirs(&w, &in->install);
		if (w.stale)
			return options_fail(&in->options,
					    "%s or %s has been replaced on the node and this "
					    "container sees the old one: ends to be started again",
					    in->install.conf_dir, in->install.bin_dir);
		look(&in->install, &last);
	} while (wait_for_change(&w, signal_fd));
	return watch_ends(in);
}

static int run_once(struct input *in)
{
	_cleanup_free_ char *error = NULL;
	int n;

	in->install.dry = in->mode == MODE_CHECK;
	n = in->mode == MODE_UNINSTALL ? install_undo(&in->install, &error)
				       : install_run(&in->install, &error);
	if (n < 0)
		return options_fail(&in->options, "%s", error);
	if (n && in->install.dry)
		return options_fail(&in->options, "weir-cni is not in place in %s",
				    in->install.conf_dir);
	return EXIT_SUCCESS;
}

/* What is given on the command line, behind what always stands there. */
static void complete_entry(struct input *in)
{
	json_t *entry = json_object();

	if (!json_array_size(in->exempt))
		json_array_append_new(in->exempt, json_string("kube-system"));
	json_object_set_new(entry, "type", json_string(CONFLIST_PLUGIN));
	json_object_set_new(entry, "runDir", json_string(in->options.run_dir));
	json_object_set_new(entry, "stateDir", json_string(in->install.state_dir));
	json_object_set(entry, "exemptNamespaces", in->exempt);
	json_object_update(entry, in->install.entry);
	json_decref(in->install.entry);
	in->install.entry = entry;
}

int weir_install_cni_main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = table,
		.parser = parse,
		.doc = "Puts weir-cni into the container runtime's network configuration and keeps "
		       "it there, whoever rewrites the files.\v"
		       "SIGTERM ends the watch and leaves what was installed, unless the agent "
		       "has seen that weir is being uninstalled.",
		.children = options_children,
	};
	_cleanup_free_ char *binary = find_binary();
	struct input in = { .install = { .bin_dir = "/opt/cni/bin",
					 .conf_dir = "/etc/cni/net.d",
					 .binary = binary,
					 .state_dir = "/var/lib/weir",
					 .entry = json_object() },
			    .exempt = json_array() };
	int status;

	options_parse(&argp, argc, argv, &in.options, &in);
	complete_entry(&in);
	status = in.mode == MODE_WATCH ? watch(&in) : run_once(&in);
	json_decref(in.install.entry);
	json_decref(in.exempt);
	return status;
}
