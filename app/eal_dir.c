/* SPDX-License-Identifier: BSD-3-Clause */
#include "eal_dir.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "eal_options.h"
#include "run_dir.h"

static char eal_dir[PATH_MAX]; /* EAL's directory of this process */
static bool eal_dir_existed;
static bool eal_dir_parent_existed;

/*
 * A vnicd that was killed leaves EAL's directory of its own prefix, with a telemetry socket that nobody
 * answers on. Remove both; what is answered on, or has anything else in it, stays.
 */
static void
eal_dir_sweep(const char *parent)
{
	DIR *dir = opendir(parent);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd, len;

		if (strncmp(entry->d_name, "vnicd-", 6) != 0)
			continue;
		len = snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s/dpdk_telemetry.v2", parent,
			       entry->d_name);
		fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0 || len >= (int)sizeof(address.sun_path)) {
			close(fd);
			continue;
		}
		if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno == ECONNREFUSED) {
			unlink(address.sun_path);
			*strrchr(address.sun_path, '/') = '\0';
			rmdir(address.sun_path);
		}
		close(fd);
	}
	if (dir)
		closedir(dir);
}

/* What EAL will leave behind is an empty directory; find out now whether it is there already. */
void
eal_dir_look(const struct options *options)
{
	const char *base = getenv("RUNTIME_DIRECTORY");
	const char *prefix = eal_options_value(options, "--file-prefix");
	char own_prefix[32];
	struct stat st;

	if (!base && geteuid() == 0)
		base = "/var/run";
	if (!base)
		base = getenv("XDG_RUNTIME_DIR");
	if (!base)
		base = "/tmp";
	if (!prefix) {
		snprintf(own_prefix, sizeof(own_prefix), "vnicd-%d", (int)getpid());
		prefix = eal_options_give(options, eal_options_memory) ? "rte" : own_prefix;
	}
	snprintf(eal_dir, sizeof(eal_dir), "%s/dpdk", base);
	eal_dir_sweep(eal_dir);
	eal_dir_parent_existed = stat(eal_dir, &st) == 0;
	snprintf(eal_dir, sizeof(eal_dir), "%s/dpdk/%s", base, prefix);
	eal_dir_existed = stat(eal_dir, &st) == 0;
}

void
eal_dir_remove(void)
{
	char *slash = strrchr(eal_dir, '/');

	if (!slash)
		return;
	if (!eal_dir_existed)
		rmdir(eal_dir);
	*slash = '\0';
	if (!eal_dir_parent_existed)
		rmdir(eal_dir);
	/* EAL puts its directory into ours when $RUNTIME_DIRECTORY says so. */
	run_dir_close();
}

void
eal_dir_abandon(void)
{
	char path[PATH_MAX + 32];

	/* EAL removes its socket when the process exits, which this one does not. */
	snprintf(path, sizeof(path), "%s/dpdk_telemetry.v2", eal_dir);
	if (!eal_dir_existed)
		unlink(path);
	eal_dir_remove();
}
