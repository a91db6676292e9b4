/* SPDX-License-Identifier: Apache-2.0 */
/* Bodies packed for clients that ask for it. */
#ifndef WEIR_EXPORTER_GZIP_H
#define WEIR_EXPORTER_GZIP_H

#include "base/buf.h"

/* Replaces what body holds by its gzip form; leaves it as it is on failure. */
int gzip_body(struct buf *body);

#endif
