/* SPDX-License-Identifier: BSD-3-Clause */
#include "run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "perms.h"

enum { RUN_DIR_MODE = 0751 };

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

/* Of the directory that we have just made. */
static int
run_dir_share(const struct log *log, const struct perms *perms, struct diag *diag)
{
	const struct perms group = {.group = perms->group};
	const int fd = open(run_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int ret = 0;

	/* Whatever the umask. */
	if (fd < 0 || fchmod(fd, RUN_DIR_MODE) < 0)
		log_warn(log, "%s: chmod: %s", run_dir, strerror(errno));
	if (fd >= 0) {
		ret = perms_give(&group, fd, run_dir, diag);
		close(fd);
	}
	return ret;
}

int
run_dir_open(const struct log *log, const struct perms *perms, struct diag *diag)
{
	struct stat st;

	if (mkdir(run_dir, RUN_DIR_MODE) == 0) {
		run_dir_made = true;
		if (run_dir_share(log, perms, diag) < 0) {
			run_dir_close();
			return -EPERM;
		}
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
