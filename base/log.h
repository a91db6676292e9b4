/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on standard error, as logfmt or JSON, one write(2) a line.
 *
 *     log_info("pod captured", "pod", "shop/cart-1", "mesh", "istio", NULL);
 *
 * Log once, at the top: helpers return -errno, whoever knows what it means to a person says so.
 */
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };
enum log_format { LOG_LOGFMT, LOG_JSON };

/* Both return 0, or -EINVAL for a name that is none. */
int log_set_level(const char *name);
int log_set_format(const char *name);
bool log_enabled(enum log_level level);

/* msg, then pairs of strings: name, value, ..., NULL. A pair whose value is NULL is left out. */
void log_event(enum log_level level, const char *msg, ...) __attribute__((sentinel));

#define log_debug(...) log_event(LOG_DEBUG, __VA_ARGS__)
#define log_info(...)  log_event(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_event(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_event(LOG_ERROR, __VA_ARGS__)

#endif
