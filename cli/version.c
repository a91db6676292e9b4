/* SPDX-License-Identifier: Apache-2.0 */
/* weir version */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "cli/command.h"
#include "cli/ctl.h"
#include "cli/options.h"

static const struct argp argp = {
	.doc = "The versions of weir, libbpf and the kernel.",
	.children = options_children,
};

int weir_version_main(int argc, char **argv)
{
	const char *libbpf = libbpf_version_string() + 1; /* "v1.1" */
	_cleanup_json_ json_t *json = NULL;
	struct utsname kernel = { 0 };
	struct options o;

	options_parse(&argp, argc, argv, &o, &o);
	uname(&kernel);
	if (o.output == OUTPUT_JSON) {
		json = json_pack("{s:s, s:s, s:s, s:s}", "version", WEIR_VERSION, "libbpf", libbpf,
				 "kernel", kernel.release, "machine", kernel.machine);
		json_print(json);
	} else {
		printf("weir %s (libbpf %s, kernel %s)\n", WEIR_VERSION, libbpf, kernel.release);
	}
	return EXIT_SUCCESS;
}
