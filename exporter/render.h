/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A snapshot as text: Prometheus' format 0.0.4 or OpenMetrics 1.0. Pure; the same snapshot always
 * yields the same bytes. Which families there are stands in metrics.def.
 */
#ifndef WEIR_EXPORTER_RENDER_H
#define WEIR_EXPORTER_RENDER_H

#include "base/buf.h"
#include "exporter/snapshot.h"

enum render_format {
	RENDER_TEXT, /* text/plain; version=0.0.4 */
	RENDER_OPENMETRICS, /* application/openmetrics-text; version=1.0.0 */
};

/* Appends the whole exposition to out. */
void render_snapshot(const struct snapshot *s, enum render_format format, struct buf *out);

/* docs/METRICS.md: every family with type, labels and help. */
void metrics_markdown(struct buf *out);

#endif
