/* SPDX-License-Identifier: Apache-2.0 */
/* What a client accepts (RFC 9110, section 12.5). A header that is absent is NULL. */
#ifndef WEIR_EXPORTER_NEGOTIATE_H
#define WEIR_EXPORTER_NEGOTIATE_H

#include <stdbool.h>

#include "exporter/render.h"

/* The format that an Accept header prefers; text when it names none that there is. */
enum render_format negotiate_format(const char *accept);
const char *negotiate_content_type(enum render_format format);
bool negotiate_gzip(const char *accept_encoding);

#endif
