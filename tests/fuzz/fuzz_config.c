/* SPDX-License-Identifier: Apache-2.0 */
/* The annotation proxy.istio.io/config: YAML that anybody may write. */
#include "agent/proxy_config.h"
#include "tests/fuzz/invariants.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	_cleanup_(proxy_config_free) struct proxy_config config = { 0 };
	_cleanup_free_ char *text = text_of(data, size), *error = NULL;
	int r = proxy_config_parse(text, &config, &error);

	must(!r || r == -EINVAL);
	must(!r == !error);
	for (size_t i = 0; i < config.metadata.n; i++)
		must(config.metadata.items[i].key && config.metadata.items[i].value);
	must(!config.interception_mode || !strcmp(config.interception_mode, "REDIRECT") ||
	     !strcmp(config.interception_mode, "TPROXY"));
	return 0;
}
