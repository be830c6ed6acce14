/* SPDX-License-Identifier: BSD-3-Clause */
/* burst: how many frames are looked at together. */
#ifndef VNICD_BURST_H
#define VNICD_BURST_H

enum { FRAME_BURST = 32 };

#endif
