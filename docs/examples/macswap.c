/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * macswap: a guest gets back what it sends, with the addresses swapped: libvnic in a program with a loop of
 * its own.
 *
 *     cc -O2 macswap.c -o macswap $(pkg-config --cflags --libs vnic)
 *     ./macswap -l 0-1 --no-pci --no-huge -m 256 -- SOCKET
 *
 * The main thread waits by poll() for its signals and for the context, and so could for anything else. The
 * second lcore has the device's queue. Ends by SIGINT or SIGTERM and says what it has counted.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_pause.h>

#include <vnic/vnic.h>

enum { N_MBUFS = 8191, CACHE = 256 };

static atomic_bool stopping;

/* --- the lcore with the queue: no locks, no log --- */

static void
swap_addresses(struct rte_mbuf *pkt)
{
	struct rte_ether_hdr *header = rte_pktmbuf_mtod(pkt, struct rte_ether_hdr *);
	struct rte_ether_addr from = header->src_addr;

	header->src_addr = header->dst_addr;
	header->dst_addr = from;
}

static int
data_main(void *arg)
{
	struct vnic_dev *dev = arg;
	struct rte_mbuf *pkts[VNIC_BURST_MAX];

	while (!atomic_load_explicit(&stopping, memory_order_relaxed)) {
		uint16_t n = vnic_rx_burst(dev, 0, pkts, VNIC_BURST_MAX);

		for (uint16_t i = 0; i < n; i++)
			swap_addresses(pkts[i]);
		/* Also with nothing to send: the driver may still have to be notified of what it got before.
		 */
		vnic_tx_burst(dev, 0, pkts, n);
		if (n == 0)
			rte_pause();
	}
	return 0;
}

/* --- the main thread --- */

static void
on_event(void *arg, struct vnic_dev *dev, const struct vnic_event *event)
{
	static const char *const words[] = {
		[VNIC_EVENT_CONNECTED] = "connected", [VNIC_EVENT_DISCONNECTED] = "disconnected",
		[VNIC_EVENT_STARTED] = "started",     [VNIC_EVENT_STOPPED] = "stopped",
		[VNIC_EVENT_QUEUES] = "queues",       [VNIC_EVENT_FAULT] = "fault",
	};

	(void)dev;
	printf("macswap: %s: %s", (const char *)arg, words[event->type]);
	if (event->type == VNIC_EVENT_FAULT)
		printf(": virtqueue %u: %s", event->virtqueue, event->text);
	printf("\n");
	fflush(stdout);
}

/* Before EAL makes its threads, which inherit the mask. */
static int
signals_open(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int
fail(const char *what, const struct vnic_error *error)
{
	fprintf(stderr, "macswap: %s: %s; %s\n", what, error->cause, error->hint);
	return EXIT_FAILURE;
}

static void
loop(struct vnic_ctx *ctx, int signal_fd)
{
	struct pollfd fds[] = {{.fd = signal_fd, .events = POLLIN},
			       {.fd = vnic_ctx_fd(ctx), .events = POLLIN}};

	while (poll(fds, 2, -1) >= 0 || errno == EINTR) {
		if (fds[0].revents)
			return;
		if (fds[1].revents && vnic_ctx_run(ctx, 0) < 0)
			return;
	}
}

static void
say_counters(const struct vnic_dev *dev)
{
	struct vnic_dev_stats stats = {.size = sizeof(stats)};
	const char *name;
	uint64_t packets;

	vnic_dev_stats(dev, &stats);
	printf("macswap: rx %" PRIu64 " tx %" PRIu64 " drops %" PRIu64 "\n", stats.rx_packets,
	       stats.tx_packets, stats.drops);
	for (unsigned int i = 0; vnic_dev_drop(dev, i, &name, &packets); i++)
		if (packets)
			printf("macswap: %s %" PRIu64 "\n", name, packets);
}

int
main(int argc, char **argv)
{
	struct vnic_ctx_params ctx_params = {
		.size = sizeof(ctx_params), .log_level = VNIC_LOG_INFO, .log_prefix = "macswap"};
	struct vnic_dev_params params = {
		.size = sizeof(params), .name = "vm0", .n_queues = 1, .event = on_event, .event_arg = "vm0"};
	const int signal_fd = signals_open(), n_eal = rte_eal_init(argc, argv);
	const unsigned int lcore = rte_get_next_lcore(-1, 1, 0);
	struct vnic_error error;
	struct vnic_ctx *ctx;
	struct vnic_dev *dev;

	if (signal_fd < 0 || n_eal < 0 || n_eal + 2 != argc || lcore == RTE_MAX_LCORE) {
		fprintf(stderr, "usage: macswap -l 0-1 [EAL OPTIONS] -- SOCKET\n");
		return EXIT_FAILURE;
	}
	params.path = argv[n_eal + 1];
	params.pool = rte_pktmbuf_pool_create("macswap", N_MBUFS, CACHE, 0, RTE_MBUF_DEFAULT_BUF_SIZE,
					      SOCKET_ID_ANY);
	if (!params.pool) {
		fprintf(stderr, "macswap: no memory for frames: %s\n", rte_strerror(rte_errno));
		return EXIT_FAILURE;
	}
	if (vnic_ctx_new(&ctx_params, &ctx, &error) < 0)
		return fail("context", &error);
	if (vnic_dev_new(ctx, &params, &dev, &error) < 0)
		return fail("device", &error);
	rte_eal_remote_launch(data_main, dev, lcore);
	printf("macswap: ready, library %u.%u\n", vnic_api_version() >> 16, vnic_api_version() & 0xffff);
	fflush(stdout);

	loop(ctx, signal_fd);

	atomic_store(&stopping, true);
	rte_eal_wait_lcore(lcore);
	say_counters(dev);
	vnic_dev_free(dev);
	vnic_ctx_free(ctx);
	rte_mempool_free(params.pool);
	rte_eal_cleanup();
	return EXIT_SUCCESS;
}
