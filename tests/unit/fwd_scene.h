/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fwd_scene: workers, and a plan over made-up ports that record what they are sent. Frames arrive at a port,
 * the worker whose queue it is forwards them, and the test looks at what each port was sent. One scene at a
 * time, on one thread.
 */
#ifndef VNICD_TEST_FWD_SCENE_H
#define VNICD_TEST_FWD_SCENE_H

#include "unit.h"

#include <rte_mbuf.h>

#include "fwd.h"

enum {
	SCENE_POOL_SIZE = 8191,
	SCENE_WORKERS_MAX = 4,
	SCENE_SENT_MAX = 4096, /* frames that a port keeps for looking at */
};

/* A port that keeps the first `room` frames it is sent, and refuses the rest. */
struct scene_port {
	struct port port;
	unsigned int n_sent, room;
	struct rte_mbuf *sent[SCENE_SENT_MAX];
	uint16_t sent_on[SCENE_SENT_MAX]; /* queue */
};

struct scene {
	struct rte_mempool *pool;
	struct fwd_worker workers[SCENE_WORKERS_MAX];
	unsigned int n_ports;
	struct scene_port *fakes[PORT_MAX];
	struct port *ports[PORT_MAX]; /* of the fakes */
};

extern struct scene scene;

/* EAL and the pool: before the first case and after the last (UNIT_RUN_WITH()). */
int scene_env_open(void **state);
int scene_env_close(void **state);

/* n_ports ports of n_queues pairs, n_workers workers and a plan over them; undone by scene_close(). */
struct fwd_plan *scene_open(const char *mode_name, void *mode_state, unsigned int n_ports, uint16_t n_queues,
			    unsigned int n_workers);
/* Nothing was lost, nothing counted twice, no buffer has leaked. */
void scene_close(struct fwd_plan *plan);
/* The state of a mode, from its line. */
void *scene_mode_open(const char *line);
/* One more port, in no plan yet. */
void scene_port_open(uint16_t n_queues);
/* What a port has for `tx`, for those that put something before it. */
uint16_t scene_port_tx(struct port_txq *txq, struct rte_mbuf **pkts, uint16_t n);

/* --- frames, 64 bytes with a number in them --- */

#define STATION(n) (0x02aa00000000ull + (n))
#define BROADCAST 0xffffffffffffull

struct rte_mbuf *scene_frame(uint64_t dst, uint64_t src, uint32_t number);
uint32_t scene_frame_number(const struct rte_mbuf *m);
uint64_t scene_frame_dst(const struct rte_mbuf *m);
uint64_t scene_frame_src(const struct rte_mbuf *m);
/* The address of port i. */
uint64_t scene_mac(unsigned int i);

/* The frames come from queue q of port i, served by its owner. */
void scene_arrive(unsigned int i, uint16_t q, struct rte_mbuf **pkts, uint16_t n);
/* One frame, from its first queue. */
void scene_arrive_one(unsigned int i, struct rte_mbuf *m);
/* That frame, made for it. */
void scene_say(unsigned int i, uint64_t dst, uint64_t src, uint32_t number);

/* --- what became of them --- */

uint64_t scene_drops(unsigned int i, enum port_drop reason);
/* What port i was sent, or all ports, is of no interest. */
void scene_forget(unsigned int i);
void scene_forget_all(void);
/* The frames that port i was sent are exactly these, in this order; they are forgotten then. */
void scene_assert_sent(unsigned int i, unsigned int n, const uint32_t numbers[]);

#define ASSERT_SENT(i, ...) \
	scene_assert_sent(i, RTE_DIM(((const uint32_t[]){__VA_ARGS__})), (const uint32_t[]){__VA_ARGS__})
#define ASSERT_SENT_NONE(i) assert_int_equal(scene.fakes[i]->n_sent, 0)

#endif
