/* SPDX-License-Identifier: Apache-2.0 */
/* This process in /proc, as Prometheus' client libraries read it. */
#ifndef WEIR_EXPORTER_PROCESS_H
#define WEIR_EXPORTER_PROCESS_H

#include "exporter/snapshot.h"

int process_read(struct snapshot_process *ret_process);

#endif
