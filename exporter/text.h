/* SPDX-License-Identifier: Apache-2.0 */
/* The syntax of Prometheus' text format 0.0.4 and of OpenMetrics 1.0. */
#ifndef WEIR_EXPORTER_TEXT_H
#define WEIR_EXPORTER_TEXT_H

#include <stddef.h>

#include "base/buf.h"
#include "exporter/render.h"

enum text_type { TEXT_COUNTER, TEXT_GAUGE, TEXT_INFO, TEXT_HISTOGRAM };

const char *text_type_name(enum text_type type, enum render_format format);
/* Adds HELP and TYPE of a family whose samples are called name. */
void text_family(struct buf *out, enum render_format format, enum text_type type, const char *name,
		 const char *help);
/*
 * Adds name="value" to a list of labels, after a comma unless it is the first. value may lack its
 * terminator when it has size bytes; what is not UTF-8 becomes U+FFFD, for one bad byte would
 * cost the whole scrape.
 */
void text_label(struct buf *labels, const char *name, const char *value, size_t size);

#endif
