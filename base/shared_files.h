/* SPDX-License-Identifier: Apache-2.0 */
/*
 * By which files the agent, the commands and weir-cni meet: their names below RUNDIR, which a
 * reboot wipes, and STATEDIR, which it does not.
 */
#ifndef WEIR_BASE_SHARED_FILES_H
#define WEIR_BASE_SHARED_FILES_H

/* Sockets that the agent listens on: for commands, and for weir-cni. */
#define RUN_CTL_SOCKET "weir.sock"
#define RUN_CNI_SOCKET "cni.sock"
/* Bytes of an answer to a command, at most. */
#define RUN_CTL_ANSWER_MAX (64 << 20)

/* The agent, to install-cni: weir is being uninstalled. */
#define RUN_UNINSTALLED "uninstalled"
/* weir-cni, to its next call: cli/cni_marker.h. An agent that starts removes both. */
#define RUN_CNI_AWAY   "cni-away"
#define RUN_CNI_SILENT "cni-silent"

/* The agent, to weir-cni: what is to be held up while no agent runs. */
#define STATE_CAPTURED "captured.json"

#endif
