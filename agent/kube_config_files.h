/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kubeconfig, which may be several files, as kubectl reads them: "a:b", where what is said first
 * counts. A name that holds a colon and is there is one file.
 */
#ifndef WEIR_AGENT_KUBE_CONFIG_FILES_H
#define WEIR_AGENT_KUBE_CONFIG_FILES_H

#include <jansson.h>
#include <stdint.h>

/*
 * All of them as one: the lists of contexts, clusters and users one behind the other, so that the
 * first of a name is the one to take; relative paths are made those that they mean. Of several
 * those that are missing do not count. 0 with *ret (the caller's), or -errno with *ret_error (the
 * caller's) that names the file.
 */
int kube_config_files_read(const char *list, json_t **ret, char **ret_error);
/* Another number when one of them has been replaced, has come or gone; 0: there is none. */
uint64_t kube_config_files_stamp(const char *list);

#endif
