/* SPDX-License-Identifier: Apache-2.0 */
/* YAML as JSON values, for configuration files that people write. */
#ifndef WEIR_BASE_YAML_H
#define WEIR_BASE_YAML_H

#include <jansson.h>
#include <stddef.h>

/*
 * One document, as YAML's JSON schema reads it: plain null, true, false and integers are such,
 * every other scalar is a string. Anchors and merge keys are refused. An empty text is null. 0, or
 * -EINVAL with *ret_error (the caller's), which names line and column. JSON is YAML too.
 */
int yaml_load(const char *text, size_t len, json_t **ret, char **ret_error);

#endif
