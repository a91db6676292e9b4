/* SPDX-License-Identifier: Apache-2.0 */
/* Kubernetes objects as text: whatever a pod file or an API server may hold. */
#include "agent/object.h"
#include "tests/fuzz/invariants.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	_cleanup_objects_ struct objects objects = { 0 };
	struct policy_options options = { 0 };
	_cleanup_free_ char *error = NULL;

	if (objects_parse((const char *)data, size, &objects, &error) < 0) {
		must(error && *error);
		return 0;
	}
	if (objects.n_namespaces) {
		options.namespace_annotations = &objects.namespaces[0]->annotations;
		options.namespace_labels = &objects.namespaces[0]->labels;
	}
	if (objects.n_services)
		options.api_server = options.cluster_dns = objects.services[0];
	for (size_t i = 0; i < objects.n_pods; i++)
		check_pod(objects.pods[i], &options);
	return 0;
}
