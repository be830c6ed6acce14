/* SPDX-License-Identifier: BSD-3-Clause */
#include "notice.h"

#include "events.h"
#include "log.h"
#include "show.h"
#include "vnet_dev.h"

enum {
	/* Looks, of a second each: a front-end may name its memory last, and a kick may overtake nothing. */
	NOTICE_LOOKS = 3,
};

enum vnet_notice {
	NOTICE_MEMORY_ABSENT,
	NOTICE_MEMORY_PRIVATE,
	NOTICE_LINK_KEPT,
	NOTICE_LINK_SILENT,
	NOTICE_MTU_KEPT,
	NOTICE_N,
};

#define NOTICE_SHARE                                                                     \
	"with QEMU: -object memory-backend-memfd,id=mem,size=SIZE,share=on -numa "       \
	"node,memdev=mem; with libvirt: <memoryBacking><source type=\"memfd\"/><access " \
	"mode=\"shared\"/></memoryBacking>"

static const char *const notice_texts[] = {
	[NOTICE_MEMORY_ABSENT] = "the guest's memory is not shared: its driver has started, and the "
				 "front-end has named no memory; " NOTICE_SHARE,
	[NOTICE_MEMORY_PRIVATE] = "the guest's memory is not shared: its driver kicks, and nothing that it "
				  "writes is seen here; " NOTICE_SHARE,
	[NOTICE_LINK_KEPT] = "the guest's driver does not learn of its link: the front-end answers for the "
			     "configuration space itself; with QEMU, in its monitor: set_link NETDEV on|off",
	[NOTICE_LINK_SILENT] = "the guest's driver learns of its link only when it looks: the front-end has "
			       "made no channel for configuration changes",
	[NOTICE_MTU_KEPT] = "the guest's driver does not learn of mtu=: the front-end answers for the "
			    "configuration space itself; with QEMU: -device virtio-net-pci,host_mtu=MTU",
};

_Static_assert(sizeof(notice_texts) / sizeof(notice_texts[0]) == NOTICE_N, "a text each");

/* By what the front-end has said, the driver is at work or would be if there were memory. */
static bool
notice_driver_has_started(const struct vdev *vdev)
{
	if (!vdev->said.has_features)
		return false;
	if (vdev->said.status_used)
		return vdev->said.status & VDEV_STATUS_DRIVER_OK;
	for (unsigned int i = 0; i < vdev->n_queues; i++)
		if (vdev->queues[i].said.has_addr && vdev->queues[i].said.has_kick)
			return true;
	return false;
}

static bool
notice_link(const struct vnet_dev *dev, enum vnet_notice *ret_notice)
{
	const struct vdev *vdev = &dev->vdev;

	if (!vdev->said.has_features || (vdev->said.config_used && vdev->config_channel))
		return false;
	*ret_notice = vdev->said.config_used ? NOTICE_LINK_SILENT : NOTICE_LINK_KEPT;
	return true;
}

const char *
vnet_notice_of_link(const struct vnet_dev *dev)
{
	enum vnet_notice notice;

	return notice_link(dev, &notice) ? notice_texts[notice] : NULL;
}

static unsigned int
notices_now(const struct vnet_notices *notices, const struct vnet_dev *dev)
{
	const struct vdev *vdev = &dev->vdev;
	const bool looked = notices->connection == vdev->n_disconnects;
	enum vnet_notice link;
	unsigned int now = 0;

	if (!vdev->said.has_features)
		return 0;
	if (looked && notices->n_absent >= NOTICE_LOOKS)
		now |= 1u << NOTICE_MEMORY_ABSENT;
	if (looked && notices->n_unseen >= NOTICE_LOOKS)
		now |= 1u << NOTICE_MEMORY_PRIVATE;
	if (!dev->input.link.up && notice_link(dev, &link))
		now |= 1u << link;
	if (dev->offered_mtu && !vdev->said.config_used && !(vdev->said.features & FEATURE_MASK(NET_MTU)) &&
	    notice_driver_has_started(vdev))
		now |= 1u << NOTICE_MTU_KEPT;
	return now;
}

/*
 * A memory backend with share=off gives us the file, and the guest its private copy of each page that it
 * writes to. What is left of its driver here are kicks. A ring that is blank although there were some is not
 * the driver's; an idle driver's is not blank, or does not kick.
 */
static void
notices_look_at_memory(struct vnet_notices *notices, const struct vnet_dev *dev)
{
	const struct vdev *vdev = &dev->vdev;
	bool any = false;

	if (!vdev->mem) {
		notices->n_absent =
			notice_driver_has_started(vdev)
				? (uint8_t)(notices->n_absent + (notices->n_absent < NOTICE_LOOKS))
				: 0;
		return;
	}
	notices->n_absent = 0;
	/* Every driver uses pair 0. */
	for (unsigned int i = 0; i < 2; i++) {
		const struct virtq_conf *conf = virtq_conf(vdev->queues[i].vq);

		if (!conf)
			continue;
		if (!virtq_look_blank(conf)) {
			notices->memory_works = true;
			notices->n_unseen = 0;
			return;
		}
		any = true;
	}
	if (!any)
		notices->n_unseen = 0;
	else if (vdev_queue_kicks(vdev, 0) + vdev_queue_kicks(vdev, 1) != notices->kicks &&
		 notices->n_unseen < NOTICE_LOOKS)
		notices->n_unseen++;
}

void
vnet_notices_look(struct vnet_notices *notices, const struct vnet_dev *dev)
{
	const struct vdev *vdev = &dev->vdev;
	unsigned int news;

	if (notices->connection != vdev->n_disconnects)
		*notices = (struct vnet_notices){.connection = vdev->n_disconnects,
						 .kicks = vdev->queues[0].n_kicks + vdev->queues[1].n_kicks};
	if (!vdev->said.has_features)
		return;
	if (!notices->memory_works)
		notices_look_at_memory(notices, dev);
	news = notices_now(notices, dev) & ~notices->logged;
	notices->logged |= news;
	for (; news; news &= news - 1) {
		event_record(dev->ctx, EVENT_NOTICE, vdev->name, "%s", notice_texts[__builtin_ctz(news)]);
		log_warn(&dev->ctx->log, "port %s: %s", vdev->name, notice_texts[__builtin_ctz(news)]);
	}
}

void
vnet_notices_show(const struct vnet_notices *notices, const struct vnet_dev *dev, const struct show *show)
{
	unsigned int now = notices_now(notices, dev);

	show->open(show->arg, "notices", SHOW_LIST);
	for (; now; now &= now - 1)
		show->text(show->arg, NULL, notice_texts[__builtin_ctz(now)]);
	show->close(show->arg);
}
