/* SPDX-License-Identifier: Apache-2.0 */
/* Labels, and what the numbers in weir's maps are called in them. */
#ifndef WEIR_EXPORTER_LABELS_H
#define WEIR_EXPORTER_LABELS_H

#include "base/buf.h"
#include "exporter/snapshot.h"
#include "exporter/text.h"

#define LABEL(labels, name, text)	 text_label(labels, name, text, strlen(text))
#define LABEL_ARRAY(labels, name, array) text_label(labels, name, array, sizeof(array))

/* All of them answer "unknown" to a number that a newer agent may have left in a map. */
const char *name_direction(enum weir_direction direction);
const char *name_via(enum weir_via via); /* of a workload's own leg */
const char *name_leg(enum weir_via via); /* of a proxy's further leg */
const char *name_verdict(enum weir_verdict verdict);
const char *name_reason(enum weir_reason reason);
const char *name_failure(enum weir_failure failure);
const char *name_tls(enum weir_tls tls);
const char *name_port(uint32_t port, char text[16]); /* writes into text where it must */

/* The name of a workload: the snapshot's, or that of a reserved id; never NULL. */
const struct weir_name *name_of(const struct snapshot *s, uint32_t id);
/* What else is known of it; NULL: nothing. */
const struct weir_traits *traits_of(const struct snapshot *s, uint32_t id);
/* Appends namespace, workload, and pod where the id is that of one. */
void label_workload(struct buf *labels, const struct snapshot *s, uint32_t id);
/* The same of a Service; WEIR_ID_NONE has the empty name. */
const struct weir_name *name_of_service(const struct snapshot *s, uint32_t id);

#endif
