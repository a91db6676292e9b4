/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The files of a container runtime's network configuration, which others write as well, at any
 * moment. One run looks at everything and changes what is not as it should be.
 */
#ifndef WEIR_CLI_INSTALL_FILES_H
#define WEIR_CLI_INSTALL_FILES_H

#include <jansson.h>
#include <stdbool.h>

struct install {
	const char *bin_dir, *conf_dir;
	const char *conf_name; /* NULL: the file that the runtime takes */
	const char *binary; /* weir-cni, to be copied into bin_dir */
	const char *state_dir;
	json_t *entry; /* weir's place in the chain */
	bool dry; /* change nothing */
};

/*
 * Puts the binary and then the entry in place. The number of changes (those that would be made,
 * when dry), or -errno with *ret_error, one line: -ENOENT when there is no configuration yet. What
 * is right already is not written.
 */
int install_run(const struct install *in, char **ret_error);
/* Takes the entry out of every file, then removes the binary, then what the agent remembered. */
int install_undo(const struct install *in, char **ret_error);

#endif
