/* SPDX-License-Identifier: BSD-3-Clause */
#include "run_dir.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

static char run_dir[PATH_MAX];
static bool run_dir_made;

const char *
run_dir_path(struct diag *diag)
{
	const char *dir = getenv("RUNTIME_DIRECTORY");

	if (dir && dir[0]) {
		/* systemd lists all of a unit's directories here; the first is ours. */
		snprintf(run_dir, sizeof(run_dir), "%.*s", (int)strcspn(dir, ":"), dir);
		return run_dir;
	}
	if (geteuid() == 0) {
		snprintf(run_dir, sizeof(run_dir), "/run/vnicd");
		return run_dir;
	}
	dir = getenv("XDG_RUNTIME_DIR");
	if (!dir || !dir[0]) {
		diag_set(diag, -ENOENT, "set XDG_RUNTIME_DIR, or RUNTIME_DIRECTORY=DIRECTORY for vnicd alone",
			 "no run-time directory for sockets: XDG_RUNTIME_DIR is not set");
		return NULL;
	}
	snprintf(run_dir, sizeof(run_dir), "%s/vnicd", dir);
	return run_dir;
}

int
run_dir_open(struct diag *diag)
{
	struct stat st;

	if (mkdir(run_dir, 0750) == 0) {
		run_dir_made = true;
		/* Whatever the umask: the group may look in, to reach the sockets it may use. */
		if (chmod(run_dir, 0750) < 0)
			log_warn("%s: chmod: %s", run_dir, strerror(errno));
	} else if (errno != EEXIST) {
		return diag_set(diag, -errno, "set RUNTIME_DIRECTORY to a directory that can be written",
				"%s: can't make the run-time directory: %s", run_dir, strerror(errno));
	}
	if (stat(run_dir, &st) < 0 || !S_ISDIR(st.st_mode))
		return diag_set(diag, -ENOTDIR, "set RUNTIME_DIRECTORY to a directory that can be written",
				"%s: not a directory", run_dir);
	if (access(run_dir, W_OK | X_OK) < 0)
		return diag_set(diag, -errno, "set RUNTIME_DIRECTORY to a directory that can be written",
				"%s: can't write there: %s", run_dir, strerror(errno));
	return 0;
}

void
run_dir_close(void)
{
	/* Not empty: somebody else uses it, or EAL is not done with its part (eal_dir.c). */
	if (run_dir_made && rmdir(run_dir) == 0)
		run_dir_made = false;
}
