/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * main: starts everything in order, runs the control thread's loop, stops everything in the reverse order.
 *
 * Order: check all of the command line; then EAL, the pool, the workers, the ports, the control socket.
 * Whatever fails on the way is told in two lines, cause and hint, and leaves nothing behind.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "borrow.h"
#include "config_apply.h"
#include "ctx.h"
#include "dataplane.h"
#include "eal.h"
#include "fwd.h"
#include "gmem_sigbus.h"
#include "lcores.h"
#include "loop.h"
#include "events.h"
#include "mirror.h"
#include "notify.h"
#include "watch_ports.h"
#include "options.h"
#include "output.h"
#include "pool.h"
#include "port.h"
#include "request.h"
#include "rpc.h"
#include "run_dir.h"
#include "service.h"
#include "stats_output.h"
#include "usocket.h"

enum { EXIT_STOPPED = 0, EXIT_RUN_TIME = 1, EXIT_COMMAND_LINE = 2 };

static struct {
	struct vnic_ctx ctx;
	struct loop_watch *signal_watch;
	struct loop_timer *duration;
	struct rte_mempool *pool;
	int signal_fd;
	const char *log_file; /* NULL: standard error */
} program = {.ctx.log = {.level = LOG_LEVEL_INFO, .write = output_log}, .signal_fd = -1};

static int
fail(const struct diag *diag, int status)
{
	char lines[sizeof(*diag) + 64];

	snprintf(lines, sizeof(lines), "vnicd: %s\n  %s\n", diag->cause,
		 diag->hint[0] ? diag->hint : "see vnicd --help");
	output_last_words(lines, strlen(lines));
	return status;
}

/*
 * What operators, terminals and log rotation send. A switch does not end with the terminal that it was
 * started from, nor because something asks it to read its configuration again, which it can't: vnicctl
 * changes what runs. A log file is opened again.
 */
static const struct {
	int number;
	const char *name;
	bool stops;
	bool as_inherited; /* stays ignored where who started us ignores it: nohup, a shell with `&` */
} program_signals[] = {
	{.number = SIGTERM, .name = "SIGTERM", .stops = true},
	{.number = SIGINT, .name = "SIGINT", .stops = true, .as_inherited = true},
	{.number = SIGQUIT, .name = "SIGQUIT", .stops = true, .as_inherited = true},
	{.number = SIGHUP, .name = "SIGHUP", .as_inherited = true},
	{.number = SIGUSR1, .name = "SIGUSR1"},
	{.number = SIGUSR2, .name = "SIGUSR2"},
};

static void
on_hangup(struct log_limit *limit)
{
	struct diag diag;

	if (output_to_file(program.log_file, &diag) < 0)
		log_limited(&program.ctx.log, limit, LOG_LEVEL_WARN,
			    "SIGHUP: the log goes on where it was: %s", diag.cause);
	else
		log_limited(&program.ctx.log, limit, LOG_LEVEL_INFO, "SIGHUP: log file opened again");
}

static void
on_signal(void *arg, uint32_t events)
{
	static struct log_limit limit;
	struct signalfd_siginfo info;

	if (read(program.signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	for (unsigned int i = 0; i < RTE_DIM(program_signals); i++) {
		if (program_signals[i].number != (int)info.ssi_signo)
			continue;
		if (program_signals[i].stops) {
			log_info(&program.ctx.log, "stopping: %s", program_signals[i].name);
			loop_stop(program.ctx.loop);
		} else if (program_signals[i].number == SIGHUP && program.log_file) {
			on_hangup(&limit);
		} else {
			log_limited(&program.ctx.log, &limit, LOG_LEVEL_INFO,
				    "%s is ignored: vnicctl changes what runs", program_signals[i].name);
		}
	}
}

static void
on_duration(void *arg)
{
	log_info(&program.ctx.log, "stopping: the --duration is over");
	loop_stop(program.ctx.loop);
}

/* Before any thread is made: all of them inherit the mask, so the signals come through the descriptor only.
 */
static int
signals_open(struct diag *diag)
{
	struct sigaction inherited;
	sigset_t set;

	/* What writing may bring: an error does as well, and a switch is not stopped for its output. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	sigemptyset(&set);
	for (unsigned int i = 0; i < RTE_DIM(program_signals); i++) {
		const int number = program_signals[i].number;

		if (program_signals[i].as_inherited && !(number == SIGHUP && program.log_file) &&
		    sigaction(number, NULL, &inherited) == 0 && inherited.sa_handler == SIG_IGN)
			continue;
		sigaddset(&set, number);
	}
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return diag_set(diag, -errno, NULL, "signals: %s", strerror(errno));
	program.signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (program.signal_fd < 0)
		return diag_set(diag, -errno, NULL, "signals: %s", strerror(errno));
	return 0;
}

/* Where one of the first three is closed, a socket of ours would take its number, and get what we print. */
static void
descriptors_fill(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* A guest costs a few descriptors for each queue, and the usual limit of 1024 is meant for select(). */
static void
descriptors_raise(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int
loop_start(const struct options *options, struct diag *diag)
{
	int ret = ctx_open(&program.ctx);

	if (ret < 0)
		return diag_set(diag, ret, NULL, "event loop: %s", strerror(-ret));
	if (events_open(&program.ctx) < 0)
		return diag_no_memory(diag, "no memory for events");
	program.signal_watch = loop_watch_add(program.ctx.loop, program.signal_fd, EPOLLIN, on_signal, NULL);
	if (!program.signal_watch)
		return diag_set(diag, -errno, NULL, "event loop: %s", strerror(errno));
	return 0;
}

/* Everything from the pool to the control socket. On failure the caller stops what has been started. */
static int
start(const struct options *options, const struct pool_size *size, struct diag *diag)
{
	int ret;

	ret = loop_start(options, diag);
	if (ret < 0)
		return ret;
	ret = gmem_sigbus_install(&program.ctx);
	if (ret < 0)
		return diag_set(diag, ret, NULL, "SIGBUS guard: %s", strerror(-ret));

	ret = borrow_init();
	if (ret < 0)
		return diag_set(diag, ret, NULL, "borrowed frames: no flag in the mbuf: %s", strerror(-ret));
	ret = request_init();
	if (ret < 0)
		return diag_set(diag, ret, NULL, "fragmentation: no flag in the mbuf: %s", strerror(-ret));
	program.pool = pool_open(size, diag);
	if (!program.pool)
		return -ENOMEM;
	log_info(&program.ctx.log, "%s", size->line);
	ret = dataplane_open(&options->fwd, program.pool, &program.ctx, diag);
	if (ret < 0)
		return ret;

	ret = service_open(diag);
	if (ret < 0)
		return ret;
	port_env.ctx = &program.ctx;
	port_env.pool = program.pool;
	port_env.socket_perms = options->socket_perms;
	port_env.n_workers = dataplane_n_workers();
	for (unsigned int i = 0; i < options->n_ports; i++) {
		ret = dataplane_port_add(&options->ports[i], NULL, diag);
		if (ret < 0)
			return ret;
	}
	for (unsigned int i = 0; i < options->n_mirrors; i++) {
		struct mirror *mirror;

		ret = mirrors_add(dataplane_mirrors(), options->mirrors[i], &mirror, diag);
		if (ret < 0)
			return ret;
	}
	config_apply_open(options);
	ret = rpc_open(&program.ctx, options->control_socket, port_env.run_dir, &options->control_perms,
		       diag);
	if (ret < 0)
		return ret;
	ret = stats_output_open(program.ctx.loop, options->json ? STATS_JSON : STATS_TABLE,
				options->stats_period_ms, diag);
	if (ret < 0)
		return ret;
	if (options->duration_ms) {
		program.duration =
			loop_timer_add(program.ctx.loop, options->duration_ms, 0, on_duration, NULL);
		if (!program.duration)
			return diag_no_memory(diag, "out of memory");
	}
	if (watch_ports_open() < 0)
		return diag_no_memory(diag, "no memory for a timer");
	return dataplane_start(diag);
}

/* The reverse of start(), from wherever it came to. */
static void
stop(void)
{
	rpc_close();
	watch_ports_close();
	dataplane_close();
	service_close();
	stats_output_close();
	loop_timer_remove(program.duration);
	pool_close(program.pool);
	gmem_sigbus_uninstall(&program.ctx);
	loop_watch_remove(program.signal_watch);
	events_close(&program.ctx);
	ctx_close(&program.ctx);
	close(program.signal_fd);
}

/*
 * A worker does not stop, so nothing that it may use can be closed, and exit() would wait for it: it flushes
 * the stdio streams of a PMD. Only what other processes would find is removed: the sockets.
 */
static void __attribute__((noreturn)) abandon(const struct diag *diag)
{
	stats_output_final();
	fail(diag, EXIT_RUN_TIME);
	usocket_remove_all(&program.ctx);
	eal_abandon();
	output_close();
	_exit(EXIT_RUN_TIME);
}

static int
run(const struct options *options, const struct pool_size *size)
{
	struct diag diag = {0};
	int ret;

	/* Nobody is served yet, so what came before could wait for its reader. */
	ret = output_open();
	if (ret < 0) {
		diag_set(&diag, ret, NULL, "no thread for the output: %s", strerror(-ret));
		return fail(&diag, EXIT_RUN_TIME);
	}
	ret = start(options, size, &diag);
	if (ret == 0)
		ret = notify_ready(program.ctx.loop, &diag);
	if (ret < 0) {
		stop();
		return fail(&diag, EXIT_RUN_TIME);
	}
	log_info(&program.ctx.log, "ready: %u port%s, mode %s, %u worker%s, control queues on %s, control %s",
		 dataplane_n_ports(), dataplane_n_ports() == 1 ? "" : "s", options->fwd.mode->name,
		 dataplane_n_workers(), dataplane_n_workers() == 1 ? "" : "s", service_describe(),
		 rpc_path());
	output_forget_terminal();
	ret = loop_run(program.ctx.loop);
	notify_stopping();
	if (dataplane_stop(&diag) < 0)
		abandon(&diag);
	stats_output_final();
	stop();
	if (ret < 0) {
		diag_set(&diag, ret, NULL, "event loop: %s", strerror(-ret));
		return fail(&diag, EXIT_RUN_TIME);
	}
	return EXIT_STOPPED;
}

/* All that can be checked before anything is opened. */
static int
check(struct options *options, struct pool_size *size, struct diag *diag)
{
	struct port_demand demand;
	unsigned int n_workers;
	int ret;

	port_env.run_dir = run_dir_path(diag);
	if (!port_env.run_dir)
		return -ENOENT;
	ret = options_parse_ports(options, diag);
	if (ret < 0)
		return ret;
	ret = lcores_count_workers(options, &n_workers, diag);
	if (ret < 0)
		return ret;
	if (n_workers) {
		ret = options_check_workers(options, n_workers, diag);
		if (ret < 0)
			return ret;
	}
	options_demand(options, &demand);
	pool_size_compute(size, n_workers ? n_workers : 1, demand.n_mbufs);
	return 0;
}

static int
vnicd(struct options *options, int argc, char **argv)
{
	struct pool_size size = {0};
	struct diag diag = {0};
	int status;

	if (options_parse(options, argc, argv, &diag) < 0)
		return fail(&diag, EXIT_COMMAND_LINE);
	if (options->action == OPTIONS_HELP) {
		options_print_help();
		return EXIT_STOPPED;
	}
	if (options->action == OPTIONS_VERSION) {
		printf("vnicd %s\n", VNICD_VERSION);
		return EXIT_STOPPED;
	}
	program.ctx.log.level = options->log_level;
	if (check(options, &size, &diag) < 0)
		return fail(&diag, EXIT_COMMAND_LINE);

	program.log_file = options->log_file;
	if (options->log_file && output_to_file(options->log_file, &diag) < 0)
		return fail(&diag, EXIT_COMMAND_LINE);
	descriptors_raise();
	if (signals_open(&diag) < 0 || run_dir_open(&program.ctx.log, &options->control_perms, &diag) < 0)
		return fail(&diag, EXIT_RUN_TIME);
	if (eal_open(&program.ctx.log, argv[0], options, &size, &diag) < 0) {
		run_dir_close();
		return fail(&diag, EXIT_RUN_TIME);
	}
	if (size.n_workers != lcores_n_workers())
		pool_size_compute(&size, RTE_MAX(lcores_n_workers(), 1U), size.n_port_mbufs);
	status = run(options, &size);
	eal_close();
	run_dir_close();
	return status;
}

int
main(int argc, char **argv)
{
	struct options options;
	int status;

	descriptors_fill();
	status = vnicd(&options, argc, argv);
	options_free(&options);
	output_close();
	return status;
}
