/* SPDX-License-Identifier: BSD-3-Clause */
#include "environment.h"

#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>

#include "fwd.h"
#include "log.h"
#include "options.h"
#include "output.h"
#include "pool.h"

enum {
	EAL_ARGS_MAX = 256,
	CPUS_MAX = 1024,
	MEMORY_SLACK_MIB = 64, /* rings, tables and what PMDs allocate */
	/* The receive pool of a NIC's queue pair, rings of DPDK's usual size. */
	MEMORY_NIC_PAIR_MIB = 48,
	MEMORY_NIC_SPARE_MIB = 128,
};

static char run_dir[PATH_MAX];
static bool run_dir_made;

const char *
environment_run_dir(struct diag *diag)
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
environment_run_dir_open(const struct log *log, struct diag *diag)
{
	struct stat st;

	if (mkdir(run_dir, 0750) == 0) {
		run_dir_made = true;
		/* Whatever the umask: the group may look in, to reach the sockets it may use. */
		if (chmod(run_dir, 0750) < 0)
			log_warn(log, "%s: chmod: %s", run_dir, strerror(errno));
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
environment_run_dir_close(void)
{
	/* Not empty: somebody else uses it, or EAL is not done with its part (see eal_run_dir_remove). */
	if (run_dir_made && rmdir(run_dir) == 0)
		run_dir_made = false;
}

/*
 * EAL options by subject. If the user gives one of a subject, all of the subject is the user's.
 * In the table: "-x" also matches with its value attached, "--word" also with "=value".
 */
static const char *const eal_cpu_options[] = {"-c", "-l", "--lcores", "-s", "-S", "--main-lcore", NULL};
static const char *const eal_memory_options[] = {
	"-m",
	"--no-huge",
	"--socket-mem",
	"--socket-limit",
	"--huge-dir",
	"--huge-unlink",
	"--legacy-mem",
	"--in-memory",
	"--file-prefix",
	"--proc-type",
	"--no-shconf",
	"--iova-mode",
	"--match-allocations",
	"--single-file-segments",
	NULL,
};
static const char *const eal_shared_options[] = {"--no-shconf", "--in-memory", "--proc-type", NULL};
static const char *const eal_pci_options[] = {"--no-pci", "-a", "-b", "--allow", "--block", NULL};
static const char *const eal_log_options[] = {"--log-level", "--syslog", NULL};

/* Where the value of argument `i` is, when the argument is `name`; an empty string when it has none. NULL:
 * not it. */
static const char *
eal_arg_match(const struct options *options, unsigned int i, const char *name)
{
	const char *arg = options->eal_args[i];
	size_t len = strlen(name);

	if (strncmp(arg, name, len) != 0)
		return NULL;
	if (name[1] != '-' && arg[len] != '\0')
		return arg + len;
	if (arg[len] == '=')
		return arg + len + 1;
	if (arg[len] != '\0')
		return NULL;
	return i + 1 < options->n_eal_args ? options->eal_args[i + 1] : "";
}

static const char *
eal_value(const struct options *options, const char *name)
{
	for (unsigned int i = 0; i < options->n_eal_args; i++) {
		const char *value = eal_arg_match(options, i, name);

		if (value)
			return value;
	}
	return NULL;
}

static bool
eal_says(const struct options *options, const char *const names[])
{
	for (; *names; names++)
		if (eal_value(options, *names))
			return true;
	return false;
}

/*
 * Marks the lcore ids of one of EAL's lists: "0-3,5", "(0-1)@2,1@(3,4)". The ids stand left of an @. False:
 * not understood.
 */
static bool
lcore_list_mark(const char *list, bool lcores[])
{
	bool cpus = false; /* right of an @ */
	int depth = 0;

	while (*list) {
		if (*list == '(') {
			depth++;
			list++;
		} else if (*list == ')') {
			depth--;
			list++;
		} else if (*list == '@') {
			cpus = true;
			list++;
		} else if (*list == ',') {
			if (depth == 0)
				cpus = false;
			list++;
		} else if (isdigit((unsigned char)*list)) {
			unsigned long first = strtoul(list, (char **)&list, 10), last = first;

			if (*list == '-' && isdigit((unsigned char)list[1]))
				last = strtoul(list + 1, (char **)&list, 10);
			if (first > last || last >= CPUS_MAX)
				return false;
			for (; !cpus && first <= last; first++)
				lcores[first] = true;
		} else {
			return false;
		}
	}
	return true;
}

/* The same of a mask in hexadecimal. */
static bool
lcore_mask_mark(const char *mask, bool lcores[])
{
	size_t len;

	if (strncasecmp(mask, "0x", 2) == 0)
		mask += 2;
	len = strlen(mask);
	if (len == 0 || len > CPUS_MAX / 4)
		return false;
	for (size_t i = 0; i < len; i++) {
		unsigned long digit;

		if (!isxdigit((unsigned char)mask[len - 1 - i]))
			return false;
		digit = strtoul((char[]){mask[len - 1 - i], '\0'}, NULL, 16);
		for (unsigned int bit = 0; bit < 4; bit++)
			lcores[i * 4 + bit] |= digit >> bit & 1;
	}
	return true;
}

/* CPUs we may run on, in order. */
static unsigned int
cpus_usable(unsigned int cpus[])
{
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
	unsigned int n = 0;

	if (!set)
		return 0;
	CPU_ZERO_S(size, set);
	if (sched_getaffinity(0, size, set) == 0)
		for (unsigned int cpu = 0; cpu < CPUS_MAX; cpu++)
			if (CPU_ISSET_S(cpu, size, set))
				cpus[n++] = cpu;
	CPU_FREE(set);
	return n;
}

/* Our own choice: a worker serves two queue pairs or more, as far as the CPUs go; one CPU is left for
 * control. */
static unsigned int
workers_to_start(const struct options *options, unsigned int n_cpus)
{
	unsigned int n_pairs = options_queue_pairs(options, NULL);
	unsigned int n = RTE_MAX(1U, n_pairs / 2);

	n = RTE_MIN(n, n_cpus > 1 ? n_cpus - 1 : 1);
	return RTE_MIN(n, (unsigned int)FWD_WORKERS_MAX);
}

/* What the lcores are for that the user's options make. */
struct lcore_roles {
	bool exists[CPUS_MAX];
	bool serves[CPUS_MAX]; /* -s, -S */
	unsigned int control;  /* EAL's main lcore */
};

/* False: not understood. */
static bool
lcore_roles_read(const struct options *options, struct lcore_roles *roles)
{
	unsigned int cpus[CPUS_MAX], n_cpus;
	const char *value;
	bool ok = true;

	memset(roles, 0, sizeof(*roles));
	if ((value = eal_value(options, "--lcores")) || (value = eal_value(options, "-l"))) {
		ok = lcore_list_mark(value, roles->exists);
	} else if ((value = eal_value(options, "-c"))) {
		ok = lcore_mask_mark(value, roles->exists);
	} else {
		n_cpus = cpus_usable(cpus);
		for (unsigned int i = 0; i < n_cpus; i++)
			roles->exists[cpus[i]] = cpus[i] < RTE_MAX_LCORE;
	}
	if ((value = eal_value(options, "-S")))
		ok = ok && lcore_list_mark(value, roles->serves);
	if ((value = eal_value(options, "-s")))
		ok = ok && lcore_mask_mark(value, roles->serves);
	value = eal_value(options, "--main-lcore");
	if (value)
		return ok && sscanf(value, "%u", &roles->control) == 1 && roles->control < CPUS_MAX;
	while (roles->control < CPUS_MAX && !roles->exists[roles->control])
		roles->control++;
	return ok && roles->control < CPUS_MAX;
}

static int
environment_count_given(const struct options *options, const struct lcore_roles *roles, unsigned int *ret_n,
			struct diag *diag)
{
	unsigned int n_workers = 0, n_service = 0;

	for (unsigned int i = 0; i < CPUS_MAX; i++) {
		if (roles->serves[i] && !roles->exists[i]) {
			diag_set(diag, -EINVAL, NULL, "service lcore %u is not among the lcores", i);
			diag_hint(diag, "-l or --lcores names it too, for example --lcores 0@0,1@1,2@0 -S 2");
			return -EINVAL;
		}
		if (i == roles->control || !roles->exists[i])
			continue;
		n_service += roles->serves[i];
		n_workers += !roles->serves[i];
	}
	if (n_workers == 0 && n_service)
		return diag_set(
			diag, -EINVAL,
			"give one more, for example --lcores 0@0,1@1,2@0 -S 2: lcore 2 serves, on the "
			"control thread's CPU",
			"no lcore is left for a worker: the control thread takes one, %u serve%s", n_service,
			n_service == 1 ? "s" : "");
	if (n_workers == 0)
		return options_check_workers(options, 0, diag);
	*ret_n = RTE_MIN(n_workers, (unsigned int)FWD_WORKERS_MAX);
	return 0;
}

int
environment_count_workers(const struct options *options, unsigned int *ret_n, struct diag *diag)
{
	unsigned int cpus[CPUS_MAX];
	struct lcore_roles roles;

	if (!eal_says(options, eal_cpu_options)) {
		unsigned int n_cpus = cpus_usable(cpus);

		if (n_cpus == 0)
			return diag_set(diag, -ENODEV, "name CPUs with the EAL option -l",
					"can't read the CPU affinity mask");
		*ret_n = workers_to_start(options, n_cpus);
		return 0;
	}
	if (!lcore_roles_read(options, &roles)) {
		*ret_n = 0;
		return 0;
	}
	return environment_count_given(options, &roles, ret_n, diag);
}

unsigned int
environment_n_workers(void)
{
	unsigned int lcore, n = 0;

	RTE_LCORE_FOREACH_WORKER(lcore)
	{
		n++;
	}
	return RTE_MIN(n, (unsigned int)FWD_WORKERS_MAX);
}

static_assert(FWD_WORKERS_MAX < RTE_MAX_LCORE, "EAL has an lcore for every worker and for control");

struct eal_args {
	char *argv[EAL_ARGS_MAX];
	int argc;
	char text[16384]; /* storage of the strings that we make */
	size_t text_len;
	char picked[512]; /* what we chose, for people */
};

static struct eal_args eal_args;
static char eal_run_dir[PATH_MAX]; /* EAL's directory of this process */
static bool eal_run_dir_existed;
static bool eal_run_dir_parent_existed;

static void eal_add(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
eal_add(const char *fmt, ...)
{
	char *arg = eal_args.text + eal_args.text_len;
	size_t room = sizeof(eal_args.text) - eal_args.text_len;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(arg, room, fmt, ap);
	va_end(ap);
	if (len < 0 || (size_t)len >= room || eal_args.argc >= EAL_ARGS_MAX - 1)
		return;
	eal_args.text_len += (size_t)len + 1;
	eal_args.argv[eal_args.argc++] = arg;
}

static void picked(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void
picked(const char *fmt, ...)
{
	size_t len = strlen(eal_args.picked);
	va_list ap;

	if (len) {
		snprintf(eal_args.picked + len, sizeof(eal_args.picked) - len, ", ");
		len = strlen(eal_args.picked);
	}
	va_start(ap, fmt);
	vsnprintf(eal_args.picked + len, sizeof(eal_args.picked) - len, fmt, ap);
	va_end(ap);
}

static void
pick_cpus(const struct options *options)
{
	unsigned int cpus[CPUS_MAX], n_cpus = cpus_usable(cpus), n_workers;
	unsigned int control_cpu = cpus[n_cpus - 1];
	char list[2048];
	size_t len;

	n_workers = workers_to_start(options, n_cpus);
	len = (size_t)snprintf(list, sizeof(list), "0@%u", control_cpu);
	for (unsigned int i = 0; i < n_workers; i++)
		len += (size_t)snprintf(list + len, sizeof(list) - len, ",%u@%u", i + 1, cpus[i]);
	eal_add("--lcores");
	eal_add("%s", list);
	if (n_cpus == 1)
		picked("control and 1 worker share CPU %u", control_cpu);
	else if (n_workers == 1)
		picked("control on CPU %u, 1 worker on CPU %u", control_cpu, cpus[0]);
	else
		picked("control on CPU %u, %u workers on CPUs %u to %u", control_cpu, n_workers, cpus[0],
		       cpus[n_workers - 1]);
}

/* Can this many bytes of huge pages of this size be had, now, by us? Asking the kernel is the only true test.
 */
static bool
hugepages_try(size_t bytes, size_t page_size)
{
	unsigned int shift = (unsigned int)__builtin_ctzl(page_size);
	bool usable;
	void *addr;

	bytes = RTE_ALIGN_CEIL(bytes, page_size);
	addr = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (int)(shift << MAP_HUGE_SHIFT), -1, 0);
	if (addr == MAP_FAILED)
		return false;
	/* Unlike a touch, this reports a shortage (a cgroup's limit, say) instead of SIGBUS. */
	usable = madvise(addr, bytes, MADV_POPULATE_WRITE) == 0;
	munmap(addr, bytes);
	return usable;
}

/* The page size in bytes of free huge pages that can hold this much; 0: none. */
static size_t
hugepages_find(size_t bytes)
{
	static const char dir_name[] = "/sys/kernel/mm/hugepages";
	DIR *dir = opendir(dir_name);
	struct dirent *entry;
	size_t found = 0;

	if (!dir)
		return 0;
	while (!found && (entry = readdir(dir))) {
		unsigned long page_kib, n_free = 0;
		char path[PATH_MAX];
		size_t page_size;
		FILE *file;

		if (sscanf(entry->d_name, "hugepages-%lukB", &page_kib) != 1)
			continue;
		snprintf(path, sizeof(path), "%s/%s/free_hugepages", dir_name, entry->d_name);
		file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%lu", &n_free) != 1)
			n_free = 0;
		fclose(file);
		page_size = page_kib << 10;
		if (n_free * page_size >= bytes && hugepages_try(bytes, page_size))
			found = page_size;
	}
	closedir(dir);
	return found;
}

static void
pick_memory(const struct options *options, const struct pool_size *size)
{
	size_t pool_mib = (size->bytes >> 20) + 1;
	size_t nic_mib = (size_t)options_queue_pairs(options, "nic") * MEMORY_NIC_PAIR_MIB;
	size_t need_mib = pool_mib + nic_mib + MEMORY_SLACK_MIB / 2;
	size_t page_size = hugepages_find(need_mib << 20);

	/* Nothing in the file system, nothing shared with other DPDK programs. */
	eal_add("--file-prefix=vnicd-%d", (int)getpid());
	if (page_size) {
		eal_add("--in-memory");
		picked("memory from free huge pages of %zu MiB", page_size >> 20);
	} else {
		/* The kernel gives these pages as they are touched: room for later NICs costs nothing now. */
		need_mib = pool_mib + pool_mib / 8 + nic_mib + MEMORY_SLACK_MIB + MEMORY_NIC_SPARE_MIB;
		/* EAL takes --in-memory with huge pages only; this is the rest of it. */
		eal_add("--no-shconf");
		eal_add("--no-huge");
		eal_add("-m");
		eal_add("%zu", need_mib);
		picked("up to %zu MiB of memory from a memfd (no free huge pages)", need_mib);
	}
	picked("file prefix vnicd-%d", (int)getpid());
}

/* "0000:03:00.0" or "03:00.0" */
static bool
is_pci_address(const char *text)
{
	unsigned int domain, bus, device, function;
	int len = 0;

	if (sscanf(text, "%x:%x:%x.%x%n", &domain, &bus, &device, &function, &len) == 4 && text[len] == '\0')
		return true;
	return sscanf(text, "%x:%x.%x%n", &bus, &device, &function, &len) == 3 && text[len] == '\0';
}

/* A scan of the PCI bus would take devices that nobody named; so only the ones that a port names are let in.
 */
static void
pick_pci(const struct options *options)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < options->n_ports; i++) {
		const struct port_config *config = &options->ports[i];

		for (unsigned int k = 0; config->kind->keys && config->kind->keys[k].name; k++) {
			if (strcmp(config->kind->keys[k].name, "dev") != 0 || !config->values[k])
				continue;
			if (!is_pci_address(config->values[k]))
				continue;
			eal_add("-a");
			eal_add("%s", config->values[k]);
			picked("PCI device %s", config->values[k]);
			n++;
		}
	}
	if (n == 0) {
		eal_add("--no-pci");
		picked("no PCI");
	}
}

/*
 * A vnicd that was killed leaves EAL's directory of its own prefix, with a telemetry socket that nobody
 * answers on. Remove both; what is answered on, or has anything else in it, stays.
 */
static void
eal_run_dir_sweep(const char *parent)
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
static void
eal_run_dir_look(const struct options *options)
{
	const char *base = getenv("RUNTIME_DIRECTORY");
	const char *prefix = eal_value(options, "--file-prefix");
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
		prefix = eal_says(options, eal_memory_options) ? "rte" : own_prefix;
	}
	snprintf(eal_run_dir, sizeof(eal_run_dir), "%s/dpdk", base);
	eal_run_dir_sweep(eal_run_dir);
	eal_run_dir_parent_existed = stat(eal_run_dir, &st) == 0;
	snprintf(eal_run_dir, sizeof(eal_run_dir), "%s/dpdk/%s", base, prefix);
	eal_run_dir_existed = stat(eal_run_dir, &st) == 0;
}

/* Runs after EAL's own exit handlers, which remove the telemetry socket. Removes empty directories only. */
static void
eal_run_dir_remove(void)
{
	char *slash = strrchr(eal_run_dir, '/');

	if (!slash)
		return;
	if (!eal_run_dir_existed)
		rmdir(eal_run_dir);
	*slash = '\0';
	if (!eal_run_dir_parent_existed)
		rmdir(eal_run_dir);
	/* EAL puts its directory into ours when $RUNTIME_DIRECTORY says so. */
	environment_run_dir_close();
}

/* What EAL and the C library print while EAL starts goes to a file, so that a failure can be told in two
 * lines. */
struct capture {
	int file, saved_stdout, saved_stderr;
};

static void
capture_start(struct capture *capture)
{
	fflush(stdout);
	fflush(stderr);
	capture->file = memfd_create("vnicd-eal-output", MFD_CLOEXEC);
	capture->saved_stdout = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	capture->saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (capture->file < 0)
		return;
	dup2(capture->file, STDOUT_FILENO);
	dup2(capture->file, STDERR_FILENO);
}

static void
capture_stop(struct capture *capture, char *text, size_t size)
{
	ssize_t len = 0;

	fflush(stdout);
	fflush(stderr);
	if (capture->saved_stdout >= 0)
		dup2(capture->saved_stdout, STDOUT_FILENO);
	else
		close(STDOUT_FILENO);
	if (capture->saved_stderr >= 0)
		dup2(capture->saved_stderr, STDERR_FILENO);
	close(capture->saved_stdout);
	close(capture->saved_stderr);
	if (capture->file >= 0) {
		len = pread(capture->file, text, size - 1, 0);
		close(capture->file);
	}
	text[len > 0 ? len : 0] = '\0';
}

/* The first line that looks like the cause, without "EAL: ". */
static void
eal_cause(char *text, char *ret_cause, size_t size)
{
	char *save = NULL, *best = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		if (strncmp(line, "EAL: ", 5) == 0)
			line += 5;
		if (line[0] == '\0' || isspace((unsigned char)line[0]))
			continue;
		if (!best)
			best = line;
		if (strstr(line, "FATAL")) {
			break;
		}
	}
	if (best && strncmp(best, "vnicd: ", 7) == 0)
		best += 7; /* getopt's "PROGRAM: unrecognized option ..." */
	snprintf(ret_cause, size, "%s", best ? best : rte_strerror(rte_errno));
}

static ssize_t
eal_log_write(void *cookie, const char *data, size_t size)
{
	output_write(OUTPUT_STDERR, OUTPUT_MAY_DROP, data, size);
	return (ssize_t)size;
}

/* What DPDK logs while we run must not wait for its reader either; with --syslog it goes where that says. */
static void
eal_log_redirect(const struct options *options)
{
	FILE *log = NULL;

	if (!eal_value(options, "--syslog"))
		log = fopencookie(NULL, "w", (cookie_io_functions_t){.write = eal_log_write});
	if (log)
		rte_openlog_stream(log);
}

int
environment_eal_open(const struct log *log, const char *program, const struct options *options,
		     const struct pool_size *size, struct diag *diag)
{
	static char output[65536];
	struct capture capture;
	char cause[240];
	int ret;

	if (options->n_eal_args + 32 > EAL_ARGS_MAX)
		return diag_set(diag, -E2BIG, "give fewer of them", "%u EAL options are too many",
				options->n_eal_args);
	/* The name EAL's own messages start with. */
	eal_add("vnicd");
	for (unsigned int i = 0; i < options->n_eal_args; i++)
		eal_args.argv[eal_args.argc++] = options->eal_args[i];
	if (!eal_says(options, eal_cpu_options))
		pick_cpus(options);
	if (!eal_says(options, eal_memory_options))
		pick_memory(options, size);
	else if (eal_value(options, "--no-huge") && !eal_says(options, eal_shared_options))
		eal_add("--no-shconf"); /* memory that nobody can share needs no files that say how */
	if (!eal_says(options, eal_pci_options))
		pick_pci(options);
	if (!eal_says(options, eal_log_options)) {
		eal_add("--log-level=lib.*:error");
		eal_add("--log-level=pmd.*:warning");
	}
	if (eal_args.picked[0])
		log_info(log, "picked: %s", eal_args.picked);

	eal_run_dir_look(options);
	atexit(eal_run_dir_remove);
	capture_start(&capture);
	ret = rte_eal_init(eal_args.argc, eal_args.argv);
	capture_stop(&capture, output, sizeof(output));
	if (ret < 0) {
		eal_cause(output, cause, sizeof(cause));
		diag_set(diag, -EINVAL, NULL, "EAL does not start: %s", cause);
		if (options->n_eal_args)
			diag_hint(diag,
				  "check the EAL options before the --, or leave them out: vnicd --port ...");
		else
			diag_hint(diag, "choose CPUs and memory yourself: vnicd -l 0-1 --no-huge -m 256 -- "
					"--port ...");
		return -EINVAL;
	}
	if (output[0])
		fputs(output, stderr);
	eal_log_redirect(options);
	return 0;
}

void
environment_eal_close(void)
{
	rte_eal_cleanup();
}

void
environment_abandon(void)
{
	char path[PATH_MAX + 32];

	/* EAL removes its socket when the process exits, which this one does not. */
	snprintf(path, sizeof(path), "%s/dpdk_telemetry.v2", eal_run_dir);
	if (!eal_run_dir_existed)
		unlink(path);
	eal_run_dir_remove();
}

const char *
environment_describe(void)
{
	return eal_args.picked[0] ? eal_args.picked : "as the EAL options say";
}
