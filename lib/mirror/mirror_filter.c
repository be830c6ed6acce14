/* SPDX-License-Identifier: BSD-3-Clause */
/* mirror_filter: contract in mirror_filter.h. */
#include "mirror_filter.h"

#include <errno.h>
#include <stdlib.h>

#include <pcap/pcap.h>

#include <rte_bpf.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#include "borrow.h"

enum {
	FILTER_SNAPLEN = 65535, /* the longest frame */
	FILTER_IP_HDR_MAX = 60, /* what `ldx 4*([k]&0xf)` gives at most: the only index that headers need */
};

struct mirror_filter {
	struct rte_bpf *bpf;
	uint64_t (*run)(void *pkt); /* machine code; NULL: bpf is interpreted */
	bool is_deep;               /* it may look behind a borrowed frame's head */
};

/* May the program load what is behind the first BORROW_HEAD bytes? */
static bool
program_is_deep(const struct bpf_program *program)
{
	for (unsigned int i = 0; i < program->bf_len; i++) {
		const struct bpf_insn *insn = &program->bf_insns[i];
		const unsigned int size = BPF_SIZE(insn->code) == BPF_W   ? 4
					  : BPF_SIZE(insn->code) == BPF_H ? 2
									  : 1;
		const unsigned int class = BPF_CLASS(insn->code), mode = BPF_MODE(insn->code);
		uint64_t end = (uint64_t)insn->k + size;

		/* An index of any size. */
		if (class == BPF_MISC && BPF_MISCOP(insn->code) == BPF_TAX)
			return true;
		if (class == BPF_LDX && (mode == BPF_MEM || mode == BPF_IMM))
			return true;
		if (mode == BPF_IND && class == BPF_LD)
			end += FILTER_IP_HDR_MAX;
		if ((class == BPF_LD && (mode == BPF_ABS || mode == BPF_IND)) ||
		    (class == BPF_LDX && mode == BPF_MSH)) {
			if (end > BORROW_HEAD)
				return true;
		}
	}
	return false;
}

static int
filter_compile(struct bpf_program *program, const char *expression, const char *object, struct diag *diag)
{
	pcap_t *pcap = pcap_open_dead(DLT_EN10MB, FILTER_SNAPLEN);
	int ret = 0;

	if (!pcap)
		return diag_no_memory(diag, "%s: no memory", object);
	if (pcap_compile(pcap, program, expression, 1, PCAP_NETMASK_UNKNOWN) < 0)
		ret = diag_set(diag, -EINVAL, "an expression of pcap-filter(7): filter=tcp port 80",
			       "%s: filter: %s", object, pcap_geterr(pcap));
	pcap_close(pcap);
	return ret;
}

int
mirror_filter_open(struct mirror_filter **ret_filter, const char *expression, const char *object,
		   struct diag *diag)
{
	struct mirror_filter *filter = calloc(1, sizeof(*filter));
	struct bpf_program program = {0};
	struct rte_bpf_prm *prm;
	struct rte_bpf_jit jit;
	int ret;

	if (!filter)
		return diag_no_memory(diag, "%s: no memory", object);
	ret = filter_compile(&program, expression, object, diag);
	if (ret < 0) {
		free(filter);
		return ret;
	}
	filter->is_deep = program_is_deep(&program);
	prm = rte_bpf_convert(&program);
	pcap_freecode(&program);
	if (prm)
		filter->bpf = rte_bpf_load(prm);
	rte_free(prm);
	if (!filter->bpf) {
		free(filter);
		return diag_set(diag, -EINVAL, "a shorter expression, or several mirrors",
				"%s: filter: DPDK's BPF does not take it: %s", object,
				rte_strerror(rte_errno));
	}
	if (rte_bpf_get_jit(filter->bpf, &jit) == 0)
		filter->run = jit.func;
	*ret_filter = filter;
	return 0;
}

void
mirror_filter_close(struct mirror_filter *filter)
{
	if (!filter)
		return;
	rte_bpf_destroy(filter->bpf);
	free(filter);
}

bool
mirror_filter_prepare(const struct mirror_filter *filter, struct rte_mbuf *pkt)
{
	return !filter->is_deep || borrow_materialise(pkt);
}

bool
mirror_filter_wants(const struct mirror_filter *filter, struct rte_mbuf *pkt)
{
	return (filter->run ? filter->run(pkt) : rte_bpf_exec(filter->bpf, pkt)) != 0;
}
