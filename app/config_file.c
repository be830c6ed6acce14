/* SPDX-License-Identifier: BSD-3-Clause */
#include "config_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { CONFIG_FILE_MAX = 4 << 20 }; /* bytes */

#define CONFIG_BLANKS " \t\r"

/* The whole file as one string. */
static int
text_read(const char *path, char **ret_text, struct diag *diag)
{
	/* Of a pipe nobody may ever open the other end. */
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FILE *stream = fd < 0 ? NULL : fdopen(fd, "r");
	struct stat st;
	char *text = NULL;
	size_t len = 0;

	if (!stream)
		return diag_set(diag, -errno, "--config FILE, a file that can be read", "--config %.200s: %s",
				path, strerror(errno));
	if (fstat(fileno(stream), &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > CONFIG_FILE_MAX) {
		fclose(stream);
		return diag_set(diag, -EINVAL, "--config FILE, a file of at most 4 MiB",
				"--config %.200s: it is no file, or too long", path);
	}
	text = malloc((size_t)st.st_size + 1);
	if (text)
		len = fread(text, 1, (size_t)st.st_size, stream);
	fclose(stream);
	if (!text)
		return diag_no_memory(diag, "--config %.200s: no memory", path);
	text[len] = '\0';
	if (strlen(text) != len) {
		free(text);
		return diag_set(diag, -EINVAL, "--config FILE, a text file", "--config %.200s: it is no text",
				path);
	}
	*ret_text = text;
	return 0;
}

/* Cut comment and blanks off both ends. */
static char *
line_trim(char *line)
{
	size_t len;

	line += strspn(line, CONFIG_BLANKS);
	for (char *at = strchr(line, '#'); at; at = strchr(at + 1, '#')) {
		if (at == line || strchr(CONFIG_BLANKS, at[-1])) {
			*at = '\0';
			break;
		}
	}
	len = strlen(line);
	while (len && strchr(CONFIG_BLANKS, line[len - 1]))
		line[--len] = '\0';
	return line;
}

/* file->text into lines. */
static int
text_split(struct config_file *file, const char *path, struct diag *diag)
{
	unsigned int number = 0, n_max = 1;
	char *next, *value;

	for (const char *at = file->text; *at; at++)
		n_max += *at == '\n';
	file->lines = calloc(n_max, sizeof(*file->lines));
	if (!file->lines) {
		config_file_free(file);
		return diag_no_memory(diag, "%.200s: no memory", path);
	}
	next = file->text;
	for (char *line; (line = strsep(&next, "\n"));) {
		number++;
		line = line_trim(line);
		if (!line[0])
			continue;
		value = strpbrk(line, CONFIG_BLANKS);
		if (value) {
			*value++ = '\0';
			value += strspn(value, CONFIG_BLANKS);
		}
		file->lines[file->n_lines++] =
			(struct config_line){.number = number, .option = line, .value = value};
	}
	return 0;
}

int
config_file_read(struct config_file *file, const char *path, struct diag *diag)
{
	int ret;

	memset(file, 0, sizeof(*file));
	ret = text_read(path, &file->text, diag);
	return ret < 0 ? ret : text_split(file, path, diag);
}

int
config_file_split(struct config_file *file, const char *path, const char *text, struct diag *diag)
{
	memset(file, 0, sizeof(*file));
	file->text = strdup(text);
	if (!file->text)
		return diag_no_memory(diag, "%.200s: no memory", path);
	return text_split(file, path, diag);
}

void
config_file_free(struct config_file *file)
{
	free(file->text);
	free(file->lines);
	memset(file, 0, sizeof(*file));
}
