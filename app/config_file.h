/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * config_file: the words of the command line, from a file: one option a line, without its dashes
 * (docs/grammar.md). What follows a '#' at the beginning of a word is a comment. Control thread, at start.
 */
#ifndef VNICD_CONFIG_FILE_H
#define VNICD_CONFIG_FILE_H

#include "diag.h"

struct config_file {
	char *text;
	unsigned int n_lines;
	struct config_line {
		unsigned int number; /* from 1 */
		char *option;        /* "port" */
		char *value; /* the rest of the line, without blanks at its ends; NULL: there is none */
	} * lines;
};

/* Split it; what the options are is the caller's. 0, or -errno with diag filled and nothing left behind. */
int config_file_read(struct config_file *file, const char *path, struct diag *diag);
/* The same of a file's text, which is copied; `path` is for causes. */
int config_file_split(struct config_file *file, const char *path, const char *text, struct diag *diag);
/* The strings go with it. Accepts a zeroed one. */
void config_file_free(struct config_file *file);

#endif
