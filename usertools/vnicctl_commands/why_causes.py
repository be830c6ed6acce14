# SPDX-License-Identifier: BSD-3-Clause
"""The causes that vnicctl why knows: a row each, the likeliest to explain others first.

A row's function looks at the facts (why_facts.py) and returns evidence, a list of lines, or None: it is not that. The
other two are what it means, and what to do; {name} is the port, and what `more` of the evidence adds.
"""
HZ = 100             # of /proc/stat
SATURATED = 0.9      # share of a worker's iterations with frames
CPU_AWAY = 0.05      # share of the time that a worker's CPU was somebody else's
POOL_EMPTY = 0.95

CAUSES = []


def cause(name, meaning, fix):
    def enter(function):
        CAUSES.append((name, function, meaning, fix))
        return function
    return enter


def of_drops(name, reasons, meaning, fix):
    def look(facts):
        return [line for line in map(facts.lost, reasons) if line] or None
    CAUSES.append((name, look, meaning, fix))


@cause("no guest", "nobody is at the port's socket", "start the guest, or let it connect again (QEMU: reconnect=1 at its chardev)")
def no_guest(facts):
    if facts.port["connected"] is not False:
        return None
    found = [f"not connected: {facts.port['describe']}"]
    connecting = (facts.guest or {}).get("connecting")
    if connecting:
        found.append(f"{connecting['failure']}; {connecting['hint']}")
    return found + [line for line in [facts.lost("no_guest")] if line]


@cause("not shared", "vnicd does not see the guest's memory, or its driver does not learn what it should",
       "what the line above says")
def notices(facts):
    return list((facts.guest or {}).get("notices") or []) or None


@cause("queue broken", "the guest's driver wrote something to its ring that VIRTIO forbids", "reset the driver in the guest (unbind and bind it, or "
       "reboot); vnicctl events {name} has what it was")
def broken(facts):
    return [line for line in [facts.lost("broken")] if line] or None


@cause("queue stopped", "a guest is connected, and its driver has not started the receive queue: it boots, was reset, or is gone",
       "load the guest's virtio_net driver, and set its interface up")
def stopped(facts):
    now, total = facts.drops("queue_stopped")
    if facts.port["connected"] is False or not total:
        return None
    return [facts.lost("queue_stopped")]


of_drops("queue disabled", ("queue_disabled", "disabled"), "the guest uses fewer queue pairs than it has set up, or resets its driver",
         "in the guest: ethtool -L IFACE combined N, with N as many as the port has (vnicctl guest show {name}: pairs)")


@cause("link down", "the port's link is down", "vnicctl port set {name} link=up, or bring up what it follows (uplink=), or plug in the cable")
def link_down(facts):
    lines = [line for line in [facts.lost("link_down")] if line]
    if facts.port["link"] == "down":
        link = (facts.guest or {}).get("link", {})
        lines.insert(0, "link is down: set so (vnicctl port set link=)" if link.get("set") == "down"
                     else f"link is down with its uplink {link['uplink']}" if link.get("uplink") else "link is down: no carrier")
        return lines
    # What is over explains nothing now.
    return lines if facts.drops("link_down")[0] else None


@cause("worker waits", "a worker is in a system call or has lost its CPU; all ports that it serves wait with it",
       "make what it waits for happen (vnicctl info), or give it a CPU of its own")
def stands_still(facts):
    lines = []
    for idx in sorted(set(facts.port["workers"])):
        still = facts.worker(idx)["stands_still"]
        if still:
            lines.append(f"worker {idx} stands still for {still['seconds']:.1f} s" + (f" in the driver of port {still['port']}" if still["port"] else ""))
    return lines or None


@cause("CPU taken away", "others run on the CPU of the port's worker, which polls and needs all of it",
       "give vnicd CPUs that nobody else uses (-l; isolcpus=, or a cpuset), and in a virtual machine CPUs that are not overcommitted")
def cpu_away(facts):
    (waits, steal), (waits_now, steal_now) = facts.waits
    lines = []
    for idx in sorted(set(facts.port["workers"])):
        worker = facts.worker(idx)
        lcore = str(worker["lcore"])
        share = (waits_now.get(lcore, 0) - waits.get(lcore, 0)) / 1e9 / facts.seconds
        if share > CPU_AWAY:
            lines.append(f"worker {idx} was ready and did not run for {share:.0%} of the time: another thread had its CPU")
        for cpu in map(str, worker["cpus"] if len(worker["cpus"]) == 1 else []):
            share = (steal_now.get(cpu, 0) - steal.get(cpu, 0)) / HZ / facts.seconds
            if share > CPU_AWAY:
                lines.append(f"CPU {cpu} of worker {idx} was taken by the hypervisor for {share:.0%} of the time (steal)")
    return lines or None


@cause("worker saturated", "the worker has no time left: what comes faster than it polls is lost before or behind it",
       "more workers (-l with more CPUs), or the busiest of these ports to a vnicd of its own")
def saturated(facts):
    lines = []
    for idx, busy, turns in facts.workers():
        if busy < SATURATED:
            continue
        ports = ", ".join(f"{name} {rate:.0f} frames/s" for name, rate in facts.busiest(idx)[:4])
        lines.append(f"worker {idx} had frames in {busy:.0%} of its iterations" + (f"; its ports: {ports}" if ports else ""))
    return lines or None


@cause("handoff ring full", "frames for a port of another worker come faster than that worker takes them", "look at that worker: vnicctl why of the "
       "port that they are for; or more workers")
def handoff(facts):
    return [line for line in [facts.lost("handoff_full")] if line]


@cause("receiver ring full", "the guest's driver gives back buffers too late: it wakes late, or its CPU is busy or was taken away",
       "a longer ring (QEMU: rx_queue_size=1024; in the guest: ethtool -G IFACE rx 1024), more pairs, retry=8 at the port, or a faster guest")
def no_buffer(facts):
    line = facts.lost("no_buffer")
    if not line:
        return None
    lines = [line]
    # Those of the receive queues, without the control queue behind the pairs.
    sizes = facts.guest["ring_sizes"][0:2 * facts.guest["pairs_max"]:2] if facts.guest else []
    if any(sizes):
        lines.append(f"its receive rings have {', '.join(str(n) for n in sizes)} entries")
    waits, helped = facts.stats[1]["ports"][facts.name].get("waits", 0), facts.stats[1]["ports"][facts.name].get("waits_helped", 0)
    if waits:
        lines.append(f"a worker waited for it {waits} times, and it helped {helped} times")
    return lines


of_drops("transmit queue full", ("tx_full",), "the NIC, the interface or the peer takes frames more slowly than they come",
         "a longer queue (descriptors=), a faster link, or police-in= at the ports that send")


@cause("packet buffers used up", "the pool is empty: frames wait somewhere, or it is too small", "give EAL more memory (-m), or find who holds them: "
       "vnicctl info")
def pool(facts):
    lines = [line for line in map(facts.lost, ("no_mbuf", "no_clone")) if line]
    size, in_use = facts.infos[1]["pool"]["size"], facts.infos[1]["pool"]["in_use"]
    if in_use > POOL_EMPTY * size:
        lines.append(f"{in_use} of {size} packet buffers are in use")
    return lines or None


of_drops("policed", ("policed_in", "policed_out"), "the port's rate limit does what it is told", "vnicctl port set {name} police-in=RATE or police-out=RATE; 0 ends it")
of_drops("too long", ("too_long", "truncated", "oversize"), "frames are longer than the guest's buffers, the MTU or the device take",
         "the same MTU at both ends (mtu= at the port, ip link set mtu in the guest), or mergeable buffers (mrg_rxbuf) and GUEST_TSO in the guest")


@cause("filtered", "the guest has not asked for frames to these addresses or VLANs", "in the guest: ip link set IFACE promisc on (bridges, macvlan), its VLAN "
       "devices, or its own address; vnicctl guest show {name}: filter")
def filtered(facts):
    line = facts.lost("filtered")
    if not line:
        return None
    shown = (facts.guest or {}).get("filter", {})
    return [line, f"its driver wants {facts.guest['mac']}" + (", promiscuous" if shown.get("promisc") else "")] if facts.guest else [line]


of_drops("checksum refused", ("bad_offload", "tunnel_segments"), "a header asks for a checksum or segmentation that its frame is not made for",
         "update the guest's driver; or the port without it: without=csum+host_tso4+host_tso6")
of_drops("guest's chains", ("malformed", "chain_long", "runt"), "the guest's driver sends buffers that are no frames", "update the guest's driver; vnicctl "
         "capture {name} --drops-only shows when")


@cause("refused on its way", "the switch, or the mode, does not let these frames pass", "what the reason names; vnicctl capture {name} --drops-only shows the frames")
def on_its_way(facts):
    return [f"{line} ({DESCRIBED.get(reason, '')})" for reason in facts.reasons()
            if reason in DESCRIBED and (line := facts.lost(reason))] or None


# Reasons that no row above has, and what they mean: filled by why().
DESCRIBED = {}
KNOWN = {"no_guest", "broken", "queue_stopped", "queue_disabled", "disabled", "link_down", "handoff_full", "no_buffer", "tx_full", "no_mbuf", "no_clone",
         "policed_in", "policed_out", "too_long", "truncated", "oversize", "filtered", "bad_offload", "tunnel_segments", "malformed", "chain_long", "runt"}
