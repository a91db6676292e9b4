/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A subcommand is `int weir_NAME_main(int argc, char **argv)`, argv[0] being "weir NAME", and
 * returns the exit status: 0 on success only. commands.def lists them.
 */
#ifndef WEIR_CLI_COMMAND_H
#define WEIR_CLI_COMMAND_H

#define COMMAND(name, function, help) int function(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

#endif
