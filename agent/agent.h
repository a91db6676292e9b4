/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent: one struct that owns everything, one event loop. Reading order: main.c (start to
 * end in agent_run()), reconcile.h (pods into the kernel), loader.h (programs and maps).
 */
#ifndef WEIR_AGENT_AGENT_H
#define WEIR_AGENT_AGENT_H

#include <stdbool.h>
#include <time.h>

#include "agent/captured.h"
#include "agent/cni.h"
#include "agent/kube.h"
#include "agent/loader.h"
#include "agent/loop.h"
#include "agent/machines.h"
#include "agent/names.h"
#include "agent/options.h"
#include "agent/pace.h"
#include "agent/reconcile.h"
#include "agent/retire.h"
#include "agent/sandbox.h"
#include "agent/source.h"
#include "agent/uninstall.h"
#include "exporter/collect.h"
#include "exporter/http.h"
#include "exporter/snapshot.h"

struct agent {
	struct agent_options options;
	char *cgroup_root; /* in use */
	struct loop *loop;
	struct loader *loader;
	struct names *names;
	struct source source;
	struct kube kube; /* client NULL: there is no API */
	struct uninstall uninstall;
	struct sandboxes sandboxes;
	struct places places;
	struct cni *cni;
	struct captured captured;
	/*
	 * Asks the API for one pod; it comes as any pod does. NULL: there is no API. Called once
	 * for each CNI ADD whose pod is not known.
	 */
	void (*lookup_pod)(struct agent *agent, const char *namespace, const char *name);
	struct reconciler *reconciler;
	struct machines machines;
	struct http *http;
	struct exporter_source exporter;
	struct snapshot_istio istio; /* its names */
	struct retire retire;
	int ctl_fd;
	int signal_fd;
	int reconcile_timer;
	struct pace pace; /* what that timer is set to */
	int http_timer;
	bool ready; /* all hooks attached, known pods reconciled */
	uint64_t reported[WEIR_COUNTER_MAX]; /* losses that were logged */
	time_t started;
	const char **notes; /* what this kernel lacks, and what is done instead */
	size_t n_notes;
};

/* `weir agent`, as cli/commands.def names it. */
int weir_agent_main(int argc, char **argv);

/* What the sources or the sandboxes say has changed: all pods are looked at soon (main.c). */
void agent_changed(struct agent *agent);
/* The same for what is in force already: no hurry, and many such are one run. */
void agent_settle(struct agent *agent);
/* Attaches hooks again that somebody else detached, and says what was lost: nobody tells of it. */
void agent_look_after(struct agent *agent);

/* Frees what departed workloads hold if the tables are full and nobody scrapes (metrics.c). */
bool agent_make_room(struct agent *agent);

/* Control socket RUNDIR/weir.sock (ctl.c). 0 or -errno with *ret_error. */
int ctl_open(struct agent *agent, char **ret_error);
void ctl_close(struct agent *agent);

/* Metrics (metrics.c): what the exporter asks the agent for. */
void metrics_init(struct agent *agent);
/* The same figures, for whoever else tells them. */
struct snapshot_kubernetes metrics_of_watch(const struct kube_watch *w);

/* What this kernel lacks (feature.c); fills notes. */
void feature_probe(struct agent *agent);

#endif
