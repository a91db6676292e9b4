/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir-cni: the CNI plugin, chained behind the one that makes the pod's interface. For now it
 * answers VERSION; every other command fails, as the CNI specification wants it told: a JSON object
 * on standard output and a non-zero exit status.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CNI_VERSION    "1.1.0"
#define CODE_NOT_THERE 100 /* codes below 100 are the specification's */
#define CODE_BAD_ENV   4

static const char *const commands[] = { "ADD", "DEL", "CHECK", "STATUS", "GC" };

static int print_version(void)
{
	json_t *json = json_pack("{s:s, s:[s, s, s, s]}", "cniVersion", CNI_VERSION,
				 "supportedVersions", "0.3.1", "0.4.0", "1.0.0", "1.1.0");

	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
	return EXIT_SUCCESS;
}

/* An error is told in the version that the network configuration is written in. */
static json_t *config_version(void)
{
	json_t *config = isatty(STDIN_FILENO) ? NULL : json_loadf(stdin, 0, NULL);
	json_t *version = json_incref(json_object_get(config, "cniVersion"));

	json_decref(config);
	if (json_is_string(version))
		return version;
	json_decref(version);
	return json_string(CNI_VERSION);
}

static int print_error(int code, const char *msg, const char *details)
{
	json_t *json = json_pack("{s:o, s:i, s:s, s:s}", "cniVersion", config_version(), "code",
				 code, "msg", msg, "details", details);

	json_dumpf(json, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(json);
	return EXIT_FAILURE;
}

static int run(const char *command)
{
	if (strcmp(command, "VERSION") == 0)
		return print_version();
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(command, commands[i]) == 0)
			return print_error(CODE_NOT_THERE, "not there yet",
					   "weir-cni answers VERSION only: take it out of the "
					   "network configuration");
	return print_error(CODE_BAD_ENV, "unknown CNI_COMMAND",
			   "ADD, DEL, CHECK, STATUS, VERSION and GC are known");
}

int main(void)
{
	const char *command = getenv("CNI_COMMAND");
	int status;

	if (!command) {
		fputs("usage: weir-cni is run by a container runtime, with CNI_COMMAND set; see "
		      "weir-cni(8)\n",
		      stderr);
		return EXIT_FAILURE;
	}
	status = run(command);
	return fflush(stdout) ? EXIT_FAILURE : status;
}
